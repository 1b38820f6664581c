//! What becomes of the bytes of the agent and of the setup command: followed, forwarded, watched.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use agent_sdk::agent::{Detail, Ledger, StreamSummary};
use agent_sdk::marker::{MarkerScanner, Nonce};
use agent_sdk::outcome::StreamCounts;
use agent_sdk::task::{LogFormat, Task};
use tokio::sync::Notify;

use super::journal::Journal;
use super::ledgers::Ledgers;
use super::limits::{self, Stop};
use super::prices::{self, by_prices};
use super::report::Followed;
use crate::process::exec::DRAIN_LIMIT;
use crate::process::{Ending as EndSwitch, Follower as ProcessFollower};
use crate::secrets::TokenFile;
use crate::sinks::events::EventsFile;
use crate::stream::follow::{Follower, Forward, Log};
use crate::stream::mask::Secrets;
use crate::stream::output::{FLUSH_LIMIT, Flushed, Output, Patience};
use crate::stream::pretty::Pretty;
use crate::stream::split::Fit;
use crate::stream::tail::PlainFollower;

/// What the watchdogs look at, and why the agent is being stopped.
#[derive(Debug)]
pub struct Watch {
    started: Instant,
    last_output: Cell<Instant>,
    ended_at: Cell<Option<Instant>>,
    has_answered: Cell<bool>,
    stop: Cell<Option<Stop>>,
    blocked: Cell<bool>,
    changed: Notify,
}

impl Watch {
    /// For a run that started then; its agent starts now.
    #[must_use]
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            last_output: Cell::new(Instant::now()),
            ended_at: Cell::new(None),
            has_answered: Cell::new(false),
            stop: Cell::new(None),
            blocked: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// When the run started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// When the agent last printed something. While it is held up because our own outputs are not read, that is now: it is not silent.
    #[must_use]
    pub fn last_output(&self) -> Instant {
        if self.blocked.get() { Instant::now() } else { self.last_output.get() }
    }

    /// Awaits what may have to wait for whoever reads our own outputs.
    async fn held_up<T>(&self, waiting: impl Future<Output = T>) -> T {
        self.blocked.set(true);
        let done = waiting.await;
        self.blocked.set(false);
        self.last_output.set(Instant::now());
        done
    }

    /// When its stream said that it is done.
    #[must_use]
    pub fn ended_at(&self) -> Option<Instant> {
        self.ended_at.get()
    }

    /// Whether its stream has what would be its end, and it only waits for tasks of its own in the background.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.has_answered.get()
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
    ledgers: Ledgers,
    markers: Arc<Mutex<MarkerScanner>>,
    nonce: Nonce,
    events: Option<Arc<Mutex<EventsFile>>>,
    last_byte: Option<u8>,
    stopped_before_end: bool,
    /// Whether it was said that a model has no price.
    unpriced_told: bool,
    stdout: Option<Output>,
    complaints: PlainFollower,
    stderr: Option<Output>,
    token: TokenFile,
    journal: &'a RefCell<&'a mut Journal>,
    watch: &'a Watch,
    switch: &'a EndSwitch,
}

