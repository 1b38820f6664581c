//! Finding marker blocks in a stream, line by line.
//!
//! A scanner keeps what closed blocks said, and counts what looked like a block and is none. Memory is bounded whatever the stream holds.

use std::collections::BTreeMap;

use crate::results::is_valid_key;

use super::kelos::{KELOS_BEGIN, KELOS_END, RESPONSE, decode_response};
use super::{BEGIN, CLOSE, END, MAX_VALUE, Nonce, unescape};

/// A line longer than this cannot be an entry: a key, and a value of which every byte is escaped.
const MAX_LINE: usize = 64 + 2 + 6 * MAX_VALUE;
/// The most keys that count.
const MAX_ENTRIES: usize = 256;
/// The most bytes that all values may have together.
const MAX_BYTES: usize = 1 << 20;

/// What was seen besides results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MarkerCounts {
    /// Blocks that count.
    pub blocks: u64,
    /// Begin and end lines with no nonce or another one, or out of place.
    pub forged: u64,
    /// Blocks that were begun and not ended.
    pub unterminated: u64,
    /// Lines within a block that are not `key: value`.
    pub malformed: u64,
    /// Entries beyond the limits of number and size.
    pub over_limit: u64,
}

/// What the blocks of a stream said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Value by key.
    pub values: BTreeMap<String, String>,
    /// The decoded `response` of a Kelos block.
    pub answer: Option<String>,
    /// What else was seen.
    pub counts: MarkerCounts,
}

#[derive(Debug)]
enum Form {
    Native { begin: String, end: String },
    Kelos,
}

/// What a line is to the scanner.
#[derive(PartialEq, Eq)]
enum Line {
    Begin,
    End,
    Forged,
    Other,
}

/// Reads lines and collects what marker blocks say.
#[derive(Debug)]
pub struct MarkerScanner {
    form: Form,
    scanned: Scanned,
    /// The entries of the block that is open, in order.
    open: Option<BTreeMap<String, String>>,
    /// Bytes of all values kept, open block included.
    bytes: usize,
}

impl MarkerScanner {
    /// For native blocks with this nonce. Blocks add up, since a script emits one value at a time.
    #[must_use]
    pub fn native(nonce: &Nonce) -> Self {
        let word = nonce.as_str();
        Self::new(Form::Native { begin: format!("{BEGIN}{word}{CLOSE}"), end: format!("{END}{word}{CLOSE}") })
    }

    /// For Kelos' fixed blocks, of which only the last counts. Anybody in the pod can print one: only for a script that is declared to
    /// speak them.
    #[must_use]
    pub fn kelos() -> Self {
        Self::new(Form::Kelos)
    }

    fn new(form: Form) -> Self {
        Self { form, scanned: Scanned::default(), open: None, bytes: 0 }
    }

    /// Reads one line, with or without its end.
    pub fn line(&mut self, line: &[u8]) {
        // Nearly every line of a stream leaves here.
        if self.open.is_none() && !line.starts_with(b"---") {
            return;
        }
        let line = line.trim_ascii_end();
        match self.kind(line) {
            Line::Begin => {
                if self.close_unterminated() {
                    self.scanned.counts.unterminated += 1;
                }
                self.open = Some(BTreeMap::new());
            }
            Line::End => match self.open.take() {
                None => self.scanned.counts.forged += 1,
                Some(entries) => self.close(entries),
            },
            Line::Forged => self.scanned.counts.forged += 1,
            Line::Other => self.entry(line),
        }
    }

    /// Passes over a line that is longer than its reader keeps: within a block it is an entry beyond the limits.
    pub fn too_long(&mut self) {
        self.scanned.counts.over_limit += u64::from(self.open.is_some());
    }

    /// What has been said by closed blocks. A block that is still open does not count.
    #[must_use]
    pub fn finish(mut self) -> Scanned {
        if self.close_unterminated() {
            self.scanned.counts.unterminated += 1;
        }
        self.scanned
    }

    /// The same, while the stream goes on.
    #[must_use]
    pub fn so_far(&self) -> &Scanned {
        &self.scanned
    }

    fn kind(&self, line: &[u8]) -> Line {
        if !line.starts_with(b"---") {
            return Line::Other;
        }
        match &self.form {
            Form::Native { begin, end } => {
                if line == begin.as_bytes() {
                    Line::Begin
                } else if line == end.as_bytes() {
                    Line::End
                } else if [BEGIN, END].iter().any(|word| line.starts_with(word.trim_end().as_bytes())) {
                    Line::Forged
                } else {
                    Line::Other
                }
            }
            Form::Kelos if line == KELOS_BEGIN.as_bytes() => Line::Begin,
            Form::Kelos if line == KELOS_END.as_bytes() => Line::End,
            Form::Kelos => Line::Other,
        }
    }

    fn close_unterminated(&mut self) -> bool {
        let Some(entries) = self.open.take() else { return false };
        self.bytes -= weight(&entries);
        true
    }

    fn close(&mut self, entries: BTreeMap<String, String>) {
        self.scanned.counts.blocks += 1;
        if matches!(self.form, Form::Kelos) {
            self.scanned.values.clear();
            self.scanned.answer = None;
            self.bytes = weight(&entries);
        }
        for (key, value) in entries {
            if matches!(self.form, Form::Kelos) && key == RESPONSE {
                match decode_response(&value) {
                    Some(answer) => self.scanned.answer = Some(answer),
                    None => self.scanned.counts.malformed += 1,
                }
            } else if self.scanned.values.len() >= MAX_ENTRIES && !self.scanned.values.contains_key(&key) {
                self.bytes -= key.len() + value.len();
                self.scanned.counts.over_limit += 1;
            } else {
                let weight = key.len();
                if let Some(old) = self.scanned.values.insert(key, value) {
                    self.bytes -= weight + old.len();
                }
            }
        }
    }

    fn entry(&mut self, line: &[u8]) {
        let Some(open) = &mut self.open else { return };
        if line.is_empty() {
            return;
        }
        if line.len() > MAX_LINE {
            self.scanned.counts.over_limit += 1;
            return;
        }
        let Some((key, value)) = parse_entry(line, matches!(self.form, Form::Native { .. })) else {
            self.scanned.counts.malformed += 1;
            return;
        };
        let replaced = open.get(&key).map_or(0, |old| key.len() + old.len());
        let bytes = self.bytes - replaced + key.len() + value.len();
        if value.len() > MAX_BYTES.min(if matches!(self.form, Form::Native { .. }) { MAX_VALUE } else { MAX_BYTES })
            || bytes > MAX_BYTES
            || (open.len() >= MAX_ENTRIES && replaced == 0)
        {
            self.scanned.counts.over_limit += 1;
            return;
        }
        self.bytes = bytes;
        open.insert(key, value);
    }
}

fn weight(entries: &BTreeMap<String, String>) -> usize {
    entries.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// `key: value`; a line without a value has its trailing space stripped.
fn parse_entry(line: &[u8], escaped: bool) -> Option<(String, String)> {
    let line = std::str::from_utf8(line).ok()?;
    let (key, value) = line.split_once(": ").or_else(|| Some((line.strip_suffix(':')?, "")))?;
    if !is_valid_key(key) {
        return None;
    }
    let value = if escaped { unescape(value)?.into_owned() } else { value.to_owned() };
    Some((key.to_owned(), value))
}
