//! Why a run of Claude Code ended: what its stream says first, how its process ended second.
//!
//! The table is data. Each row is held by a recorded stream (below); where several match, the last wins.

use super::wire::Final;
use crate::agent::{Finding, ProcessEnd, ReasonPattern, Seen, StreamEnd};
use crate::agents::reasons::{self, in_vain, last_known, last_line};
use crate::verdict::Reason;

/// What is looked at: the result's subtype, the program's own word for the error (`error` of its made-up message or of a retry),
/// `terminal_reason`, `stop_reason`, and the text that it shows to people, joined with ` · `, in lower case.
pub(super) const TABLE: &[ReasonPattern] = &[
    // HTTP statuses.
    ReasonPattern { http_status: Some(400), text: "", reason: Reason::RequestRejected },
    ReasonPattern { http_status: Some(402), text: "", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: Some(403), text: "", reason: Reason::PermissionDenied },
    ReasonPattern { http_status: Some(404), text: "", reason: Reason::ModelNotFound },
    ReasonPattern { http_status: Some(529), text: "", reason: Reason::Overloaded },
    // What only the text tells: the status is missing, or says less.
    ReasonPattern { http_status: None, text: "repeated 529 overloaded", reason: Reason::Overloaded },
    ReasonPattern { http_status: None, text: "unable to connect to api", reason: Reason::NetworkFailed },
    // Broken in the middle of an answer. It calls that a `server_error`, though no server said anything.
    ReasonPattern { http_status: None, text: "connection to the api was lost", reason: Reason::NetworkFailed },
    // The same before an answer began, in newer versions.
    ReasonPattern { http_status: None, text: "connection dropped", reason: Reason::NetworkFailed },
    // No connection at all, in newer versions, which call that a `server_error` too.
    ReasonPattern { http_status: None, text: "api error: connection refused", reason: Reason::NetworkFailed },
    ReasonPattern { http_status: None, text: "request timed out", reason: Reason::NetworkFailed },
    ReasonPattern { http_status: None, text: "billing_error", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: None, text: "prompt_too_long", reason: Reason::ContextWindowExceeded },
    // The program counts by itself what is longer than the model's window, and then does not ask it.
    ReasonPattern { http_status: None, text: "· blocking_limit ·", reason: Reason::ContextWindowExceeded },
    ReasonPattern { http_status: None, text: "max_output_tokens ·", reason: Reason::OutputLimit },
    ReasonPattern { http_status: None, text: "· refusal ·", reason: Reason::Refused },
    ReasonPattern { http_status: None, text: "error_max_turns", reason: Reason::TurnLimit },
    ReasonPattern { http_status: None, text: "error_max_budget_usd", reason: Reason::CostLimit },
    ReasonPattern { http_status: None, text: "--resume requires a valid session", reason: Reason::InvalidTask },
    // `aborted_tools` or `aborted_streaming`: interrupted in a tool, or while the model was asked.
    ReasonPattern { http_status: None, text: "· aborted_", reason: Reason::Cancelled },
];

/// Words of the program. `unknown` is all it says of a connection that could not be made or broke; a status is clearer.
const VAGUE: &[ReasonPattern] = &[
    ReasonPattern { http_status: None, text: "unknown", reason: Reason::NetworkFailed },
    ReasonPattern { http_status: None, text: "server_error", reason: Reason::ServerError },
    ReasonPattern { http_status: None, text: "authentication_failed", reason: Reason::AuthenticationFailed },
];

/// What the program says on stderr when it does not even begin, in lower case.
pub(super) const STDERR_TABLE: &[ReasonPattern] = &[
    ReasonPattern { http_status: None, text: "error: unknown option", reason: Reason::InvalidTask },
    ReasonPattern { http_status: None, text: "cannot be used with root/sudo privileges", reason: Reason::AgentFailed },
];

/// The reason that an error's status and words mean.
pub(super) fn of_error(http_status: Option<u16>, words: &[&str]) -> Option<Reason> {
    let line = words.iter().filter(|word| !word.is_empty()).fold(String::new(), |line, word| line + word + " · ");
    #[cfg(test)]
    tests::LOOKED_UP.with_borrow_mut(|all| all.push((http_status, line.clone())));
    reasons::of_error(TABLE, VAGUE, http_status, &line)
}

