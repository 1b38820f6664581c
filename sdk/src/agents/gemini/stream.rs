//! Reads Gemini CLI's stream-json, and the files that it writes beside it.
//!
//! Messages come in chunks; the answer is what was said since the last tool call. What the usage numbers are worth stands in
//! [`super::meter`], what the end means in [`super::reasons`].

use serde::Deserialize;

use super::ledgers::{Records, TELEMETRY_LEDGER};
use super::meter::Meter;
use super::reasons;
use super::wire::{Attributes, Failure, Line, Message, Record};
use crate::agent::{Detail, LedgerEntry, StreamEnd, StreamError, StreamReader, StreamSummary};
use crate::agents::answer::{CHUNK_LIMIT, Pieces};
use crate::agents::lines;
use crate::event::Event;

/// How much of a tool's answer goes into an event: enough to see what happened, not to copy files.
const OUTPUT_LIMIT: usize = 2000;
/// How much of a line that is no JSON goes into an event.
const HEAD_LIMIT: usize = 200;
/// What `init` says where Gemini chooses the model itself.
const AUTO: &str = "auto";

/// The reader of one run.
pub(super) struct Reader {
    detail: Detail,
    summary: StreamSummary,
    meter: Meter,
    records: Records,
    /// How far the answer has come.
    pieces: Pieces,
    /// Chunks that were not shown as a text yet.
    chunks: String,
    /// Tool calls that are not answered yet.
    open_calls: u32,
    /// Whether what comes next from the model is a new answer of it.
    new_turn: bool,
    /// Requests in a row that failed.
    failures: u32,
    /// Why the main conversation's last answer ended, in the word of the telemetry file.
    finish: Option<String>,
    /// What the stream's end said of itself: that all went well, or not.
    ended_well: Option<bool>,
}

impl Reader {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            detail,
            summary: StreamSummary::default(),
            meter: Meter::default(),
            records: Records::default(),
            pieces: Pieces::default(),
            chunks: String::new(),
            open_calls: 0,
            new_turn: true,
            failures: 0,
            finish: None,
            ended_well: None,
        }
    }

    fn full(&self) -> bool {
        self.detail == Detail::Full
    }
}

impl StreamReader for Reader {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        // What a tool printed may be no UTF-8, and half a character of JavaScript's is no JSON.
        let text = String::from_utf8_lossy(line);
        // Without this an array would pass for an object that lacks every field.
        if line.first() == Some(&b'{') {
            if let Ok(read) = serde_json::from_str::<Line<'_>>(&text) {
                return self.read(read, emit);
            }
            if let Some(value) = lines::parse(line)
                && let Ok(read) = Line::deserialize(&value)
            {
                return self.read(read, emit);
            }
        }
        self.summary.malformed_lines += 1;
        emit(Event::Malformed { head: shorten(&text, HEAD_LIMIT) });
    }

    fn read_ledger(&mut self, entry: &LedgerEntry<'_>, emit: &mut dyn FnMut(Event)) {
        if entry.ledger != TELEMETRY_LEDGER {
            if let Ok(message) = serde_json::from_slice(entry.content) {
                self.read_message(entry, &message, emit);
            }
        } else if let Some(record) = self.records.line(entry.content)
            && let Ok(Record { attributes: Some(attributes) }) = serde_json::from_slice(&record)
        {
            self.read_record(&attributes, emit);
        }
    }

    fn summary(&self) -> &StreamSummary {
        &self.summary
    }
}

impl Reader {
    fn read(&mut self, line: Line<'_>, emit: &mut dyn FnMut(Event)) {
        let is_chunk = line.kind == "message" && line.role.as_deref() == Some("assistant");
        if !is_chunk {
            self.show_chunks(emit);
        }
        match &*line.kind {
            "init" => self.read_init(line, emit),
            "message" if is_chunk => self.read_chunk(&line.content.unwrap_or_default(), emit),
            // The prompt, repeated.
            "message" if self.full() => emit(Event::Ignored { kind: "message/user".to_owned() }),
            "message" => {}
            "tool_use" => self.read_call(line, emit),
            "tool_result" => self.read_result(line, emit),
            "error" => self.read_error(&line, emit),
            "result" => self.read_end(&line, emit),
            kind => {
                self.summary.unknown_lines += 1;
                emit(Event::Unknown { kind: shorten(kind, HEAD_LIMIT) });
            }
        }
    }

    fn read_init(&mut self, init: Line<'_>, emit: &mut dyn FnMut(Event)) {
        self.summary.session_id = init.session_id.or(self.summary.session_id.take());
        self.summary.model = init.model.or(self.summary.model.take());
        let (session_id, model) = (self.summary.session_id.clone(), self.summary.model.clone());
        emit(Event::Started { session_id, model, agent_version: None });
    }

    /// The model says or calls something: the first thing of an answer begins a turn.
    fn answers(&mut self) {
        if std::mem::take(&mut self.new_turn) {
            self.summary.turns = Some(self.summary.turns.unwrap_or(0) + 1);
            self.summary.answer = None;
            self.pieces = Pieces::default();
        }
        self.summary.end = None;
        self.ended_well = None;
        self.clear_failures();
    }

    fn clear_failures(&mut self) {
        self.failures = 0;
        self.summary.retries = 0;
    }

    fn read_chunk(&mut self, text: &str, emit: &mut dyn FnMut(Event)) {
        self.answers();
        self.pieces.add(self.summary.answer.get_or_insert_default(), text);
        if self.full() {
            self.chunks.push_str(text);
            if self.chunks.len() > CHUNK_LIMIT {
                self.show_chunks(emit);
            }
        }
    }

