//! Reads Claude Code's stream-json.
//!
//! The kind of a line is looked up in its first bytes, since the program always prints `type` first; whole lines that the verdict
//! does not need (tool results above all, the bulk of a stream) are never parsed. A line that begins otherwise is parsed to find
//! out. What the usage numbers are worth stands in [`super::meter`], what the end means in [`super::reasons`].

use std::borrow::Cow;

use memchr::{memchr, memmem};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::meter::Meter;
use super::wire::{Block, Final, Head, Input, Message, Partial, System, Text, Turn};
use super::{quick, reasons};
use crate::agent::{Detail, StreamError, StreamReader, StreamSummary};
use crate::agents::lines::{self, mend, shorten};
use crate::event::Event;

/// The model name on messages that the program makes up itself, for instance to show an error.
const SYNTHETIC: &str = "<synthetic>";
/// How much of a tool's answer goes into an event: enough to see what happened, not to copy files.
const OUTPUT_LIMIT: usize = 2000;
/// How much of a line that is no JSON goes into an event.
const HEAD_LIMIT: usize = 200;
/// The first bytes of a line, in which a `user` line names its tool result.
const LOOK_AHEAD: usize = 160;

/// Subtypes of `system` that say nothing the runner needs.
const IGNORED_SUBTYPES: &[&str] = &[
    "away_summary",
    "commands_changed",
    "compact_boundary",
    "elicitation_complete",
    "file_snapshot",
    "files_persisted",
    "hook_progress",
    "hook_started",
    "informational",
    "local_command_output",
    "memory_recall",
    "memory_saved",
    "notification",
    "plugin_install",
    "post_turn_summary",
    "session_state_changed",
    "status",
    "stop_hook_summary",
    "task_summary",
    "thinking_tokens",
    "turn_duration",
    "turn_starting",
];

/// Other kinds that say nothing the runner needs.
const IGNORED_KINDS: &[&str] = &["keep_alive", "prompt_suggestion", "rate_limit_event", "tool_progress", "tool_use_summary"];

/// The reader of one run.
pub(super) struct Reader {
    detail: Detail,
    summary: StreamSummary,
    meter: Meter,
    /// Tool calls of the main conversation that are not answered yet.
    open_calls: u32,
    /// Whether commands or sub-agents run in the background.
    in_background: bool,
    /// Whether the model ever answered with a text or a tool call.
    said_anything: bool,
    /// The program's last word for an error, from a message that it made up.
    error_word: Option<String>,
}

impl Reader {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            detail,
            summary: StreamSummary::default(),
            meter: Meter::default(),
            open_calls: 0,
            in_background: false,
            said_anything: false,
            error_word: None,
        }
    }

    fn full(&self) -> bool {
        self.detail == Detail::Full
    }
}

/// The line is not what the format promises.
struct Malformed;

impl From<serde_json::Error> for Malformed {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

/// A line by the types of [`super::wire`]. Where all of it is UTF-8, which is quickly seen, no text in it is looked at for that again.
fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(line) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(line),
    }
}

/// The word that follows where the line begins with `prefix`, and what comes after its closing quote.
fn peek<'a>(line: &'a [u8], prefix: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let rest = line.strip_prefix(prefix)?;
    let end = memchr(b'"', &rest[..rest.len().min(64)])?;
    let word = &rest[..end];
    word.iter().all(|b| b.is_ascii_lowercase() || *b == b'_').then_some((word, &rest[end + 1..]))
}

impl StreamReader for Reader {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let line = line.trim_ascii();
        if line.is_empty() || self.read_json(line, emit).is_ok() {
            return;
        }
        if mend(line).is_some_and(|mended| self.read_json(&mended, emit).is_ok()) {
            return;
        }
        // What its types refuse: a name that is repeated, or arguments of a tool that are nested very deep.
        if lines::parse(line).is_some_and(|value| self.read_json(value.to_string().as_bytes(), emit).is_ok()) {
            return;
        }
        self.summary.malformed_lines += 1;
        emit(Event::Malformed { head: shorten(&String::from_utf8_lossy(line), HEAD_LIMIT) });
    }

    fn summary(&self) -> &StreamSummary {
        &self.summary
    }
}

