//! Reads OpenCode's `run --format json`, and the ledger that the plugin `watch.js` writes beside it.
//!
//! The stream tells of the main session only, and has no last word; it says nothing while a request is repeated. The ledger has the
//! sub-agents' steps, the retries, the models and the end: the session is `idle`. The ledger is read later than the stream, in pieces, and
//! tells again, in its own order, what the stream has told: so it has the last word on what state the run is in, and tokens are counted
//! once. Where there is no ledger the stream is read all the same, and the end of the process is the end. What the tokens are worth stands
//! in [`super::meter`], what the end means in [`super::reasons`].

use serde_json::Value;

use super::meter::Meter;
use super::reasons;
use super::wire::{Failure, Step, count, text};
use crate::agent::{Detail, LedgerEntry, StreamError, StreamReader, StreamSummary};
use crate::agents::lines::{self, shorten};
use crate::agents::recent::Recent;
use crate::event::Event;

/// How much of a tool's answer goes into an event: enough to see what happened, not to copy files.
const OUTPUT_LIMIT: usize = 2000;
/// How much of a line that is no JSON goes into an event.
const HEAD_LIMIT: usize = 200;

/// The reader of one run.
pub(super) struct Reader {
    detail: Detail,
    summary: StreamSummary,
    meter: Meter,
    /// The models that answer, by message.
    models: Recent<String>,
    /// Messages in which a conversation is shortened: they are paid for, and no progress.
    summaries: Recent,
    /// The main session's answers that were seen.
    turns: Recent,
    /// Sessions of sub-agents.
    children: Recent,
    /// Why the main session's last step was over.
    last_reason: String,
    /// Whether the model ever answered with a text or a tool call.
    said_anything: bool,
    /// How often a request was repeated since the last step.
    repeated: u32,
    /// How often in a row the conversation was too long, as the stream tells it and as the ledger does.
    overflows: [u32; 2],
    /// Whether the main session has nothing more to do.
    is_idle: bool,
}

/// Who tells something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Stream,
    Ledger,
}

impl Reader {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            detail,
            summary: StreamSummary::default(),
            meter: Meter::default(),
            models: Recent::default(),
            summaries: Recent::default(),
            turns: Recent::default(),
            children: Recent::default(),
            last_reason: String::new(),
            said_anything: false,
            repeated: 0,
            overflows: [0; 2],
            is_idle: false,
        }
    }

    fn full(&self) -> bool {
        self.detail == Detail::Full
    }
}

/// A line as a JSON object.
fn parse(line: &[u8]) -> Option<Value> {
    lines::parse(line).filter(Value::is_object)
}

impl StreamReader for Reader {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        self.read_stream(line, emit);
        self.settle();
    }

    fn read_ledger(&mut self, entry: &LedgerEntry<'_>, emit: &mut dyn FnMut(Event)) {
        // A line that a killed agent left unfinished tells nothing.
        let Some(event) = parse(entry.content) else { return };
        let properties = &event["properties"];
        let is_main = !self.children.contains(text(&properties["sessionID"]));
        match text(&event["type"]) {
            "session.created" => self.read_session(&properties["info"], emit),
            "message.updated" => self.read_message(&properties["info"]),
            "message.part.updated" => self.read_step(&Step::of(&properties["part"]), is_main, Source::Ledger, emit),
            "session.status" => self.read_status(&properties["status"], is_main, emit),
            "session.error" if is_main => self.read_error(&properties["error"], Source::Ledger, emit),
            _ => {}
        }
        self.settle();
    }

    fn summary(&self) -> &StreamSummary {
        &self.summary
    }
}

