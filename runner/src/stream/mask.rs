//! Known secrets are replaced by `***` in everything that passes, across the borders of chunks.
//!
//! What is looked for is each secret as it may be written (`forms` has the ways), line by line, so that nothing is ever held back beyond a
//! line's end. What is held back is only a tail that may be the beginning of a secret.
//!
//! Someone who wants to get a secret past this can: any encoding of their own will do. This is against accidents.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind, packed};

use super::forms::written_forms;

/// What stands in the place of a secret.
pub const MASK: &[u8] = b"***";

/// Shorter values are not masked: they would be found in ordinary words, and a real key is longer.
pub const SECRET_MIN: usize = 8;

/// The secrets of a run, shared by everything that writes; more may be added while it runs (a token that was renewed).
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Rises with each change, so that a stream sees one without taking the lock.
    generation: AtomicU64,
    current: RwLock<Option<Arc<Patterns>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// A secret that cannot be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is so short that it would be found in ordinary text.
    #[error("a secret of {0} bytes is too short to be masked (at least {SECRET_MIN} are needed)")]
    TooShort(usize),
    /// The matcher could not be built.
    #[error("the secrets are too many or too large to be masked")]
    TooMany,
}

impl Secrets {
    /// No secrets (yet). Masking costs nothing then.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a secret; from the next chunk on it is masked everywhere.
    ///
    /// # Errors
    /// If it cannot be masked; the caller names it (not its value) in a warning. Empty values are no secrets and no error.
    pub fn add(&self, secret: &[u8]) -> Result<(), SecretError> {
        let secret = secret.trim_ascii();
        if secret.is_empty() {
            return Ok(());
        }
        if secret.len() < SECRET_MIN {
            return Err(SecretError::TooShort(secret.len()));
        }
        // A poisoned lock only says that another thread panicked between two assignments of an `Arc`: what is there is whole.
        let mut current = self.shared.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut forms: BTreeSet<Vec<u8>> = current.iter().flat_map(|patterns| patterns.forms.iter().cloned()).collect();
        let known = forms.len();
        forms.extend(written_forms(secret));
        if forms.is_empty() {
            return Err(SecretError::TooShort(secret.len()));
        }
        if forms.len() == known {
            return Ok(());
        }
        *current = Some(Arc::new(Patterns::new(forms)?));
        self.shared.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// A masker for one stream.
    #[must_use]
    pub fn masker(&self) -> Masker {
        Masker { secrets: self.clone(), generation: 0, patterns: None, held: Vec::new(), masked: 0 }
    }

    /// A text that stands by itself, masked: a result, an error, a log line.
    #[must_use]
    pub fn mask_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.current().and_then(|patterns| patterns.mask_whole(text.as_bytes())) {
            None => Cow::Borrowed(text),
            Some(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        }
    }

    /// Bytes that stand by themselves, masked; `None` if there is nothing to mask.
    #[must_use]
    pub fn mask_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.current()?.mask_whole(bytes)
    }

    fn current(&self) -> Option<Arc<Patterns>> {
        self.shared.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a masker says of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masked {
    /// Nothing had to be changed: the chunk itself is the output.
    AsIs,
    /// The output was appended to `out`.
    Rewritten,
}

/// Masks one stream.
#[derive(Debug)]
pub struct Masker {
    secrets: Secrets,
    generation: u64,
    patterns: Option<Arc<Patterns>>,
    held: Vec<u8>,
    masked: u64,
}

impl Masker {
    /// How many secrets were masked.
    #[must_use]
    pub fn masked(&self) -> u64 {
        self.masked
    }

    /// Takes the next bytes. `out` is touched only if the answer is [`Masked::Rewritten`].
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Masked {
        let generation = self.secrets.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.patterns = self.secrets.current();
            self.generation = generation;
        }
        let Some(patterns) = self.patterns.clone() else { return Masked::AsIs };
        if !self.held.is_empty() {
            let mut joined = std::mem::take(&mut self.held);
            joined.extend_from_slice(chunk);
            self.scan(&patterns, &joined, out);
            return Masked::Rewritten;
        }
        if patterns.find(chunk, 0).is_none() && patterns.tail(chunk).is_none() {
            return Masked::AsIs;
        }
        self.scan(&patterns, chunk, out);
        Masked::Rewritten
    }

    /// Gives out what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        match self.patterns.as_ref().and_then(|patterns| patterns.mask_whole(&held)) {
            None => out.extend_from_slice(&held),
            Some(masked) => {
                self.masked += 1;
                out.extend_from_slice(&masked);
            }
        }
    }

    /// Masks `bytes`, up to a tail that more bytes may make a part of a secret. That tail begins at the first place, outside the
    /// matches that are certain, from which everything to the end is the beginning of a pattern: a match there would be
    /// further left, or longer, than what is found now.
    fn scan(&mut self, patterns: &Patterns, bytes: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        let mut tail = patterns.tail(bytes);
        loop {
            if tail.is_some_and(|tail| tail < at) {
                tail = patterns.tail_from(bytes, at);
            }
            let found = patterns.find(bytes, at);
            match (found, tail) {
                (Some((start, end)), tail) if tail.is_none_or(|tail| tail > start) => {
                    out.extend_from_slice(&bytes[at..start]);
                    out.extend_from_slice(MASK);
                    self.masked += 1;
                    at = end;
                }
                (_, Some(tail)) => {
                    out.extend_from_slice(&bytes[at..tail]);
                    self.held = bytes[tail..].to_vec();
                    return;
                }
                (_, None) => {
                    out.extend_from_slice(&bytes[at..]);
                    return;
                }
            }
        }
    }
}

