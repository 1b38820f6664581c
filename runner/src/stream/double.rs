//! A stand-in for an agent's reader, for tests: lines such as `{"usage":{"in":1,"out":2}}`, `{"text":"…"}`, `{"end":true}`;
//! `{"panic":true}` is its bug.

use agent_sdk::agent::{StreamEnd, StreamReader, StreamSummary};
use agent_sdk::event::Event;
use serde_json::Value;

#[derive(Default)]
pub struct JsonDouble {
    summary: StreamSummary,
}

impl StreamReader for JsonDouble {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let Ok(Value::Object(fields)) = serde_json::from_slice(line) else {
            self.summary.malformed_lines += 1;
            emit(Event::Malformed { head: String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned() });
            return;
        };
        assert!(!fields.contains_key("panic"), "the double was asked to panic");
        if let Some(text) = fields.get("text").and_then(Value::as_str) {
            self.summary.answer = Some(text.to_owned());
            emit(Event::Text { text: text.to_owned(), parent: None });
        }
        if let Some(usage) = fields.get("usage") {
            let total = &mut self.summary.usage;
            total.input_tokens = Some(total.input_tokens.unwrap_or(0) + usage["in"].as_u64().unwrap_or(0));
            total.output_tokens = Some(total.output_tokens.unwrap_or(0) + usage["out"].as_u64().unwrap_or(0));
            emit(Event::Usage { usage: *total, complete: false });
        }
        if fields.contains_key("end") {
            self.summary.end = Some(StreamEnd { succeeded: true, reason: None, message: None });
            emit(Event::Ended { succeeded: true, detail: None });
        }
    }

    fn summary(&self) -> &StreamSummary {
        &self.summary
    }
}
