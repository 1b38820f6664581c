//! The verdict on an agent that has run: the stream speaks first, the exit code second, and why the runner stopped it stands
//! over both unless the agent was done already.

use agent_sdk::agent::{Agent, Finding, ProcessEnd, Seen, StreamSummary};
use agent_sdk::task::Limits;
use agent_sdk::verdict::{Origin, Reason};

use super::limits::Stop;

/// Everything that the verdict rests on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What the stream said.
    pub stream: &'a StreamSummary,
    /// How the process ended.
    pub process: ProcessEnd,
    /// Why the runner stopped it, if it did.
    pub stop: Option<Stop>,
    /// Whether it was told to stop before its stream said that it is done.
    pub stopped_before_end: bool,
    /// The last part of its stderr.
    pub stderr_tail: &'a str,
    /// Whether the kernel ended a process of the container for want of memory during the run.
    pub out_of_memory: bool,
    /// Whether it is a command that somebody named by hand, whose exit code alone is its verdict, also after a signal.
    pub by_hand: bool,
}

/// How the run ended and whose doing it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub reason: Reason,
    /// One sentence.
    pub message: String,
    /// Whose doing.
    pub origin: Origin,
    /// The signal, if one decided it.
    pub signal: Option<i32>,
    /// What the process's own code counts for.
    pub own_code: OwnCode,
}

/// What the process's own code counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnCode {
    /// What the reason says.
    ByReason,
    /// It is the runner's, whatever the reason says.
    Always,
    /// Nothing: the process was ended when it had said everything, so its code tells of that.
    Never,
}

impl Verdict {
    fn new(reason: Reason, origin: Origin, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), origin, signal: None, own_code: OwnCode::ByReason }
    }

    /// The runner's exit code.
    #[must_use]
    pub fn exit_code(&self, process: ProcessEnd) -> u8 {
        let by_reason = |code| self.reason.code_rule().exit_code(code, self.signal);
        match self.own_code {
            OwnCode::ByReason => by_reason(Some(process.code())),
            OwnCode::Always => process.code(),
            OwnCode::Never => by_reason(None),
        }
    }
}

/// Decides. `agent` is absent for `exec` with a command that is nobody's known agent.
#[must_use]
pub fn decide(agent: Option<&dyn Agent>, evidence: &Evidence<'_>, limits: &Limits) -> Verdict {
    match (evidence.stop, &evidence.stream.end, &evidence.stream.held_end) {
        // What it waited for in the background would have changed nothing of what it had said.
        (Some(Stop::Linger), None, Some(held)) => {
            let stream = StreamSummary { end: Some(held.clone()), ..evidence.stream.clone() };
            decide_on(agent, &Evidence { stream: &stream, ..*evidence }, limits)
        }
        _ => decide_on(agent, evidence, limits),
    }
}

