//! What the agents' own `reasons.rs` share: what the last words on stderr mean, a status that is told by its name only, and a run that
//! was still trying when it ended.
//!
//! The tables, and which word counts before which, are each agent's own.

use crate::agent::{Finding, ReasonPattern, Seen, match_reason};
use crate::verdict::Reason;

/// The last line with anything in it that is wanted.
pub(super) fn last_line(text: &str, wanted: impl Fn(&str) -> bool) -> Option<&str> {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty() && wanted(line))
}

/// The last line that the table knows, and what it means.
pub(super) fn last_known<'a>(table: &[ReasonPattern], text: &'a str) -> Option<(&'a str, Reason)> {
    text.lines().rev().map(str::trim).find_map(|line| match_reason(table, None, line).map(|reason| (line, reason)))
}

/// Names of the statuses that mean the same of every server, in lower case, as servers and HTTP libraries write them.
const STATUS_NAMES: &[(&str, u16)] = &[
    ("request timeout", 408),
    ("too many requests", 429),
    ("internal server error", 500),
    ("bad gateway", 502),
    ("service unavailable", 503),
    ("gateway timeout", 504),
    ("gateway time-out", 504),
];

/// What an error's status and words mean, by the agent's table first. What stands in `vague` says less than any status does, and counts
/// behind it; where there is no number, the name of a status counts last.
pub(super) fn of_error(table: &[ReasonPattern], vague: &[ReasonPattern], http_status: Option<u16>, words: &str) -> Option<Reason> {
    let named = || match_reason(&[], Some(named_status(words)?), "");
    let without_number = || match_reason(vague, None, words).or_else(|| named().filter(|_| http_status.is_none()));
    match_reason(table, http_status, words).or_else(without_number)
}

/// The status of `Bad Gateway` or of `got 502 Bad Gateway from a proxy`. A number alone is none, and a name among other words is none:
/// `too many requests for one file` is no server's answer.
fn named_status(words: &str) -> Option<u16> {
    let words = words.to_lowercase();
    let is_border = |c: char| !c.is_alphanumeric() && !matches!(c, ' ' | '-');
    let is_alone = |name: &str| words.split(is_border).any(|part| part.trim() == name);
    let has_number = |name: &str, status: u16| {
        let number = format!("{status} ");
        let befores = words.match_indices(name).filter_map(|(at, _)| words[..at].strip_suffix(&number));
        befores.into_iter().any(|before| !before.ends_with(char::is_alphanumeric))
    };
    STATUS_NAMES.iter().find(|(name, status)| is_alone(name) || has_number(name, *status)).map(|(_, status)| *status)
}

/// Of a run that was still trying when it ended: what it tried in vain is the reason, whoever ended it.
pub(super) fn in_vain(seen: &Seen<'_>) -> Option<Finding> {
    let error = seen.stream.last_error.as_ref()?;
    let retries = match seen.stream.retries {
        0 => return None,
        1 => "1 retry".to_owned(),
        retries => format!("{retries} retries"),
    };
    let message = format!("still failing after {retries}: {}", error.message);
    Some(Finding { reason: error.reason.unwrap_or(Reason::AgentFailed), message })
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// The files below these folders of `tests/fixtures`.
    pub(in crate::agents) fn recordings(folders: &[&str]) -> Vec<PathBuf> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let entries = folders.iter().flat_map(|folder| std::fs::read_dir(fixtures.join(folder)).unwrap());
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// The lines of a recorded stderr, as a table is asked for them.
    pub(in crate::agents) fn stderr_lines(path: &Path) -> Vec<(Option<u16>, String)> {
        std::fs::read_to_string(path).unwrap().lines().map(|line| (None, line.to_owned())).collect()
    }

    /// A row that no recorded stream needs is a guess, or dead.
    pub(in crate::agents) fn assert_every_row_decides(table: &[ReasonPattern], recorded: &[(Option<u16>, String)]) {
        let decides = |row: usize| {
            let without: Vec<_> = table.iter().enumerate().filter(|(other, _)| *other != row).map(|(_, pattern)| *pattern).collect();
            recorded.iter().any(|(status, line)| match_reason(table, *status, line) != match_reason(&without, *status, line))
        };
        let unneeded: Vec<_> = (0..table.len()).filter(|row| !decides(*row)).map(|row| table[row]).collect();
        assert!(unneeded.is_empty(), "no recorded stream needs {unneeded:#?}");
    }

    #[test]
    fn a_status_is_told_by_its_name_alone_or_with_its_number_before_it() {
        for (words, status) in [
            ("Bad Gateway", 502),
            ("Gateway Timeout", 504),
            ("<h1>504 Gateway Time-out</h1>", 504),
            ("Too Many Requests", 429),
            ("Request Timeout: upstream", 408),
            ("provider said: Bad Gateway: <html>", 502),
            (r#"{"message":"Service Unavailable"}"#, 503),
            ("HTTP status server error (502 Bad Gateway) for url (http://x)", 502),
            ("got 502 Bad Gateway from a proxy", 502),
            ("internal server error", 500),
        ] {
            assert_eq!(named_status(words), Some(status), "{words}");
        }
        for words in [
            "",
            "502",
            "exit status 502",
            "line 504: syntax error",
            "too many requests for one file",
            "the tool's request timeout is 30 s",
            "the bad gateway module",
            "1502 bad gateways",
            "bad gateways",
            "401 Unauthorized",
        ] {
            assert_eq!(named_status(words), None, "{words}");
        }
    }

    #[test]
    fn a_row_counts_before_a_status_and_a_status_before_vague_words_and_a_name_last() {
        let row = |text, reason| [ReasonPattern { http_status: None, text, reason }];
        let (table, vague) = (row("quota", Reason::QuotaExceeded), row("broken", Reason::NetworkFailed));
        for (http_status, words, reason) in [
            (Some(502), "broken: quota", Some(Reason::QuotaExceeded)),
            (Some(502), "broken", Some(Reason::ServerError)),
            (Some(418), "broken", Some(Reason::NetworkFailed)),
            (None, "broken: Bad Gateway", Some(Reason::NetworkFailed)),
            (None, "Bad Gateway", Some(Reason::ServerError)),
            (None, "Too Many Requests", Some(Reason::RateLimited)),
            (Some(418), "Bad Gateway", None),
            (None, "502", None),
        ] {
            assert_eq!(of_error(&table, &vague, http_status, words), reason, "{http_status:?} {words}");
        }
    }

    #[test]
    fn the_last_line_that_the_table_knows_counts() {
        let row = |text, reason| ReasonPattern { http_status: None, text, reason };
        let table = [row("no such model", Reason::ModelNotFound), row("bad key", Reason::AuthenticationFailed)];
        let text = "bad key\n  No such model: x  \n\nbye\n";
        assert_eq!(last_known(&table, text), Some(("No such model: x", Reason::ModelNotFound)));
        assert_eq!(last_known(&table, "bye"), None);
        assert_eq!(last_line(text, |line| line != "bye"), Some("No such model: x"));
    }
}
