//! The stream for people: what the agent says, which tools it calls, what they answered, tokens and cost as they grow.
//!
//! What the agent or a tool said always stands behind a bar (`| `), our own lines never do: so no text of theirs can pass
//! for a line of ours, for a marker block, or for a command of the CI system that shows the log. Text of others is cleaned
//! ([`super::clean`]), which also breaks the commands that are taken in the middle of a line. Colour is decoration: every line reads
//! the same without it.

use std::time::{Duration, SystemTime};

use agent_sdk::event::Event;
use agent_sdk::usage::Usage;
use serde_json::Value;

use super::clean::{clean, clean_line};

/// How much of a tool's answer is shown: enough to see what happened, not enough to bury what the agent says.
const RESULT_LINES: usize = 4;
/// Characters of one such line, and of a call's summary.
const LINE_CHARS: usize = 160;
/// The arguments that say what a call does, the most telling first. They are those that coding agents' tools use.
const TELLING: &[&str] = &[
    "command",
    "cmd",
    "file_path",
    "filePath",
    "path",
    "notebook_path",
    "pattern",
    "globPattern",
    "query",
    "url",
    "skill",
    "description",
    "prompt",
    "code",
];

/// Renders events.
#[derive(Debug)]
pub struct Pretty {
    colour: bool,
    started: SystemTime,
    shown: Usage,
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Faint,
    Bold,
    Warning,
    Failure,
}

impl Style {
    /// Select Graphic Rendition parameters (ECMA-48 8.3.117).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Faint => "2",
            Self::Bold => "1",
            Self::Warning => "33",
            Self::Failure => "31",
        }
    }
}

impl Pretty {
    /// `started` is when the agent was started: lines that tell a time tell it from there.
    #[must_use]
    pub fn new(colour: bool, started: SystemTime) -> Self {
        Self { colour, started, shown: Usage::default() }
    }

    /// Appends what is to be shown of an event, which may be nothing.
    pub fn write(&mut self, event: &Event, at: SystemTime, out: &mut Vec<u8>) {
        match event {
            Event::Started { session_id, model, agent_version } => {
                let mut line = String::from("started");
                for (word, value) in [("version", agent_version), ("model", model), ("session", session_id)] {
                    if let Some(value) = value {
                        line.push_str(&format!(" · {word} {}", clean_line(value, LINE_CHARS)));
                    }
                }
                self.line(out, Style::Bold, &line);
            }
            Event::Text { text, parent } => self.quote(out, Style::Plain, if parent.is_some() { "| | " } else { "| " }, text, usize::MAX),
            Event::Thinking { text } => self.quote(out, Style::Faint, "| (thinks) ", text, RESULT_LINES),
            Event::ToolCall { name, input, parent, .. } => {
                let depth = if parent.is_some() { "sub-agent's tool" } else { "tool" };
                self.line(
                    out,
                    Style::Bold,
                    format!("{depth} {}: {}", clean_line(name, 60), summary_of(input)).trim_end_matches([':', ' ']),
                );
            }
            Event::ToolResult { failed, output, .. } => {
                if *failed {
                    self.line(out, Style::Failure, "tool failed:");
                }
                self.quote(out, Style::Faint, "| > ", output, RESULT_LINES);
            }
            Event::SubAgent { state, description, .. } => {
                let description = description.as_deref().map(|text| format!(": {}", clean_line(text, LINE_CHARS))).unwrap_or_default();
                self.line(out, Style::Bold, &format!("sub-agent {}{description}", clean_line(state, 40)));
            }
            Event::Usage { usage, complete } => self.usage(usage, *complete, at, out),
            Event::Retry { attempt, max_attempts, delay_ms, http_status, error } => {
                let of = max_attempts.map(|max| format!(" of {max}")).unwrap_or_default();
                let delay = delay_ms.map(|delay| format!(" in {}", short_time(Duration::from_millis(delay)))).unwrap_or_default();
                let status = http_status.map(|status| format!("HTTP {status} ")).unwrap_or_default();
                self.line(out, Style::Warning, &format!("retry {attempt}{of}{delay}: {status}{}", clean_line(error, LINE_CHARS)));
            }
            Event::Warning { message } => self.line(out, Style::Warning, &format!("warning: {}", clean_line(message, 4 * LINE_CHARS))),
            Event::Error { message, http_status } => {
                let status = http_status.map(|status| format!("HTTP {status} ")).unwrap_or_default();
                self.line(out, Style::Failure, &format!("error: {status}{}", clean_line(message, 4 * LINE_CHARS)));
            }
            Event::Ended { succeeded, detail } => {
                let detail = detail.as_deref().map(|text| format!(": {}", clean_line(text, LINE_CHARS))).unwrap_or_default();
                let (style, word) = if *succeeded { (Style::Bold, "done") } else { (Style::Failure, "ended without success") };
                self.line(out, style, &format!("{word} after {}{detail}", short_time(self.elapsed(at))));
            }
            // Kinds that carry nothing, or nothing that this version knows, are counted and told at the end.
            Event::Ignored { .. } | Event::Unknown { .. } => {}
            Event::Malformed { head } => self.quote(out, Style::Faint, "| ? ", head, 1),
        }
    }

