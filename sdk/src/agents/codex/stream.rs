//! Reads the JSON lines of `codex exec --json`: <https://developers.openai.com/codex/noninteractive>.
//!
//! Events are about the thread, its turns, and items: what the model says and does. The output of commands, the bulk of a stream, is not
//! parsed where only the verdict is wanted. What the usage numbers are worth stands in [`super::meter`], what errors mean in
//! [`super::reasons`].

use memchr::memmem;
use serde_json::{Value, json};

use super::meter::Meter;
use super::reasons;
use crate::agent::{Detail, LedgerEntry, StreamEnd, StreamReader, StreamSummary};
use crate::agents::lines;
use crate::agents::recent::Recent;
use crate::event::Event;
use crate::verdict::Reason;

/// How much of a tool's answer goes into an event: enough to see what happened, not to copy files.
const OUTPUT_LIMIT: usize = 2000;
/// How much of a line that is no JSON goes into an event.
const HEAD_LIMIT: usize = 200;
/// The first bytes of a line, in which it says of which kind it and its item are.
const LOOK_AHEAD: usize = 120;

/// The reader of one run.
pub(super) struct Reader {
    detail: Detail,
    summary: StreamSummary,
    meter: Meter,
    /// Items that were started and are not completed yet, by id.
    open: Recent,
    /// Whether the model said or did anything in this turn.
    did_anything: bool,
}

impl Reader {
    pub(super) fn new(detail: Detail) -> Self {
        Self { detail, summary: StreamSummary::default(), meter: Meter::default(), open: Recent::default(), did_anything: false }
    }

    fn full(&self) -> bool {
        self.detail == Detail::Full
    }
}

