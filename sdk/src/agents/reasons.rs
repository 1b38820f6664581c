//! What the agents' own `reasons.rs` share: what the last words on stderr mean, and a run that was still trying when it ended.
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
    fn the_last_line_that_the_table_knows_counts() {
        let row = |text, reason| ReasonPattern { http_status: None, text, reason };
        let table = [row("no such model", Reason::ModelNotFound), row("bad key", Reason::AuthenticationFailed)];
        let text = "bad key\n  No such model: x  \n\nbye\n";
        assert_eq!(last_known(&table, text), Some(("No such model: x", Reason::ModelNotFound)));
        assert_eq!(last_known(&table, "bye"), None);
        assert_eq!(last_line(text, |line| line != "bye"), Some("No such model: x"));
    }
}
