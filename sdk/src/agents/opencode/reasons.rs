//! Why a run of OpenCode ended: what its stream and its ledger say first, how its process ended second.
//!
//! The table is data. Each row is held by a recorded stream; where several match, the last wins.

use crate::agent::{Finding, ProcessEnd, ReasonPattern, Seen, StreamEnd, StreamSummary, match_reason};
use crate::agents::reasons::{self, last_line};
use crate::verdict::Reason;

/// What is looked at, joined with ` · `, in lower case: of an error its name, its message and what the provider answered; of a step that is
/// over `finish` and the library's word for why; of a retry its message, which is all that is told of it.
pub(super) const TABLE: &[ReasonPattern] = &[
    // The status of what is worth repeating that is not the same of every server; any words say more.
    ReasonPattern { http_status: Some(529), text: "", reason: Reason::Overloaded },
    // Words of what is repeated: of that no status is told, but maybe its name among others.
    ReasonPattern { http_status: None, text: "internal server error", reason: Reason::ServerError },
    ReasonPattern { http_status: None, text: "service unavailable", reason: Reason::ServerError },
    ReasonPattern { http_status: None, text: "rate limit", reason: Reason::RateLimited },
    ReasonPattern { http_status: None, text: "overloaded", reason: Reason::Overloaded },
    ReasonPattern { http_status: None, text: "cannot connect to api", reason: Reason::NetworkFailed },
    ReasonPattern { http_status: None, text: "connection reset", reason: Reason::NetworkFailed },
    // Statuses of what is not.
    ReasonPattern { http_status: Some(400), text: "", reason: Reason::RequestRejected },
    ReasonPattern { http_status: Some(401), text: "", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: Some(402), text: "", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: Some(403), text: "", reason: Reason::PermissionDenied },
    ReasonPattern { http_status: Some(404), text: "", reason: Reason::ModelNotFound },
    // What only the words tell: there is no status, or it says less.
    ReasonPattern { http_status: None, text: "credit balance is too low", reason: Reason::QuotaExceeded },
    // Of OpenAI's it is repeated, as if time would help.
    ReasonPattern { http_status: None, text: "exceeded your current quota", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: None, text: "contextoverflowerror", reason: Reason::ContextWindowExceeded },
    ReasonPattern { http_status: None, text: "contentfiltererror", reason: Reason::Refused },
    ReasonPattern { http_status: None, text: "finish length", reason: Reason::OutputLimit },
    ReasonPattern { http_status: None, text: "finish unknown", reason: Reason::NetworkFailed },
];

/// What the program says on stderr where its stream says `UnknownError`, in lower case.
pub(super) const STDERR_TABLE: &[ReasonPattern] =
    &[ReasonPattern { http_status: None, text: "providermodelnotfounderror", reason: Reason::ModelNotFound }];

/// The reason that an error's status and words mean.
pub(super) fn of_error(http_status: Option<u16>, words: &[&str]) -> Option<Reason> {
    let line = words.iter().filter(|word| !word.is_empty()).fold(String::new(), |line, word| line + word + " · ");
    #[cfg(test)]
    tests::LOOKED_UP.with_borrow_mut(|all| all.push((http_status, line.clone())));
    reasons::of_error(TABLE, &[], http_status, &line)
}

/// What it means that the main session has nothing more to do.
pub(super) fn of_end(summary: &StreamSummary, last_reason: &str, said_anything: bool) -> StreamEnd {
    if let Some(error) = &summary.last_error {
        return StreamEnd { succeeded: false, reason: error.reason, message: Some(error.message.clone()) };
    }
    if !said_anything {
        let message = "the model's answers were empty: no text, and no tool was called".to_owned();
        return StreamEnd { succeeded: false, reason: Some(Reason::Stalled), message: Some(message) };
    }
    // Without `--auto` a question that nobody answers ends the run after a step that wanted a tool.
    if last_reason == "tool-calls" {
        let message = "the agent ended after a tool call, before the model said that it is done".to_owned();
        return StreamEnd { succeeded: false, reason: Some(Reason::TruncatedStream), message: Some(message) };
    }
    StreamEnd { succeeded: true, reason: None, message: summary.answer.clone() }
}