impl Reader {
    fn read_stream(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        // Nothing of it is needed but that it is there: it is the bulk of a stream.
        if !self.full() && line.starts_with(br#"{"type":"tool_use","#) && line.ends_with(b"}") && !self.summary_is_new() {
            self.act();
            return;
        }
        let Some(parsed) = parse(line) else {
            self.summary.malformed_lines += 1;
            emit(Event::Malformed { head: shorten(&String::from_utf8_lossy(line), HEAD_LIMIT) });
            return;
        };
        self.begin(text(&parsed["sessionID"]), emit);
        let part = &parsed["part"];
        match text(&parsed["type"]) {
            "step_start" => self.count_turn(text(&part["messageID"])),
            "text" => self.read_text(part, emit),
            "reasoning" if self.full() => emit(Event::Thinking { text: text(&part["text"]).to_owned() }),
            "reasoning" => {}
            "tool_use" => self.read_tool(part, emit),
            "step_finish" => self.read_step(&Step::of(part), true, Source::Stream, emit),
            "error" => self.read_error(&parsed["error"], Source::Stream, emit),
            kind => {
                self.summary.unknown_lines += 1;
                emit(Event::Unknown { kind: shorten(kind, HEAD_LIMIT) });
            }
        }
    }

    /// What follows from all that is known by now.
    fn settle(&mut self) {
        let overflows = self.overflows[0].max(self.overflows[1]);
        self.summary.retries = self.repeated.max(overflows);
        self.summary.end = self.is_idle.then(|| reasons::of_end(&self.summary, &self.last_reason, self.said_anything));
    }

    fn summary_is_new(&self) -> bool {
        self.summary.session_id.is_none()
    }

    fn begin(&mut self, session: &str, emit: &mut dyn FnMut(Event)) {
        if self.summary_is_new() && !session.is_empty() {
            self.summary.session_id = Some(session.to_owned());
            self.report_start(emit);
        }
    }

    fn report_start(&self, emit: &mut dyn FnMut(Event)) {
        let StreamSummary { session_id, model, agent_version, .. } = &self.summary;
        emit(Event::Started { session_id: session_id.clone(), model: model.clone(), agent_version: agent_version.clone() });
    }

    fn count_turn(&mut self, message: &str) {
        if !self.summaries.contains(message) && self.turns.insert(message, ()) {
            self.summary.turns = Some(self.summary.turns.unwrap_or(0) + 1);
        }
    }

    /// The model said something, or called a tool.
    fn act(&mut self) {
        self.said_anything = true;
        self.summary.empty_steps = 0;
    }

    /// Keeps the last text, in the same buffer each time.
    fn read_text(&mut self, part: &Value, emit: &mut dyn FnMut(Event)) {
        let said = text(&part["text"]);
        // OpenCode's own words to the model, for instance after it shortened the conversation.
        if part["synthetic"] == true || said.is_empty() {
            return;
        }
        self.act();
        let answer = self.summary.answer.get_or_insert_default();
        answer.clear();
        answer.push_str(said);
        if self.full() {
            emit(Event::Text { text: said.to_owned(), parent: None });
        }
    }

    /// A call that is over: it is told of only then.
    fn read_tool(&mut self, part: &Value, emit: &mut dyn FnMut(Event)) {
        self.act();
        if !self.full() {
            return;
        }
        let state = &part["state"];
        let (id, failed) = (text(&part["callID"]).to_owned(), state["status"] == "error");
        emit(Event::ToolCall { id: id.clone(), name: text(&part["tool"]).to_owned(), input: state["input"].clone(), parent: None });
        let output = text(if failed { &state["error"] } else { &state["output"] });
        let exited = count(&state["metadata"]["exit"]).is_some_and(|code| code != 0);
        emit(Event::ToolResult { id, failed: failed || exited, output: shorten(output, OUTPUT_LIMIT) });
    }

