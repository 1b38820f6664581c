//! Reads JSON lines by a manifest's rules.
//!
//! Every rule that fits a line is applied, in the manifest's order. A line that no rule fits counts as unknown and harms nothing; a value
//! of another type than the expected one counts as absent. What is kept is bounded, whatever comes.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;

use super::reasons;
use super::rules::{Counts, EndRule, ErrorRule, EventRule, UsageRule};
use super::schema::Manifest;
use crate::agent::{Detail, LedgerEntry, StreamEnd, StreamError, StreamReader, StreamSummary};
use crate::agents::answer::Pieces;
use crate::agents::lines;
use crate::event::Event;
use crate::usage::{CostSource, Usage};

/// How much of a tool's answer goes into an event.
const OUTPUT_LIMIT: usize = 2000;
/// How much of an odd line goes into an event.
const HEAD_LIMIT: usize = 200;
/// How much of an output for people is kept: a screen or two.
const PLAIN_LIMIT: usize = 4 << 10;
/// How many ids are remembered whose usage was counted.
const REMEMBERED: usize = 256;

/// The reader of one run.
pub(super) struct Reader {
    manifest: Arc<Manifest>,
    detail: Detail,
    summary: StreamSummary,
    /// What was added up of events that count each; what the last event that counts all said is in `total`.
    sum: Usage,
    total: Option<Usage>,
    /// Ids whose usage was counted, by their hash, and what was counted.
    counted: VecDeque<(u64, Usage)>,
    /// Whether the last text was a piece, to be joined with the next.
    in_pieces: bool,
    /// How far the answer has come.
    pieces: Pieces,
    open_calls: u32,
}

impl Reader {
    pub(super) fn new(manifest: Arc<Manifest>, detail: Detail) -> Self {
        Self {
            manifest,
            detail,
            summary: StreamSummary::default(),
            sum: Usage::default(),
            total: None,
            counted: VecDeque::new(),
            in_pieces: false,
            pieces: Pieces::default(),
            open_calls: 0,
        }
    }
}

impl StreamReader for Reader {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        let Some(value) = lines::parse(line) else {
            self.summary.malformed_lines += 1;
            emit(Event::Malformed { head: shorten(&String::from_utf8_lossy(&line[..line.len().min(4 * HEAD_LIMIT)]), HEAD_LIMIT) });
            return;
        };
        let manifest = Arc::clone(&self.manifest);
        let mut is_known = false;
        for rule in manifest.stream.events.iter().filter(|rule| rule.fits(&value)) {
            is_known = true;
            for item in rule.items(&value) {
                self.apply(rule, item, emit);
            }
        }
        if !is_known {
            self.summary.unknown_lines += 1;
            let kind = value["type"].as_str().or(value["event"].as_str()).unwrap_or_default();
            emit(Event::Unknown { kind: shorten(kind, HEAD_LIMIT) });
        }
    }

    fn read_ledger(&mut self, entry: &LedgerEntry<'_>, emit: &mut dyn FnMut(Event)) {
        // What was there before is another run's.
        let Some(value) = lines::parse(entry.content) else { return };
        let manifest = Arc::clone(&self.manifest);
        let Some(ledger) = manifest.ledgers.get(entry.ledger).filter(|_| !entry.earlier) else { return };
        for rule in ledger.events.iter().filter(|rule| rule.fits(&value)) {
            rule.items(&value).into_iter().for_each(|item| self.apply(rule, item, emit));
        }
    }

    fn summary(&self) -> &StreamSummary {
        &self.summary
    }
}

fn text<'v>(item: &'v Value, pointer: Option<&String>) -> Option<&'v str> {
    item.pointer(pointer?)?.as_str().filter(|text| !text.is_empty())
}

/// A text, or anything else as JSON: errors are often objects.
fn words(item: &Value, pointer: Option<&String>) -> Option<String> {
    match item.pointer(pointer?)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}

fn count(item: &Value, pointer: Option<&String>) -> Option<u64> {
    let value = item.pointer(pointer?)?;
    // A float-to-integer cast saturates; what is negative counts nothing.
    value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
}

fn status(item: &Value, pointer: Option<&String>) -> Option<u16> {
    let value = item.pointer(pointer?)?;
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())?;
    u16::try_from(number).ok().filter(|status| (100..600).contains(status))
}

