//! Why a run of Gemini CLI ended: what its stream says first, how its process ended second.
//!
//! The tables are data. Each row of the first two is held by a recorded stream; where several match, the last wins.

use crate::agent::{Finding, ProcessEnd, ReasonPattern, Seen, StreamEnd, StreamError, match_reason};
use crate::agents::reasons::{self, in_vain, last_known, last_line};
use crate::verdict::Reason;

/// What is looked at: the kind of the error and its message, joined with ` · `, in lower case.
pub(super) const TABLE: &[ReasonPattern] = &[
    // HTTP statuses.
    ReasonPattern { http_status: Some(400), text: "", reason: Reason::RequestRejected },
    ReasonPattern { http_status: Some(401), text: "", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: Some(402), text: "", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: Some(403), text: "", reason: Reason::PermissionDenied },
    ReasonPattern { http_status: Some(503), text: "", reason: Reason::Overloaded },
    ReasonPattern { http_status: Some(529), text: "", reason: Reason::Overloaded },
    // What only the text tells: the status is missing, or says less.
    ReasonPattern { http_status: None, text: "is not found for api version", reason: Reason::ModelNotFound },
    ReasonPattern { http_status: None, text: "api key not valid", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: None, text: "exceeds the maximum number of tokens", reason: Reason::ContextWindowExceeded },
    ReasonPattern { http_status: None, text: "exhausted your daily quota", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: None, text: "fetch failed", reason: Reason::NetworkFailed },
    ReasonPattern { http_status: None, text: "incomplete json segment", reason: Reason::NetworkFailed },
    // A connection that was closed in the middle of an answer.
    ReasonPattern { http_status: None, text: "error: terminated", reason: Reason::NetworkFailed },
    ReasonPattern { http_status: None, text: "ended without a finish reason", reason: Reason::TruncatedStream },
    ReasonPattern { http_status: None, text: "returned an empty response", reason: Reason::Stalled },
    ReasonPattern { http_status: None, text: "returned reasoning thoughts but no final response", reason: Reason::Stalled },
    ReasonPattern { http_status: None, text: "ended with malformed function call", reason: Reason::Stalled },
    ReasonPattern { http_status: None, text: "ended with unexpected tool call", reason: Reason::Stalled },
    ReasonPattern { http_status: None, text: "exceeded the token limit", reason: Reason::OutputLimit },
    ReasonPattern { http_status: None, text: "blocked due to safety settings", reason: Reason::Refused },
    ReasonPattern { http_status: None, text: "blocked due to recitation/copyright filters", reason: Reason::Refused },
    ReasonPattern { http_status: None, text: "blocked due to other policy settings", reason: Reason::Refused },
    ReasonPattern { http_status: None, text: "loop detected", reason: Reason::Stalled },
    ReasonPattern { http_status: None, text: "fatalturnlimitederror", reason: Reason::TurnLimit },
    // Of turns that a hook asked for.
    ReasonPattern { http_status: None, text: "maximum session turns exceeded", reason: Reason::TurnLimit },
];

/// What the program says on stderr when it does not even begin, in lower case.
pub(super) const STDERR_TABLE: &[ReasonPattern] = &[
    ReasonPattern { http_status: None, text: "invalid auth method selected", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: None, text: "not running in a trusted directory", reason: Reason::ConfigurationFailed },
    ReasonPattern { http_status: None, text: "settings.json: ", reason: Reason::ConfigurationFailed },
    ReasonPattern { http_status: None, text: "no input provided via stdin", reason: Reason::InvalidTask },
    ReasonPattern { http_status: None, text: "error resuming session", reason: Reason::InvalidTask },
];

/// The program's own exit codes, from its documentation: <https://geminicli.com/docs/cli/headless/#exit-codes> and `errors.ts`.
const EXIT_CODES: &[(u8, Reason)] = &[
    (41, Reason::AuthenticationFailed),
    (42, Reason::InvalidTask),
    (44, Reason::ConfigurationFailed),
    (52, Reason::ConfigurationFailed),
    (53, Reason::TurnLimit),
    (54, Reason::AgentFailed),
    (55, Reason::ConfigurationFailed),
    (130, Reason::Cancelled),
];