    fn usage(&mut self, usage: &Usage, complete: bool, at: SystemTime, out: &mut Vec<u8>) {
        if *usage == self.shown && !complete {
            return;
        }
        self.shown = *usage;
        let mut parts = Vec::new();
        if let Some(input) = usage.input_tokens {
            let cached = usage.cache_read_tokens.filter(|cached| *cached > 0).map(|cached| format!(" ({} cached)", grouped(cached)));
            parts.push(format!("{} in{}", grouped(input), cached.unwrap_or_default()));
        }
        if let Some(output) = usage.output_tokens {
            parts.push(format!("{} out", grouped(output)));
        }
        if let Some(cost) = usage.cost_usd {
            parts.push(format!("${cost:.4}"));
        }
        if !parts.is_empty() {
            self.line(out, Style::Faint, &format!("tokens {} after {}", parts.join(" · "), short_time(self.elapsed(at))));
        }
    }

    fn elapsed(&self, at: SystemTime) -> Duration {
        // A clock that was set back in between makes no time negative.
        at.duration_since(self.started).unwrap_or_default()
    }

    fn line(&self, out: &mut Vec<u8>, style: Style, text: &str) {
        if self.colour && !style.code().is_empty() {
            out.extend_from_slice(format!("\x1b[{}m{text}\x1b[0m\n", style.code()).as_bytes());
        } else {
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        }
    }

    fn quote(&self, out: &mut Vec<u8>, style: Style, bar: &str, text: &str, limit: usize) {
        let cleaned = clean(text);
        let mut lines = cleaned.trim_end().lines();
        for line in lines.by_ref().take(limit) {
            let line = if limit == usize::MAX { line.to_owned() } else { clean_line(line, LINE_CHARS) };
            self.line(out, style, format!("{bar}{line}").trim_end());
        }
        let left = lines.count();
        if left > 0 {
            self.line(out, style, &format!("{bar}… {left} more lines"));
        }
    }
}

