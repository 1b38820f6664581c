//! The files that Gemini writes beside its stream: which they are, and how the telemetry file is cut into records.
//!
//! | file | what it tells |
//! |---|---|
//! | `tmp/PROJECT/chats/**.jsonl` in Gemini's directory | tokens of each answer of the main conversation and of sub-agents, at once |
//! | the telemetry file in the private directory | failed requests, which Gemini repeats without a word in its stream; the tokens of calls beside the conversations; why an answer ended. Some seconds late |

use std::path::Path;

use crate::agent::{Ledger, LedgerForm};

/// The telemetry's number among the plan's ledgers; the others are sessions'.
pub(super) const TELEMETRY_LEDGER: usize = 1;
/// The telemetry file's name.
pub(super) const TELEMETRY: &str = "telemetry.log";
/// A record of a request has some 3 KiB; one with a tool's arguments may be longer, and is not needed.
const RECORD_LIMIT: usize = 256 << 10;

/// The ledgers of a run.
pub(super) fn ledgers(gemini_dir: &Path, own_dir: &Path) -> Vec<Ledger> {
    // A sub-agent's session lies in a directory beside that of the conversation that started it.
    let sessions = |depth| Ledger { dir: gemini_dir.join("tmp"), depth, prefix: "", suffix: ".jsonl", form: LedgerForm::Lines };
    vec![sessions(2), Ledger { dir: own_dir.to_owned(), depth: 0, prefix: TELEMETRY, suffix: "", form: LedgerForm::Lines }, sessions(3)]
}

/// Puts the records together, which are printed over many lines: each begins with a line `{` and ends with a line `}`.
#[derive(Debug, Default)]
pub(super) struct Records {
    lines: Vec<u8>,
}

impl Records {
    /// Takes a line; gives the record that it ends.
    pub(super) fn line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        if line == b"{" {
            self.lines.clear();
        }
        if self.lines.len() + line.len() > RECORD_LIMIT {
            self.lines.clear();
            return None;
        }
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        (line == b"}").then(|| std::mem::take(&mut self.lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_stands_between_its_braces() {
        let mut records = Records::default();
        let whole: Vec<_> = ["  rest", "}", "{", "  \"a\": {", "  }", "}", "{", "{", "}"]
            .into_iter()
            .filter_map(|line| records.line(line.as_bytes()))
            .map(|record| String::from_utf8(record).unwrap())
            .collect();
        assert_eq!(whole, ["  rest\n}\n", "{\n  \"a\": {\n  }\n}\n", "{\n}\n"]);
        assert_eq!(records.line(b"{"), None);
        assert_eq!(records.line(&[b' '; RECORD_LIMIT]), None);
        assert_eq!(records.line(b"}").map(|record| record.len()), Some(2));
    }
}
