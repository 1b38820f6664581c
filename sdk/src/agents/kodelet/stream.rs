//! Reads the JSON stream of `kodelet run --headless --stream-deltas`.
//!
//! Each event has a `kind`. Parts come as deltas, and then once more as a whole: only the wholes are read. There is no event for the end
//! and none for a failure, and nothing tells tokens or the model: what the end means is decided by `reasons`.

use serde_json::Value;

use crate::agent::{StreamReader, StreamSummary};
use crate::agents::lines;
use crate::event::Event;

/// How much of a tool's answer goes into an event: enough to see what happened, not to copy files.
const OUTPUT_LIMIT: usize = 2000;
/// How much of a line that is no JSON goes into an event.
const HEAD_LIMIT: usize = 200;
/// Parts of what comes as a whole later.
const IGNORED: &[&str] = &["text-delta", "thinking-delta", "thinking-start", "thinking-end", "content-end", "tool-update"];

/// The reader of one run.
#[derive(Default)]
pub(super) struct Reader {
    summary: StreamSummary,
    /// Tool calls that are not answered yet.
    open_calls: u32,
    /// Whether a new answer of the model begins with the next thing that it says.
    in_answer: bool,
}

impl Reader {
    fn read_event(&mut self, event: &Value, emit: &mut dyn FnMut(Event)) {
        let kind = text(event, "kind").unwrap_or_default();
        if let (None, Some(id)) = (&self.summary.session_id, text(event, "conversation_id").filter(|id| !id.is_empty())) {
            self.summary.session_id = Some(id.to_owned());
            emit(Event::Started { session_id: Some(id.to_owned()), model: None, agent_version: None });
        }
        let content = text(event, "content").unwrap_or_default();
        let id = text(event, "tool_call_id").unwrap_or_default().to_owned();
        match (kind, text(event, "role").unwrap_or_default()) {
            ("text", "user") => emit(Event::Ignored { kind: "text/user".to_owned() }),
            ("text", _) => {
                self.note_answer();
                if !content.trim().is_empty() {
                    self.summary.answer = Some(content.to_owned());
                }
                emit(Event::Text { text: content.to_owned(), parent: None });
            }
            ("thinking", _) => {
                self.note_answer();
                emit(Event::Thinking { text: content.to_owned() });
            }
            ("tool-use", _) => {
                self.note_answer();
                // What was said before a tool is called is no last word.
                self.summary.answer = None;
                self.open_calls += 1;
                let input = text(event, "input").unwrap_or_default();
                let input = serde_json::from_str(input).unwrap_or_else(|_| Value::from(input));
                emit(Event::ToolCall { id, name: text(event, "tool_name").unwrap_or_default().to_owned(), input, parent: None });
            }
            ("tool-result", _) => {
                self.in_answer = false;
                self.open_calls = self.open_calls.saturating_sub(1);
                let (failed, output) = outcome(event);
                emit(Event::ToolResult { id, failed, output });
            }
            _ if IGNORED.contains(&kind) => emit(Event::Ignored { kind: kind.to_owned() }),
            _ => {
                self.summary.unknown_lines += 1;
                emit(Event::Unknown { kind: kind.to_owned() });
            }
        }
        self.summary.tool_open = self.open_calls > 0;
    }

    /// Whatever the model says between two results of tools is one answer.
    fn note_answer(&mut self) {
        if !std::mem::replace(&mut self.in_answer, true) {
            self.summary.turns = Some(self.summary.turns.unwrap_or(0) + 1);
        }
    }
}

impl StreamReader for Reader {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        match lines::parse(line) {
            Some(event) if event.is_object() => self.read_event(&event, emit),
            _ => {
                self.summary.malformed_lines += 1;
                emit(Event::Malformed { head: shorten(&String::from_utf8_lossy(line), HEAD_LIMIT) });
            }
        }
    }

    fn summary(&self) -> &StreamSummary {
        &self.summary
    }
}

/// Whether a tool failed, and what it said: from its structured result, or where there is none from the text that holds one.
fn outcome(event: &Value) -> (bool, String) {
    let said = text(event, "result").unwrap_or_default();
    let written: Option<Value> = serde_json::from_str(said).ok();
    let Some(result) = event.get("tool_result").or(written.as_ref()).filter(|result| result.is_object()) else {
        return (false, shorten(said, OUTPUT_LIMIT));
    };
    let output = text(&result["metadata"], "output").or_else(|| text(result, "error")).unwrap_or(said);
    let code = result["metadata"]["exitCode"].as_i64().is_some_and(|code| code != 0);
    (result["success"] == false || code, shorten(output, OUTPUT_LIMIT))
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
