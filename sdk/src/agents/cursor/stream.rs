//! Reads the stream-json of Cursor's CLI: <https://cursor.com/docs/cli/reference/output-format>.
//!
//! Tokens stand in the last event only, and its `inputTokens` leaves out what the cache gave: in a recorded run of six steps the cache's
//! part was the larger of the two. A failure has no event; what is no JSON is the CLI's own words, and kept as its last error.

use serde_json::Value;

use super::reasons;
use crate::agent::{Detail, StreamEnd, StreamError, StreamReader, StreamSummary};
use crate::agents::lines;
use crate::event::Event;
use crate::usage::Usage;
use crate::verdict::Reason;

/// How much of a tool's answer goes into an event: enough to see what happened, not to copy files.
const OUTPUT_LIMIT: usize = 2000;
/// How much of a line that is no JSON is kept.
const LINE_LIMIT: usize = 500;
/// How much of one thought is gathered before it is said.
const THOUGHT_LIMIT: usize = 8 << 10;
/// Kinds that say nothing the runner needs: the echo of the prompt, and questions that the CLI answers itself.
const IGNORED: &[&str] = &["user", "interaction_query"];
/// Parts of a tool's answer in which its text stands.
const OUTPUTS: &[&str] = &["stdout", "stderr", "content", "output", "diffString", "reason", "error", "message"];

/// The reader of one run.
pub(super) struct Reader {
    detail: Detail,
    summary: StreamSummary,
    /// Tool calls that are not answered yet.
    open_calls: u32,
    /// The model's call to which the last events belonged.
    model_call: Option<String>,
    /// What the model has thought and not finished.
    thought: String,
}

impl Reader {
    pub(super) fn new(detail: Detail) -> Self {
        Self { detail, summary: StreamSummary::default(), open_calls: 0, model_call: None, thought: String::new() }
    }

    fn read_event(&mut self, event: &Value, emit: &mut dyn FnMut(Event)) {
        let kind = text(event, "type").unwrap_or_default();
        let subtype = text(event, "subtype").unwrap_or_default();
        if self.summary.session_id.is_none() {
            self.summary.session_id = text(event, "session_id").map(str::to_owned);
        }
        match (kind, subtype) {
            ("system", "init") => {
                self.summary.model = text(event, "model").map(str::to_owned);
                let (session_id, model) = (self.summary.session_id.clone(), self.summary.model.clone());
                emit(Event::Started { session_id, model, agent_version: None });
            }
            ("thinking", "delta") => {
                if self.detail == Detail::Full && self.thought.len() < THOUGHT_LIMIT {
                    self.thought.push_str(text(event, "text").unwrap_or_default());
                }
            }
            ("thinking", "completed") => {
                let thought = std::mem::take(&mut self.thought);
                if !thought.is_empty() {
                    emit(Event::Thinking { text: thought });
                }
            }
            ("assistant", _) => self.read_message(event, emit),
            ("tool_call", "started" | "completed") => self.read_tool_call(event, subtype == "completed", emit),
            ("result", _) => self.read_result(event, emit),
            _ if IGNORED.contains(&kind) => emit(Event::Ignored { kind: kind.to_owned() }),
            _ => {
                self.summary.unknown_lines += 1;
                emit(Event::Unknown { kind: [kind, subtype].join("/").trim_end_matches('/').to_owned() });
            }
        }
    }

    /// An answer and its tool calls name the model's call that they come from; the last answer names none.
    fn note_model_call(&mut self, event: &Value) {
        let call = text(event, "model_call_id").unwrap_or_default();
        if self.model_call.as_deref() != Some(call) {
            self.model_call = Some(call.to_owned());
            self.summary.turns = Some(self.summary.turns.unwrap_or(0) + 1);
        }
    }

    fn read_message(&mut self, event: &Value, emit: &mut dyn FnMut(Event)) {
        self.note_model_call(event);
        let blocks = event["message"]["content"].as_array().into_iter().flatten();
        let said: String = blocks.filter_map(|block| text(block, "text")).collect();
        if said.trim().is_empty() {
            return;
        }
        self.summary.answer = Some(said.clone());
        emit(Event::Text { text: said, parent: None });
    }

