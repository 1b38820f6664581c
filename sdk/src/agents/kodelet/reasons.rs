//! Why a run of Kodelet ended. Its stream has no end, and it exits with code 0 on nearly every failure: what it logged on stderr, and
//! whether the last thing that it said is an answer, decide.
//!
//! The table is data. Each row is held by a fixture whose words are those of its source; where several match, the last wins.

use serde_json::Value;

use crate::agent::{Finding, ProcessEnd, ReasonPattern, Seen};
use crate::agents::reasons;
use crate::verdict::Reason;

/// What is looked at: the error that a line of the log tells, in lower case, and the HTTP status in it.
pub(super) const TABLE: &[ReasonPattern] = &[
    ReasonPattern { http_status: Some(400), text: "", reason: Reason::RequestRejected },
    ReasonPattern { http_status: Some(401), text: "", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: Some(403), text: "", reason: Reason::PermissionDenied },
    ReasonPattern { http_status: Some(404), text: "", reason: Reason::ModelNotFound },
    ReasonPattern { http_status: Some(529), text: "", reason: Reason::Overloaded },
    ReasonPattern { http_status: None, text: "insufficient_quota", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: None, text: "credit balance is too low", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: None, text: "context_length_exceeded", reason: Reason::ContextWindowExceeded },
    ReasonPattern { http_status: None, text: "prompt is too long", reason: Reason::ContextWindowExceeded },
    ReasonPattern { http_status: None, text: "context canceled", reason: Reason::Cancelled },
    ReasonPattern { http_status: None, text: "unknown flag: --headless", reason: Reason::UnsupportedVersion },
];

/// Of a connection that could not be made: by Kodelet, or by what answered with a status.
const VAGUE: &[ReasonPattern] = &[
    ReasonPattern { http_status: None, text: "connection refused", reason: Reason::NetworkFailed },
    ReasonPattern { http_status: None, text: "no such host", reason: Reason::NetworkFailed },
];

/// Messages of the log after which nothing more comes.
const FATAL: &[&str] = &["Error processing query", "Error streaming updates", "Error initializing conversation stream"];

/// The verdict's core.
pub(super) fn judge(seen: &Seen<'_>) -> Option<Finding> {
    if let Some(error) = seen.stderr_tail.lines().rev().find_map(fatal) {
        let reason = reasons::of_error(TABLE, VAGUE, http_status(&error), &error).unwrap_or(Reason::AgentFailed);
        return Some(Finding { reason, message: error });
    }
    match seen.process {
        ProcessEnd::Exited(0) => Some(match &seen.stream.answer {
            Some(answer) => Finding { reason: Reason::Completed, message: answer.clone() },
            None => Finding {
                reason: Reason::TruncatedStream,
                message: "the agent ended with code 0, but its stream does not end with an answer".to_owned(),
            },
        }),
        ProcessEnd::Signaled(signal) => Some(Finding { reason: Reason::Killed, message: format!("signal {signal} ended the agent") }),
        ProcessEnd::Exited(_) => {
            let words = seen.stderr_tail.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
            Some(Finding { reason: Reason::AgentFailed, message: words.to_owned() })
        }
    }
}

/// The error of a line that tells of the end: a record of its JSON log, or a line for people.
fn fatal(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(words) = line.strip_prefix("[ERROR] ").or_else(|| line.strip_prefix("Error: ")) {
        return Some(words.to_owned());
    }
    let record: Value = serde_json::from_str(line).ok()?;
    let message = record["message"].as_str().filter(|message| FATAL.contains(message))?;
    Some(record["error"].as_str().unwrap_or(message).to_owned())
}

/// The status of `POST "https://…": 401 Unauthorized {…}`, as the providers' libraries write it.
fn http_status(error: &str) -> Option<u16> {
    let (_, rest) = error.split_once("\": ")?;
    rest.split(' ').next()?.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::reasons::tests::{assert_every_row_decides, recordings, stderr_lines};

    #[test]
    fn every_row_decides_at_least_one_fixture() {
        let stderr = recordings(&["kodelet"]).into_iter().filter(|path| path.extension().is_some_and(|end| end == "stderr"));
        let errors = stderr.flat_map(|path| stderr_lines(&path)).filter_map(|(_, line)| fatal(&line));
        let errors: Vec<_> = errors.map(|error| (http_status(&error), error)).collect();
        assert_every_row_decides(TABLE, &errors);
        assert_every_row_decides(VAGUE, &errors);
    }
}
