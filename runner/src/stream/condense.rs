//! Condenses one line of JSON that is too long to keep: the structure stays, long strings are cut, very long arrays lose their later
//! elements.
//!
//! It is a state machine over bytes, so that a line of any length passes through bounded memory, and what stands behind
//! 256 MiB of text (an agent puts `usage` there) is still read. It does not validate: what was not JSON before is not JSON after,
//! and the reader says so. Cutting lines out of a stream is [`super::split`]'s part.

use memchr::{memchr, memchr2};

/// How much of a string is kept. An error message or an answer worth quoting is shorter; sixty of them fit in a condensed line.
pub const STRING_KEPT: usize = 4 << 10;

/// The size from which on further elements of arrays are left out.
const ELISION_FROM: usize = 128 << 10;

/// The size that a condensed line never exceeds; a line that still does is given up and only its head is kept.
pub const CONDENSED_LIMIT: usize = 256 << 10;

/// Nesting that is followed. `serde_json` stops at 128 by itself.
const DEPTH_LIMIT: usize = 512;

/// What a byte outside a string means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Space,
    Quote,
    Open,
    Close,
    Comma,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    classes[b' ' as usize] = Class::Space;
    classes[b'\t' as usize] = Class::Space;
    classes[b'\r' as usize] = Class::Space;
    classes[b'"' as usize] = Class::Quote;
    classes[b'[' as usize] = Class::Open;
    classes[b'{' as usize] = Class::Open;
    classes[b']' as usize] = Class::Close;
    classes[b'}' as usize] = Class::Close;
    classes[b',' as usize] = Class::Comma;
    classes
};

/// Where in a string the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Outside any string.
    Outside,
    /// Among the characters of a string.
    Within,
    /// Behind a backslash.
    Escape,
    /// In a `\u` escape, with so many digits to come.
    Hex(u8),
}

/// The state machine, for one line.
#[derive(Debug)]
pub struct Condenser {
    out: Vec<u8>,
    place: Place,
    /// One entry per open container: whether it is an array.
    arrays: Vec<bool>,
    /// The depth of the array whose further elements are being left out.
    eliding: Option<usize>,
    /// Bytes of the current string so far.
    string_len: usize,
    /// Where in `out` the current string's content begins.
    string_start: usize,
    gave_up: bool,
}

impl Condenser {
    /// A machine that stands before the first byte of a line.
    #[must_use]
    pub fn new() -> Self {
        Self {
            out: Vec::with_capacity(2 * STRING_KEPT),
            place: Place::Outside,
            arrays: Vec::new(),
            eliding: None,
            string_len: 0,
            string_start: 0,
            gave_up: false,
        }
    }