    fn read_step(&mut self, step: &Step<'_>, is_main: bool, source: Source, emit: &mut dyn FnMut(Event)) {
        let model = self.models.get(step.message).map(String::as_str);
        let is_new = self.meter.step(step.id, model, &step.tokens, step.cost);
        self.repeated = 0;
        if is_main && !self.summaries.contains(step.message) {
            self.count_turn(step.message);
            step.reason.clone_into(&mut self.last_reason);
            self.overflows[source as usize] = 0;
            let words = format!("finish {}", step.reason);
            self.summary.last_error = reasons::of_error(None, &[&words]).map(|reason| StreamError {
                http_status: None,
                message: format!("the model's last answer ended by `{}`", shorten(step.reason, HEAD_LIMIT)),
                reason: Some(reason),
            });
            // Some gateways tell no tokens; the ledger tells of a step before the stream tells what it said.
            if !step.tokens.is_nothing() || ["tool-calls", "stop"].contains(&step.reason) {
                self.summary.empty_steps = 0;
            } else if is_new {
                self.summary.empty_steps = self.summary.empty_steps.saturating_add(1);
            }
        }
        self.summary.usage_by_model = self.meter.by_model();
        if is_new && !step.tokens.is_nothing() {
            self.summary.usage = self.meter.total();
            emit(Event::Usage { usage: self.summary.usage, complete: false });
        }
    }

    fn read_error(&mut self, error: &Value, source: Source, emit: &mut dyn FnMut(Event)) {
        let failure = Failure::of(error);
        let reason = reasons::of_error(failure.http_status, &[failure.name, failure.message, failure.body]);
        let message = if failure.message.is_empty() { failure.name } else { failure.message };
        let message = shorten(message, OUTPUT_LIMIT);
        if source == Source::Stream {
            emit(Event::Error { message: message.clone(), http_status: failure.http_status });
        }
        // It shortens a conversation that is too long, and asks again: in vain, and for ever, where that does not help.
        if failure.name == "ContextOverflowError" {
            self.overflows[source as usize] = self.overflows[source as usize].saturating_add(1);
        }
        self.summary.last_error = Some(StreamError { http_status: failure.http_status, message, reason });
    }

    fn read_session(&mut self, info: &Value, emit: &mut dyn FnMut(Event)) {
        let id = text(&info["id"]);
        if !text(&info["parentID"]).is_empty() {
            if self.full() {
                let description = Some(text(&info["title"]).to_owned()).filter(|title| !title.is_empty());
                emit(Event::SubAgent { id: id.to_owned(), state: "started".to_owned(), description });
            }
            self.children.insert(id, ());
            return;
        }
        let version = text(&info["version"]);
        if self.summary.agent_version.is_none() && !version.is_empty() {
            self.summary.agent_version = Some(version.to_owned());
        }
        self.begin(id, emit);
    }

    /// Which model answers.
    fn read_message(&mut self, info: &Value) {
        let (provider, model) = (text(&info["providerID"]), text(&info["modelID"]));
        if provider.is_empty() || model.is_empty() {
            return;
        }
        let (id, model) = (text(&info["id"]), shorten(&format!("{provider}/{model}"), HEAD_LIMIT));
        if info["mode"] == "compaction" || info["agent"] == "compaction" {
            self.summaries.insert(id, ());
            if self.turns.remove(id) {
                self.summary.turns = self.summary.turns.map(|turns| turns.saturating_sub(1));
            }
        }
        if self.summary.model.is_none() && !self.children.contains(text(&info["sessionID"])) {
            self.summary.model = Some(model.clone());
        }
        self.models.insert(id, model);
    }

    fn read_status(&mut self, status: &Value, is_main: bool, emit: &mut dyn FnMut(Event)) {
        match text(&status["type"]) {
            "retry" => {
                let message = shorten(text(&status["message"]), OUTPUT_LIMIT);
                let attempt = count(&status["attempt"]).and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(1);
                self.repeated = attempt;
                let reason = reasons::of_error(None, &[&message]);
                self.summary.last_error = Some(StreamError { http_status: None, message: message.clone(), reason });
                emit(Event::Retry { attempt, max_attempts: None, delay_ms: None, http_status: None, error: message });
            }
            "idle" if is_main => {
                self.is_idle = true;
                self.settle();
                if let Some(end) = &self.summary.end {
                    emit(Event::Ended { succeeded: end.succeeded, detail: end.message.clone() });
                }
                emit(Event::Usage { usage: self.summary.usage, complete: true });
            }
            // The model goes on after the end that was told.
            "busy" if is_main => self.is_idle = false,
            _ => {}
        }
    }
}