impl StreamReader for Reader {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let line = line.trim_ascii();
        if line.is_empty() || (!self.full() && self.skip_command(line)) {
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

    fn read_ledger(&mut self, entry: &LedgerEntry<'_>, emit: &mut dyn FnMut(Event)) {
        let seen = self.meter.line(entry.file, entry.earlier, entry.content);
        if seen.named {
            let (model, version) = (self.meter.model().map(str::to_owned), self.meter.version().map(str::to_owned));
            let (model, version) = (model.or(self.summary.model.clone()), version.or(self.summary.agent_version.clone()));
            if (&model, &version) != (&self.summary.model, &self.summary.agent_version) {
                (self.summary.model, self.summary.agent_version) = (model, version);
                self.report_start(emit);
            }
        }
        if seen.counted {
            self.report_usage(self.summary.end.is_some(), emit);
        }
    }
}

impl Reader {
    /// The completion of a command, of which only its id is wanted. A line that was cut off is left to the parser, to be counted as such.
    fn skip_command(&mut self, line: &[u8]) -> bool {
        let head = &line[..line.len().min(LOOK_AHEAD)];
        let Some(rest) = head.strip_prefix(br#"{"type":"item.completed","item":{"id":""#) else { return false };
        let Some(end) = memchr::memchr(b'"', rest) else { return false };
        if !rest[end..].starts_with(br#"","type":"command_execution","#)
            || !line.ends_with(b"}}")
            || memmem::find(head, b"\\").is_some_and(|at| at < end)
        {
            return false;
        }
        let Ok(id) = std::str::from_utf8(&rest[..end]) else { return false };
        let id = id.to_owned();
        self.acted();
        self.close(&id);
        true
    }

    fn read_event(&mut self, event: &Value, emit: &mut dyn FnMut(Event)) {
        match text(&event["type"]) {
            "thread.started" => {
                let thread = text(&event["thread_id"]);
                self.meter.begin(thread);
                self.summary.session_id = Some(thread.to_owned()).filter(|thread| !thread.is_empty());
                self.report_start(emit);
            }
            "turn.started" => {
                self.summary.end = None;
                self.did_anything = false;
                self.ignore("turn.started", emit);
            }
            "turn.completed" => self.read_completed(event, emit),
            "turn.failed" => self.read_failed(text(&event["error"]["message"]), emit),
            "error" => self.read_error(text(&event["message"]), emit),
            kind @ ("item.started" | "item.updated" | "item.completed") => self.read_item(kind, &event["item"], emit),
            kind @ ("item.plan.delta" | "request_user_input") => self.ignore(kind, emit),
            kind => {
                self.summary.unknown_lines += 1;
                emit(Event::Unknown { kind: shorten(kind, HEAD_LIMIT) });
            }
        }
    }

    fn ignore(&self, kind: &str, emit: &mut dyn FnMut(Event)) {
        if self.full() {
            emit(Event::Ignored { kind: kind.to_owned() });
        }
    }

    fn report_start(&self, emit: &mut dyn FnMut(Event)) {
        let StreamSummary { session_id, model, agent_version, .. } = &self.summary;
        emit(Event::Started { session_id: session_id.clone(), model: model.clone(), agent_version: agent_version.clone() });
    }

    fn report_usage(&mut self, complete: bool, emit: &mut dyn FnMut(Event)) {
        self.summary.usage = self.meter.total();
        self.summary.usage_by_model = self.meter.by_model();
        self.summary.turns = self.meter.answers().or(self.summary.turns);
        emit(Event::Usage { usage: self.summary.usage, complete });
    }

    fn read_completed(&mut self, event: &Value, emit: &mut dyn FnMut(Event)) {
        self.close_all();
        self.summary.retries = 0;
        if self.meter.turn(&event["usage"]) {
            self.report_usage(true, emit);
        }
        let end = if self.did_anything {
            StreamEnd { succeeded: true, reason: None, message: self.summary.answer.clone() }
        } else {
            // A refusal looks the same: Codex prints neither its text nor that it is one.
            let message = "the model's answers were empty: no text, and no tool was called".to_owned();
            StreamEnd { succeeded: false, reason: Some(Reason::Stalled), message: Some(message) }
        };
        emit(Event::Ended { succeeded: end.succeeded, detail: Some("turn.completed".to_owned()) });
        self.summary.end = Some(end);
    }

    fn read_failed(&mut self, message: &str, emit: &mut dyn FnMut(Event)) {
        self.close_all();
        let error = reasons::of_message(message);
        self.summary.end = Some(StreamEnd { succeeded: false, reason: error.reason, message: Some(error.message.clone()) });
        self.summary.last_error = Some(error);
        emit(Event::Ended { succeeded: false, detail: Some("turn.failed".to_owned()) });
    }

    /// An error of which it does not die: the last one before `turn.failed` says the same as that.
    fn read_error(&mut self, message: &str, emit: &mut dyn FnMut(Event)) {
        let Some(retry) = reasons::retry(message) else {
            let error = reasons::of_message(message);
            emit(Event::Error { message: message.to_owned(), http_status: error.http_status });
            self.summary.last_error = Some(error);
            return;
        };
        let attempt = retry.number.map_or_else(|| self.summary.retries.saturating_add(1), |(number, _)| number);
        let error = reasons::of_message(if retry.cause.is_empty() { message } else { retry.cause });
        emit(Event::Retry {
            attempt,
            max_attempts: retry.number.map(|(_, of)| of),
            delay_ms: None,
            http_status: error.http_status,
            error: error.message.clone(),
        });
        self.summary.retries = attempt;
        self.summary.last_error = Some(error);
    }

    /// The model answered: what failed before is over.
    fn acted(&mut self) {
        self.did_anything = true;
        self.summary.retries = 0;
    }

    fn open(&mut self, id: &str) {
        self.open.insert(id, ());
        self.summary.tool_open = true;
    }

    fn close(&mut self, id: &str) {
        self.open.remove(id);
        self.summary.tool_open = !self.open.is_empty();
    }

    fn close_all(&mut self) {
        self.open.clear();
        self.summary.tool_open = false;
    }

    fn read_item(&mut self, kind: &str, item: &Value, emit: &mut dyn FnMut(Event)) {
        let completed = kind == "item.completed";
        match text(&item["type"]) {
            "agent_message" if completed => {
                let said = text(&item["text"]);
                if !said.is_empty() {
                    self.acted();
                    self.summary.answer = Some(said.to_owned());
                }
                if self.full() {
                    emit(Event::Text { text: said.to_owned(), parent: None });
                }
            }
            "reasoning" if completed => {
                self.summary.retries = 0;
                if self.full() {
                    emit(Event::Thinking { text: text(&item["text"]).to_owned() });
                }
            }
            // It goes on: an unknown model's metadata, a server that did not start, configuration that it ignores.
            "error" => emit(Event::Warning { message: shorten(text(&item["message"]), OUTPUT_LIMIT) }),
            "command_execution" => self.read_call(kind, item, "shell", json!({"command": item["command"]}), emit),
            "file_change" => self.read_call(kind, item, "apply_patch", json!({"changes": item["changes"]}), emit),
            "mcp_tool_call" => {
                let name = format!("mcp__{}__{}", text(&item["server"]), text(&item["tool"]));
                self.read_call(kind, item, &name, item["arguments"].clone(), emit);
            }
            "web_search" => self.read_call(kind, item, "web_search", json!({"query": item["query"]}), emit),
            "collab_tool_call" => self.read_collaboration(kind, item, emit),
            kind @ ("agent_message" | "reasoning" | "todo_list" | "plan") => self.ignore(kind, emit),
            other => {
                self.summary.unknown_lines += 1;
                emit(Event::Unknown { kind: shorten(&format!("{kind}/{other}"), HEAD_LIMIT) });
            }
        }
    }

    /// A tool call. Some are told when they are over only.
    fn read_call(&mut self, kind: &str, item: &Value, name: &str, input: Value, emit: &mut dyn FnMut(Event)) {
        let id = text(&item["id"]);
        self.acted();
        let begins = kind == "item.started" || (kind == "item.completed" && !self.open.contains(id));
        if begins {
            self.open(id);
            if self.full() {
                emit(Event::ToolCall { id: id.to_owned(), name: name.to_owned(), input, parent: None });
            }
        }
        if kind != "item.completed" {
            return;
        }
        self.close(id);
        if self.full() {
            let error = text(&item["error"]["message"]);
            let failed = item["status"] == "failed" || item["status"] == "declined" || !error.is_empty();
            let output = if error.is_empty() { output(item) } else { error.to_owned() };
            emit(Event::ToolResult { id: id.to_owned(), failed, output: shorten(&output, OUTPUT_LIMIT) });
        }
    }

    /// What it does with its sub-agents. Their own work is not in the stream.
    fn read_collaboration(&mut self, kind: &str, item: &Value, emit: &mut dyn FnMut(Event)) {
        let id = text(&item["id"]);
        self.acted();
        if kind == "item.completed" {
            self.close(id)
        } else {
            self.open(id)
        }
        if !self.full() {
            return;
        }
        let receivers: Vec<&str> = item["receiver_thread_ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let state = match (text(&item["tool"]), kind, text(&item["status"])) {
            ("spawn_agent", "item.completed", "completed") => "started".to_owned(),
            (_, "item.completed", "failed") => "failed".to_owned(),
            (tool, "item.completed", _) => format!("{tool} is over"),
            (tool, ..) => tool.to_owned(),
        };
        emit(Event::SubAgent {
            id: receivers.first().map_or(id, |first| *first).to_owned(),
            state,
            description: item["prompt"].as_str().map(str::to_owned),
        });
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a tool answered.
fn output(item: &Value) -> String {
    let parts = item["result"]["content"].as_array().into_iter().flatten();
    let texts: Vec<&str> = parts.filter_map(|part| part["text"].as_str()).collect();
    if texts.is_empty() { text(&item["aggregated_output"]).to_owned() } else { texts.join("\n") }
}

/// The beginning of a text, cut on a character border, with what was cut said.
fn shorten(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{} … ({} bytes more)", &text[..end], text.len() - end)
}