/// The verdict's core.
pub(super) fn judge(seen: &Seen<'_>) -> Option<Finding> {
    let on_stderr = |reason: Option<Reason>| {
        reason.or_else(|| {
            last_line(seen.stderr_tail, |line| match_reason(STDERR_TABLE, None, line).is_some()).and(Some(Reason::ModelNotFound))
        })
    };
    if let Some(end) = &seen.stream.end {
        let message = end.message.clone().unwrap_or_default();
        return Some(if end.succeeded {
            Finding { reason: Reason::Completed, message }
        } else {
            Finding { reason: on_stderr(end.reason).unwrap_or(Reason::AgentFailed), message }
        });
    }
    // It was still trying when it ended, or it failed and nothing came after: what it tried in vain is the reason, whoever ended it.
    if let Some(error) = &seen.stream.last_error {
        let message = match seen.stream.retries {
            0 => error.message.clone(),
            1 => format!("still failing after 1 retry: {}", error.message),
            retries => format!("still failing after {retries} retries: {}", error.message),
        };
        return Some(Finding { reason: on_stderr(error.reason).unwrap_or(Reason::AgentFailed), message });
    }
    match seen.process {
        // Its stream has no last word: without a ledger a step that is over and an exit with 0 are all there is.
        ProcessEnd::Exited(0) if seen.stream.turns.is_some() => Some(match &seen.stream.answer {
            Some(answer) => Finding { reason: Reason::Completed, message: answer.clone() },
            None => Finding { reason: Reason::Stalled, message: "the agent ended with code 0, and the model said nothing".to_owned() },
        }),
        ProcessEnd::Exited(0) => Some(Finding {
            reason: Reason::TruncatedStream,
            message: "the agent ended with code 0, but its stream has nothing in it".to_owned(),
        }),
        ProcessEnd::Signaled(signal) => {
            Some(Finding { reason: Reason::Killed, message: format!("signal {signal} ended the agent before it was done") })
        }
        ProcessEnd::Exited(_) => {
            last_line(seen.stderr_tail, |_| true).map(|line| Finding { reason: Reason::AgentFailed, message: line.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;

    use super::*;
    use crate::agent::{Detail, LedgerEntry, StreamReader};
    use crate::agents::opencode::stream::Reader;
    use crate::agents::reasons::tests::{assert_every_row_decides, recordings, stderr_lines};

    thread_local!(pub(super) static LOOKED_UP: RefCell<Vec<(Option<u16>, String)>> = const { RefCell::new(Vec::new()) });

    #[test]
    fn every_row_decides_at_least_one_recorded_stream() {
        let mut stderr = Vec::new();
        for path in recordings(&["opencode-1.18.33"]) {
            let (name, bytes) = (path.to_string_lossy(), std::fs::read(&path).unwrap());
            let mut reader = Reader::new(Detail::Verdict);
            let lines = bytes.split(|byte| *byte == b'\n');
            if name.ends_with(".ledger.jsonl") {
                let entry = |content| LedgerEntry { ledger: 0, file: Path::new("ledger.jsonl"), earlier: false, content };
                lines.for_each(|line| reader.read_ledger(&entry(line), &mut |_| ()));
            } else if name.ends_with(".jsonl") {
                lines.for_each(|line| reader.read_line(line, &mut |_| ()));
            } else if name.ends_with(".stderr") {
                stderr.extend(stderr_lines(&path));
            }
        }
        assert_every_row_decides(TABLE, &LOOKED_UP.take());
        assert_every_row_decides(STDERR_TABLE, &stderr);
    }
}