    /// Takes the next bytes of the line.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.gave_up {
            bytes = match self.place {
                Place::Outside => self.push_outside(bytes),
                Place::Within => self.push_within(bytes),
                Place::Escape | Place::Hex(_) => self.push_escape(bytes),
            };
        }
    }

    /// The condensed line, or `None` if it could not be brought below [`CONDENSED_LIMIT`].
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.gave_up).then_some(self.out)
    }

    fn emit(&mut self, bytes: &[u8]) {
        if self.eliding.is_some() || self.gave_up {
            return;
        }
        if self.out.len() + bytes.len() > CONDENSED_LIMIT {
            self.gave_up = true;
            self.out = Vec::new();
            return;
        }
        self.out.extend_from_slice(bytes);
    }

    fn push_outside<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let eliding = self.eliding.is_some();
        let stops = |byte: &u8| match CLASSES[*byte as usize] {
            Class::Plain => false,
            Class::Comma | Class::Space => !eliding,
            Class::Quote | Class::Open | Class::Close => true,
        };
        let plain = bytes.iter().position(stops).unwrap_or(bytes.len());
        self.emit(&bytes[..plain]);
        let Some(byte) = bytes.get(plain) else { return &[] };
        match CLASSES[*byte as usize] {
            // Between tokens white space means nothing, and there may be a lot of it.
            Class::Plain | Class::Space => {}
            Class::Quote => {
                self.emit(b"\"");
                self.place = Place::Within;
                self.string_len = 0;
                self.string_start = self.out.len();
            }
            Class::Open => {
                self.emit(&[*byte]);
                if self.arrays.len() == DEPTH_LIMIT {
                    self.gave_up = true;
                    self.out = Vec::new();
                } else {
                    self.arrays.push(*byte == b'[');
                }
            }
            Class::Close => {
                if self.eliding.is_some_and(|depth| self.arrays.len() <= depth) {
                    self.eliding = None;
                }
                self.arrays.pop();
                self.emit(&[*byte]);
            }
            Class::Comma => {
                if self.eliding.is_none() && self.out.len() > ELISION_FROM && self.arrays.last() == Some(&true) {
                    self.eliding = Some(self.arrays.len());
                }
                self.emit(b",");
            }
        }
        &bytes[plain + 1..]
    }

    fn push_within<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.string_len > STRING_KEPT || self.eliding.is_some() {
            return self.skip_within(bytes);
        }
        let run = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        self.keep(&bytes[..run]);
        let Some(byte) = bytes.get(run) else { return &[] };
        if *byte == b'"' {
            self.close_string();
        } else {
            self.place = Place::Escape;
            self.keep(b"\\");
        }
        &bytes[run + 1..]
    }

    /// As [`Self::push_within`] where nothing is kept any more: then only the closing quote matters, which is the one before which an even
    /// number of backslashes stands. Text full of escapes is passed over several times faster so.
    fn skip_within<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let escapes_next = |part: &[u8]| part.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        let mut from = 0;
        while let Some(quote) = memchr(b'"', &bytes[from..]).map(|at| from + at) {
            // What stands before `from` ends with an escaped quote, so that counting from there is enough.
            if !escapes_next(&bytes[from..quote]) {
                self.string_len += quote;
                self.close_string();
                return &bytes[quote + 1..];
            }
            from = quote + 1;
        }
        self.string_len += bytes.len();
        if escapes_next(&bytes[from..]) {
            self.place = Place::Escape;
        }
        &[]
    }

    fn push_escape<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let byte = bytes[0];
        match self.place {
            // A string that ends in the middle of an escape is no JSON; the quote closes it all the same, so that the rest stays readable.
            Place::Hex(_) if byte == b'"' => {
                self.close_string();
                return &bytes[1..];
            }
            Place::Escape => self.place = if byte == b'u' { Place::Hex(4) } else { Place::Within },
            Place::Hex(left) => self.place = if left > 1 { Place::Hex(left - 1) } else { Place::Within },
            Place::Outside | Place::Within => {}
        }
        self.keep(&bytes[..1]);
        &bytes[1..]
    }

    /// Keeps what still fits of a string's content. The byte that no longer fits makes the cut, at the last whole character.
    fn keep(&mut self, bytes: &[u8]) {
        let room = STRING_KEPT.saturating_sub(self.string_len);
        let fits = bytes.len().min(room);
        self.emit(&bytes[..fits]);
        let was_whole = self.string_len <= STRING_KEPT;
        self.string_len += bytes.len();
        if was_whole && self.string_len > STRING_KEPT && self.eliding.is_none() && !self.gave_up {
            self.cut();
        }
    }

    /// Takes back what is only a part of an escape, of a surrogate pair, or of a UTF-8 sequence at the end of the kept content.
    fn cut(&mut self) {
        let whole_escapes = whole_escapes(&self.out[self.string_start..]);
        self.out.truncate(self.string_start + whole_escapes);
        let content = &self.out[self.string_start..];
        self.out.truncate(self.string_start + whole_characters(content));
    }

    fn close_string(&mut self) {
        if self.string_len > STRING_KEPT {
            let kept = self.out.len() - self.string_start.min(self.out.len());
            let note = format!("… ({} bytes cut)", self.string_len - kept.min(self.string_len));
            self.emit(note.as_bytes());
        }
        self.emit(b"\"");
        self.place = Place::Outside;
    }
}

impl Default for Condenser {
    fn default() -> Self {
        Self::new()
    }
}

