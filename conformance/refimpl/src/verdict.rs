//! Section 6, how a run ends: the verdict on an agent, from its stream, its end, and why it was stopped.

use crate::mutants::broken;
use crate::process::{Ended, Stop};
use crate::reason::{Reason, Verdict};
use crate::stream::Stream;

/// Why a run with this agent ended: the stream speaks first, the exit code second; who was stopped was stopped, unless it had said that it
/// is done.
pub fn judge(ended: &Ended, stream: &Stream, stopped_before_end: bool) -> Verdict {
    let stop = ended.stop.filter(|stop| *stop != Stop::Linger && (stream.end.is_none() || stopped_before_end));
    let code = Verdict { own_code: ended.code, signal: ended.signal, ..Verdict::new(Reason::AgentFailed, "") };
    let own_words = |otherwise: &str| {
        let detail = stream.end.as_ref().and_then(|(_, detail)| detail.clone());
        detail.or_else(|| stream.last_error.clone()).unwrap_or_else(|| otherwise.to_owned())
    };
    match stop {
        Some(Stop::Signal(signal)) => {
            let reason = if broken("cancelled") { Reason::AgentFailed } else { Reason::Cancelled };
            let number = if signal == 2 && broken("interrupted") { 15 } else { signal };
            return Verdict { reason, signal: Some(number), message: format!("ended by signal {signal}"), ..code };
        }
        Some(Stop::Deadline) => {
            let reason = if broken("timeout") { Reason::AgentFailed } else { Reason::DeadlineExceeded };
            return Verdict { reason, message: "the task took longer than its limit".to_owned(), ..code };
        }
        Some(Stop::Silence) => return Verdict::new(Reason::SilenceTimeout, "the agent printed nothing for longer than its limit"),
        Some(Stop::Turns) => return Verdict::new(Reason::TurnLimit, "the model was asked too often"),
        Some(Stop::Cost) => return Verdict::new(Reason::CostLimit, "the run has cost too much"),
        Some(Stop::Tokens) => return Verdict::new(Reason::TokenLimit, "too many tokens were generated"),
        Some(Stop::Retries) => return Verdict::new(Reason::NetworkFailed, own_words("one request was repeated too often")),
        Some(Stop::Linger) | None => {}
    }
    if ended.stop == Some(Stop::Linger) && broken("lingering-agent.harm") {
        return Verdict { message: "the agent did not end".to_owned(), ..code };
    }
    let end = stream.end.as_ref().map(|(succeeded, _)| *succeeded).filter(|_| stream.is_native);
    match (end, ended.signal, ended.code) {
        (Some(false), _, 0) if broken("stream-speaks-first") => Verdict::new(Reason::Completed, "the agent exited with code 0"),
        (Some(true), ..) if broken("success") => Verdict { own_code: 1, message: own_words("the agent is done"), ..code },
        (Some(true), ..) => Verdict::new(Reason::Completed, own_words("the agent is done")),
        // Whoever was stopped after it had said so has a code that tells of that.
        (Some(false), ..) if ended.stop.is_some() => Verdict::new(Reason::AgentFailed, own_words("the agent says that it failed")),
        (Some(false), ..) => Verdict { message: own_words("the agent says that it failed"), ..code },
        (None, Some(signal), _) => {
            let reason = if broken("agent-killed") { Reason::AgentFailed } else { Reason::Killed };
            let own_code = if broken("agent-killed") { 1 } else { ended.code };
            Verdict { reason, own_code, message: format!("signal {signal} ended the agent"), ..code }
        }
        (None, None, 0) if stream.is_native && !broken("truncated-stream") => {
            Verdict::new(Reason::TruncatedStream, "the agent exited with code 0 and never said that it was done")
        }
        (None, None, 0) => Verdict::new(Reason::Completed, "the agent exited with code 0"),
        (None, None, number) => {
            let own_code = if broken("agent-exit-code") { 1 } else { number };
            Verdict { own_code, message: format!("the agent exited with code {number}"), ..code }
        }
    }
}
