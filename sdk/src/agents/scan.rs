//! A quick way through a line of JSON as programs print it: no space between its parts, no field twice, nothing nested deep.
//!
//! Every step answers `None` where a line is anything else, be it wrong or only unusual; then a whole parser has to read it. What is passed
//! over is checked all the same: a line that was gone through to its end is one that the whole parser takes, and takes for the same.

use std::borrow::Cow;

/// How deep what is passed over may be nested.
const DEPTH: u8 = 32;
/// Digits that always fit into 64 bits.
const DIGITS: usize = 18;

/// A line, and how far one has come in it.
pub(super) struct Scan<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { line, at: 0 }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Option<()> {
        (self.at == self.line.len()).then_some(())
    }

    /// An object. `field` gets the place of a name in `names`, and has to read its value; other fields are passed over.
    pub(super) fn object(&mut self, names: &[&str], mut field: impl FnMut(&mut Self, usize) -> Option<()>) -> Option<()> {
        let mut seen = 0_u32;
        self.fields(|scan, (name, has_escapes)| {
            if has_escapes {
                return None;
            }
            match names.iter().position(|known| *known == name) {
                Some(at) if seen & 1 << at != 0 => None,
                Some(at) => {
                    seen |= 1 << at;
                    field(scan, at)
                }
                None => scan.skip(DEPTH),
            }
        })
    }

    /// An object. `field` gets each name, and has to read its value.
    fn fields(&mut self, mut field: impl FnMut(&mut Self, (&'a str, bool)) -> Option<()>) -> Option<()> {
        self.byte(b'{')?;
        if self.peek() == Some(b'}') {
            return self.byte(b'}');
        }
        loop {
            let name = self.string()?;
            self.byte(b':')?;
            field(self, name)?;
            if self.one_of(b',', b'}')? == b'}' {
                return Some(());
            }
        }
    }

    /// A list. `item` has to read one of its values.
    pub(super) fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.byte(b'[')?;
        if self.peek() == Some(b']') {
            return self.byte(b']');
        }
        loop {
            item(self)?;
            if self.one_of(b',', b']')? == b']' {
                return Some(());
            }
        }
    }

    /// A text, or null.
    pub(super) fn text(&mut self) -> Option<Option<Cow<'a, str>>> {
        if self.peek()? == b'n' {
            return self.word("null").map(|()| None);
        }
        let start = self.at;
        let (text, has_escapes) = self.string()?;
        if !has_escapes {
            return Some(Some(Cow::Borrowed(text)));
        }
        serde_json::from_str(self.line.get(start..self.at)?).ok().map(|text| Some(Cow::Owned(text)))
    }

    /// A number that counts, or null.
    pub(super) fn count(&mut self) -> Option<Option<u64>> {
        if self.peek()? == b'n' {
            return self.word("null").map(|()| None);
        }
        let start = self.at;
        self.digits()?;
        let digits = self.line.get(start..self.at).filter(|digits| digits.len() <= DIGITS)?;
        // A fraction or an exponent is for the whole parser.
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) { None } else { digits.parse().ok().map(Some) }
    }

    /// Any value.
    pub(super) fn pass(&mut self) -> Option<()> {
        self.skip(DEPTH)
    }

    /// What comes next.
    pub(super) fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, depth: u8) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => {
                let below = depth.checked_sub(1)?;
                self.fields(|scan, _| scan.skip(below))
            }
            b'[' => {
                let below = depth.checked_sub(1)?;
                self.list(|scan| scan.skip(below))
            }
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    /// A string: what is between its quotes, and whether there are escapes in it. Those by a number are for the whole parser, which knows
    /// which of them make a character.
    fn string(&mut self) -> Option<(&'a str, bool)> {
        self.byte(b'"')?;
        let (bytes, start) = (self.line.as_bytes(), self.at);
        let (mut at, mut has_escapes) = (start, false);
        loop {
            at = special(bytes, at)?;
            match bytes[at] {
                b'"' => break,
                b'\\' if matches!(bytes.get(at + 1)?, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                    has_escapes = true;
                    at += 2;
                }
                _ => return None,
            }
        }
        self.at = at + 1;
        Some((self.line.get(start..at)?, has_escapes))
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        self.digits()?;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.run_of_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.run_of_digits()?;
        }
        Some(())
    }

    /// What a number begins with: no zero before another digit.
    fn digits(&mut self) -> Option<()> {
        let begins_with_zero = self.peek() == Some(b'0');
        let length = self.run_of_digits()?;
        (length == 1 || !begins_with_zero).then_some(())
    }

    fn run_of_digits(&mut self) -> Option<usize> {
        let length = self.line.as_bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += length;
        (length > 0).then_some(length)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.line.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn one_of(&mut self, one: u8, other: u8) -> Option<u8> {
        let byte = self.peek().filter(|byte| *byte == one || *byte == other)?;
        self.at += 1;
        Some(byte)
    }
}