/// What a call does, on one line.
fn summary_of(input: &Value) -> String {
    let telling = TELLING.iter().find_map(|key| match input.get(key)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Array(words) => Some(words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    });
    match (telling, input) {
        (Some(text), _) => clean_line(&text, LINE_CHARS),
        (None, Value::Null) => String::new(),
        (None, Value::Object(fields)) if fields.is_empty() => String::new(),
        (None, Value::String(text)) => clean_line(text, LINE_CHARS),
        (None, other) => clean_line(&other.to_string(), LINE_CHARS),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn short_time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn render(colour: bool, events: &[Event]) -> String {
        let mut pretty = Pretty::new(colour, SystemTime::UNIX_EPOCH);
        let mut out = Vec::new();
        for event in events {
            pretty.write(event, SystemTime::UNIX_EPOCH + Duration::from_secs(75), &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    fn a_run() -> Vec<Event> {
        let usage = Usage {
            input_tokens: Some(12_300),
            cache_read_tokens: Some(200),
            output_tokens: Some(50),
            cost_usd: Some(0.014),
            ..Usage::default()
        };
        vec![
            Event::Started { session_id: Some("s-1".into()), model: Some("m".into()), agent_version: Some("2.1".into()) },
            Event::Thinking { text: "hm".into() },
            Event::Text { text: "I will\nlook.\x1b[2J".into(), parent: None },
            Event::ToolCall {
                id: "1".into(),
                name: "Bash".into(),
                input: json!({"description": "d", "command": "ls -l\nrm x"}),
                parent: None,
            },
            Event::ToolResult { id: "1".into(), failed: false, output: "a\nb\nc\nd\ne\nf".into() },
            Event::ToolCall { id: "2".into(), name: "Odd".into(), input: json!({"n": 1}), parent: Some("t".into()) },
            Event::ToolCall { id: "3".into(), name: "None".into(), input: json!({}), parent: None },
            Event::ToolResult { id: "2".into(), failed: true, output: "no such file".into() },
            Event::Usage { usage, complete: false },
            Event::Usage { usage, complete: false },
            Event::Retry { attempt: 2, max_attempts: Some(10), delay_ms: Some(1500), http_status: Some(429), error: "rate_limit".into() },
            Event::SubAgent { id: "t".into(), state: "completed".into(), description: Some("search".into()) },
            Event::Warning { message: "MCP server `x` failed".into() },
            Event::Malformed { head: "not json".into() },
            Event::Ended { succeeded: true, detail: Some("success".into()) },
        ]
    }

    #[test]
    fn a_run_reads_like_this() {
        insta::assert_snapshot!(render(false, &a_run()), @r#"
        started · version 2.1 · model m · session s-1
        | (thinks) hm
        | I will
        | look.
        tool Bash: ls -l…
        | > a
        | > b
        | > c
        | > d
        | > … 2 more lines
        sub-agent's tool Odd: {"n":1}
        tool None
        tool failed:
        | > no such file
        tokens 12,300 in (200 cached) · 50 out · $0.0140 after 1m15s
        retry 2 of 10 in 1.5s: HTTP 429 rate_limit
        sub-agent completed: search
        warning: MCP server `x` failed
        | ? not json
        done after 1m15s: success
        "#);
    }

    #[test]
    fn colour_carries_nothing() {
        assert_eq!(clean(&render(true, &a_run())), render(false, &a_run()));
        assert!(render(true, &a_run()).contains("\x1b[1m"));
    }

    proptest! {
        #[test]
        fn no_text_of_the_agent_begins_a_line(text in "(---KELOS_OUTPUTS_START---|::error::x|done|\r|\n|\u{1b}\\[A|\u{2028}| |.){0,12}", limit in any::<bool>()) {
            let event = if limit { Event::ToolResult { id: String::new(), failed: false, output: text } } else { Event::Text { text, parent: None } };
            let out = render(false, &[event]);
            prop_assert!(out.lines().all(|line| line.starts_with('|')), "{out:?}");
        }

        #[test]
        fn what_is_named_by_the_agent_stays_on_one_line(text in "[a\n\r\u{1b}\u{85}\u{2028}:]{0,20}") {
            for event in [
                Event::ToolCall { id: text.clone(), name: text.clone(), input: json!({"command": text}), parent: None },
                Event::Warning { message: text.clone() },
                Event::Ended { succeeded: false, detail: Some(text.clone()) },
            ] {
                prop_assert_eq!(render(false, &[event]).matches('\n').count(), 1);
            }
        }
    }
}