impl Reader {
    /// Reads a line, or changes nothing and says why it cannot.
    fn read_json(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) -> Result<(), Malformed> {
        // Without this an array would pass for an object that lacks every field.
        if line.first() != Some(&b'{') {
            return Err(Malformed);
        }
        let Some((kind, rest)) = peek(line, br#"{"type":""#) else {
            let head: Head<'_> = parse(line)?;
            return self.read_kind(head.kind.or_empty().as_bytes(), head.subtype.or_empty().as_bytes(), line, emit);
        };
        // Without its `subtype` in second place the line is parsed to find it.
        match (kind, peek(rest, br#","subtype":""#)) {
            (_, Some((subtype, _))) => self.read_kind(kind, subtype, line, emit),
            (b"system", None) => {
                let head: Head<'_> = parse(line)?;
                self.read_kind(kind, head.subtype.or_empty().as_bytes(), line, emit)
            }
            (_, None) => self.read_kind(kind, b"", line, emit),
        }
    }

    fn read_kind(&mut self, kind: &[u8], subtype: &[u8], line: &[u8], emit: &mut dyn FnMut(Event)) -> Result<(), Malformed> {
        match kind {
            b"user" if self.full() => self.read_user(parse(line)?, emit),
            b"user" => return self.skip_user(line),
            b"assistant" if self.full() => self.read_assistant::<Value>(parse(line)?, emit),
            b"assistant" => match quick::assistant(line) {
                Some(turn) => self.read_assistant(turn, emit),
                None => self.read_assistant::<IgnoredAny>(parse(line)?, emit),
            },
            b"stream_event" => self.read_partial(&parse(line)?, emit),
            b"result" => self.read_final(&parse(line)?, emit),
            b"system" => return self.read_system(subtype, line, emit),
            _ => {
                // Is it a whole line at all?
                let head: Head<'_> = parse(line)?;
                let kind = head.kind.or_empty().to_owned();
                self.pass_over(kind, |kind| IGNORED_KINDS.contains(&kind), emit);
            }
        }
        Ok(())
    }

    /// A line that carries nothing, known or not.
    fn pass_over(&mut self, kind: String, known: impl Fn(&str) -> bool, emit: &mut dyn FnMut(Event)) {
        if !known(&kind) {
            self.summary.unknown_lines += 1;
            emit(Event::Unknown { kind: shorten(&kind, HEAD_LIMIT) });
        } else if self.full() {
            emit(Event::Ignored { kind });
        }
    }

    fn read_system(&mut self, subtype: &[u8], line: &[u8], emit: &mut dyn FnMut(Event)) -> Result<(), Malformed> {
        let subtype = String::from_utf8_lossy(subtype);
        let system: System<'_> = parse(line)?;
        match &*subtype {
            "init" => self.read_init(&system, emit),
            "api_retry" => self.read_retry(&system, emit),
            "hook_response" if system.outcome.as_deref().is_some_and(|outcome| outcome != "success") => {
                let (hook, outcome) = (system.hook_name.or_empty(), system.outcome.or_empty());
                let stderr = shorten(system.stderr.or_empty().trim(), HEAD_LIMIT);
                emit(Event::Warning { message: format!("hook {hook}: {outcome} {stderr}").trim_end().to_owned() });
            }
            "model_refusal_no_fallback" | "model_refusal_fallback" => {
                let said = shorten(system.content.or_empty(), HEAD_LIMIT);
                emit(Event::Warning { message: format!("the model refused {said}").trim_end().to_owned() });
            }
            "model_fallback" | "model_consent_fallback" | "permission_denied" | "mirror_error" | "api_error" | "worker_shutting_down" => {
                let said = [&system.error, &system.content].into_iter().find_map(Text::as_deref).unwrap_or_default();
                emit(Event::Warning { message: format!("{subtype} {}", shorten(said, HEAD_LIMIT)).trim_end().to_owned() });
            }
            "task_started" | "task_progress" | "task_updated" | "task_notification" => {
                let state = match &*subtype {
                    "task_started" => "started",
                    "task_progress" => "progress",
                    _ => system.status.as_deref().or(system.patch.status.as_deref()).unwrap_or("progress"),
                };
                if self.full() {
                    emit(Event::SubAgent {
                        id: system.task_id.or_empty().to_owned(),
                        state: state.to_owned(),
                        description: system.description.to_owned().or_else(|| system.summary.to_owned()),
                    });
                }
            }
            "background_tasks_changed" => {
                self.in_background = !system.tasks.items.is_empty();
                if !self.in_background && self.summary.held_end.is_some() {
                    self.summary.end = self.summary.held_end.take();
                }
                self.pass_over(format!("system/{subtype}"), |_| true, emit);
            }
            "hook_response" => self.pass_over(format!("system/{subtype}"), |_| true, emit),
            _ => self.pass_over(format!("system/{subtype}"), |_| IGNORED_SUBTYPES.contains(&&*subtype), emit),
        }
        Ok(())
    }

    fn read_init(&mut self, init: &System<'_>, emit: &mut dyn FnMut(Event)) {
        // After a result: the model is about to be asked again.
        self.go_on();
        let summary = &mut self.summary;
        summary.session_id = init.session_id.to_owned().or(summary.session_id.take());
        summary.model = init.model.to_owned().or(summary.model.take());
        summary.agent_version = init.claude_code_version.to_owned().or(summary.agent_version.take());
        emit(Event::Started {
            session_id: summary.session_id.clone(),
            model: summary.model.clone(),
            agent_version: summary.agent_version.clone(),
        });
        for server in &init.mcp_servers.items {
            // Servers may still be starting (`pending`); the run goes on without one that failed.
            if let Some(status @ ("failed" | "needs-auth" | "disabled")) = server.status.as_deref() {
                emit(Event::Warning { message: format!("MCP server `{}`: {status}", server.name.or_empty()) });
            }
        }
    }

    fn read_retry(&mut self, retry: &System<'_>, emit: &mut dyn FnMut(Event)) {
        let attempt = retry.attempt.0.and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(self.summary.retries.saturating_add(1));
        let http_status = retry.error_status.0.and_then(|status| u16::try_from(status).ok());
        let error = retry.error.or_empty();
        self.summary.retries = attempt;
        self.summary.last_error =
            Some(StreamError { http_status, message: describe(http_status, error), reason: reasons::of_error(http_status, &[error]) });
        emit(Event::Retry {
            attempt,
            max_attempts: retry.max_retries.0.and_then(|max| u32::try_from(max).ok()),
            delay_ms: retry.retry_delay_ms.0,
            http_status,
            error: error.to_owned(),
        });
    }

    fn read_assistant<'a, I: Input<'a>>(&mut self, turn: Turn<'a, I>, emit: &mut dyn FnMut(Event)) {
        let Turn { message, parent_tool_use_id: parent, error, session_id } = turn;
        if self.summary.session_id.is_none() {
            self.summary.session_id = session_id.to_owned();
        }
        if message.model.as_deref() == Some(SYNTHETIC) {
            return self.read_synthetic(&message, error.as_deref(), emit);
        }
        self.count_message(&message, parent.as_deref(), emit);
        let from_main = parent.as_deref().is_none();
        if message.content.text.as_deref().is_some_and(|text| !text.is_empty()) {
            self.summary.empty_steps = 0;
            if from_main {
                self.say(message.content.text.or_empty());
            }
        }
        for block in message.content.items {
            self.read_block(block, parent.as_deref(), emit);
        }
    }

    /// A message that the program made up: the text of an error, or its answer to a command of its own.
    fn read_synthetic<I>(&mut self, message: &Message<'_, I>, error: Option<&str>, emit: &mut dyn FnMut(Event)) {
        let text: Vec<_> = message.content.items.iter().filter_map(|block| block.text.as_deref()).collect();
        let text = text.join("\n");
        let Some(error) = error else {
            if self.full() && !text.is_empty() {
                emit(Event::Text { text, parent: None });
            }
            return;
        };
        let reason = reasons::of_error(None, &[error, &text]);
        self.error_word = Some(error.to_owned());
        self.summary.last_error = Some(StreamError { http_status: None, message: text.clone(), reason });
        emit(Event::Error { message: text, http_status: None });
    }

    fn count_message<I>(&mut self, message: &Message<'_, I>, parent: Option<&str>, emit: &mut dyn FnMut(Event)) {
        let Some(id) = message.id.as_deref() else { return };
        let seen = self.meter.message(id, parent, message.model.or_empty(), &message.usage);
        if seen.new {
            if parent.is_none() {
                self.go_on();
            } else if let Some(end) = self.summary.end.take() {
                self.summary.held_end = Some(end);
            }
            self.error_word = None;
            self.summary.retries = 0;
            self.summary.empty_steps = if seen.empty { self.summary.empty_steps.saturating_add(1) } else { 0 };
            if parent.is_none() {
                self.summary.turns = Some(self.summary.turns.unwrap_or(0) + 1);
                // The model is only asked again when every call of its last message has been answered.
                self.open_calls = 0;
                self.summary.tool_open = false;
            }
        }
        if seen.changed {
            self.report_usage(false, emit);
        }
    }

    /// No result was the last: the program works on what arrived in the background.
    fn go_on(&mut self) {
        self.summary.end = None;
        self.summary.held_end = None;
    }

    fn report_usage(&mut self, complete: bool, emit: &mut dyn FnMut(Event)) {
        self.summary.usage = self.meter.total();
        let by_model = self.meter.by_model();
        if complete || by_model.len() != self.summary.usage_by_model.len() {
            self.summary.usage_by_model.clone_from(by_model);
        } else {
            // The same models, between results.
            self.summary.usage_by_model.values_mut().zip(by_model.values()).for_each(|(told, usage)| *told = *usage);
        }
        emit(Event::Usage { usage: self.summary.usage, complete });
    }

    /// Keeps the last text of the main conversation, in the same buffer each time.
    fn say(&mut self, text: &str) {
        self.said_anything = true;
        let answer = self.summary.answer.get_or_insert_default();
        answer.clear();
        answer.push_str(text);
    }

    fn read_block<'a, I: Input<'a>>(&mut self, block: Block<'a, I>, parent: Option<&str>, emit: &mut dyn FnMut(Event)) {
        let owned_parent = || parent.map(str::to_owned);
        match block.kind.or_empty() {
            "text" => {
                let text = block.text.or_empty();
                if !text.is_empty() {
                    self.summary.empty_steps = 0;
                }
                if parent.is_none() && !text.is_empty() {
                    self.say(text);
                }
                if self.full() {
                    emit(Event::Text { text: text.to_owned(), parent: owned_parent() });
                }
            }
            "thinking" if self.full() => emit(Event::Thinking { text: block.thinking.or_empty().to_owned() }),
            "tool_use" | "server_tool_use" | "mcp_tool_use" => {
                self.said_anything = true;
                self.summary.empty_steps = 0;
                // What the provider itself runs is answered within the same message.
                if parent.is_none() && block.kind.or_empty() == "tool_use" {
                    self.open_calls = self.open_calls.saturating_add(1);
                    self.summary.tool_open = true;
                }
                if self.full() {
                    emit(Event::ToolCall {
                        id: block.id.or_empty().to_owned(),
                        name: block.name.or_empty().to_owned(),
                        input: block.input.into_value(),
                        parent: owned_parent(),
                    });
                }
            }
            _ => {}
        }
    }

    /// A line that is not parsed: it only says that a call was answered.
    fn skip_user(&mut self, line: &[u8]) -> Result<(), Malformed> {
        // A line that was cut off is to be counted as such.
        if line.last() != Some(&b'}') {
            let _: IgnoredAny = parse(line)?;
        }
        let head = &line[..line.len().min(LOOK_AHEAD)];
        if memmem::find(head, br#""tool_use_id""#).is_some() || memmem::find(head, br#""tool_result""#).is_some() {
            self.close_calls(1);
        }
        Ok(())
    }

    fn close_calls(&mut self, answered: u32) {
        self.open_calls = self.open_calls.saturating_sub(answered);
        self.summary.tool_open = self.open_calls > 0;
    }

    fn read_user(&mut self, turn: Turn<'_, IgnoredAny>, emit: &mut dyn FnMut(Event)) {
        let from_main = turn.parent_tool_use_id.as_deref().is_none();
        for block in turn.message.content.items {
            if block.kind.as_deref() != Some("tool_result") {
                continue;
            }
            if from_main {
                self.close_calls(1);
            }
            let parts: Vec<_> = block.content.items.iter().filter_map(|part| part.text.as_deref()).collect();
            let output = block.content.text.0.unwrap_or_else(|| Cow::Owned(parts.join("\n")));
            emit(Event::ToolResult {
                id: block.tool_use_id.or_empty().to_owned(),
                failed: block.is_error.0,
                output: shorten(&output, OUTPUT_LIMIT),
            });
        }
    }

    fn read_partial(&mut self, partial: &Partial<'_>, emit: &mut dyn FnMut(Event)) {
        let event = &partial.event;
        match event.kind.or_empty() {
            "message_start" => self.count_message(&event.message, partial.parent_tool_use_id.as_deref(), emit),
            "message_delta" => {
                let changed = self.meter.latest(partial.parent_tool_use_id.as_deref(), &event.usage);
                if changed {
                    self.report_usage(false, emit);
                }
            }
            _ => {}
        }
        if self.full() {
            emit(Event::Ignored { kind: "stream_event".to_owned() });
        }
    }

    fn read_final(&mut self, end: &Final<'_>, emit: &mut dyn FnMut(Event)) {
        if let Some(session_id) = end.session_id.to_owned() {
            self.summary.session_id = Some(session_id);
        }
        self.open_calls = 0;
        self.summary.tool_open = false;
        let counted = self.summary.turns.unwrap_or(0);
        let turns = end.num_turns.0.unwrap_or(0);
        let succeeded = end.subtype.as_deref() == Some("success") && !end.is_error.0;
        let asked = counted > 0 || turns > 0;
        let stream_end = reasons::of_end(end, asked, self.said_anything, self.error_word.as_deref());
        if succeeded {
            if let Some(result) = end.result.as_deref().filter(|result| !result.is_empty()) {
                self.say(result);
            }
            self.summary.retries = 0;
        }
        if self.meter.settle(end) {
            self.report_usage(true, emit);
        }
        // Empty and refused answers are not printed. The program's own count would count tool results too, so it comes second.
        if counted == 0 {
            let answered = self.summary.usage.output_tokens.unwrap_or(0) > 0;
            self.summary.turns = Some(if answered { turns } else { 0 });
        }
        emit(Event::Ended { succeeded: stream_end.succeeded, detail: end.terminal_reason.to_owned().or_else(|| end.subtype.to_owned()) });
        // It waits for what runs in the background, then asks the model again, or ends. Older versions only end it.
        let (end, held_end) = if self.in_background { (None, Some(stream_end)) } else { (Some(stream_end), None) };
        (self.summary.end, self.summary.held_end) = (end, held_end);
    }
}

/// An error in words, from a status and the program's word for it.
fn describe(http_status: Option<u16>, error: &str) -> String {
    match (http_status, error) {
        (Some(status), "") => format!("HTTP {status}"),
        (Some(status), error) => format!("HTTP {status} {error}"),
        (None, "" | "unknown") => "no answer from the model endpoint".to_owned(),
        (None, error) => error.to_owned(),
    }
}