impl<'a> RunFollower<'a> {
    /// Opens our own outputs and the events' file.
    pub fn open(
        task: &'a Task,
        reader: impl FnOnce(Detail) -> Box<dyn agent_sdk::agent::StreamReader>,
        ledgers: Vec<Ledger>,
        journal: &'a RefCell<&'a mut Journal>,
        watch: &'a Watch,
        switch: &'a EndSwitch,
        nonce: &Nonce,
    ) -> Self {
        let secrets = journal.borrow().secrets.clone();
        let events = task.sinks.events_file.as_deref().and_then(|path| match EventsFile::open(path) {
            Ok(file) => Some(Arc::new(Mutex::new(file))),
            Err(error) => {
                journal.borrow_mut().warn(error.warning());
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
        let detail = if quiet { Detail::Verdict } else { Detail::Full };
        let mut stream = Follower::new(reader(detail), log, &secrets).with_line_hook(Box::new(move |line| {
            let mut scanner = locked(&scanner);
            match line.fit {
                Fit::Whole => scanner.line(line.bytes),
                Fit::Condensed | Fit::Head => scanner.too_long(),
            }
            false
        }));
        if let Some(events) = &events {
            let (events, secrets) = (Arc::clone(events), secrets.clone());
            let mask = move |text: &str| secrets.mask_text(text).into_owned();
            stream = stream.with_event_hook(Box::new(move |record| {
                // A failure is kept in the file, and said once when it is next written.
                locked(&events).append(record, &mask);
            }));
        }
        Self {
            task,
            stream,
            ledgers: Ledgers::note(ledgers),
            markers,
            nonce: nonce.clone(),
            events,
            last_byte: None,
            stopped_before_end: false,
            unpriced_told: false,
            stdout: output("stdout", std::io::stdout().as_fd()),
            complaints: PlainFollower::new(&secrets),
            stderr: output("stderr", std::io::stderr().as_fd()),
            token: TokenFile::of(task, &secrets),
            journal,
            watch,
            switch,
        }
    }

    fn touched(&self) {
        self.watch.last_output.set(Instant::now());
    }

    /// What the events' file has gathered; the warning about a failure comes once, from the file itself.
    fn write_events(&self) {
        if let Some(events) = &self.events
            && let Err(error) = locked(events).idle()
        {
            self.journal.borrow_mut().warn(error.warning());
        }
    }

    /// What the agent wrote beside its stream.
    fn read_ledgers(&mut self, out: &mut Vec<u8>) {
        let now = SystemTime::now();
        self.ledgers.read(&mut |entry| self.stream.push_ledger(entry, now, out));
    }

    /// After each piece of the stream: what changed, and whether a limit is broken now.
    fn look(&mut self) {
        self.watch.has_answered.set(self.stream.summary().held_end.is_some());
        let changes = self.stream.take_changes();
        if !changes.any() {
            return;
        }
        let mut journal = self.journal.borrow_mut();
        let (summary, unpriced) = by_prices(self.stream.summary(), self.task);
        if let Some(unpriced) = unpriced
            && !std::mem::replace(&mut self.unpriced_told, true)
        {
            journal.warn(unpriced);
        }
        journal.note_stream(&summary, counts(&self.stream));
        journal.touch();
        if changes.ended {
            self.stopped_before_end = self.switch.is_requested();
            self.watch.ended_at.set(Some(Instant::now()));
        } else if self.stream.summary().end.is_none() {
            // It was not the end: a background task has brought the agent back to work.
            self.watch.ended_at.set(None);
        }
        if let Some(stop) = limits::broken_by(&summary, &self.task.limits) {
            self.watch.stop(stop);
            self.switch.request();
        }
        self.watch.changed.notify_one();
    }

    /// What the log shows of a piece goes out, and what it changed is looked at.
    fn show(&mut self, buffer: Vec<u8>) {
        self.last_byte = buffer.last().copied().or(self.last_byte);
        if let Some(output) = &mut self.stdout {
            output.send(buffer);
        }
        self.look();
        self.write_events();
    }

    /// The stream is at its end: the rest is read and written, and everything that it held is handed out. `hurried` if somebody waits for our
    /// own end.
    pub async fn finish(mut self, hurried: bool) -> Followed {
        self.token.look();
        let mut rest = Vec::new();
        self.stream.finish(SystemTime::now(), &mut rest);
        self.read_ledgers(&mut rest);
        self.look();
        self.last_byte = rest.last().copied().or(self.last_byte);
        let patience = patience(hurried);
        let stdout = close(&mut self.stdout, rest, patience).await;
        let mut rest = Vec::new();
        self.complaints.finish(&mut rest);
        let stderr = close(&mut self.stderr, rest, patience).await;
        self.write_events();
        // Nobody scans any more; what takes its place is empty.
        let scanner = std::mem::replace(&mut *locked(&self.markers), MarkerScanner::native(&self.nonce));
        let (summary, _) = by_prices(self.stream.summary(), self.task);
        prices::without_effect(&summary, self.task).into_iter().for_each(|warning| self.journal.borrow_mut().warn(warning));
        Followed {
            summary: summary.into_owned(),
            counts: counts(&self.stream),
            stderr_tail: self.complaints.tail(),
            markers: scanner.finish(),
            stopped_before_end: self.stopped_before_end,
            ends_in_line_start: self.last_byte.is_none_or(|byte| byte == b'\n'),
            stdout,
            stderr,
        }
    }
}

impl ProcessFollower for RunFollower<'_> {
    async fn stdout(&mut self, chunk: &[u8]) {
        self.touched();
        self.token.look();
        let mut buffer = self.watch.held_up(buffer_of(&mut self.stdout)).await;
        if self.stream.push(chunk, SystemTime::now(), &mut buffer) == Forward::Chunk {
            buffer.extend_from_slice(chunk);
        }
        if self.ledgers.are_due() {
            self.read_ledgers(&mut buffer);
        }
        self.show(buffer);
    }

    async fn stderr(&mut self, chunk: &[u8]) {
        self.touched();
        self.token.look();
        // An agent whose stream is silent while it repeats a question says so here, if anywhere.
        if self.ledgers.are_due() {
            self.look_again().await;
        }
        self.watch.held_up(forward_plain(&mut self.complaints, &mut self.stderr, chunk)).await;
    }

    fn due(&self) -> Option<Instant> {
        self.ledgers.due()
    }

    async fn look_again(&mut self) {
        let mut buffer = self.watch.held_up(buffer_of(&mut self.stdout)).await;
        self.read_ledgers(&mut buffer);
        self.show(buffer);
    }

    fn wait_no_longer(&mut self) {
        self.stdout.iter_mut().chain(&mut self.stderr).for_each(Output::wait_no_longer);
    }
}

/// Follows the setup command: all of it goes to stderr, since stdout is the agent's stream.
#[derive(Debug)]
pub struct SetupFollower {
    stdout: PlainFollower,
    stderr: PlainFollower,
    output: Option<Output>,
    token: TokenFile,
}

impl SetupFollower {
    /// For a command that starts now.
    #[must_use]
    pub fn new(task: &Task, secrets: &Secrets) -> Self {
        Self {
            stdout: PlainFollower::new(secrets),
            stderr: PlainFollower::new(secrets),
            output: output("setup", std::io::stderr().as_fd()),
            token: TokenFile::of(task, secrets),
        }
    }

    /// It has ended. `hurried` if somebody waits for our own end.
    pub async fn finish(mut self, hurried: bool) {
        let mut rest = Vec::new();
        self.stdout.finish(&mut rest);
        self.stderr.finish(&mut rest);
        // What cannot be said there is no setup's failure.
        let _ = close(&mut self.output, rest, patience(hurried)).await;
    }
}

impl ProcessFollower for SetupFollower {
    async fn stdout(&mut self, chunk: &[u8]) {
        self.token.look();
        forward_plain(&mut self.stdout, &mut self.output, chunk).await;
    }

    async fn stderr(&mut self, chunk: &[u8]) {
        self.token.look();
        forward_plain(&mut self.stderr, &mut self.output, chunk).await;
    }

    fn wait_no_longer(&mut self) {
        self.output.iter_mut().for_each(Output::wait_no_longer);
    }
}

/// A buffer to fill; for an output that is closed it goes nowhere.
async fn buffer_of(output: &mut Option<Output>) -> Vec<u8> {
    match output {
        Some(output) => output.buffer().await,
        None => Vec::new(),
    }
}

async fn forward_plain(follower: &mut PlainFollower, output: &mut Option<Output>, chunk: &[u8]) {
    let mut buffer = buffer_of(output).await;
    if follower.push(chunk, &mut buffer) == Forward::Chunk {
        buffer.extend_from_slice(chunk);
    }
    if let Some(output) = output {
        output.send(buffer);
    }
}

/// How long readers of ours are waited for from now on, both together: nobody listens for a signal meanwhile.
fn patience(hurried: bool) -> Patience {
    let (step, whole) = if hurried { (FLUSH_LIMIT, FLUSH_LIMIT) } else { (DRAIN_LIMIT, 3 * DRAIN_LIMIT) };
    Patience { step, until: tokio::time::Instant::now() + whole }
}

/// The last bytes of an output, and its flush; neither waits longer than that for a reader.
async fn close(output: &mut Option<Output>, bytes: Vec<u8>, patience: Patience) -> Flushed {
    let Some(output) = output.as_mut() else { return Flushed::All };
    let patience = output.patience(patience);
    if !bytes.is_empty() {
        let Ok(mut buffer) = tokio::time::timeout_at(patience.next(), output.buffer()).await else { return Flushed::Stuck };
        buffer.extend_from_slice(&bytes);
        output.send(buffer);
    }
    output.flush(patience).await
}

/// One of our own outputs; `None` if it is closed: then the agent goes on without a log.
fn output(name: &'static str, descriptor: BorrowedFd<'_>) -> Option<Output> {
    Some(Output::new(name, descriptor.try_clone_to_owned().ok()?))
}

fn counts(stream: &Follower) -> StreamCounts {
    counts_of(stream.summary(), &stream.counts())
}

/// What a stream held, as the outcome says it.
#[must_use]
pub fn counts_of(summary: &StreamSummary, seen: &crate::stream::StreamCounts) -> StreamCounts {
    StreamCounts {
        bytes: seen.bytes,
        lines: seen.lines,
        unknown_lines: summary.unknown_lines,
        malformed_lines: summary.malformed_lines + seen.unread,
        condensed_lines: seen.condensed + seen.beheaded,
    }
}

/// A poisoned lock would mean that a writer panicked between two whole states: what is there is whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Colour only for a person at a terminal who has not said no (no-color.org).
fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use agent_sdk::agent::{LedgerEntry, LedgerForm, StreamEnd, StreamReader};
    use agent_sdk::event::Event;

    use super::*;
    use crate::dialects::Dialect;

    /// Ends at `end`, and is back at work at anything else.
    #[derive(Default)]
    struct BackAndForth(StreamSummary);

    impl StreamReader for BackAndForth {
        fn read_line(&mut self, line: &[u8], _: &mut dyn FnMut(Event)) {
            self.0.end = (line == b"end").then_some(StreamEnd { succeeded: true, reason: None, message: None });
        }

        fn read_ledger(&mut self, entry: &LedgerEntry<'_>, emit: &mut dyn FnMut(Event)) {
            self.read_line(entry.content, emit);
        }

        fn summary(&self) -> &StreamSummary {
            &self.0
        }
    }

    /// A follower of such an agent with these ledgers, and what watches it.
    fn with_follower(ledgers: Vec<Ledger>, act: impl FnOnce(&mut RunFollower<'_>, &Watch, &tokio::runtime::Runtime)) {
        let nonce = super::super::nonce();
        let mut journal = Journal::new(None, nonce.clone(), Dialect::Native);
        let journal = RefCell::new(&mut journal);
        let (task, watch, switch) = (
            Task::from_value(&serde_json::json!({"agent": {"type": "native"}, "prompt": "x"})).unwrap(),
            Watch::new(Instant::now()),
            EndSwitch::default(),
        );
        let reader = |_| Box::<BackAndForth>::default() as Box<dyn StreamReader>;
        let mut follower = RunFollower::open(&task, reader, ledgers, &journal, &watch, &switch, &nonce);
        // Not into the tests' own output.
        follower.stdout = None;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        act(&mut follower, &watch, &runtime);
    }

    #[test]
    fn an_agent_that_goes_on_after_its_end_does_not_linger() {
        with_follower(Vec::new(), |follower, watch, runtime| {
            let mut say = |line: &[u8]| {
                runtime.block_on(ProcessFollower::stdout(follower, line));
                watch.ended_at().is_some()
            };
            assert_eq!([&b"end\n"[..], b"on\n", b"on\n", b"end\n"].map(&mut say), [true, false, false, true]);
            assert_eq!(follower.due(), None);
        });
    }

    #[test]
    fn an_end_that_a_ledger_tells_after_the_last_word_is_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger { dir: dir.path().to_owned(), depth: 0, prefix: "", suffix: ".jsonl", form: LedgerForm::Lines };
        with_follower(vec![ledger], |follower, watch, runtime| {
            assert_eq!(follower.due(), None);
            runtime.block_on(ProcessFollower::stdout(follower, b"on\n"));
            std::fs::write(dir.path().join("ledger.jsonl"), "end\n").unwrap();
            assert!(follower.due().is_some() && watch.ended_at().is_none());
            runtime.block_on(follower.look_again());
            assert!(follower.due().is_none() && watch.ended_at().is_some());
        });
    }
}
