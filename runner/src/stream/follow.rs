//! The follower: is pushed the bytes of a stream and says what to write, while it reads along.
//!
//! Pure: no clock, no descriptor. Masking comes first, then the lines are cut and handed to the agent's [`StreamReader`]. In raw
//! mode what is written are the masked bytes, whatever the reader makes of them: a reader that panics is counted and the
//! stream goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use agent_sdk::agent::{LedgerEntry, StreamReader, StreamSummary};
use agent_sdk::event::Event;
use agent_sdk::usage::Usage;

use super::events::{self, Record};
use super::mask::{Masked, Masker, Secrets};
use super::pretty::Pretty;
use super::split::{Fit, HEAD_KEPT, Line, Splitter};

/// After so many panics a reader is left alone: its state is worth nothing any more, and each panic prints.
const PANICS_BORNE: u64 = 8;

/// What is written of a stream.
#[derive(Debug)]
pub enum Log {
    /// The bytes as they came, but for secrets.
    Raw,
    /// For people.
    Pretty(Pretty),
    /// Normalised events, one JSON object a line.
    Events,
}

/// Sees each line that is no JSON object before the reader does, and answers whether it took it: then the reader does not get it.
/// Marker blocks are found so.
pub type LineHook = Box<dyn FnMut(&Line<'_>) -> bool + Send>;

/// Sees each event, for `events.jsonl`.
pub type EventHook = Box<dyn FnMut(&Record<'_>) + Send>;

/// What is to be done with a chunk that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// The chunk itself is to be written; `out` was not touched.
    Chunk,
    /// What was appended to `out` is to be written, which may be nothing.
    Out,
}

/// What has been counted in a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Bytes that came in.
    pub bytes: u64,
    /// Lines, empty ones too.
    pub lines: u64,
    /// Lines with nothing in them.
    pub blank: u64,
    /// Lines that were too long and were read condensed.
    pub condensed: u64,
    /// Lines that were too long, and of which only the head was read.
    pub beheaded: u64,
    /// Lines that the [`LineHook`] took.
    pub taken: u64,
    /// Lines on which the reader panicked, or which it was no longer given after too many panics.
    pub unread: u64,
    /// Events that the reader emitted.
    pub events: u64,
    /// Secrets that were masked.
    pub masked: u64,
}

/// What has changed since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// The usage total.
    pub usage: bool,
    /// The stream's terminal event has come.
    pub ended: bool,
    /// Session, model, turns, retries, empty steps, whether a tool is open, or that the terminal event was not the last.
    pub state: bool,
}

impl Changes {
    /// Whether anything changed.
    #[must_use]
    pub fn any(self) -> bool {
        self.usage || self.ended || self.state
    }
}

/// What of a summary is compared to find changes: what costs nothing to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Look {
    usage: Usage,
    ended: bool,
    state: (Option<u64>, u32, u32, bool, bool, bool),
}

impl Look {
    fn at(summary: &StreamSummary) -> Self {
        Self {
            usage: summary.usage,
            ended: summary.end.is_some(),
            state: (
                summary.turns,
                summary.retries,
                summary.empty_steps,
                summary.tool_open,
                summary.session_id.is_some(),
                summary.model.is_some(),
            ),
        }
    }
}

/// Follows one stream.
pub struct Follower {
    masker: Masker,
    splitter: Splitter,
    /// The masked chunk, where it is not written itself.
    masked: Vec<u8>,
    bytes: u64,
    reading: Reading,
    looked: Look,
}

/// All that happens to a line.
struct Reading {
    reader: Box<dyn StreamReader>,
    line_hook: Option<LineHook>,
    counts: StreamCounts,
    panics: u64,
    sinks: Sinks,
}

/// Where events go.
struct Sinks {
    log: Log,
    event_hook: Option<EventHook>,
    secrets: Secrets,
    events: u64,
}