fn shorten(text: &str, limit: usize) -> String {
    let mut short: String = text.chars().take(limit).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

impl Reader {
    fn full(&self) -> bool {
        self.detail == Detail::Full
    }

    fn apply(&mut self, rule: &EventRule, item: &Value, emit: &mut dyn FnMut(Event)) {
        self.start(rule, item, emit);
        if let Some(said) = text(item, rule.text.as_ref()) {
            self.say(said, rule.delta);
            if self.full() {
                emit(Event::Text { text: said.to_owned(), parent: None });
            }
        } else if rule.turn || rule.tool_call.is_some() || rule.tool_result.is_some() {
            self.in_pieces = false;
        }
        if let Some(thought) = text(item, rule.thinking.as_ref()).filter(|_| self.full()) {
            emit(Event::Thinking { text: thought.to_owned() });
        }
        self.tools(rule, item, emit);
        if rule.turn {
            self.summary.turns = Some(self.summary.turns.unwrap_or(0) + 1);
            self.summary.retries = 0;
        }
        if let Some(usage) = &rule.usage {
            self.count(usage, rule.turn, item, emit);
        }
        if let Some(error) = &rule.error {
            self.fail(error, item, emit);
        }
        if let Some(end) = &rule.end {
            self.end(end, item, emit);
        }
    }

    fn start(&mut self, rule: &EventRule, item: &Value, emit: &mut dyn FnMut(Event)) {
        let found = [&rule.session_id, &rule.model, &rule.version].map(|pointer| text(item, pointer.as_ref()).map(str::to_owned));
        let [session_id, model, agent_version] = found;
        let summary = &mut self.summary;
        let is_news = |new: &Option<String>, old: &Option<String>| new.is_some() && new != old;
        if !is_news(&session_id, &summary.session_id)
            && !is_news(&model, &summary.model)
            && !is_news(&agent_version, &summary.agent_version)
        {
            return;
        }
        summary.session_id = session_id.or(summary.session_id.take());
        summary.model = model.or(summary.model.take());
        summary.agent_version = agent_version.or(summary.agent_version.take());
        emit(Event::Started {
            session_id: summary.session_id.clone(),
            model: summary.model.clone(),
            agent_version: summary.agent_version.clone(),
        });
    }

    fn say(&mut self, said: &str, delta: bool) {
        self.summary.retries = 0;
        self.summary.empty_steps = 0;
        let answer = self.summary.answer.get_or_insert_default();
        if !(delta && self.in_pieces) {
            self.pieces = Pieces::default();
        }
        self.pieces.add(answer, said);
        self.in_pieces = delta;
    }

    fn tools(&mut self, rule: &EventRule, item: &Value, emit: &mut dyn FnMut(Event)) {
        if let Some(call) = &rule.tool_call
            && let Some(name) = text(item, Some(&call.name))
        {
            self.open_calls = self.open_calls.saturating_add(1);
            self.summary.retries = 0;
            self.summary.empty_steps = 0;
            if self.full() {
                emit(Event::ToolCall {
                    id: words(item, call.id.as_ref()).unwrap_or_default(),
                    name: name.to_owned(),
                    input: call.input.as_ref().and_then(|pointer| item.pointer(pointer)).cloned().unwrap_or_default(),
                    parent: None,
                });
            }
        }
        if let Some(result) = &rule.tool_result {
            self.open_calls = self.open_calls.saturating_sub(1);
            self.summary.empty_steps = 0;
            if self.full() {
                emit(Event::ToolResult {
                    id: words(item, result.id.as_ref()).unwrap_or_default(),
                    failed: result.failed.as_ref().and_then(|pointer| item.pointer(pointer)).and_then(Value::as_bool).unwrap_or(false),
                    output: shorten(&words(item, result.output.as_ref()).unwrap_or_default(), OUTPUT_LIMIT),
                });
            }
        }
        self.summary.tool_open = self.open_calls > 0;
    }

    fn count(&mut self, rule: &UsageRule, turn: bool, item: &Value, emit: &mut dyn FnMut(Event)) {
        let Some(usage) = usage(rule, item) else { return };
        if turn {
            let is_empty = usage.input_tokens.unwrap_or(0) == 0 && usage.output_tokens.unwrap_or(0) == 0;
            self.summary.empty_steps = if is_empty { self.summary.empty_steps.saturating_add(1) } else { 0 };
        }
        match rule.counts {
            Counts::Total => self.total = Some(usage),
            Counts::Each => match rule.once_per.as_ref().and_then(|pointer| item.pointer(pointer)).filter(|id| !id.is_null()) {
                Some(id) => self.count_once(hash(id), usage),
                None => self.sum = self.sum.plus(&usage),
            },
        }
        let total = self.total.unwrap_or_else(|| Usage::sum(self.counted.iter().map(|(_, usage)| usage).chain([&self.sum])));
        if total != self.summary.usage {
            self.summary.usage = total;
            emit(Event::Usage { usage: total, complete: rule.counts == Counts::Total });
        }
    }

    /// The last word about an id is the one that counts.
    fn count_once(&mut self, id: u64, usage: Usage) {
        if let Some(known) = self.counted.iter_mut().find(|known| known.0 == id) {
            known.1 = usage;
            return;
        }
        if self.counted.len() == REMEMBERED
            && let Some((_, oldest)) = self.counted.pop_front()
        {
            self.sum = self.sum.plus(&oldest);
        }
        self.counted.push_back((id, usage));
    }

    fn fail(&mut self, rule: &ErrorRule, item: &Value, emit: &mut dyn FnMut(Event)) {
        let http_status = status(item, rule.status.as_ref());
        let message = words(item, rule.message.as_ref());
        if message.is_none() && http_status.is_none() {
            return;
        }
        let message = message.unwrap_or_else(|| format!("HTTP status {}", http_status.unwrap_or_default()));
        let reason = reasons::of_error(&self.manifest.reasons, http_status, &message);
        self.summary.last_error = Some(StreamError { http_status, message: message.clone(), reason });
        if rule.retry {
            self.summary.retries = self.summary.retries.saturating_add(1);
            emit(Event::Retry { attempt: self.summary.retries, max_attempts: None, delay_ms: None, http_status, error: message });
        } else {
            emit(Event::Error { message, http_status });
        }
    }

    fn end(&mut self, rule: &EndRule, item: &Value, emit: &mut dyn FnMut(Event)) {
        let message = words(item, rule.message.as_ref());
        let http_status = status(item, rule.status.as_ref()).or(self.summary.last_error.as_ref().and_then(|error| error.http_status));
        let reason = if rule.succeeded {
            None
        } else {
            let said = message.as_deref().or(self.summary.last_error.as_ref().map(|error| error.message.as_str()));
            reasons::of_error(&self.manifest.reasons, http_status, said.unwrap_or_default()).or(self
                .summary
                .last_error
                .as_ref()
                .and_then(|error| error.reason))
        };
        if rule.succeeded && self.summary.answer.is_none() {
            self.summary.answer.clone_from(&message);
        }
        self.summary.end = Some(StreamEnd { succeeded: rule.succeeded, reason, message: message.clone() });
        emit(Event::Ended { succeeded: rule.succeeded, detail: message });
    }
}

/// The numbers of one event by the project's definition; nothing if it has none.
fn usage(rule: &UsageRule, item: &Value) -> Option<Usage> {
    let [input, read, written] = [&rule.input, &rule.cache_read, &rule.cache_write].map(|pointer| count(item, pointer.as_ref()));
    let [output, reasoning] = [&rule.output, &rule.reasoning].map(|pointer| count(item, pointer.as_ref()));
    let with = |whole: Option<u64>, parts: &[Option<u64>], inside: Option<bool>| match inside {
        Some(false) => whole.map(|whole| parts.iter().flatten().fold(whole, |sum, part| sum.saturating_add(*part))),
        _ => whole,
    };
    let cost_usd = rule.cost_usd.as_ref().and_then(|pointer| item.pointer(pointer)).and_then(Value::as_f64);
    let cost_usd = cost_usd.filter(|cost| cost.is_finite() && *cost >= 0.0);
    let usage = Usage {
        input_tokens: with(input, &[read, written], rule.input_has_cache),
        cache_read_tokens: read,
        cache_write_tokens: written,
        output_tokens: with(output, &[reasoning], rule.output_has_reasoning),
        reasoning_tokens: reasoning,
        cost_usd,
        cost_source: cost_usd.map(|_| CostSource::Agent),
    };
    (!usage.is_empty()).then_some(usage)
}

/// Of an agent that prints lines for people: the last of them are its answer.
#[derive(Debug, Default)]
pub(super) struct Plain(StreamSummary);

impl StreamReader for Plain {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        let answer = self.0.answer.get_or_insert_default();
        if !answer.is_empty() {
            answer.push('\n');
        }
        answer.push_str(line);
        // Cut at a line where there is one, so that it never begins in the middle of a word.
        while answer.len() > PLAIN_LIMIT {
            let excess = answer.len() - PLAIN_LIMIT;
            let from = answer.find('\n').map(|end| end + 1).filter(|from| *from < answer.len());
            let from = from.unwrap_or_else(|| (excess..=answer.len()).find(|at| answer.is_char_boundary(*at)).unwrap_or(answer.len()));
            answer.drain(..from);
        }
        emit(Event::Text { text: line.to_owned(), parent: None });
    }

    fn summary(&self) -> &StreamSummary {
        &self.0
    }
}

/// Of an agent whose stdout says nothing that is understood: text is what it prints.
#[derive(Debug, Default)]
pub(super) struct Silent(StreamSummary);

impl StreamReader for Silent {
    fn read_line(&mut self, _line: &[u8], _emit: &mut dyn FnMut(Event)) {}

    fn summary(&self) -> &StreamSummary {
        &self.0
    }
}