    fn show_chunks(&mut self, emit: &mut dyn FnMut(Event)) {
        if !self.chunks.is_empty() {
            emit(Event::Text { text: std::mem::take(&mut self.chunks), parent: None });
        }
    }

    fn read_call(&mut self, call: Line<'_>, emit: &mut dyn FnMut(Event)) {
        self.answers();
        self.open_calls = self.open_calls.saturating_add(1);
        self.summary.tool_open = true;
        if self.full() {
            let (id, name) = (call.tool_id.unwrap_or_default(), call.tool_name.unwrap_or_default());
            emit(Event::ToolCall { id, name, input: call.parameters, parent: None });
        }
    }

    fn read_result(&mut self, result: Line<'_>, emit: &mut dyn FnMut(Event)) {
        self.new_turn = true;
        self.open_calls = self.open_calls.saturating_sub(1);
        self.summary.tool_open = self.open_calls > 0;
        if self.full() {
            let said = result.output.or(result.error.and_then(|error| error.message)).unwrap_or_default();
            let failed = result.status.as_deref() == Some("error");
            emit(Event::ToolResult { id: result.tool_id.unwrap_or_default(), failed, output: shorten(&said, OUTPUT_LIMIT) });
        }
    }

    /// Not fatal by itself: the end may say that all went well.
    fn read_error(&mut self, error: &Line<'_>, emit: &mut dyn FnMut(Event)) {
        let message = error.message.clone().unwrap_or_default();
        let (http_status, reason) = reasons::of_error("", &message);
        self.summary.last_error = Some(StreamError { http_status, message: message.clone(), reason });
        emit(if error.severity.as_deref() == Some("warning") { Event::Warning { message } } else { Event::Error { message, http_status } });
    }

    fn read_end(&mut self, result: &Line<'_>, emit: &mut dyn FnMut(Event)) {
        self.open_calls = 0;
        self.summary.tool_open = false;
        if let Some(stats) = &result.stats {
            self.meter.settle(stats);
            self.report_usage(true, emit);
        }
        let succeeded = result.status.as_deref() == Some("success");
        if let Some(Failure { kind, message }) = &result.error {
            let (kind, message) = (kind.as_deref().unwrap_or_default(), message.clone().unwrap_or_default());
            let (http_status, reason) = reasons::of_error(kind, &message);
            emit(Event::Error { message: message.clone(), http_status });
            self.summary.last_error = Some(StreamError { http_status, message, reason });
        }
        self.ended_well = Some(succeeded);
        let end = self.end(succeeded);
        emit(Event::Ended { succeeded: end.succeeded, detail: result.status.clone() });
        self.summary.end = Some(end);
    }

    fn report_usage(&mut self, complete: bool, emit: &mut dyn FnMut(Event)) {
        self.summary.usage = self.meter.total();
        self.summary.usage_by_model = self.meter.by_model();
        // The model that did the most is the one that did the work.
        if self.summary.model.as_deref().is_none_or(|model| model == AUTO) {
            let most = self.summary.usage_by_model.iter().max_by_key(|(_, usage)| usage.input_tokens);
            self.summary.model = most.map(|(model, _)| model.clone()).or(self.summary.model.take());
        }
        emit(Event::Usage { usage: self.summary.usage, complete });
    }

    /// An answer, as a session's file has it.
    fn read_message(&mut self, entry: &LedgerEntry<'_>, message: &Message, emit: &mut dyn FnMut(Event)) {
        let (Some(id), Some(tokens)) = (&message.id, message.tokens) else { return };
        let model = message.model.as_deref().unwrap_or_default();
        if self.meter.message(entry.file, id, entry.earlier, model, tokens) {
            self.report_usage(false, emit);
        }
    }

    /// What the telemetry file says of a request.
    fn read_record(&mut self, record: &Attributes, emit: &mut dyn FnMut(Event)) {
        match record.event.as_deref() {
            Some("gemini_cli.api_error") => {
                let error = record.error.clone().unwrap_or_default();
                let (said, reason) = reasons::of_error("", &error);
                let http_status = record.status_code.or(said);
                let reason = reasons::of_status(http_status, &error).or(reason);
                self.failures += 1;
                self.summary.retries = self.failures - 1;
                if self.summary.end.is_none() {
                    self.summary.last_error = Some(StreamError { http_status, message: error.clone(), reason });
                }
                emit(Event::Retry { attempt: self.failures, max_attempts: None, delay_ms: None, http_status, error });
            }
            Some("gemini_cli.api_response") => {
                self.clear_failures();
                match record.role.as_deref() {
                    // In the session's files.
                    Some("subagent") => {}
                    Some(role) if role.starts_with("utility") => {
                        if self.meter.side_answer(record) {
                            self.report_usage(false, emit);
                        }
                    }
                    _ => self.finished(record),
                }
            }
            _ => {}
        }
    }

    /// The stream does not say that the output limit cut its answer short, nor in all versions that the service held it back; and this
    /// comes later than the stream's end.
    fn finished(&mut self, record: &Attributes) {
        self.finish = record.finish_reasons.as_ref().and_then(|reasons| reasons.last().cloned());
        if let Some(succeeded) = self.ended_well {
            self.summary.end = Some(self.end(succeeded));
        }
    }

    /// What the stream's end means, after what is known by now.
    fn end(&self, succeeded: bool) -> StreamEnd {
        reasons::of_end(succeeded, self.summary.turns.is_some(), self.summary.last_error.as_ref(), self.finish.as_deref())
    }
}

/// The beginning of a text, cut on a character border, with what was cut said.
fn shorten(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{} … ({} bytes more)", &text[..end], text.len() - end)
}
