//! Why Codex ended: what it says about errors, as a table; and the verdict's core.
//!
//! Each row is there because a recorded stream needs it, and is held by it (the test below); where several match, the last wins.

use crate::agent::{Finding, ProcessEnd, ReasonPattern, Seen, StreamError};
use crate::agents::reasons::{self, in_vain, last_known, last_line};
use crate::verdict::Reason;

/// What is looked at: the message of an `error` or `turn.failed` event, in lower case, and the HTTP status in it.
pub(super) const TABLE: &[ReasonPattern] = &[
    // HTTP statuses.
    ReasonPattern { http_status: Some(401), text: "", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: Some(402), text: "", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: Some(403), text: "", reason: Reason::PermissionDenied },
    ReasonPattern { http_status: Some(404), text: "", reason: Reason::ModelNotFound },
    ReasonPattern { http_status: Some(503), text: "", reason: Reason::Overloaded },
    ReasonPattern { http_status: Some(529), text: "", reason: Reason::Overloaded },
    // What only the text tells.
    // All it says of 500.
    ReasonPattern { http_status: None, text: "experiencing high demand", reason: Reason::ServerError },
    // Of 400 it shows the server's answer itself; of 404, the message in it.
    ReasonPattern { http_status: None, text: "\"invalid_request_error\"", reason: Reason::RequestRejected },
    ReasonPattern { http_status: None, text: "model not found", reason: Reason::ModelNotFound },
    ReasonPattern { http_status: None, text: "does not exist or you do not have access to it", reason: Reason::ModelNotFound },
    ReasonPattern { http_status: None, text: "model is at capacity", reason: Reason::Overloaded },
    ReasonPattern { http_status: None, text: "quota exceeded", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: None, text: "ran out of room in the model's context window", reason: Reason::ContextWindowExceeded },
    ReasonPattern { http_status: None, text: "reason: max_output_tokens", reason: Reason::OutputLimit },
];

/// Of a connection that broke in the middle of an answer; also the beginning of other errors, whose own words come after it.
const VAGUE: &[ReasonPattern] = &[
    ReasonPattern { http_status: None, text: "stream disconnected before completion", reason: Reason::NetworkFailed },
    ReasonPattern { http_status: None, text: "connection failed", reason: Reason::NetworkFailed },
];

/// What it says on stderr when it does not even begin, in lower case.
pub(super) const STDERR_TABLE: &[ReasonPattern] = &[
    ReasonPattern { http_status: None, text: "error: unexpected argument", reason: Reason::InvalidTask },
    ReasonPattern { http_status: None, text: "no rollout found for thread id", reason: Reason::InvalidTask },
    ReasonPattern { http_status: None, text: "required mcp servers failed to initialize", reason: Reason::AgentFailed },
];

/// What Codex says before a cause, with the retry's number and the most of them.
const RECONNECTING: &str = "Reconnecting... ";

/// A retry, as an `error` event says it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Retry<'a> {
    /// Which, and of how many; `None` where it waits for a network that is not there, as often as it takes.
    pub(super) number: Option<(u32, u32)>,
    /// Why.
    pub(super) cause: &'a str,
}

/// `Reconnecting... 2/5 (cause)`, `Reconnecting... waiting for network (cause)`.
pub(super) fn retry(message: &str) -> Option<Retry<'_>> {
    let rest = message.strip_prefix(RECONNECTING)?;
    let (which, cause) = rest.split_once(" (").map_or((rest, ""), |(which, cause)| (which, cause.strip_suffix(')').unwrap_or(cause)));
    let number = which.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    Some(Retry { number, cause })
}

/// An error from its words.
pub(super) fn of_message(message: &str) -> StreamError {
    let http_status = status(message);
    #[cfg(test)]
    tests::LOOKED_UP.with_borrow_mut(|all| all.push((http_status, message.to_owned())));
    StreamError { http_status, message: message.to_owned(), reason: reasons::of_error(TABLE, VAGUE, http_status, message) }
}

/// `unexpected status 401 Unauthorized: …`, `exceeded retry limit, last status: 429 Too Many Requests`.
fn status(message: &str) -> Option<u16> {
    ["unexpected status ", "last status: "].iter().find_map(|before| {
        let digits = message.split_once(before)?.1.get(..3)?;
        digits.parse().ok().filter(|status| (100..600).contains(status))
    })
}

/// The verdict's core.
pub(super) fn judge(seen: &Seen<'_>) -> Option<Finding> {
    if let Some(end) = &seen.stream.end {
        let message = end.message.clone().unwrap_or_default();
        let otherwise = if end.succeeded { Reason::Completed } else { Reason::AgentFailed };
        return Some(Finding { reason: end.reason.unwrap_or(otherwise), message });
    }
    if let Some(finding) = in_vain(seen) {
        return Some(finding);
    }
    if let Some((line, reason)) = last_known(STDERR_TABLE, seen.stderr_tail) {
        return Some(Finding { reason, message: line.to_owned() });
    }
    match seen.process {
        ProcessEnd::Exited(0) => Some(Finding {
            reason: Reason::TruncatedStream,
            message: "the agent ended with code 0, but its stream has no end of a turn".to_owned(),
        }),
        ProcessEnd::Signaled(signal) => {
            Some(Finding { reason: Reason::Killed, message: format!("signal {signal} ended the agent before its turn was over") })
        }
        // Interrupted, it leaves with code 1 and without a word.
        ProcessEnd::Exited(_) => {
            last_line(seen.stderr_tail, is_word_of_its_own).map(|line| Finding { reason: Reason::AgentFailed, message: line.to_owned() })
        }
    }
}

/// What it always says tells nothing.
fn is_word_of_its_own(line: &str) -> bool {
    !line.starts_with("Reading ") && !line.starts_with("warning: ") && !line.starts_with("WARNING: ")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::agent::{Detail, StreamReader};
    use crate::agents::codex::stream::Reader;
    use crate::agents::reasons::tests::{assert_every_row_decides, recordings, stderr_lines};

    thread_local!(pub(super) static LOOKED_UP: RefCell<Vec<(Option<u16>, String)>> = const { RefCell::new(Vec::new()) });

    #[test]
    fn every_row_decides_at_least_one_recorded_stream() {
        let mut stderr = Vec::new();
        for path in recordings(&["codex-0.169.0"]) {
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

    #[test]
    fn a_retry_says_its_number_and_its_cause() {
        assert_eq!(retry("Reconnecting... 2/5 (a (b))"), Some(Retry { number: Some((2, 5)), cause: "a (b)" }));
        assert_eq!(retry("Reconnecting... waiting for network (c)"), Some(Retry { number: None, cause: "c" }));
        assert_eq!(retry("quota"), None);
    }
}
