//! Marker blocks: results as lines of text in a log.
//!
//! The native block carries the run's nonce, so that text which an agent merely quotes (a file, a web page, somebody's issue) is no result:
//!
//! ```text
//! ---AGENT_OUTPUTS_START 4f0c…---
//! branch: fix-7
//! summary: two lines\nof text
//! ---AGENT_OUTPUTS_END 4f0c…---
//! ```
//!
//! One `key: value` a line, the last of a key wins. A value is one line: a backslash is written `\\`, a line feed `\n`, a carriage return
//! `\r`, a tab `\t`, every other control character and the two Unicode line separators `\uXXXX`, a space at either end `\u0020`. Nothing
//! else is escaped, and a reader refuses a line with any other escape. A begin or end line is the whole line: within a JSON string it is
//! none.
//!
//! [`MarkerScanner`] reads both the native form and Kelos' fixed one ([`kelos_block`] writes that); [`block`] and [`outcome_block`] write
//! the native one.

mod escape;
mod kelos;
mod scan;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use crate::outcome::Outcome;

pub use escape::{escape, unescape};
pub use kelos::{KELOS_BEGIN, KELOS_END, KELOS_LAST_LINES, kelos_block};
pub use scan::{MarkerCounts, MarkerScanner, Scanned};

/// The longest value of a block, in bytes before escaping: a log line of a container is stored in pieces of 16 KiB, and who follows it does
/// not want a megabyte there. Longer results go to files.
pub const MAX_VALUE: usize = 64 << 10;

const BEGIN: &str = "---AGENT_OUTPUTS_START ";
const END: &str = "---AGENT_OUTPUTS_END ";
const CLOSE: &str = "---";

/// The random word that makes a run's blocks count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Takes 16 to 64 ASCII letters and digits; 16 letters from a good source cannot be guessed while a run lasts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        ((16..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| Self(text.to_owned()))
    }

    /// Makes one of 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
        Self(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }

    /// The word itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A native block. Keys are taken as they are: who calls checks them with [`is_valid_key`](crate::results::is_valid_key).
#[must_use]
pub fn block<'a>(nonce: &Nonce, entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = format!("{BEGIN}{}{CLOSE}\n", nonce.0);
    for (key, value) in entries {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key}: {}", escape(value));
    }
    let _ = writeln!(text, "{END}{}{CLOSE}", nonce.0);
    text
}

/// The native block of a finished run: its results, then `status`, `reason`, `message`, and in `cut` the names of results too long for a
/// line.
///
/// The nonce should be one that the agent never saw: a reader of the log can then tell this block from any that the agent printed.
#[must_use]
pub fn outcome_block(nonce: &Nonce, outcome: &Outcome) -> String {
    let (short, long): (Vec<_>, Vec<_>) = outcome.parameters().into_iter().partition(|(_, value)| value.len() <= MAX_VALUE);
    let mut entries = short;
    let mut cut: Vec<&str> = long.into_iter().map(|(key, _)| key).collect();
    entries.push(("status", outcome.status.as_str().to_owned()));
    entries.push(("reason", outcome.reason.as_str().to_owned()));
    if outcome.message.len() <= MAX_VALUE {
        entries.push(("message", outcome.message.clone()));
    } else {
        cut.push("message");
    }
    if !cut.is_empty() {
        entries.push(("cut", cut.join(",")));
    }
    block(nonce, entries.iter().map(|(key, value)| (*key, value.as_str())))
}