fn decide_on(agent: Option<&dyn Agent>, evidence: &Evidence<'_>, limits: &Limits) -> Verdict {
    let finding = || {
        agent.and_then(|agent| agent.judge(&Seen { stream: evidence.stream, process: evidence.process, stderr_tail: evidence.stderr_tail }))
    };
    // An agent that had said that it is done was only helped out of the door, whatever the reason for it was. What it says after
    // it was told to stop is about the stop: that it was interrupted, or that it is "done" with a tool that was killed.
    // A script has business of its own after its agent's last word, and may fail at it, or be cut off.
    let is_at_work =
        |stop: &Stop| evidence.stream.end.is_none() || evidence.stopped_before_end || evidence.by_hand && *stop != Stop::Linger;
    let Some(stop) = evidence.stop.filter(is_at_work) else {
        let has_failed = evidence.by_hand && evidence.stop.is_none() && evidence.process != ProcessEnd::Exited(0);
        return match finding().filter(|finding| !(has_failed && finding.reason == Reason::Completed)) {
            Some(finding) => on_its_own(finding, evidence),
            None => by_exit_code(evidence),
        };
    };
    let runner = |reason, message: String| Verdict::new(reason, Origin::Runner, with_last_error(message, evidence.stream));
    match stop {
        // As an init does it: who handled the signal says by its code how that went.
        Stop::Signal(_) if evidence.by_hand && evidence.process == ProcessEnd::Exited(0) => by_exit_code(evidence),
        Stop::Signal(signal) => {
            let name = nix::sys::signal::Signal::try_from(signal).map_or("a signal", nix::sys::signal::Signal::as_str);
            let cancelled = Verdict::new(Reason::Cancelled, Origin::Signal, format!("ended by {name}"));
            let own_code = if evidence.by_hand { OwnCode::Always } else { OwnCode::ByReason };
            Verdict { signal: Some(signal), own_code, ..cancelled }
        }
        Stop::Deadline => {
            let limit = limits.timeout.unwrap_or_default();
            runner(while_retrying(evidence.stream, Reason::DeadlineExceeded), format!("the task took longer than {limit}"))
        }
        Stop::Silence => {
            let limit = limits.silence_timeout;
            runner(while_retrying(evidence.stream, Reason::SilenceTimeout), format!("the agent printed nothing for {limit}"))
        }
        Stop::Retries => {
            let reason = last_reason(evidence.stream).unwrap_or(Reason::NetworkFailed);
            runner(reason, format!("the agent repeated one request {} times", evidence.stream.retries))
        }
        Stop::Stalled => runner(
            Reason::Stalled,
            format!("the agent took {} steps in a row without a token, a text or a tool call", evidence.stream.empty_steps),
        ),
        Stop::Cost => runner(Reason::CostLimit, format!("the run has cost {:.4} USD", evidence.stream.usage.cost_usd.unwrap_or_default())),
        Stop::Turns => runner(Reason::TurnLimit, format!("the model was asked {} times", evidence.stream.turns.unwrap_or_default())),
        Stop::Tokens => {
            runner(Reason::TokenLimit, format!("{} tokens were generated", evidence.stream.usage.output_tokens.unwrap_or_default()))
        }
        Stop::Linger => match finding() {
            Some(finding) => on_its_own(finding, evidence),
            None => by_exit_code(evidence),
        },
    }
}

fn on_its_own(finding: Finding, evidence: &Evidence<'_>) -> Verdict {
    // A process that memory ran out for cannot say so itself; what it left behind looks like any other broken stream.
    let unexplained = matches!(finding.reason, Reason::AgentFailed | Reason::TruncatedStream | Reason::Killed);
    if evidence.out_of_memory && unexplained {
        return Verdict::new(Reason::OutOfMemory, Origin::Agent, "the kernel ended a process of the agent because memory ran out");
    }
    let verdict = Verdict::new(finding.reason, Origin::Agent, finding.message);
    if evidence.stop.is_some() {
        return Verdict { own_code: OwnCode::Never, ..verdict };
    }
    let signal = match (finding.reason, evidence.process) {
        (Reason::Killed | Reason::AgentFailed, ProcessEnd::Signaled(signal)) => Some(signal),
        _ => None,
    };
    Verdict { signal, ..verdict }
}

fn by_exit_code(evidence: &Evidence<'_>) -> Verdict {
    let finding = match evidence.process {
        ProcessEnd::Exited(0) => Finding { reason: Reason::Completed, message: "the agent exited with code 0".into() },
        ProcessEnd::Exited(code) => Finding { reason: Reason::AgentFailed, message: format!("the agent exited with code {code}") },
        ProcessEnd::Signaled(signal) => Finding { reason: Reason::Killed, message: format!("signal {signal} ended the agent") },
    };
    on_its_own(finding, evidence)
}

/// The reason of the stream's last error.
fn last_reason(stream: &StreamSummary) -> Option<Reason> {
    stream.last_error.as_ref().and_then(|error| error.reason)
}

/// An agent that was retrying when time ran out failed for what it was retrying.
fn while_retrying(stream: &StreamSummary, otherwise: Reason) -> Reason {
    if stream.retries > 0 { last_reason(stream).unwrap_or(otherwise) } else { otherwise }
}