/// What is looked for.
struct Patterns {
    forms: Vec<Vec<u8>>,
    search: Search,
    /// The bytes that a pattern begins with.
    first: [bool; 256],
    longest: usize,
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Both find the leftmost match, and the longest there.
enum Search {
    /// Vector instructions; for up to some sixty patterns, on processors that have them.
    Packed(packed::Searcher),
    /// For all else.
    Automaton(AhoCorasick),
}

impl Patterns {
    fn new(forms: BTreeSet<Vec<u8>>) -> Result<Self, SecretError> {
        let forms: Vec<Vec<u8>> = forms.into_iter().collect();
        let packed = packed::Config::new().match_kind(packed::MatchKind::LeftmostLongest).builder().extend(&forms).build();
        let search = match packed {
            Some(searcher) => Search::Packed(searcher),
            None => {
                let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms);
                Search::Automaton(automaton.map_err(|_| SecretError::TooMany)?)
            }
        };
        let mut first = [false; 256];
        for form in &forms {
            if let Some(byte) = form.first() {
                first[*byte as usize] = true;
            }
        }
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        Ok(Self { forms, search, first, longest })
    }

    fn find(&self, bytes: &[u8], at: usize) -> Option<(usize, usize)> {
        let span = aho_corasick::Span { start: at, end: bytes.len() };
        match &self.search {
            Search::Packed(searcher) => searcher.find_in(bytes, span).map(|found| (found.start(), found.end())),
            Search::Automaton(automaton) => {
                automaton.find(aho_corasick::Input::new(bytes).span(span)).map(|found| (found.start(), found.end()))
            }
        }
    }

    fn tail(&self, bytes: &[u8]) -> Option<usize> {
        self.tail_from(bytes, 0)
    }

    /// The first place at or after `from` whence everything to the end is a proper beginning of a pattern. No pattern holds a newline.
    fn tail_from(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let from = from.max((bytes.len() + 1).saturating_sub(self.longest));
        let from = memchr::memrchr(b'\n', &bytes[from..]).map_or(from, |newline| from + newline + 1);
        (from..bytes.len()).find(|start| {
            let rest = &bytes[*start..];
            self.first[rest[0] as usize] && self.forms.iter().any(|form| form.len() > rest.len() && form.starts_with(rest))
        })
    }