/// Where the next byte is that does not stand for itself in a string: a quote, a backslash, a control character. Eight are looked at at
/// once.
fn special(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    // Of a byte that is less than `than` the highest bit is set; above the first such byte, borrowing may set it for others too.
    let less = |word: u64, than: u64| word.wrapping_sub(ONES * than) & !word & HIGHEST;
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let is = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
        let found = is(b'"') | is(b'\\') | less(word, 0x20);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).map(|found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    fn passes(line: &str) -> bool {
        let mut scan = Scan::new(line);
        scan.pass().and_then(|()| scan.end()).is_some()
    }

    /// JSON as a program prints it.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~äß💡]{0,24}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map("[a-z\"\\\\]{0,10}", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_a_program_prints_is_passed(value in json()) {
            prop_assert!(passes(&value.to_string()));
        }

        #[test]
        fn what_is_passed_is_json(value in json(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}:,\"\\\\0-9.eE+tn \u{1}\u{7f}-]{0,2}") {
            let mut line = value.to_string();
            let at = (0..=at.index(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap();
            let end = at + line[at..].chars().next().map_or(0, char::len_utf8);
            line.replace_range(at..end, &with);
            prop_assert!(!passes(&line) || serde_json::from_str::<IgnoredAny>(&line).is_ok(), "{line}");
        }

        #[test]
        fn a_special_byte_is_found_wherever_it_is(plain in "[!#-\\[\\]-~ä\u{7f}\u{a0}]{0,200}", stop in "[\"\\\\\u{0}-\u{1f}]", rest in "\\PC{0,200}") {
            let line = format!("{plain}{stop}{rest}");
            for from in 0..=plain.len() {
                prop_assert_eq!(special(line.as_bytes(), from), Some(plain.len()));
                prop_assert_eq!(special(plain.as_bytes(), from), None);
            }
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_whole_parser() {
        for line in [r#"{"a": 1}"#, r#""\u00e4""#, "01", "1.", "-", "1e", "tru", r#"{"a":1,}"#, "[1,]", "[", r#""x"#, "\"\t\"", "", "1 "] {
            assert!(!passes(line), "{line}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(passes(&nested(32)) && !passes(&nested(33)) && !passes(&nested(100_000)));
        let twice = |line: &str| Scan::new(line).object(&["a", "b"], |scan, _| scan.pass()).is_some();
        assert!(twice(r#"{"a":1,"b":2,"c":3,"c":4}"#) && !twice(r#"{"a":1,"b":2,"a":3}"#));
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        let text = |line: &str| Scan::new(line).text().map(|text| text.map(Cow::into_owned));
        assert_eq!(text(r#""a\n\"ä""#), Some(Some("a\n\"ä".to_owned())));
        assert_eq!((text("null"), text("1")), (Some(None), None));
        let count = |line: &str| Scan::new(line).count();
        assert_eq!((count("0,"), count("120}"), count("null")), (Some(Some(0)), Some(Some(120)), Some(None)));
        assert_eq!([count("1.5"), count("-1"), count("01"), count("1e3"), count("\"1\""), count("9999999999999999999")], [None; 6]);
    }
}