/// The statuses of which it makes an exit code, as the kernel does: the lower eight bits.
const STATUSES: &[u16] = &[400, 401, 402, 403, 429, 499, 500, 502, 503, 504, 529];

/// What an answer's last piece says, in the telemetry's words, where the output limit ended it.
const LENGTH: &str = "length";
/// And where the service held it back.
const CONTENT_FILTER: &str = "content_filter";

/// What is said of an answer that the service held back.
const HELD_BACK: &str = "the service held the answer back";
/// And of a run without any, where Gemini says nothing either.
const NO_ANSWER: &str = "the model answered nothing: no text, and no tool was called";

/// What versions until 0.51 say of every error; what it was stands on stderr.
const UNKNOWN_ERROR: &str = "an unknown error occurred";

/// The HTTP status in an error's words, and the reason that they mean.
pub(super) fn of_error(kind: &str, message: &str) -> (Option<u16>, Option<Reason>) {
    let http_status = status_in(message);
    (http_status, of_status(http_status, &format!("{kind} · {message}")))
}

/// The reason that a status and the words beside it mean.
pub(super) fn of_status(http_status: Option<u16>, words: &str) -> Option<Reason> {
    #[cfg(test)]
    tests::LOOKED_UP.with_borrow_mut(|all| all.push((http_status, words.to_lowercase())));
    reasons::of_error(TABLE, &[], http_status, words)
}