impl Follower {
    /// A follower before the first byte.
    #[must_use]
    pub fn new(reader: Box<dyn StreamReader>, log: Log, secrets: &Secrets) -> Self {
        Self {
            masker: secrets.masker(),
            splitter: Splitter::new(),
            masked: Vec::new(),
            bytes: 0,
            reading: Reading {
                reader,
                line_hook: None,
                counts: StreamCounts::default(),
                panics: 0,
                sinks: Sinks { log, event_hook: None, secrets: secrets.clone(), events: 0 },
            },
            looked: Look::default(),
        }
    }

    /// Lines that are no JSON objects go to this hook first.
    #[must_use]
    pub fn with_line_hook(mut self, hook: LineHook) -> Self {
        self.reading.line_hook = Some(hook);
        self
    }

    /// Every event goes to this hook.
    #[must_use]
    pub fn with_event_hook(mut self, hook: EventHook) -> Self {
        self.reading.sinks.event_hook = Some(hook);
        self
    }

    /// Takes the next bytes of the stream, which arrived at this time.
    pub fn push(&mut self, chunk: &[u8], at: SystemTime, out: &mut Vec<u8>) -> Forward {
        self.bytes += chunk.len() as u64;
        let raw = matches!(self.reading.sinks.log, Log::Raw);
        if !raw {
            self.masked.clear();
            let masked = self.masker.push(chunk, &mut self.masked);
            let bytes = if masked == Masked::AsIs { chunk } else { &self.masked };
            self.splitter.push(bytes, |line| self.reading.read(line, at, out));
            return Forward::Out;
        }
        let start = out.len();
        match self.masker.push(chunk, out) {
            Masked::AsIs => {
                self.splitter.push(chunk, |line| self.reading.read(line, at, &mut Vec::new()));
                Forward::Chunk
            }
            Masked::Rewritten => {
                self.splitter.push(&out[start..], |line| self.reading.read(line, at, &mut Vec::new()));
                Forward::Out
            }
        }
    }

    /// Takes a piece of a ledger. `out` gets what the log shows of it; in raw mode, nothing.
    pub fn push_ledger(&mut self, entry: &LedgerEntry<'_>, at: SystemTime, out: &mut Vec<u8>) {
        let line = self.splitter.lines();
        self.reading.guarded(|reader, sinks| reader.read_ledger(entry, &mut |event| sinks.take(&event, line, at, out)));
    }

    /// The stream is at its end: what was held back is written, and the last line read.
    pub fn finish(&mut self, at: SystemTime, out: &mut Vec<u8>) {
        self.masked.clear();
        self.masker.finish(&mut self.masked);
        if matches!(self.reading.sinks.log, Log::Raw) {
            out.extend_from_slice(&self.masked);
        }
        self.splitter.push(&self.masked, |line| self.reading.read(line, at, out));
        self.splitter.finish(|line| self.reading.read(line, at, out));
    }

