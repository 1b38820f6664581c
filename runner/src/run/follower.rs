//! What becomes of the bytes of the agent and of the setup command: followed, forwarded, watched.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use agent_sdk::agent::Detail;
use agent_sdk::marker::{MarkerScanner, Nonce};
use agent_sdk::outcome::StreamCounts;
use agent_sdk::task::{LogFormat, Task};
use tokio::sync::Notify;

use super::journal::Journal;
use super::limits::{self, Stop};
use super::report::Followed;
use crate::process::{Ending as EndSwitch, Follower as ProcessFollower};
use crate::sinks::events::EventsFile;
use crate::stream::follow::{Follower, Forward, Log};
use crate::stream::mask::Secrets;
use crate::stream::output::Output;
use crate::stream::pretty::Pretty;
use crate::stream::tail::PlainFollower;

/// How long what is still in our hands at the end may wait for a reader of ours that does not read.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// What the watchdogs look at, and why the agent is being stopped.
#[derive(Debug)]
pub struct Watch {
    started: Instant,
    last_output: Cell<Instant>,
    ended_at: Cell<Option<Instant>>,
    stop: Cell<Option<Stop>>,
    changed: Notify,
}

impl Watch {
    /// For a run that started then; its agent starts now.
    #[must_use]
    pub fn new(started: Instant) -> Self {
        Self { started, last_output: Cell::new(Instant::now()), ended_at: Cell::new(None), stop: Cell::new(None), changed: Notify::new() }
    }

    /// When the run started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// When the agent last printed something.
    #[must_use]
    pub fn last_output(&self) -> Instant {
        self.last_output.get()
    }

    /// When its stream said that it is done.
    #[must_use]
    pub fn ended_at(&self) -> Option<Instant> {
        self.ended_at.get()
    }

    /// Why it is being stopped.
    #[must_use]
    pub fn stopped(&self) -> Option<Stop> {
        self.stop.get()
    }

    /// It is being stopped for this; the first reason stays.
    pub fn stop(&self, stop: Stop) {
        if self.stop.get().is_none() {
            self.stop.set(Some(stop));
        }
    }

    /// Returns when a watchdog may have to be set anew.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Follows the agent.
pub struct RunFollower<'a> {
    task: &'a Task,
    stream: Follower,
    markers: Arc<Mutex<MarkerScanner>>,
    events: Option<Arc<Mutex<EventsFile>>>,
    stdout: Option<Output>,
    complaints: PlainFollower,
    stderr: Option<Output>,
    journal: &'a RefCell<&'a mut Journal>,
    watch: &'a Watch,
    switch: &'a EndSwitch,
}

impl<'a> RunFollower<'a> {
    /// Opens our own outputs and the events' file.
    pub fn open(
        task: &'a Task,
        reader: impl FnOnce(Detail) -> Box<dyn agent_sdk::agent::StreamReader>,
        journal: &'a RefCell<&'a mut Journal>,
        watch: &'a Watch,
        switch: &'a EndSwitch,
        nonce: &Nonce,
    ) -> Self {
        let secrets = journal.borrow().secrets.clone();
        let events = task.sinks.events_file.as_deref().and_then(|path| match EventsFile::open(path, &secrets) {
            Ok(file) => Some(Arc::new(Mutex::new(file))),
            Err(error) => {
                journal.borrow_mut().warn(error.to_string());
                None
            }
        });
        let quiet = task.log == LogFormat::Raw && events.is_none();
        let log = match task.log {
            LogFormat::Raw => Log::Raw,
            LogFormat::Pretty => Log::Pretty(Pretty::new(colour(), SystemTime::now())),
            LogFormat::Events => Log::Events,
        };
        let markers = Arc::new(Mutex::new(MarkerScanner::native(nonce)));
        let scanner = Arc::clone(&markers);
        let stream = Follower::new(reader(if quiet { Detail::Verdict } else { Detail::Full }), log, &secrets).with_line_hook(Box::new(move |line| {
            // A poisoned lock would mean that the scanner panicked; then its blocks are as they were.
            scanner.lock().unwrap_or_else(PoisonError::into_inner).line(line);
            false
        }));
        Self {
            task,
            stream,
            markers,
            events,
            stdout: output("stdout", std::io::stdout().as_fd()),
            complaints: PlainFollower::new(&secrets),
            stderr: output("stderr", std::io::stderr().as_fd()),
            journal,
            watch,
            switch,
        }
    }

    fn touched(&self) {
        self.watch.last_output.set(Instant::now());
    }

