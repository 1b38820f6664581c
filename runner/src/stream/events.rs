//! Events as JSON lines: `--log events` and `events.jsonl`.
//!
//! One object per line: the event's own fields (see [`Event`]), the number of the stream's line it was read from, and when that line
//! arrived. The time is given by the caller; nothing here looks at a clock.

use std::time::SystemTime;

use agent_sdk::event::Event;
use serde::Serialize;

/// An event with its origin.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The number of the stream's line, from 1.
    pub line: u64,
    /// When it arrived.
    pub at: SystemTime,
    /// What it said.
    pub event: &'a Event,
}

#[derive(Serialize)]
struct Written<'a> {
    line: u64,
    at: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl Serialize for Record<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = humantime::format_rfc3339_millis(self.at).to_string();
        Written { line: self.line, at, event: self.event }.serialize(serializer)
    }
}

/// Appends the record as one line.
pub fn write_line(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    // A `Vec` takes every write, and events have no keys but strings: this cannot fail. Half a line would be worse than none.
    if serde_json::to_writer(&mut *out, record).is_err() {
        out.truncate(start);
        return;
    }
    out.push(b'\n');
}

/// Whether an event is worth a line: lines that carry nothing are only counted.
#[must_use]
pub fn is_worth_a_line(event: &Event) -> bool {
    !matches!(event, Event::Ignored { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_record_is_one_line_of_json_with_its_origin() {
        let event = Event::Text { text: "a\nb".into(), parent: None };
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let mut out = Vec::new();
        write_line(&Record { line: 7, at, event: &event }, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"line\":7,\"at\":\"2023-11-14T22:13:20.123Z\",\"type\":\"text\",\"text\":\"a\\nb\"}\n"
        );
    }
}