    /// What the stream has said so far.
    #[must_use]
    pub fn summary(&self) -> &StreamSummary {
        self.reading.reader.summary()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> StreamCounts {
        StreamCounts {
            bytes: self.bytes,
            lines: self.splitter.lines(),
            events: self.reading.sinks.events,
            masked: self.masker.masked(),
            ..self.reading.counts
        }
    }

    /// What has changed since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        let now = Look::at(self.summary());
        let before = std::mem::replace(&mut self.looked, now);
        Changes {
            usage: now.usage != before.usage,
            ended: now.ended && !before.ended,
            state: now.state != before.state || before.ended && !now.ended,
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Reading {
    /// `out` gets what the log shows of the line; in raw mode, nothing.
    fn read(&mut self, line: Line<'_>, at: SystemTime, out: &mut Vec<u8>) {
        match line.fit {
            Fit::Whole => {}
            Fit::Condensed => self.counts.condensed += 1,
            Fit::Head => self.counts.beheaded += 1,
        }
        let Some(first) = line.bytes.iter().find(|byte| !byte.is_ascii_whitespace()) else {
            self.counts.blank += 1;
            return;
        };
        if *first != b'{' && self.line_hook.as_mut().is_some_and(|hook| hook(&line)) {
            self.counts.taken += 1;
            return;
        }
        if self.guarded(|reader, sinks| reader.read_line(line.bytes, &mut |event| sinks.take(&event, line.number, at, out))) {
            return;
        }
        self.counts.unread += 1;
        let head = String::from_utf8_lossy(&line.bytes[..line.bytes.len().min(HEAD_KEPT)]).into_owned();
        self.sinks.take(&Event::Malformed { head }, line.number, at, out);
    }

    /// Lets the reader read; false if it panicked now, or too often before.
    fn guarded(&mut self, read: impl FnOnce(&mut dyn StreamReader, &mut Sinks)) -> bool {
        if self.panics >= PANICS_BORNE {
            return false;
        }
        let Self { reader, sinks, .. } = self;
        // The reader is not trusted to be whole afterwards, only to be memory-safe; its summary is data and stays readable.
        let went_well = catch_unwind(AssertUnwindSafe(|| read(reader.as_mut(), sinks))).is_ok();
        self.panics += u64::from(!went_well);
        went_well
    }
}

impl Sinks {
    fn take(&mut self, event: &Event, line: u64, at: SystemTime, out: &mut Vec<u8>) {
        self.events += 1;
        if let Some(hook) = &mut self.event_hook {
            hook(&Record { line, at, event });
        }
        let start = out.len();
        match &mut self.log {
            Log::Raw => return,
            Log::Pretty(pretty) => pretty.write(event, at, out),
            Log::Events if events::is_worth_a_line(event) => events::write_line(&Record { line, at, event }, out),
            Log::Events => return,
        }
        // Decoding may bring a secret to light that the stream wrote in a way the masker does not look for.
        if let Some(masked) = self.secrets.mask_bytes(&out[start..]) {
            out.truncate(start);
            out.extend_from_slice(&masked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::double::JsonDouble;
    use proptest::prelude::*;

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    fn follower(log: Log, secrets: &Secrets) -> Follower {
        Follower::new(Box::new(JsonDouble::default()), log, secrets)
    }

    fn run(follower: &mut Follower, chunks: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for chunk in chunks {
            let mut out = Vec::new();
            match follower.push(chunk, AT, &mut out) {
                Forward::Chunk => {
                    assert!(out.is_empty());
                    all.extend_from_slice(chunk);
                }
                Forward::Out => all.extend_from_slice(&out),
            }
        }
        follower.finish(AT, &mut all);
        all
    }

    fn chunked<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
        let mut rest = bytes;
        let mut chunks = Vec::new();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        chunks
    }

    fn arb_stream() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just(br#"{"usage":{"in":3,"out":2}}"#.to_vec()),
            Just(br#"{"text":"hello \u001b[31m"}"#.to_vec()),
            Just(br#"{"panic":true}"#.to_vec()),
            Just(br#"{"end":true}"#.to_vec()),
            Just(b"---MARKER---".to_vec()),
            Just(Vec::new()),
            prop::collection::vec(any::<u8>(), 0..60),
        ];
        (prop::collection::vec(line, 0..12), any::<bool>()).prop_map(|(lines, newline)| {
            let mut bytes = lines.join(&b'\n');
            if newline {
                bytes.push(b'\n');
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn raw_output_is_the_input_and_what_is_read_does_not_depend_on_chunks(bytes in arb_stream(), sizes in prop::collection::vec(1usize..80, 1..9)) {
            let mut whole = follower(Log::Raw, &Secrets::new());
            prop_assert_eq!(&run(&mut whole, &[&bytes]), &bytes);
            let mut cut = follower(Log::Raw, &Secrets::new());
            prop_assert_eq!(&run(&mut cut, &chunked(&bytes, &sizes)), &bytes);
            prop_assert_eq!(whole.counts(), cut.counts());
            prop_assert_eq!(whole.summary(), cut.summary());
        }

        #[test]
        fn other_logs_do_not_depend_on_chunks_either(bytes in arb_stream(), sizes in prop::collection::vec(1usize..80, 1..9), pretty in any::<bool>()) {
            let log = || if pretty { Log::Pretty(Pretty::new(false, AT)) } else { Log::Events };
            let secrets = Secrets::new();
            secrets.add(b"hello \x1b").unwrap_or_default();
            let whole = run(&mut follower(log(), &secrets), &[&bytes]);
            prop_assert_eq!(&run(&mut follower(log(), &secrets), &chunked(&bytes, &sizes)), &whole);
            if !pretty {
                for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
                }
            }
        }
    }

    #[test]
    fn a_reader_that_panics_loses_nothing_but_its_line() {
        let mut stream = b"{\"panic\":true}\n{\"usage\":{\"in\":1,\"out\":2}}\n".repeat(3);
        let mut raw = follower(Log::Raw, &Secrets::new());
        assert_eq!(run(&mut raw, &[&stream]), stream);
        assert_eq!(raw.counts().unread, 3);
        assert_eq!(raw.summary().usage.output_tokens, Some(6));

        stream = b"{\"panic\":true}\n".repeat(20);
        let mut raw = follower(Log::Raw, &Secrets::new());
        assert_eq!(run(&mut raw, &[&stream]), stream);
        assert_eq!(raw.counts().unread, 20);
        assert_eq!(raw.panics(), PANICS_BORNE);
    }

    #[test]
    fn changes_are_told_once() {
        let mut raw = follower(Log::Raw, &Secrets::new());
        let mut out = Vec::new();
        raw.push(b"{\"usage\":{\"in\":1,\"out\":2}}", AT, &mut out);
        assert!(!raw.take_changes().any(), "the line is not whole yet");
        raw.push(b"\n", AT, &mut out);
        assert_eq!(raw.take_changes(), Changes { usage: true, ended: false, state: false });
        assert!(!raw.take_changes().any());
        raw.push(b"{\"end\":true}\n{\"end\":true}\n", AT, &mut out);
        assert!(raw.take_changes().ended);
        raw.push(b"{\"end\":true}\n", AT, &mut out);
        assert!(!raw.take_changes().any());
    }

    #[test]
    fn the_hook_sees_only_what_is_no_json_object_and_what_it_takes_is_not_read() {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let into = seen.clone();
        let mut raw = follower(Log::Raw, &Secrets::new()).with_line_hook(Box::new(move |line| {
            into.lock().unwrap().push(String::from_utf8_lossy(line.bytes).into_owned());
            line.bytes.starts_with(b"---")
        }));
        run(&mut raw, &[b"{\"text\":\"---\"}\n---START---\nplain\n \n  {}\n"]);
        assert_eq!(*seen.lock().unwrap(), ["---START---", "plain"]);
        assert_eq!((raw.counts().taken, raw.counts().blank, raw.summary().malformed_lines), (1, 1, 1));
    }

    #[test]
    fn a_secret_that_only_decoding_shows_is_masked_in_what_we_render() {
        let secrets = Secrets::new();
        secrets.add(b"sk-ant-0123456789").unwrap();
        let stream = br#"{"text":"sk-\u0061nt-0123456789"}"#;
        for log in [Log::Events, Log::Pretty(Pretty::new(false, AT))] {
            let out = String::from_utf8(run(&mut follower(log, &secrets), &[stream])).unwrap();
            assert!(out.contains("***") && !out.contains("0123456789"), "{out}");
        }
    }

    #[test]
    fn usage_behind_a_very_long_text_is_read() {
        let mut line = br#"{"text":""#.to_vec();
        line.resize(3 << 20, b'x');
        line.extend_from_slice(br#"","usage":{"in":5,"out":7}}"#);
        let mut raw = follower(Log::Raw, &Secrets::new());
        assert_eq!(run(&mut raw, &chunked(&line, &[65_536])), line);
        assert_eq!(raw.summary().usage.output_tokens, Some(7));
        assert_eq!(raw.counts().condensed, 1);
    }

    impl Follower {
        fn panics(&self) -> u64 {
            self.reading.panics
        }
    }
}