    fn read_tool_call(&mut self, event: &Value, is_answer: bool, emit: &mut dyn FnMut(Event)) {
        let id = text(event, "call_id").unwrap_or_default().to_owned();
        // The tool is a field's name: `shellToolCall`, `readToolCall`; beside it stand other things.
        let tools = event["tool_call"].as_object().into_iter().flatten();
        let Some((kind, call)) = tools.map(|(key, call)| (key.strip_suffix("ToolCall"), call)).find_map(|(kind, call)| Some((kind?, call)))
        else {
            self.summary.unknown_lines += 1;
            emit(Event::Unknown { kind: "tool_call".to_owned() });
            return;
        };
        if is_answer {
            self.open_calls = self.open_calls.saturating_sub(1);
            let (failed, output) = outcome(&call["result"]);
            emit(Event::ToolResult { id, failed, output });
        } else {
            self.note_model_call(event);
            self.open_calls += 1;
            // A server's tool has its own name and arguments among the arguments.
            let args = &call["args"];
            let (name, input) = match text(args, "toolName").filter(|_| kind == "mcp") {
                Some(name) => (name, &args["args"]),
                None => (kind, args),
            };
            emit(Event::ToolCall { id, name: name.to_owned(), input: input.clone(), parent: None });
        }
        self.summary.tool_open = self.open_calls > 0;
    }

    fn read_result(&mut self, event: &Value, emit: &mut dyn FnMut(Event)) {
        self.read_usage(&event["usage"]);
        let words = text(event, "result").or_else(|| text(event, "error")).filter(|words| !words.trim().is_empty()).map(str::to_owned);
        let said = self.summary.answer.clone().or_else(|| words.clone());
        let failed = text(event, "subtype") != Some("success") || event["is_error"] == true;
        let end = if failed {
            let reason = words.as_deref().and_then(reasons::of_text);
            if let Some(message) = words.clone() {
                emit(Event::Error { message: shorten(&message, LINE_LIMIT), http_status: None });
            }
            StreamEnd { succeeded: false, reason, message: words }
        } else if said.is_none() && self.summary.turns.is_none() {
            let message = "the model's answers were empty: no text, and no tool was called".to_owned();
            StreamEnd { succeeded: false, reason: Some(Reason::Stalled), message: Some(message) }
        } else {
            StreamEnd { succeeded: true, reason: None, message: said.clone() }
        };
        if !failed {
            self.summary.answer = said;
        }
        emit(Event::Usage { usage: self.summary.usage, complete: true });
        emit(Event::Ended { succeeded: end.succeeded, detail: text(event, "subtype").map(str::to_owned) });
        self.summary.end = Some(end);
    }

    fn read_usage(&mut self, usage: &Value) {
        let count = |key: &str| usage[key].as_u64();
        let (fresh, read, written) = (count("inputTokens"), count("cacheReadTokens"), count("cacheWriteTokens"));
        self.summary.usage = Usage {
            input_tokens: fresh.map(|fresh| fresh.saturating_add(read.unwrap_or(0)).saturating_add(written.unwrap_or(0))),
            cache_read_tokens: read,
            cache_write_tokens: written,
            output_tokens: count("outputTokens"),
            ..Usage::default()
        };
    }

    /// What is no event is the CLI's own words: a failure has no other.
    fn read_words(&mut self, line: &str, emit: &mut dyn FnMut(Event)) {
        self.summary.malformed_lines += 1;
        let message = shorten(line, LINE_LIMIT);
        let reason = reasons::of_text(line);
        if reason.is_some() || self.summary.last_error.as_ref().is_none_or(|error| error.reason.is_none()) {
            self.summary.last_error = Some(StreamError { http_status: None, message: message.clone(), reason });
        }
        emit(match reason {
            Some(_) => Event::Error { message, http_status: None },
            None => Event::Malformed { head: message },
        });
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
            _ => self.read_words(&String::from_utf8_lossy(line), emit),
        }
    }

    fn summary(&self) -> &StreamSummary {
        &self.summary
    }
}

/// Whether a tool failed, and what it said.
fn outcome(result: &Value) -> (bool, String) {
    // `{"success": …}`, or another word: `rejected`, `failure`, `error`.
    let variants = result.as_object().into_iter().flatten().find(|(_, said)| said.is_object());
    let Some((word, said)) = variants else { return (true, shorten(&result.to_string(), OUTPUT_LIMIT)) };
    let failed = word != "success" || said["exitCode"].as_i64().is_some_and(|code| code != 0) || said["isError"] == true;
    // A server's answer is a list of blocks.
    let blocks =
        said["content"].as_array().into_iter().flatten().filter_map(|block| text(&block["text"], "text").or_else(|| text(block, "text")));
    let parts: Vec<&str> = OUTPUTS.iter().filter_map(|key| text(said, key)).chain(blocks).filter(|part| !part.is_empty()).collect();
    let output = if parts.is_empty() { said.to_string() } else { parts.join("\n") };
    let output = if word == "success" { output } else { format!("{word}: {output}") };
    (failed, shorten(&output, OUTPUT_LIMIT))
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