    /// `bytes` by themselves, masked; `None` if there is nothing to mask.
    fn mask_whole(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut found = self.find(bytes, 0)?;
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        loop {
            out.extend_from_slice(&bytes[at..found.0]);
            out.extend_from_slice(MASK);
            at = found.1;
            match self.find(bytes, at) {
                Some(next) => found = next,
                None => break,
            }
        }
        out.extend_from_slice(&bytes[at..]);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn secrets(values: &[&str]) -> Secrets {
        let secrets = Secrets::new();
        for value in values {
            secrets.add(value.as_bytes()).unwrap();
        }
        secrets
    }

    fn run(secrets: &Secrets, chunks: &[&[u8]]) -> Vec<u8> {
        let mut masker = secrets.masker();
        let mut out = Vec::new();
        for chunk in chunks {
            if masker.push(chunk, &mut out) == Masked::AsIs {
                out.extend_from_slice(chunk);
            }
        }
        masker.finish(&mut out);
        out
    }

    fn text(secrets: &Secrets, text: &str) -> String {
        String::from_utf8(run(secrets, &[text.as_bytes()])).unwrap()
    }

    /// Secrets over few letters, so that they overlap, and a text made of their pieces.
    fn arb_case() -> impl Strategy<Value = (Vec<String>, Vec<u8>, Vec<usize>)> {
        prop::collection::vec("[ab\"/\\\\é]{8,14}", 1..5).prop_flat_map(|secrets| {
            let pieces: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| written_forms(secret.as_bytes())).collect();
            let piece = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..4).prop_map(move |(which, cut, kind)| {
                let piece = which.get(&pieces);
                match kind {
                    0 => piece[..cut.index(piece.len() + 1)].to_vec(),
                    1 => piece[cut.index(piece.len() + 1)..].to_vec(),
                    2 => piece.clone(),
                    _ => b"\n".to_vec(),
                }
            });
            let text = prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat());
            (Just(secrets), text, prop::collection::vec(1usize..12, 1..9))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn any_chunking_gives_the_output_of_the_whole_and_no_secret_is_in_it((values, text, sizes) in arb_case()) {
            let secrets = Secrets::new();
            for value in &values {
                secrets.add(value.as_bytes()).unwrap();
            }
            let whole = run(&secrets, &[&text]);
            let mut rest = &text[..];
            let mut chunks = Vec::new();
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(&run(&secrets, &chunks), &whole);
            prop_assert_eq!(&secrets.current().unwrap().mask_whole(&text).unwrap_or(text), &whole);
            for form in values.iter().flat_map(|value| written_forms(value.as_bytes())) {
                prop_assert!(memchr::memmem::find(&whole, &form).is_none());
            }
        }

        #[test]
        fn without_secrets_nothing_is_touched(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let mut out = Vec::new();
            let mut masker = Secrets::new().masker();
            prop_assert_eq!(masker.push(&bytes, &mut out), Masked::AsIs);
            masker.finish(&mut out);
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    fn both_searches_agree() {
        let secrets = Secrets::new();
        for n in 0..200 {
            secrets.add(format!("key-{n:03}-{}", n * 7919).as_bytes()).unwrap();
        }
        assert!(matches!(secrets.current().unwrap().search, Search::Automaton(_)));
        assert_eq!(text(&secrets, "a key-007-55433 b key-199-1575881 key-200"), "a *** b *** key-200");
    }

    #[test]
    fn every_writing_of_a_secret_is_found() {
        let secret = "p\"a\\s/s<é😀>";
        let known = secrets(&[secret]);
        for written in [
            secret.to_owned(),
            serde_json::to_string(secret).unwrap().trim_matches('"').to_owned(),
            r#"p\"a\\s\/s<\u00e9\ud83d\ude00>"#.to_owned(),
            r#"p\"a\\s/s\u003C\u00E9\uD83D\uDE00\u003E"#.to_owned(),
            r#"p\\\"a\\\\s/s<é😀>"#.to_owned(),
        ] {
            assert_eq!(text(&known, &format!("<{written}>")), "<***>", "{written}");
        }
    }

    #[test]
    fn base64_of_a_header_is_masked_at_each_alignment() {
        let known = secrets(&["ghp_0123456789abcdef"]);
        for user in ["", "x", "xy", "xyz", "x-access-token"] {
            let header = STANDARD.encode(format!("{user}:ghp_0123456789abcdef!"));
            let out = text(&known, &format!("Authorization: basic {header}\n"));
            assert!(out.contains("***"), "{user}: {out}");
        }
    }

    #[test]
    fn a_key_of_several_lines_is_masked_line_by_line_and_in_json() {
        let key = "-----BEGIN KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\nAAAAC3NzaC1lZDI1NTE5AAAAIJ\n-----END KEY-----\n";
        let known = secrets(&[key]);
        assert_eq!(text(&known, key), "-----BEGIN KEY-----\n***\n***\n-----END KEY-----\n");
        let json = serde_json::to_string(key).unwrap();
        assert!(!text(&known, &json).contains("AAAA"));
    }

    #[test]
    fn holds_back_only_what_may_begin_a_secret() {
        let known = secrets(&["secret-0123"]);
        let mut masker = known.masker();
        let mut out = Vec::new();
        assert_eq!(masker.push(b"no such thing", &mut out), Masked::AsIs);
        assert_eq!(masker.push(b"secret-01\n", &mut out), Masked::AsIs, "a newline ends every hope of a match");
        assert_eq!(masker.push(b"a secret-01", &mut out), Masked::Rewritten);
        assert_eq!(out, b"a ");
        assert_eq!(masker.push(b"2", &mut out), Masked::Rewritten);
        assert_eq!(masker.push(b"3!", &mut out), Masked::Rewritten);
        assert_eq!(out, b"a ***!");
        assert_eq!(masker.masked(), 1);
    }

    #[test]
    fn a_secret_added_later_is_masked_from_then_on() {
        let known = Secrets::new();
        let mut masker = known.masker();
        let mut out = Vec::new();
        assert_eq!(masker.push(b"token-one-1", &mut out), Masked::AsIs);
        known.add(b"token-one-1").unwrap();
        assert_eq!(masker.push(b"token-one-1", &mut out), Masked::Rewritten);
        assert_eq!(out, b"***");
        assert_eq!(known.mask_text("say token-one-1"), "say ***");
    }

    #[test]
    fn short_values_are_refused_and_empty_ones_ignored() {
        assert_eq!(Secrets::new().add(b"1234567"), Err(SecretError::TooShort(7)));
        assert_eq!(Secrets::new().add(b" \n"), Ok(()));
        assert!(!format!("{:?}", secrets(&["hush-hush"])).contains("hush"));
    }
}
