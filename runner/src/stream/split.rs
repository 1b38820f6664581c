//! Cuts a byte stream into lines, in bounded memory whatever comes.
//!
//! A line that lies whole in the chunk is handed over where it lies; one that straddles chunks is put together in a buffer; one
//! longer than [`LINE_LIMIT`] is condensed ([`super::condense`]) if it looks like JSON, or else only its head is kept. What a
//! reader gets is therefore never longer than [`LINE_LIMIT`]. The cut lines are the same for every way the stream is chunked.

use memchr::memchr;

use super::condense::{CONDENSED_LIMIT, Condenser};

/// The longest line that is handed over as it is. Lines of real agents stay below it: the longest recorded one has 193 KB.
pub const LINE_LIMIT: usize = 256 << 10;

/// How much is kept of a line that is too long and cannot be condensed.
pub const HEAD_KEPT: usize = 4 << 10;

const _: () = assert!(CONDENSED_LIMIT <= LINE_LIMIT);

/// How much of a line was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// All of it.
    Whole,
    /// Its structure, with long strings cut and the later elements of very long arrays left out.
    Condensed,
    /// Its first bytes.
    Head,
}

/// One line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number in the stream, from 1.
    pub number: u64,
    /// Its bytes, without `\n` or `\r\n`.
    pub bytes: &'a [u8],
    /// How much of it this is.
    pub fit: Fit,
}

/// What is kept of a line that has passed the limit.
#[derive(Debug)]
enum Long {
    Json { condenser: Box<Condenser>, head: Vec<u8> },
    Other { head: Vec<u8> },
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub struct Splitter {
    partial: Vec<u8>,
    long: Option<Long>,
    lines: u64,
}

impl Splitter {
    /// A splitter before the first byte.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lines handed over so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Takes the next bytes and hands over every line that ends in them.
    pub fn push(&mut self, chunk: &[u8], mut each: impl FnMut(Line<'_>)) {
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.partial.is_empty() && self.long.is_none() && end <= LINE_LIMIT {
                self.lines += 1;
                each(Line { number: self.lines, bytes: without_return(line), fit: Fit::Whole });
            } else {
                self.extend(line);
                self.complete(&mut each);
            }
        }
        self.extend(rest);
    }

    /// Hands over the last line if the stream did not end with a newline.
    pub fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.partial.is_empty() || self.long.is_some() {
            self.complete(&mut each);
        }
        self.partial = Vec::new();
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.long.is_none() {
            if self.partial.len() + bytes.len() <= LINE_LIMIT {
                self.partial.extend_from_slice(bytes);
                return;
            }
            self.long = Some(Long::begin(&self.partial, bytes));
            self.partial = Vec::new();
        }
        match &mut self.long {
            Some(Long::Json { condenser, .. }) => condenser.push(bytes),
            Some(Long::Other { .. }) | None => {}
        }
    }

    fn complete(&mut self, each: &mut impl FnMut(Line<'_>)) {
        self.lines += 1;
        let number = self.lines;
        match self.long.take() {
            None => {
                each(Line { number, bytes: without_return(&self.partial), fit: Fit::Whole });
                self.partial.clear();
            }
            Some(Long::Json { condenser, head }) => match condenser.finish() {
                Some(line) => each(Line { number, bytes: &line, fit: Fit::Condensed }),
                None => each(Line { number, bytes: &head, fit: Fit::Head }),
            },
            Some(Long::Other { head }) => each(Line { number, bytes: &head, fit: Fit::Head }),
        }
    }
}

impl Long {
    /// `start` is what was buffered, `next` what made the line too long and will be pushed afterwards.
    fn begin(start: &[u8], next: &[u8]) -> Self {
        let mut head = start[..start.len().min(HEAD_KEPT)].to_vec();
        head.extend_from_slice(&next[..next.len().min(HEAD_KEPT - head.len())]);
        match start.iter().chain(next).find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => {
                let mut condenser = Box::new(Condenser::new());
                condenser.push(start);
                Self::Json { condenser, head }
            }
            _ => Self::Other { head },
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<(u64, Vec<u8>, Fit)> {
        let mut splitter = Splitter::new();
        let mut out = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| out.push((line.number, line.bytes.to_vec(), line.fit)));
        }
        splitter.finish(|line| out.push((line.number, line.bytes.to_vec(), line.fit)));
        out
    }

    fn chunked<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
        let mut rest = bytes;
        let mut chunks = Vec::new();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*size).clamp(1, rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        chunks
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_whole_for_any_chunking(bytes in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'\r')], 0..4000),
                                                         sizes in prop::collection::vec(1usize..300, 1..20)) {
            let seen = lines(&chunked(&bytes, &sizes));
            let mut wanted: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            if wanted.last().is_some_and(|last| last.is_empty()) {
                wanted.pop();
            }
            prop_assert_eq!(seen.len(), wanted.len());
            for (at, (seen, wanted)) in seen.iter().zip(wanted).enumerate() {
                prop_assert_eq!(seen.0, at as u64 + 1);
                prop_assert_eq!(&seen.1[..], wanted.strip_suffix(b"\r").unwrap_or(wanted));
                prop_assert_eq!(seen.2, Fit::Whole);
            }
        }

        #[test]
        fn long_lines_are_the_same_for_any_chunking(lens in prop::collection::vec(prop_oneof![0usize..100, LINE_LIMIT - 3..LINE_LIMIT + 3, Just(3 * LINE_LIMIT)], 1..4),
                                                    json in any::<bool>(), sizes in prop::collection::vec(1usize..200_000, 1..9)) {
            let mut bytes = Vec::new();
            for len in &lens {
                let frame = if json { (r#"{"t":""#, r#"","n":1}"#) } else { ("", "") };
                bytes.extend_from_slice(frame.0.as_bytes());
                bytes.resize(bytes.len() + len.saturating_sub(frame.0.len() + frame.1.len()), b'x');
                bytes.extend_from_slice(frame.1.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
            let seen = lines(&chunked(&bytes, &sizes));
            prop_assert_eq!(&seen, &lines(&[&bytes]));
            prop_assert_eq!(seen.len(), lens.len());
            for (number, line, fit) in &seen {
                prop_assert!(line.len() <= LINE_LIMIT);
                if json {
                    let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                    prop_assert_eq!(&value["n"], 1);
                    prop_assert!(*fit != Fit::Head, "line {}", number);
                }
            }
        }
    }

    #[test]
    fn the_limit_is_exact() {
        for (len, fit) in [(LINE_LIMIT, Fit::Whole), (LINE_LIMIT + 1, Fit::Head)] {
            let bytes = [vec![b'x'; len], b"\n".to_vec()].concat();
            assert_eq!(lines(&[&bytes])[0].2, fit);
            assert_eq!(lines(&chunked(&bytes, &[1000]))[0].2, fit);
        }
    }

    #[test]
    fn a_last_line_without_newline_counts() {
        let whole = |number, bytes: &[u8]| (number, bytes.to_vec(), Fit::Whole);
        assert_eq!(lines(&[b"a\n\nb"]), [whole(1, b"a"), whole(2, b""), whole(3, b"b")]);
        assert_eq!(lines(&[b"a\r", b"\n"]), [whole(1, b"a")]);
        assert_eq!(lines(&[b""]), []);
    }
}
