//! Limits: when the agent has to be stopped, decided from what is known, without a clock or a process.

use std::time::Duration;

use agent_sdk::agent::StreamSummary;
use agent_sdk::task::Limits;

/// Why the runner stops an agent that has not exited by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A signal asked for it.
    Signal(i32),
    /// The whole task took too long.
    Deadline,
    /// The agent printed nothing for too long.
    Silence,
    /// The stream said that the agent is done, and it lives on.
    Linger,
    /// It has cost too much.
    Cost,
    /// It asked the model too often.
    Turns,
    /// It generated too many tokens.
    Tokens,
    /// It repeated a request too often.
    Retries,
    /// It goes round in steps that cost nothing and do nothing.
    Stalled,
}

/// Steps in a row without a token, a text or a tool call after which an agent counts as going round in circles. A model that answers with
/// nothing does so once or twice; OpenCode did it 745 times in 110 s after a stream was cut.
const MAX_EMPTY_STEPS: u32 = 20;

/// Whether what the stream has said so far breaks a limit.
#[must_use]
pub fn broken_by(summary: &StreamSummary, limits: &Limits) -> Option<Stop> {
    let over = |used: Option<u64>, limit: Option<u64>| matches!((used, limit), (Some(used), Some(limit)) if used > limit);
    if summary.end.is_some() {
        return None;
    }
    if matches!((summary.usage.cost_usd, limits.max_cost_usd), (Some(cost), Some(limit)) if cost > limit) {
        return Some(Stop::Cost);
    }
    if over(summary.usage.output_tokens, limits.max_output_tokens) {
        return Some(Stop::Tokens);
    }
    if over(summary.turns, limits.max_turns) {
        return Some(Stop::Turns);
    }
    if limits.max_retries.is_some_and(|limit| summary.retries > limit) {
        return Some(Stop::Retries);
    }
    (summary.empty_steps > MAX_EMPTY_STEPS).then_some(Stop::Stalled)
}

/// How long from now until a watchdog fires, and which; `None` if none is set. All are measured by the caller's clock.
#[must_use]
pub fn next_watchdog(
    limits: &Limits,
    since_start: Duration,
    since_output: Duration,
    since_end: Option<Duration>,
) -> Option<(Duration, Stop)> {
    let left = |limit: Duration, passed: Duration| limit.saturating_sub(passed);
    let deadline = limits.timeout.map(|limit| (left(limit.as_duration(), since_start), Stop::Deadline));
    let silence = limits.silence_timeout.limit().filter(|_| since_end.is_none()).map(|limit| (left(limit, since_output), Stop::Silence));
    let linger = since_end.map(|passed| (left(limits.linger.as_duration(), passed), Stop::Linger));
    [linger, deadline, silence].into_iter().flatten().min_by_key(|(left, _)| *left)
}

#[cfg(test)]
mod tests {
    use agent_sdk::agent::StreamEnd;
    use agent_sdk::task::Span;
    use agent_sdk::usage::Usage;

    use super::*;

    fn summary(output: u64, turns: u64, cost: f64) -> StreamSummary {
        StreamSummary {
            usage: Usage { output_tokens: Some(output), cost_usd: Some(cost), ..Usage::default() },
            turns: Some(turns),
            ..StreamSummary::default()
        }
    }

    #[test]
    fn a_limit_that_is_just_reached_is_not_broken() {
        let limits = Limits { max_turns: Some(3), max_output_tokens: Some(100), max_cost_usd: Some(1.0), ..Limits::default() };
        assert_eq!(broken_by(&summary(100, 3, 1.0), &limits), None);
        assert_eq!(broken_by(&summary(101, 3, 1.0), &limits), Some(Stop::Tokens));
        assert_eq!(broken_by(&summary(100, 4, 1.0), &limits), Some(Stop::Turns));
        assert_eq!(broken_by(&summary(100, 3, 1.01), &limits), Some(Stop::Cost));
    }

    #[test]
    fn an_agent_that_is_done_breaks_no_limit() {
        let mut done = summary(1000, 50, 9.0);
        done.end = Some(StreamEnd { succeeded: true, reason: None, message: None });
        let limits = Limits { max_turns: Some(3), max_cost_usd: Some(1.0), ..Limits::default() };
        assert_eq!(broken_by(&done, &limits), None);
    }

    #[test]
    fn retries_and_empty_steps_are_counted() {
        let retrying = StreamSummary { retries: 3, ..StreamSummary::default() };
        assert_eq!(broken_by(&retrying, &Limits { max_retries: Some(2), ..Limits::default() }), Some(Stop::Retries));
        assert_eq!(broken_by(&retrying, &Limits::default()), None);
        let circling = StreamSummary { empty_steps: MAX_EMPTY_STEPS + 1, ..StreamSummary::default() };
        assert_eq!(broken_by(&circling, &Limits::default()), Some(Stop::Stalled));
    }

    #[test]
    fn the_nearest_watchdog_comes_first_and_silence_ends_with_the_stream() {
        let limits = Limits {
            timeout: Some(Span::from_secs(100)),
            silence_timeout: Span::from_secs(10),
            linger: Span::from_secs(5),
            ..Limits::default()
        };
        let s = Duration::from_secs;
        assert_eq!(next_watchdog(&limits, s(1), s(1), None), Some((s(9), Stop::Silence)));
        assert_eq!(next_watchdog(&limits, s(95), s(1), None), Some((s(5), Stop::Deadline)));
        assert_eq!(next_watchdog(&limits, s(50), s(50), Some(s(1))), Some((s(4), Stop::Linger)));
        let none = Limits { silence_timeout: Span::from_secs(0), ..Limits::default() };
        assert_eq!(next_watchdog(&none, s(1), s(1), None), None);
    }
}
