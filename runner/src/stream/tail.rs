//! A stream that nobody parses (the agent's stderr): masked, forwarded, its head and its tail kept for the report.

use std::collections::VecDeque;

use super::follow::Forward;
use super::mask::{Masked, Masker, Secrets};

/// What is kept of the beginning: a CLI that cannot start says why in its first lines.
pub const HEAD: usize = 4 << 10;
/// What is kept of the end: what an agent said last.
pub const TAIL: usize = 16 << 10;

/// Follows such a stream.
#[derive(Debug)]
pub struct PlainFollower {
    masker: Masker,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    bytes: u64,
}

impl PlainFollower {
    /// A follower before the first byte.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        Self { masker: secrets.masker(), head: Vec::new(), tail: VecDeque::new(), bytes: 0 }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Forward {
        let start = out.len();
        match self.masker.push(chunk, out) {
            Masked::AsIs => {
                self.keep(chunk);
                Forward::Chunk
            }
            Masked::Rewritten => {
                self.keep(&out[start..]);
                Forward::Out
            }
        }
    }

    /// The stream is at its end: what was held back is written.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        self.masker.finish(out);
        self.keep(&out[start..]);
    }

    /// The first bytes, masked.
    #[must_use]
    pub fn head(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    /// The last bytes, masked; from the beginning of a line if it was cut.
    #[must_use]
    pub fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let cut = self.bytes > bytes.len() as u64;
        let from = if cut { memchr::memchr(b'\n', &bytes).map_or(0, |newline| newline + 1) } else { 0 };
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    /// Bytes written so far, after masking.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many secrets were masked.
    #[must_use]
    pub fn masked(&self) -> u64 {
        self.masker.masked()
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let room = HEAD - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        let over = (self.tail.len() + last.len()).saturating_sub(TAIL);
        self.tail.drain(..over);
        self.tail.extend(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn head_and_tail_are_those_of_the_whole(sizes in prop::collection::vec(0usize..9000, 0..12)) {
            let mut follower = PlainFollower::new(&Secrets::new());
            let mut whole = String::new();
            for (at, size) in sizes.iter().enumerate() {
                let chunk: String = (0..*size).map(|n| if n % 50 == 49 { '\n' } else { char::from(b'a' + (at % 26) as u8) }).collect();
                follower.push(chunk.as_bytes(), &mut Vec::new());
                whole.push_str(&chunk);
            }
            prop_assert_eq!(follower.head(), &whole[..whole.len().min(HEAD)]);
            let tail = follower.tail();
            prop_assert!(whole.ends_with(&tail));
            prop_assert!(tail.len() <= TAIL && tail.len() + 100 >= whole.len().min(TAIL));
        }
    }

    #[test]
    fn a_secret_is_in_neither() {
        let secrets = Secrets::new();
        secrets.add(b"hush-hush").unwrap();
        let mut follower = PlainFollower::new(&secrets);
        let mut out = Vec::new();
        for part in ["say hush", "-hush", " now"] {
            if follower.push(part.as_bytes(), &mut out) == Forward::Chunk {
                out.extend_from_slice(part.as_bytes());
            }
        }
        follower.finish(&mut out);
        assert_eq!(out, b"say *** now");
        assert_eq!((follower.head(), follower.tail()), ("say *** now".to_owned(), "say *** now".to_owned()));
    }
}
