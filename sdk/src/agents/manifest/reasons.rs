//! Why a run of a manifest's agent ended: what its stream said first, its own rows of reasons beside the general meaning of HTTP
//! statuses, its exit code last.

use super::rules;
use super::schema::{Manifest, ReasonRow};
use crate::agent::{Agent, Finding, ProcessEnd, ReasonPattern, Seen};
use crate::agents::reasons::{self, last_line};
use crate::verdict::Reason;

/// What HTTP statuses of model endpoints mean, whoever asks them, beside those that [`crate::agent::match_reason`] knows. A
/// manifest's rows come after these and win.
const STATUSES: &[ReasonPattern] = &[
    ReasonPattern { http_status: Some(400), text: "", reason: Reason::RequestRejected },
    ReasonPattern { http_status: Some(401), text: "", reason: Reason::AuthenticationFailed },
    ReasonPattern { http_status: Some(402), text: "", reason: Reason::QuotaExceeded },
    ReasonPattern { http_status: Some(403), text: "", reason: Reason::PermissionDenied },
    ReasonPattern { http_status: Some(404), text: "", reason: Reason::ModelNotFound },
    ReasonPattern { http_status: Some(413), text: "", reason: Reason::ContextWindowExceeded },
    ReasonPattern { http_status: Some(503), text: "", reason: Reason::Overloaded },
    ReasonPattern { http_status: Some(529), text: "", reason: Reason::Overloaded },
];

/// The reason of the last row that fits; else what the status means, or the name of one.
pub(super) fn of_error(rows: &[ReasonRow], http_status: Option<u16>, said: &str) -> Option<Reason> {
    let row = last_row(rows.iter(), http_status, said, None).map(|row| row.reason);
    row.or_else(|| reasons::of_error(STATUSES, &[], http_status, said))
}

/// The last row that fits.
fn last_row<'a>(
    rows: impl Iterator<Item = &'a ReasonRow>,
    http_status: Option<u16>,
    said: &str,
    exit: Option<u8>,
) -> Option<&'a ReasonRow> {
    let said = said.to_lowercase();
    let fits = |row: &&ReasonRow| {
        row.status.is_none_or(|status| Some(status) == http_status)
            && row.exit.is_none_or(|code| Some(code) == exit)
            && row.text.as_ref().is_none_or(|text| said.contains(&text.to_lowercase()))
    };
    rows.filter(fits).last()
}

/// The verdict's core. `like` is the built-in agent whose stream it is read as.
pub(super) fn judge(manifest: &Manifest, like: Option<&dyn Agent>, seen: &Seen<'_>) -> Option<Finding> {
    let finding = match like {
        Some(like) => like.judge(seen),
        None => by_itself(manifest, seen),
    };
    let exit = match seen.process {
        ProcessEnd::Exited(code) => Some(code),
        ProcessEnd::Signaled(_) => None,
    };
    let has_succeeded = finding.as_ref().map_or(exit == Some(0), |finding| finding.reason == Reason::Completed);
    // A run that looks well is only called something else by a row that names code 0 on purpose.
    let rows = manifest.reasons.iter().filter(|row| !has_succeeded || row.exit == Some(0));
    let error = seen.stream.last_error.as_ref();
    let end = seen.stream.end.as_ref().and_then(|end| end.message.as_deref());
    let plain = seen.stream.answer.as_deref().filter(|_| manifest.stream.format == rules::TEXT);
    let said = [end, error.map(|error| error.message.as_str()), plain, Some(seen.stderr_tail)].into_iter().flatten();
    let said: String = said.fold(String::new(), |said, words| said + words + "\n");
    let Some(row) = last_row(rows, error.and_then(|error| error.http_status), &said, exit) else { return finding };
    let told = finding.filter(|_| !has_succeeded).map(|finding| finding.message).filter(|message| !message.is_empty());
    let wanted = row.text.as_deref().unwrap_or_default().to_lowercase();
    let quoted = || said.lines().rev().find(|line| line.to_lowercase().contains(&wanted)).map(|line| line.trim().to_owned());
    let message = told.or_else(quoted).filter(|message| !message.is_empty()).or_else(|| last_line(&said, |_| true).map(str::to_owned));
    Some(Finding { reason: row.reason, message: message.unwrap_or_else(|| "the agent failed".to_owned()) })
}

/// What the stream and the process say, without a table.
fn by_itself(manifest: &Manifest, seen: &Seen<'_>) -> Option<Finding> {
    let stream = seen.stream;
    let found = |reason, message: String| Some(Finding { reason, message });
    let error = stream.last_error.as_ref();
    if let Some(end) = &stream.end {
        let message = end.message.clone().or_else(|| error.filter(|_| !end.succeeded).map(|error| error.message.clone()));
        let message =
            message.unwrap_or_else(|| if end.succeeded { "the agent is done" } else { "the agent says that it failed" }.to_owned());
        return found(if end.succeeded { Reason::Completed } else { end.reason.unwrap_or(Reason::AgentFailed) }, message);
    }
    let says_when_it_is_done = manifest.stream.events.iter().any(|rule| rule.end.is_some());
    match (seen.process, error) {
        (ProcessEnd::Signaled(signal), None) => found(Reason::Killed, format!("signal {signal} ended the agent")),
        (ProcessEnd::Exited(0), None) if says_when_it_is_done => {
            found(Reason::TruncatedStream, "the agent ended with code 0, and its stream never said that it was done".to_owned())
        }
        // It may have reported an error and gone on: then its code is its word.
        (ProcessEnd::Exited(0), _) if !says_when_it_is_done && stream.retries == 0 => None,
        (_, Some(error)) => found(error.reason.unwrap_or(Reason::AgentFailed), error.message.clone()),
        (ProcessEnd::Exited(0), None) => None,
        (ProcessEnd::Exited(_), None) => last_line(seen.stderr_tail, |_| true).and_then(|line| found(Reason::AgentFailed, line.to_owned())),
    }
}