    /// After each piece of the stream: what changed, and whether a limit is broken now.
    fn look(&mut self) {
        let changes = self.stream.take_changes();
        if !changes.any() {
            return;
        }
        let mut journal = self.journal.borrow_mut();
        journal.note_stream(self.stream.summary(), counts(&self.stream));
        journal.touch();
        if changes.ended {
            self.watch.ended_at.set(Some(Instant::now()));
        }
        if let Some(stop) = limits::broken_by(self.stream.summary(), &self.task.limits) {
            self.watch.stop(stop);
            self.switch.request();
        }
        self.watch.changed.notify_one();
    }

    /// The stream is at its end: the rest is read and written, and everything that it held is handed out.
    pub async fn finish(mut self) -> Followed {
        let mut rest = Vec::new();
        self.stream.finish(SystemTime::now(), &mut rest);
        self.look();
        send(&mut self.stdout, rest).await;
        let mut rest = Vec::new();
        self.complaints.finish(&mut rest);
        send(&mut self.stderr, rest).await;
        let deadline = tokio::time::Instant::now() + FLUSH_LIMIT;
        for output in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            output.flush(deadline).await;
        }
        if let Some(events) = &self.events
            && let Err(error) = events.lock().unwrap_or_else(PoisonError::into_inner).flush()
        {
            self.journal.borrow_mut().warn(error.to_string());
        }
        let scanner = self.markers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Followed {
            summary: self.stream.summary().clone(),
            counts: counts(&self.stream),
            stderr_tail: self.complaints.tail(),
            markers: scanner.finish(),
        }
    }
}

impl ProcessFollower for RunFollower<'_> {
    async fn stdout(&mut self, chunk: &[u8]) {
        self.touched();
        let mut buffer = match &mut self.stdout {
            Some(output) => output.buffer().await,
            None => Vec::new(),
        };
        if self.stream.push(chunk, SystemTime::now(), &mut buffer) == Forward::Chunk {
            buffer.extend_from_slice(chunk);
        }
        if let Some(output) = &mut self.stdout {
            // What cannot be sent is lost to the log only: the output broke, which its own error says.
            output.send(buffer);
        }
        self.look();
    }

    async fn stderr(&mut self, chunk: &[u8]) {
        self.touched();
        forward_plain(&mut self.complaints, &mut self.stderr, chunk).await;
    }
}

/// Follows the setup command: all of it goes to stderr, since stdout is the agent's stream.
#[derive(Debug)]
pub struct SetupFollower {
    stdout: PlainFollower,
    stderr: PlainFollower,
    output: Option<Output>,
}

impl SetupFollower {
    /// For a command that starts now.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        Self { stdout: PlainFollower::new(secrets), stderr: PlainFollower::new(secrets), output: output("setup", std::io::stderr().as_fd()) }
    }

    /// It has ended.
    pub async fn finish(mut self) {
        let mut rest = Vec::new();
        self.stdout.finish(&mut rest);
        self.stderr.finish(&mut rest);
        send(&mut self.output, rest).await;
        if let Some(output) = &mut self.output {
            output.flush(tokio::time::Instant::now() + FLUSH_LIMIT).await;
        }
    }
}

impl ProcessFollower for SetupFollower {
    async fn stdout(&mut self, chunk: &[u8]) {
        forward_plain(&mut self.stdout, &mut self.output, chunk).await;
    }

    async fn stderr(&mut self, chunk: &[u8]) {
        forward_plain(&mut self.stderr, &mut self.output, chunk).await;
    }
}

async fn forward_plain(follower: &mut PlainFollower, output: &mut Option<Output>, chunk: &[u8]) {
    let mut buffer = match output {
        Some(output) => output.buffer().await,
        None => Vec::new(),
    };
    if follower.push(chunk, &mut buffer) == Forward::Chunk {
        buffer.extend_from_slice(chunk);
    }
    if let Some(output) = output {
        output.send(buffer);
    }
}

async fn send(output: &mut Option<Output>, bytes: Vec<u8>) {
    let Some(output) = output.as_mut().filter(|_| !bytes.is_empty()) else { return };
    let mut buffer = output.buffer().await;
    buffer.extend_from_slice(&bytes);
    output.send(buffer);
}

/// One of our own outputs; `None` if it is closed, or no thread can be had: then the agent goes on without a log.
fn output(name: &str, descriptor: BorrowedFd<'_>) -> Option<Output> {
    Output::spawn(name, descriptor.try_clone_to_owned().ok()?).ok()
}

/// What the stream held so far.
pub fn counts(stream: &Follower) -> StreamCounts {
    let seen = stream.counts();
    let summary = stream.summary();
    StreamCounts {
        bytes: seen.bytes,
        lines: seen.lines,
        unknown_lines: summary.unknown_lines,
        malformed_lines: summary.malformed_lines + seen.unread,
        condensed_lines: seen.condensed + seen.beheaded,
    }
}

/// Colour only for a person at a terminal who has not said no (no-color.org).
fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
