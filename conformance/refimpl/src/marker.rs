//! Section 9, marker blocks: claims in the agent's stdout, and the results at the end of ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::mutants::broken;
use crate::results::is_valid_key;

const BEGIN: &str = "---AGENT_OUTPUTS_START ";
const END: &str = "---AGENT_OUTPUTS_END ";

/// The most that the lines of a run's blocks may say.
const MOST_BYTES: usize = 1 << 20;
const MOST_ENTRIES: usize = 256;

/// A random word of letters and digits.
pub fn nonce() -> String {
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| std::io::Read::read_exact(&mut random, &mut bytes));
    assert!(read.is_ok(), "/dev/urandom cannot be read: {read:?}");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Finds blocks with the run's nonce.
#[derive(Debug, Default)]
pub struct Scanner {
    nonce: String,
    open: Option<BTreeMap<String, String>>,
    bytes: usize,
    /// What closed blocks said; the last of a key wins.
    pub values: BTreeMap<String, String>,
    /// Begin and end lines that count for nothing.
    pub forged: u64,
}

impl Scanner {
    pub fn new(nonce: &str) -> Self {
        Self { nonce: nonce.to_owned(), ..Self::default() }
    }

    /// Whether the line is part of a block.
    pub fn line(&mut self, line: &[u8]) -> bool {
        if self.open.is_none() && !line.starts_with(b"---") {
            return false;
        }
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        let is_ours =
            |word: &str| line.strip_prefix(word).and_then(|rest| rest.strip_suffix("---")).is_some_and(|nonce| self.counts(nonce));
        if is_ours(BEGIN) {
            self.open = Some(BTreeMap::new());
        } else if is_ours(END) {
            self.values.extend(self.open.take().unwrap_or_default());
        } else if line.starts_with(BEGIN.trim_end()) || line.starts_with(END.trim_end()) {
            self.forged += 1;
        } else if let Some(open) = &mut self.open {
            if let Some((key, value)) = line.split_once(": ").or_else(|| line.split_once(':'))
                && let Some(value) = unescape(value)
                && is_valid_key(key)
                && self.bytes + value.len() <= MOST_BYTES
                && open.len() + self.values.len() < MOST_ENTRIES
            {
                self.bytes += value.len();
                open.insert(key.to_owned(), value);
            }
        } else {
            return false;
        }
        true
    }

    fn counts(&self, nonce: &str) -> bool {
        (nonce == self.nonce && !broken("claims-by-nonce")) || (nonce != self.nonce && broken("forged-marker"))
    }
}

/// A block of these entries.
pub fn block(nonce: &str, entries: &[(String, String)]) -> String {
    let mut text = format!("{BEGIN}{nonce}---\n");
    for (key, value) in entries {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key}: {}", escape(value));
    }
    let _ = writeln!(text, "{END}{nonce}---");
    text
}

fn escape(value: &str) -> String {
    let mut text = String::new();
    let last = value.len().saturating_sub(1);
    for (at, c) in value.char_indices() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' ' if at == 0 || at == last => text.push_str("\\u0020"),
            c if c.is_control() || c == '\u{2028}' || c == '\u{2029}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text
}

fn unescape(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        value.push(match chars.next()? {
            '\\' => '\\',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let digits: String = chars.by_ref().take(4).collect();
                char::from_u32(u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?)?
            }
            _ => return None,
        });
    }
    Some(value)
}