fn with_last_error(message: String, stream: &StreamSummary) -> String {
    match &stream.last_error {
        Some(error) if stream.retries > 0 => format!("{message}; the last error was: {}", error.message),
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use agent_sdk::agent::{StreamEnd, StreamError};
    use agent_sdk::agents::native::Native;

    use super::*;

    fn evidence(stream: &StreamSummary) -> Evidence<'_> {
        Evidence {
            stream,
            process: ProcessEnd::Exited(0),
            stop: None,
            stderr_tail: "",
            out_of_memory: false,
            by_hand: false,
            stopped_before_end: false,
        }
    }

    #[test]
    fn a_command_that_is_nobodys_agent_is_judged_by_its_code_alone() {
        let stream = StreamSummary::default();
        let limits = Limits::default();
        assert_eq!(decide(None, &evidence(&stream), &limits).reason, Reason::Completed);
        for code in 1..=255 {
            let process = ProcessEnd::Exited(code);
            let verdict = decide(None, &Evidence { process, ..evidence(&stream) }, &limits);
            assert_eq!((verdict.reason, verdict.exit_code(process)), (Reason::AgentFailed, code));
        }
        for signal in 1..=64 {
            let process = ProcessEnd::Signaled(signal);
            let verdict = decide(None, &Evidence { process, ..evidence(&stream) }, &limits);
            assert_eq!(verdict.exit_code(process), 128 + u8::try_from(signal).unwrap());
        }
    }

    #[test]
    fn a_signal_after_the_agent_was_done_changes_nothing() {
        let done = StreamSummary { end: Some(StreamEnd { succeeded: true, reason: None, message: None }), ..StreamSummary::default() };
        let verdict = decide(None, &Evidence { stop: Some(Stop::Signal(15)), ..evidence(&done) }, &Limits::default());
        assert_eq!(verdict.reason, Reason::Completed);
        let verdict = decide(None, &Evidence { stop: Some(Stop::Signal(15)), ..evidence(&StreamSummary::default()) }, &Limits::default());
        assert_eq!((verdict.reason, verdict.exit_code(ProcessEnd::Signaled(15))), (Reason::Cancelled, 143));
    }

    #[test]
    fn a_script_whose_agent_is_done_is_judged_by_what_it_does_then() {
        let end = Some(StreamEnd { succeeded: true, reason: None, message: None });
        let done = StreamSummary { end, ..StreamSummary::default() };
        let verdict = |stop, process| {
            let verdict = decide(Some(&Native), &Evidence { stop, process, by_hand: true, ..evidence(&done) }, &Limits::default());
            (verdict.reason, verdict.exit_code(process))
        };
        assert_eq!(verdict(None, ProcessEnd::Exited(0)), (Reason::Completed, 0));
        assert_eq!(verdict(None, ProcessEnd::Exited(3)), (Reason::AgentFailed, 3));
        assert_eq!(verdict(Some(Stop::Deadline), ProcessEnd::Signaled(15)), (Reason::DeadlineExceeded, 124));
        assert_eq!(verdict(Some(Stop::Signal(15)), ProcessEnd::Signaled(15)), (Reason::Cancelled, 143));
        assert_eq!(verdict(Some(Stop::Linger), ProcessEnd::Signaled(15)), (Reason::Completed, 0));
        let end = Some(StreamEnd { succeeded: false, reason: Some(Reason::RateLimited), message: None });
        let failed = StreamSummary { end, ..StreamSummary::default() };
        let evidence = Evidence { process: ProcessEnd::Exited(1), by_hand: true, ..evidence(&failed) };
        assert_eq!(decide(Some(&Native), &evidence, &Limits::default()).reason, Reason::RateLimited, "what is known stands");
    }

    #[test]
    fn an_agent_that_was_not_waited_for_any_longer_has_said_what_it_had_to_say() {
        let held_end = Some(StreamEnd { succeeded: true, reason: None, message: Some("done".to_owned()) });
        let waiting = StreamSummary { held_end, ..StreamSummary::default() };
        let process = ProcessEnd::Signaled(15);
        let verdict = |stop| decide(Some(&Native), &Evidence { stop: Some(stop), process, ..evidence(&waiting) }, &Limits::default());
        assert_eq!((verdict(Stop::Linger).reason, verdict(Stop::Linger).exit_code(process)), (Reason::Completed, 0));
        assert_eq!(verdict(Stop::Signal(15)).reason, Reason::Cancelled);
    }

    #[test]
    fn the_code_of_an_agent_that_was_helped_out_of_the_door_tells_nothing() {
        for reason in [Reason::RequestRejected, Reason::AgentFailed] {
            let end = StreamEnd { succeeded: false, reason: Some(reason), message: None };
            let failed = StreamSummary { end: Some(end), ..StreamSummary::default() };
            let code = |stop, process| {
                let verdict = decide(Some(&Native), &Evidence { stop, process, ..evidence(&failed) }, &Limits::default());
                assert_eq!(verdict.reason, reason);
                (verdict.exit_code(process), verdict.signal)
            };
            assert_eq!(code(None, ProcessEnd::Exited(3)), (3, None));
            for stop in [Stop::Linger, Stop::Signal(15)] {
                assert_eq!(code(Some(stop), ProcessEnd::Signaled(15)), (1, None), "143 would be read as: try again");
            }
        }
    }

    #[test]
    fn what_an_agent_says_after_it_was_told_to_stop_does_not_hide_why() {
        let ended =
            |succeeded, reason| StreamSummary { end: Some(StreamEnd { succeeded, reason, message: None }), ..StreamSummary::default() };
        for stream in [ended(false, Some(Reason::Cancelled)), ended(true, None)] {
            let stopped = |stop| Evidence { stop: Some(stop), stopped_before_end: true, ..evidence(&stream) };
            let verdict = decide(None, &stopped(Stop::Signal(2)), &Limits::default());
            let said = (verdict.reason, verdict.origin, verdict.signal, verdict.exit_code(ProcessEnd::Exited(0)));
            assert_eq!(said, (Reason::Cancelled, Origin::Signal, Some(2), 130));
            assert_eq!(decide(None, &stopped(Stop::Deadline), &Limits::default()).reason, Reason::DeadlineExceeded);
        }
    }

    #[test]
    fn a_command_that_handles_the_signal_says_by_its_code_how_that_went() {
        let stream = StreamSummary::default();
        let decide = |process| {
            decide(None, &Evidence { by_hand: true, stop: Some(Stop::Signal(15)), process, ..evidence(&stream) }, &Limits::default())
        };
        assert_eq!(decide(ProcessEnd::Exited(0)).reason, Reason::Completed);
        for (process, code) in [(ProcessEnd::Exited(7), 7), (ProcessEnd::Signaled(15), 143), (ProcessEnd::Signaled(9), 137)] {
            let verdict = decide(process);
            assert_eq!((verdict.reason, verdict.exit_code(process)), (Reason::Cancelled, code));
        }
    }

    #[test]
    fn time_that_ran_out_in_retries_names_what_was_retried() {
        let error = StreamError { http_status: Some(429), message: "slow down".into(), reason: Some(Reason::RateLimited) };
        let stream = StreamSummary { retries: 4, last_error: Some(error), ..StreamSummary::default() };
        let verdict = decide(None, &Evidence { stop: Some(Stop::Deadline), ..evidence(&stream) }, &Limits::default());
        assert_eq!(verdict.reason, Reason::RateLimited);
        assert!(verdict.message.contains("slow down"));
        let idle = StreamSummary { retries: 0, ..stream.clone() };
        let verdict = decide(None, &Evidence { stop: Some(Stop::Silence), ..evidence(&idle) }, &Limits::default());
        assert_eq!(verdict.reason, Reason::SilenceTimeout);
    }

    #[test]
    fn memory_explains_only_what_is_not_explained() {
        let stream = StreamSummary::default();
        let killed = Evidence { process: ProcessEnd::Signaled(9), out_of_memory: true, ..evidence(&stream) };
        assert_eq!(decide(None, &killed, &Limits::default()).reason, Reason::OutOfMemory);
        let fine = Evidence { out_of_memory: true, ..evidence(&stream) };
        assert_eq!(decide(None, &fine, &Limits::default()).reason, Reason::Completed);
    }
}