/// What a terminal event means.
///
/// `asked` is whether the model was asked at all, `said_anything` whether it ever answered with a text or a tool call, `error` the
/// program's last word for an error.
pub(super) fn of_end(end: &Final<'_>, asked: bool, said_anything: bool, error: Option<&str>) -> StreamEnd {
    let text = end
        .result
        .as_deref()
        .map(str::to_owned)
        .or_else(|| {
            let errors: Vec<_> = end.errors.items.iter().filter_map(|text| text.as_deref()).collect();
            (!errors.is_empty()).then(|| errors.join("; "))
        })
        .filter(|text| !text.is_empty());
    let subtype = end.subtype.or_empty();
    if subtype == "success" && !end.is_error.0 {
        return if !asked {
            let said = text.unwrap_or_default();
            let message = format!("the agent took the prompt for a command of its own, and the model was not asked: {said}");
            StreamEnd {
                succeeded: false,
                reason: Some(Reason::InvalidTask),
                message: Some(message.trim_end_matches([':', ' ']).to_owned()),
            }
        } else if !said_anything && text.is_none() {
            let message = "the model's answers were empty: no text, and no tool was called".to_owned();
            StreamEnd { succeeded: false, reason: Some(Reason::Stalled), message: Some(message) }
        } else {
            StreamEnd { succeeded: true, reason: None, message: text }
        };
    }
    let http_status = end.api_error_status.0.and_then(|status| u16::try_from(status).ok());
    let words = [
        subtype,
        error.unwrap_or_default(),
        end.terminal_reason.or_empty(),
        end.stop_reason.or_empty(),
        text.as_deref().unwrap_or_default(),
    ];
    // What it says of an interruption is meant for its own developers.
    let told = text.clone().filter(|text| !text.starts_with("[ede_diagnostic]"));
    let interrupted = || end.terminal_reason.as_deref().map(|how| format!("the agent was interrupted: {how}"));
    let message = told.or_else(interrupted).or_else(|| end.subtype.to_owned());
    StreamEnd { succeeded: false, reason: of_error(http_status, &words), message }
}

/// The verdict's core.
pub(super) fn judge(seen: &Seen<'_>) -> Option<Finding> {
    // One that leaves by itself has waited for its background as long as it wanted to.
    let held_end = seen.stream.held_end.as_ref();
    let left = held_end.filter(|end| !end.succeeded || seen.process == ProcessEnd::Exited(0));
    if let Some(end) = seen.stream.end.as_ref().or(left) {
        let message = end.message.clone().unwrap_or_default();
        return Some(if end.succeeded {
            Finding { reason: Reason::Completed, message }
        } else {
            Finding { reason: end.reason.unwrap_or(Reason::AgentFailed), message }
        });
    }
    if let Some(finding) = in_vain(seen) {
        return Some(finding);
    }
    if let Some((line, reason)) = last_known(STDERR_TABLE, seen.stderr_tail) {
        return Some(Finding { reason, message: line.to_owned() });
    }
    let when = match held_end {
        Some(_) => "while it waited for its tasks in the background",
        None => "before its stream had a result",
    };
    match seen.process {
        // Interrupted while it waits for the model, it leaves with code 0 and without a word.
        ProcessEnd::Exited(0) => Some(Finding {
            reason: Reason::TruncatedStream,
            message: "the agent ended with code 0, but its stream has no result".to_owned(),
        }),
        ProcessEnd::Signaled(signal) => {
            Some(Finding { reason: Reason::Killed, message: format!("signal {signal} ended the agent {when}") })
        }
        // It catches SIGHUP and SIGTERM, and leaves with 128 + the signal.
        ProcessEnd::Exited(code @ (129 | 143)) => {
            Some(Finding { reason: Reason::Killed, message: format!("the agent ended on signal {} {when}", code - 128) })
        }
        ProcessEnd::Exited(_) => {
            last_line(seen.stderr_tail, |_| true).map(|line| Finding { reason: Reason::AgentFailed, message: line.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::agent::{Detail, StreamReader};
    use crate::agents::claude::stream::Reader;
    use crate::agents::reasons::tests::{assert_every_row_decides, recordings, stderr_lines};

    thread_local!(pub(super) static LOOKED_UP: RefCell<Vec<(Option<u16>, String)>> = const { RefCell::new(Vec::new()) });

    #[test]
    fn every_row_decides_at_least_one_recorded_stream() {
        let mut stderr = Vec::new();
        for path in recordings(&["claude-2.1.197", "claude-2.1.330"]) {
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("jsonl") => {
                    let mut reader = Reader::new(Detail::Verdict);
                    std::fs::read(&path).unwrap().split(|byte| *byte == b'\n').for_each(|line| reader.read_line(line, &mut |_| ()));
                }
                Some("stderr") => stderr.extend(stderr_lines(&path)),
                _ => {}
            }
        }
        let looked_up = LOOKED_UP.take();
        assert_every_row_decides(TABLE, &looked_up);
        assert_every_row_decides(VAGUE, &looked_up);
        assert_every_row_decides(STDERR_TABLE, &stderr);
    }
}