/// The service's answer is quoted: `{"error":{"code":401,…`.
fn status_in(message: &str) -> Option<u16> {
    let digits = message.split_once("\"code\":")?.1.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// What the terminal event means, after the last error and the last answer's finish.
///
/// `answered` is whether the model ever answered with a text or a tool call.
pub(super) fn of_end(succeeded: bool, answered: bool, error: Option<&StreamError>, finish: Option<&str>) -> StreamEnd {
    let failed = |reason, message| StreamEnd { succeeded: false, reason, message };
    let message = error.map(|error| error.message.clone());
    let reason = error.and_then(|error| error.reason);
    match reason {
        Some(Reason::Stalled) if finish == Some(CONTENT_FILTER) => failed(Some(Reason::Refused), Some(HELD_BACK.to_owned())),
        // Of a loop and of its limit of turns it says so, and then that all went well.
        Some(Reason::Stalled | Reason::TurnLimit) => failed(reason, message),
        _ if succeeded && finish == Some(LENGTH) => {
            failed(Some(Reason::OutputLimit), Some("the model's output limit cut its last answer short".to_owned()))
        }
        _ if succeeded && answered => StreamEnd { succeeded: true, reason: None, message: None },
        _ if succeeded && finish == Some(CONTENT_FILTER) => failed(Some(Reason::Refused), Some(HELD_BACK.to_owned())),
        // A hook took the prompt away, or it is longer than the model's window, of which not a word is said.
        _ if succeeded => failed(reason.or(Some(Reason::Stalled)), message.or_else(|| Some(NO_ANSWER.to_owned()))),
        _ => failed(reason, message),
    }
}

/// The verdict's core.
pub(super) fn judge(seen: &Seen<'_>) -> Option<Finding> {
    if let Some(end) = &seen.stream.end {
        let message = end.message.clone().unwrap_or_default();
        if end.succeeded {
            return Some(Finding { reason: Reason::Completed, message });
        }
        if message.to_lowercase().contains(UNKNOWN_ERROR)
            && let Some((status, told)) = told_on_stderr(seen.stderr_tail)
        {
            let reason = of_status(status, told).unwrap_or(Reason::AgentFailed);
            return Some(Finding { reason, message: told.to_owned() });
        }
        // The message of a 429 or a 503 has lost its status; the exit code has it.
        let status = status_of(seen.process).filter(|_| status_in(&message).is_none());
        let reason = status.and_then(|_| of_status(status, &message)).or(end.reason).or_else(|| of_exit_code(seen.process));
        return Some(Finding { reason: reason.unwrap_or(Reason::AgentFailed), message });
    }
    if let Some(finding) = in_vain(seen) {
        return Some(finding);
    }
    if let Some((line, reason)) = last_known(STDERR_TABLE, seen.stderr_tail) {
        return Some(Finding { reason, message: without_colours(line) });
    }
    match seen.process {
        // Told to end it leaves with code 0 and without a word.
        ProcessEnd::Exited(0) => Some(Finding {
            reason: Reason::TruncatedStream,
            message: "the agent ended with code 0, but its stream has no result".to_owned(),
        }),
        ProcessEnd::Signaled(signal) => {
            Some(Finding { reason: Reason::Killed, message: format!("signal {signal} ended the agent before its stream had a result") })
        }
        ProcessEnd::Exited(_) => {
            let status = status_of(seen.process);
            let reason = of_exit_code(seen.process).or_else(|| match_reason(TABLE, Some(status?), "")).unwrap_or(Reason::AgentFailed);
            last_line(seen.stderr_tail, |_| true).map(|line| Finding { reason, message: without_colours(line) })
        }
    }
}

/// The error that it reports on stderr, below the path of a longer report, and the status in what it prints after it.
fn told_on_stderr(text: &str) -> Option<(Option<u16>, &str)> {
    let report = text.rfind("Error when talking to Gemini API")?;
    let rest = text[report..].split_once(".json ")?.1;
    let message = rest.lines().next().unwrap_or_default();
    let fields = rest.lines().filter_map(|line| line.trim().split_once(": "));
    let status =
        fields.filter(|(name, _)| *name == "status" || *name == "code").find_map(|(_, value)| value.trim_end_matches(',').parse().ok());
    Some((status.or_else(|| status_in(message)), message))
}

/// What the program itself says by its exit code.
fn of_exit_code(process: ProcessEnd) -> Option<Reason> {
    let ProcessEnd::Exited(code) = process else { return None };
    EXIT_CODES.iter().find(|(own, _)| *own == code).map(|(_, reason)| *reason)
}

/// The HTTP status of which the exit code was made.
fn status_of(process: ProcessEnd) -> Option<u16> {
    let ProcessEnd::Exited(code) = process else { return None };
    STATUSES.iter().copied().find(|status| status & 0xff == u16::from(code))
}

/// It colours what it says to people, also where none is there.
fn without_colours(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::agent::{Detail, StreamReader};
    use crate::agents::gemini::stream::Reader;
    use crate::agents::reasons::tests::{assert_every_row_decides, recordings, stderr_lines};

    thread_local!(pub(super) static LOOKED_UP: RefCell<Vec<(Option<u16>, String)>> = const { RefCell::new(Vec::new()) });

    #[test]
    fn every_row_decides_at_least_one_recorded_stream() {
        let mut stderr = Vec::new();
        for path in recordings(&["gemini-0.61.0", "gemini-0.55.1"]).iter().filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        {
            let mut reader = Reader::new(Detail::Verdict);
            std::fs::read(path).unwrap().split(|byte| *byte == b'\n').for_each(|line| reader.read_line(line, &mut |_| ()));
            let text = std::fs::read_to_string(path.with_extension("stderr")).unwrap();
            let meta: serde_json::Value = serde_json::from_slice(&std::fs::read(path.with_extension("meta.json")).unwrap()).unwrap();
            let exit = meta["exit"].as_i64().unwrap();
            let process = u8::try_from(exit).map_or_else(|_| ProcessEnd::Signaled(i32::try_from(-exit).unwrap()), ProcessEnd::Exited);
            judge(&Seen { stream: reader.summary(), process, stderr_tail: &text });
            stderr.extend(stderr_lines(&path.with_extension("stderr")));
        }
        assert_every_row_decides(TABLE, &LOOKED_UP.take());
        assert_every_row_decides(STDERR_TABLE, &stderr);
    }

    #[test]
    fn an_exit_code_is_a_status_without_its_upper_bits() {
        for (code, status) in [(144, 400), (145, 401), (147, 403), (173, 429), (244, 500), (247, 503), (17, 529)] {
            assert_eq!(status_of(ProcessEnd::Exited(code)), Some(status));
        }
        assert!(EXIT_CODES.iter().all(|(code, _)| status_of(ProcessEnd::Exited(*code)).is_none()));
        assert_eq!(status_of(ProcessEnd::Signaled(9)), None);
    }
}
