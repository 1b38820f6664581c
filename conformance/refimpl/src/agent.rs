//! Sections 6 and 7: who listens to the agent and the setup command: their output passes without secrets, limits are watched, events are
//! told.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::inputs::Task;
use crate::mutants::broken;
use crate::process::{Listener, Stop};
use crate::secrets::{Filter, Secrets};
use crate::stream::Stream;

/// What the agent says, on its way.
pub struct Follower<'a> {
    pub task: &'a Task,
    pub secrets: &'a Secrets,
    pub stream: Stream,
    pub events_file: Option<File>,
    pub deadline: Option<Instant>,
    /// Leaves the interim message with what was used so far; called when that has changed, at most once a second.
    pub interim: &'a mut dyn FnMut(&Stream),
    out: Filter,
    err: Filter,
    at_line_start: bool,
    last_output: Instant,
    ended_at: Option<Instant>,
    /// Turns when the interim message was last left, and when that was.
    told: (Option<u64>, Instant),
    /// Whether it was told to end before its stream said that it is done.
    pub stopped_before_end: bool,
}

impl<'a> Follower<'a> {
    pub fn new(task: &'a Task, secrets: &'a Secrets, stream: Stream, interim: &'a mut dyn FnMut(&Stream)) -> Self {
        Self {
            task,
            secrets,
            stream,
            events_file: None,
            deadline: None,
            interim,
            out: Filter::default(),
            err: Filter::default(),
            at_line_start: true,
            last_output: Instant::now(),
            ended_at: None,
            told: (None, Instant::now()),
            stopped_before_end: false,
        }
    }

    /// Nothing more comes. Whether what was printed ends with a line's end.
    pub fn finish(mut self) -> (Stream, bool, bool) {
        let (secrets, mut stream) = (self.secrets, std::mem::take(&mut self.stream));
        stream.finish(&mut |event| self.tell(&event));
        let rest = self.out.finish(secrets);
        self.print(&rest);
        let rest = self.err.finish(secrets);
        print_error(&rest);
        (stream, self.at_line_start, self.stopped_before_end)
    }

    fn logs_events(&self) -> bool {
        self.task.text("log") == Some("events")
    }

    /// One event: into the file, and onto stdout if that is the log.
    fn tell(&mut self, event: &Value) {
        let masked = if broken("sinks-without-secrets.events") { event.clone() } else { self.secrets.value(event) };
        let line = format!("{masked}\n");
        if let Some(file) = &mut self.events_file {
            let line = if broken("events-file") { format!("event: {line}") } else { line.clone() };
            if file.write_all(line.as_bytes()).is_err() {
                // A full disk costs the events, not the run.
                self.events_file = None;
            }
        }
        if self.logs_events() {
            let line = if broken("events-log") { format!("event: {line}") } else { line };
            self.print(line.as_bytes());
        }
    }

    fn print(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.at_line_start = *last == b'\n';
            // Nobody reads it: that is no reason to end.
            let _ = std::io::stdout().lock().write_all(bytes).and_then(|()| std::io::stdout().flush());
        }
    }
}

/// Bytes on stderr.
pub fn print_error(bytes: &[u8]) {
    let _ = std::io::stderr().write_all(bytes);
}

impl Listener for Follower<'_> {
    fn stdout(&mut self, bytes: &[u8]) {
        self.last_output = Instant::now();
        let mut stream = std::mem::take(&mut self.stream);
        stream.feed(bytes, &mut |event| self.tell(&event));
        self.stream = stream;
        if self.stream.end.is_some() {
            self.ended_at.get_or_insert_with(Instant::now);
        }
        if self.logs_events() {
            return;
        }
        if broken("log-without-secrets.stdout") {
            return self.print(bytes);
        }
        let mut passed = self.out.feed(self.secrets, bytes);
        if passed.contains(&0xff) && broken("stdout-unchanged") {
            passed = String::from_utf8_lossy(&passed).into_owned().into_bytes();
        }
        self.print(&passed);
    }

    fn stderr(&mut self, bytes: &[u8]) {
        self.last_output = Instant::now();
        if broken("stderr-passes") {
            return;
        }
        if broken("log-without-secrets.stderr") {
            return print_error(bytes);
        }
        print_error(&self.err.feed(self.secrets, bytes));
    }

    fn stop(&mut self) -> Option<Stop> {
        if self.stream.turns != self.told.0 && self.told.1.elapsed() >= Duration::from_secs(1) {
            self.told = (self.stream.turns, Instant::now());
            (self.interim)(&self.stream);
        }
        if let Some(ended_at) = self.ended_at {
            let linger = self.task.number("limits.linger").map_or(Duration::from_secs(5), Duration::from_millis);
            let over = ended_at.elapsed() >= linger && !broken("lingering-agent.lives-on");
            return over.then_some(Stop::Linger).or_else(|| self.is_late());
        }
        let silence = self.task.number("limits.silenceTimeout").map_or(Duration::from_secs(1800), Duration::from_millis);
        let is_over = |limit: Option<u64>, used: Option<u64>| matches!((limit, used), (Some(limit), Some(used)) if used > limit);
        let used = |part: &str| self.stream.usage.get(part).and_then(Value::as_u64);
        let cost = self.stream.usage.get("costUsd").and_then(Value::as_f64).unwrap_or(0.0);
        self.is_late()
            .or_else(|| (!silence.is_zero() && self.last_output.elapsed() >= silence).then_some(Stop::Silence))
            .or_else(|| is_over(self.task.number("limits.maxTurns"), self.stream.turns).then_some(Stop::Turns))
            .or_else(|| is_over(self.task.number("limits.maxOutputTokens"), used("outputTokens")).then_some(Stop::Tokens))
            .or_else(|| is_over(self.task.number("limits.maxRetries"), Some(self.stream.retries)).then_some(Stop::Retries))
            .or_else(|| self.task.decimal("limits.maxCostUsd").is_some_and(|limit| cost > limit).then_some(Stop::Cost))
    }

    fn stopping(&mut self) {
        self.stopped_before_end = self.stream.end.is_none();
    }
}

impl Follower<'_> {
    fn is_late(&self) -> Option<Stop> {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline).then_some(Stop::Deadline)
    }
}

/// Passes the setup command's output on to stderr: stdout is the agent's.
pub struct SetupFollower<'a> {
    pub secrets: &'a Secrets,
    pub deadline: Option<Instant>,
    filters: [Filter; 2],
}

impl<'a> SetupFollower<'a> {
    pub fn new(secrets: &'a Secrets, deadline: Option<Instant>) -> Self {
        Self { secrets, deadline, filters: Default::default() }
    }

    pub fn finish(&mut self) {
        for filter in &mut self.filters {
            print_error(&filter.finish(self.secrets));
        }
    }
}

impl Listener for SetupFollower<'_> {
    fn stdout(&mut self, bytes: &[u8]) {
        print_error(&self.filters[0].feed(self.secrets, bytes));
    }

    fn stderr(&mut self, bytes: &[u8]) {
        print_error(&self.filters[1].feed(self.secrets, bytes));
    }

    fn stop(&mut self) -> Option<Stop> {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline).then_some(Stop::Deadline)
    }
}
