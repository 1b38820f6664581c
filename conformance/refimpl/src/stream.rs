//! Section 7: the agent's stdout. Bytes pass as they are; lines are read for what they say, and none of them can do harm.

use serde_json::{Map, Value, json};

use crate::marker::Scanner;
use crate::mutants::broken;
use crate::prices::Prices;

/// A longer line is passed on and not read: no event of an agent is as long.
const LONGEST: usize = 16 << 20;

/// The events of section 7: their names and fields. `s` text, `b` boolean, `n` whole number, `u` usage, `v` anything; upper case: required.
const EVENTS: &[(&str, &[(&str, char)])] = &[
    ("started", &[("sessionId", 's'), ("model", 's'), ("agentVersion", 's')]),
    ("text", &[("text", 'S'), ("parent", 's')]),
    ("thinking", &[("text", 'S')]),
    ("tool-call", &[("id", 'S'), ("name", 'S'), ("input", 'V'), ("parent", 's')]),
    ("tool-result", &[("id", 'S'), ("failed", 'B'), ("output", 'S')]),
    ("sub-agent", &[("id", 'S'), ("state", 'S'), ("description", 's')]),
    ("usage", &[("usage", 'U'), ("complete", 'B')]),
    ("retry", &[("attempt", 'N'), ("maxAttempts", 'n'), ("delayMs", 'n'), ("httpStatus", 'n'), ("error", 'S')]),
    ("warning", &[("message", 'S')]),
    ("error", &[("message", 'S'), ("httpStatus", 'n')]),
    ("ended", &[("succeeded", 'B'), ("detail", 's')]),
    ("ignored", &[("kind", 'S')]),
    ("unknown", &[("kind", 'S')]),
    ("malformed", &[("head", 'S')]),
];

/// What usage may hold, and the result that each part of it is.
pub const USAGE: &[(&str, &str)] = &[
    ("inputTokens", "input-tokens"),
    ("cacheReadTokens", "cache-read-tokens"),
    ("cacheWriteTokens", "cache-write-tokens"),
    ("outputTokens", "output-tokens"),
    ("reasoningTokens", "reasoning-tokens"),
    ("costUsd", "cost-usd"),
    ("costSource", "cost-source"),
];

/// What the stream has said so far.
#[derive(Debug, Default)]
pub struct Stream {
    /// Whether its lines are the interface's own events; else they say nothing.
    pub is_native: bool,
    prices: Prices,
    line: Vec<u8>,
    pub markers: Scanner,
    pub session: Option<String>,
    pub model: Option<String>,
    pub agent_version: Option<String>,
    pub usage: Map<String, Value>,
    pub usage_complete: bool,
    pub turns: Option<u64>,
    pub answer: Option<String>,
    pub last_error: Option<String>,
    pub retries: u64,
    /// Whether its end was said, whether as a success, and how.
    pub end: Option<(bool, Option<String>)>,
    pub bytes: u64,
    pub lines: u64,
    pub unknown_lines: u64,
    pub malformed_lines: u64,
    pub condensed_lines: u64,
}

impl Stream {
    pub fn new(is_native: bool, nonce: &str, prices: Prices) -> Self {
        Self { is_native, prices, markers: Scanner::new(nonce), ..Self::default() }
    }

    /// Reads what has come; `emit` gets each event.
    pub fn feed(&mut self, bytes: &[u8], emit: &mut dyn FnMut(Value)) {
        self.bytes += bytes.len() as u64;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // One byte more than may be read tells that the line is too long.
            let room = (LONGEST + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_of_line(emit);
            }
        }
    }

    /// Nothing more comes.
    pub fn finish(&mut self, emit: &mut dyn FnMut(Value)) {
        if !self.line.is_empty() {
            self.end_of_line(emit);
        }
    }

    fn end_of_line(&mut self, emit: &mut dyn FnMut(Value)) {
        let line = std::mem::take(&mut self.line);
        self.lines += 1;
        if line.len() > LONGEST {
            self.condensed_lines += 1;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if self.markers.line(line) || !self.is_native {
            return;
        }
        let event = event(line);
        self.learn(&event);
        emit(event);
    }

    fn learn(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        match event["type"].as_str().unwrap_or_default() {
            "started" => (self.session, self.model, self.agent_version) = (text("sessionId"), text("model"), text("agentVersion")),
            "text" => (self.answer, self.retries) = (text("text"), 0),
            "usage" => {
                self.usage = event["usage"].as_object().cloned().unwrap_or_default();
                self.prices.apply(&mut self.usage, self.model.as_deref());
                self.turns = Some(self.turns.unwrap_or(0) + 1);
            }
            "retry" => (self.retries, self.last_error) = (event["attempt"].as_u64().unwrap_or(0), text("error")),
            "error" => self.last_error = text("message"),
            "ended" => {
                let is_spoilt = self.malformed_lines > 0 && broken("unknown-lines");
                self.usage_complete = true;
                self.end = Some((event["succeeded"] == true && !is_spoilt, text("detail")));
            }
            "unknown" => self.unknown_lines += 1,
            "malformed" => self.malformed_lines += 1,
            _ => {}
        }
    }
}

/// The event that a line is: with the fields that the specification names and no other, or `malformed`.
fn event(line: &[u8]) -> Value {
    let malformed = || json!({"type": "malformed", "head": String::from_utf8_lossy(&line[..line.len().min(200)])});
    let Ok(Value::Object(given)) = serde_json::from_slice::<Value>(line) else { return malformed() };
    let Some(kind) = given.get("type").and_then(Value::as_str) else { return malformed() };
    let Some((_, fields)) = EVENTS.iter().find(|(name, _)| *name == kind) else { return json!({"type": "unknown", "kind": kind}) };
    let mut event = Map::from_iter([("type".to_owned(), Value::from(kind))]);
    for (name, form) in *fields {
        let value = given.get(*name).cloned().unwrap_or(Value::Null);
        let is_right = match form.to_ascii_lowercase() {
            's' => value.is_string(),
            'b' => value.is_boolean(),
            'n' => value.as_u64().is_some_and(|number| number <= u64::from(u32::MAX)),
            'u' => is_usage(&value),
            _ => true,
        };
        // An optional field may be null; a required one of any form may be so too, if it is there.
        let is_there = given.contains_key(*name);
        match (is_right && is_there, form.is_ascii_uppercase()) {
            (true, _) => {
                event.insert((*name).to_owned(), value);
            }
            (false, false) if value.is_null() => {}
            _ => return malformed(),
        }
    }
    Value::Object(event)
}

fn is_usage(value: &Value) -> bool {
    let is_part = |(name, value): (&String, &Value)| match name.as_str() {
        _ if value.is_null() => true,
        "costUsd" => value.is_number(),
        "costSource" => value == "agent" || value == "price-table",
        // A newer version may know more of them.
        _ => value.is_u64() || USAGE.iter().all(|(known, _)| known != name),
    };
    value.as_object().is_some_and(|parts| parts.iter().all(is_part))
}
