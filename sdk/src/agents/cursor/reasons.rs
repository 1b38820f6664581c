//! Why a run of Cursor's CLI ended: what its stream says first, how its process ended second.
//!
//! A failure has no event: the stream stops, the words stand as plain text on stdout or stderr, and the code is not 0. Each row of the
//! table is held by a stream in `tests/fixtures` whose words were recorded; where several match, the last wins.

use crate::agent::{Finding, ProcessEnd, ReasonPattern, Seen};
use crate::agents::reasons::{self, last_line};
use crate::verdict::Reason;

/// What is looked at: one line of plain text, or the text of a result that is an error, in lower case.
pub(super) const TABLE: &[ReasonPattern] = &[
    ReasonPattern { http_status: None, text: "[unavailable]", reason: Reason::ServerError },
    ReasonPattern { http_status: None, text: "resource_exhausted", reason: Reason::RateLimited },
    ReasonPattern { http_status: None, text: "[unauthenticated]", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: None, text: "authentication required", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: None, text: "provided api key is invalid", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: None, text: "press any key to sign in", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: None, text: "hit your usage limit", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: None, text: "cannot use this model", reason: Reason::ModelNotFound },
    ReasonPattern { http_status: None, text: "workspace trust required", reason: Reason::ConfigurationFailed },
];

/// What a line of plain text means, if it is a known one.
pub(super) fn of_text(text: &str) -> Option<Reason> {
    reasons::of_error(TABLE, &[], None, text)
}

/// The verdict's core.
pub(super) fn judge(seen: &Seen<'_>) -> Option<Finding> {
    if let Some(end) = &seen.stream.end {
        let message = end.message.clone().unwrap_or_default();
        let reason = if end.succeeded { Reason::Completed } else { end.reason.unwrap_or(Reason::AgentFailed) };
        return Some(Finding { reason, message });
    }
    // In print mode it repeats its events on stderr, and with them what a tool was answered.
    let on_stderr = last_line(seen.stderr_tail, |line| !line.starts_with('{') && of_text(line).is_some());
    let on_stdout = seen.stream.last_error.as_ref().filter(|error| error.reason.is_some()).map(|error| error.message.as_str());
    if let Some((line, reason)) = on_stdout.or(on_stderr).and_then(|line| Some((line, of_text(line)?))) {
        return Some(Finding { reason, message: line.to_owned() });
    }
    match seen.process {
        ProcessEnd::Exited(0) => Some(Finding {
            reason: Reason::TruncatedStream,
            message: "the agent ended with code 0, but its stream has no result".to_owned(),
        }),
        ProcessEnd::Signaled(signal) => {
            Some(Finding { reason: Reason::Killed, message: format!("signal {signal} ended the agent before its stream had a result") })
        }
        ProcessEnd::Exited(_) => {
            let said = seen.stream.last_error.as_ref().map(|error| error.message.as_str());
            let words = said.or_else(|| last_line(seen.stderr_tail, |line| !line.starts_with('{')))?;
            Some(Finding { reason: Reason::AgentFailed, message: words.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::reasons::tests::{assert_every_row_decides, recordings, stderr_lines};

    #[test]
    fn every_row_decides_at_least_one_fixture() {
        let texts = recordings(&["cursor"]).into_iter().filter(|path| !path.to_string_lossy().ends_with(".meta.json"));
        let lines: Vec<_> = texts.flat_map(|path| stderr_lines(&path)).collect();
        assert_every_row_decides(TABLE, &lines);
    }
}