/// The length of the longest prefix that ends neither in an escape nor between two halves of a surrogate pair.
fn whole_escapes(content: &[u8]) -> usize {
    let mut at = 0;
    while let Some(step) = memchr(b'\\', &content[at..]) {
        let start = at + step;
        let len = if content.get(start + 1) == Some(&b'u') { 6 } else { 2 };
        // A high surrogate stands or falls with what follows it.
        let leads = len == 6 && matches!(content.get(start + 2..start + 4), Some([b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B']));
        let followed = leads && content.get(start + 6..start + 8) == Some(b"\\u");
        let end = start + if followed { 12 } else { len };
        if end > content.len() || (leads && !followed && end + 2 > content.len()) {
            return start;
        }
        at = end;
    }
    content.len()
}

/// The length without an unfinished UTF-8 sequence at the end. Bytes that are no UTF-8 at all are left alone.
fn whole_characters(content: &[u8]) -> usize {
    let len = content.len();
    for back in 1..=len.min(3) {
        let byte = content[len - back];
        let needed = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => return len,
        };
        return if needed > back { len - back } else { len };
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn condense(line: &[u8], chunk: usize) -> Option<Vec<u8>> {
        let mut condenser = Condenser::new();
        for part in line.chunks(chunk.max(1)) {
            condenser.push(part);
        }
        condenser.finish()
    }

    fn arb_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            8 => any::<String>(),
            1 => (".{1,8}", 500usize..3000).prop_map(|(part, times)| part.repeat(times)),
            1 => "[\\\\\"\n\u{1}]{1,4}".prop_map(|part| part.repeat(2000)),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("[a-z\"\\\\é]{0,6}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Equal but for strings that were cut, which must begin alike and be short.
    fn alike(before: &Value, after: &Value) -> bool {
        match (before, after) {
            (Value::String(before), Value::String(after)) => {
                before == after
                    || (after.ends_with(" bytes cut)")
                        && after.len() <= STRING_KEPT + 64
                        && after.rfind("… (").is_some_and(|cut| before.starts_with(&after[..cut])))
            }
            (Value::Array(before), Value::Array(after)) => {
                before.len() == after.len() && before.iter().zip(after).all(|(a, b)| alike(a, b))
            }
            (Value::Object(before), Value::Object(after)) => {
                before.len() == after.len() && before.iter().zip(after).all(|((ka, a), (kb, b))| ka == kb && alike(a, b))
            }
            (before, after) => before == after,
        }
    }

    /// JSON with every character outside ASCII escaped, as Python writes it.
    fn ascii_json(value: &Value) -> String {
        let mut out = String::new();
        for c in value.to_string().chars() {
            if c.is_ascii() {
                out.push(c);
            } else {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn keeps_structure_and_cuts_only_long_strings(value in arb_json(), chunk in 1usize..5000, pretty in any::<bool>()) {
            let line = if pretty { serde_json::to_string_pretty(&value).unwrap().replace('\n', " ") } else { value.to_string() };
            let out = condense(line.as_bytes(), chunk).expect("small enough");
            let after: Value = serde_json::from_slice(&out).expect("still JSON");
            prop_assert!(alike(&value, &after), "{value} became {after}");
        }

        #[test]
        fn cuts_between_escapes_and_surrogate_pairs(text in "[a😀é\"\\\\\n]{1,5}", lead in 0usize..16) {
            let value = Value::from(format!("{}{}", "x".repeat(lead), text.repeat(3000)));
            let line = ascii_json(&value);
            let out = condense(line.as_bytes(), 4096).expect("small enough");
            let after: Value = serde_json::from_slice(&out).expect("still JSON");
            prop_assert!(alike(&value, &after), "{after}");
        }

        #[test]
        fn any_bytes_stay_bounded_and_do_not_depend_on_chunks(bytes in prop::collection::vec(any::<u8>(), 0..20_000), chunk in 1usize..700) {
            let whole = condense(&bytes, usize::MAX);
            prop_assert_eq!(&whole, &condense(&bytes, chunk));
            prop_assert!(whole.is_none_or(|out| out.len() <= CONDENSED_LIMIT));
        }
    }

    #[test]
    fn reads_what_stands_behind_a_very_long_array() {
        let line = format!(r#"{{"a":{{"n":[{}1]}},"deep":[[[{}]]],"usage":7}}"#, "1, ".repeat(400_000), "[\"]\"],".repeat(100_000) + "0");
        let out = condense(line.as_bytes(), 65_536).expect("fits");
        let after: Value = serde_json::from_slice(&out).expect("still JSON");
        assert_eq!(after["usage"], 7);
        assert!(after["a"]["n"].as_array().unwrap().len() > 1000);
        assert!(out.len() <= CONDENSED_LIMIT);
    }

    #[test]
    fn gives_up_on_what_has_no_long_strings_or_arrays() {
        let members: String = (0..50_000).map(|n| format!("\"k{n}\":{n},")).collect();
        assert_eq!(condense(format!("{{{members}\"z\":0}}").as_bytes(), 1000), None);
        assert_eq!(condense("[".repeat(100_000).as_bytes(), 1000), None);
        assert_eq!(condense("7".repeat(1 << 20).as_bytes(), 1000), None);
    }

    #[test]
    fn cuts_exactly_above_the_limit() {
        for len in STRING_KEPT - 1..=STRING_KEPT + 1 {
            let text = "x".repeat(len);
            let out = condense(format!("\"{text}\"").as_bytes(), 7).unwrap();
            assert_eq!(out.len() == len + 2, len <= STRING_KEPT, "{len}");
        }
    }
}
