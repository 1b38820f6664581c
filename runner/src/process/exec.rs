//! One command from its start to the end of everything that came of it.
//!
//! What it writes goes to a [`Follower`]; what asks for its end comes by signals or by [`Ending`]. Nothing here knows agents,
//! streams or outcomes.

use std::{
    cell::Cell,
    future::Future,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{libc, sys::signal::raise, unistd::Pid};
use tokio::{
    net::unix::pipe::Receiver,
    task::yield_now,
    time::{sleep, sleep_until},
};

use super::{
    child::Child,
    ending::Ending,
    launch::{Input, Launch, LaunchError, Placement},
    signals::{Request, Signals},
    status::ExitStatus,
    sys::{self, Change},
    terminal::Terminal,
    tree::Ended,
};
use crate::init::RunnerSide;

/// Read at once: as much as one buffer of our own output holds, so that a chunk is forwarded in one piece.
const CHUNK: usize = crate::stream::output::BUFFER;

/// How long bytes that are still in our hands when everything has ended may wait for a reader of ours that does not read; after that they
/// are followed without him. Of one who reads slowly it is the time for a chunk, unless somebody waits for our end.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Gets what the command writes, as it comes.
///
/// While one of its futures is pending nothing more is read (so the command waits for us, not we for memory), but signals,
/// limits and the end go on. A future that is dropped has not taken its bytes: they come again.
pub trait Follower {
    /// It has started.
    fn started(&mut self, _pid: Pid) {}

    /// It wrote this to its stdout; never empty.
    fn stdout(&mut self, chunk: &[u8]) -> impl Future<Output = ()>;

    /// It wrote this to its stderr; never empty.
    fn stderr(&mut self, chunk: &[u8]) -> impl Future<Output = ()>;

    /// When it wants to be called though nothing is written.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// That time has come.
    fn look_again(&mut self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// Whoever does not read what is passed on is not waited for any more.
    fn wait_no_longer(&mut self) {}
}

/// How a command is to be run.
#[derive(Debug, Clone)]
pub struct ExecOptions {
    /// Between the first signal and KILL.
    pub grace: Duration,
    /// For limits and the stream to end it.
    pub ending: Ending,
}

/// Why a command's end began. What is asked for after that only helps what is left out of the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It ended by itself.
    Itself,
    /// A signal asked us for it.
    Signal(i32),
    /// The switch did.
    Switch,
}

/// A command that has ended, with all that came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Why.
    pub cause: Cause,
    /// The first signal that asked for an end, also when that had begun.
    pub signal: Option<i32>,
    /// How the end went.
    pub ended: Ended,
}

impl Finished {
    /// The command's own code, or 128 + signal. One that KILL did not end counts as killed: whoever is left may not be waited
    /// for.
    #[must_use]
    pub fn code(&self) -> u8 {
        let killed = ExitStatus::Signalled(libc::SIGKILL);
        self.ended.status.unwrap_or(killed).code()
    }
}

/// Runs a command: starts it, follows it, ends it and everything that came of it, and drains what it wrote.
///
/// The terminal on stdin, if we have its foreground and the command inherits it, is the command's meanwhile.
///
/// # Errors
/// It does not start.
pub async fn exec(
    side: &RunnerSide,
    signals: &mut Signals,
    launch: &Launch,
    options: &ExecOptions,
    follower: &mut impl Follower,
) -> Result<Finished, LaunchError> {
    let terminal = matches!(launch.stdin, Input::Inherit).then(|| side.terminal()).flatten();
    let lent = terminal.as_ref().filter(|terminal| terminal.is_ours());
    // it may have taken the terminal before it failed, and its group is gone
    let mut child = Child::spawn(launch, terminal.as_ref()).inspect_err(|_| lent.into_iter().for_each(Terminal::reclaim))?;
    follower.started(child.pid());
    let (group, placement) = (child.pid(), launch.placement);
    let course = Course { side, group, placement, terminal, options, signal: Cell::new(None), cause: Cell::new(None) };
    let pipes = Pipes { stdout: child.stdout.take(), stderr: child.stderr.take(), in_hand: Cell::new(None), taken: Cell::new(0) };
    let mut chunk = Vec::with_capacity(CHUNK);
    let (ended, drained) = {
        let mut pump = std::pin::pin!(pipes.pump(follower, &mut chunk));
        let (ended, has_drained) = {
            let mut life = std::pin::pin!(async {
                tokio::select! {
                    ended = course.live(&mut child) => ended,
                    never = course.obey(signals) => match never {},
                }
            });
            tokio::select! {
                () = &mut pump => (life.await, true),
                ended = &mut life => (ended, false),
            }
        };
        // nobody of the tree writes any more, so what is in the pipes now is all
        let drained = has_drained || pipes.drained(pump, course.hurried(signals)).await;
        (ended, drained)
    };
    if !drained {
        // nothing is lost to what is read of it, only to who did not read it
        follower.wait_no_longer();
        pipes.drained(pipes.pump(follower, &mut chunk), std::future::ready(())).await;
    }
    course.give_terminal_back(&ended);
    child.reap();
    Ok(Finished { cause: course.cause.get().unwrap_or(Cause::Itself), signal: course.signal.get(), ended })
}

/// What both halves of a run share: its life, and the signals that come meanwhile.
struct Course<'a> {
    side: &'a RunnerSide,
    group: Pid,
    placement: Placement,
    terminal: Option<Terminal>,
    options: &'a ExecOptions,
    /// The first that asked for the end; the group has got it.
    signal: Cell<Option<i32>>,
    /// Once the end has begun.
    cause: Cell<Option<Cause>>,
}

/// Nothing of this type exists: what returns it does not return.
enum Never {}

impl Course<'_> {
    async fn live(&self, child: &mut Child) -> Ended {
        let ending = &self.options.ending;
        loop {
            tokio::select! {
                biased;
                change = child.changed() => match change {
                    Change::Ended(_) => break,
                    Change::Stopped(signal) => self.stopped(signal),
                    Change::Continued => {}
                },
                () = ending.requested() => break,
            }
        }
        if self.cause.get().is_none() {
            self.cause.set(Some(if ending.is_requested() { Cause::Switch } else { Cause::Itself }));
        }
        // after the command has ended by itself, what is left of its group has not been told anything yet
        let told = self.signal.get().filter(|_| child.ended().is_none());
        let grace = self.options.grace;
        self.side.tree().end(child, told, grace, ending).await
    }

    /// Returns when somebody waits for the end of the run: the command has ended already.
    async fn hurried(&self, signals: &mut Signals) {
        let asked = async {
            loop {
                match signals.next().await {
                    Request::End(signal) => return self.signal.set(Some(signal)),
                    Request::Hurry(_) => return,
                    // it was for the command
                    Request::Forward(_) => {}
                }
            }
        };
        if self.signal.get().is_none() && matches!(self.cause.get(), None | Some(Cause::Itself)) {
            tokio::select! {
                () = asked => {}
                () = self.options.ending.requested() => {}
            }
        }
    }

    async fn obey(&self, signals: &mut Signals) -> Never {
        loop {
            match signals.next().await {
                Request::End(signal) => {
                    self.signal.set(Some(signal));
                    self.note_signal(signal);
                    // it may be init's death that brought it
                    self.side.tree().adopt_if_init_is_gone();
                    sys::kill_group(self.group, signal);
                    self.options.ending.request();
                }
                Request::Hurry(_) => self.options.ending.hurry(),
                Request::Forward(libc::SIGCONT) => {
                    if let Some(terminal) = &self.terminal {
                        terminal.lend(self.group);
                    }
                    sys::kill_group(self.group, libc::SIGCONT);
                }
                Request::Forward(signal) => {
                    sys::kill_group(self.group, signal);
                    let stops = matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
                    if stops && self.placement == Placement::Session && !self.side.is_pid_one() {
                        // a session of its own has no parent in it that could continue it, so to the kernel these three mean
                        // nothing there; we are that parent
                        sys::kill_group(self.group, libc::SIGSTOP);
                    }
                }
            }
        }
    }

    /// Whether it is the signal that ends the command: unless that has ended by itself, or was asked before.
    fn note_signal(&self, signal: i32) {
        let ended = sys::peek_ended(self.group);
        let cause = match (self.cause.get(), ended) {
            (Some(Cause::Switch), _) => return,
            (None, _) if self.options.ending.is_requested() => Cause::Switch,
            // who sends it to us and to the command alike (a service manager does) has ended it, whomever it reached first
            (_, Some(status)) if status != ExitStatus::Signalled(signal) => Cause::Itself,
            _ => Cause::Signal(signal),
        };
        self.cause.set(Some(cause));
    }

    /// The command was stopped. Whoever watches us (a shell) must see us stopped too, with the terminal given back; init
    /// follows us, and passes on the SIGCONT that wakes it.
    fn stopped(&self, signal: i32) {
        match &self.terminal {
            // `^Z` where there is no shell to say `fg` to: it would be stopped for ever. Not so what reads from a terminal
            // that somebody else has: continued, it would read again
            Some(terminal) if self.side.is_pid_one() => {
                let reads = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
                if !reads || terminal.lend(self.group) {
                    sys::kill_group(self.group, libc::SIGCONT);
                }
            }
            // somebody from outside pauses it, and will continue it
            _ if self.side.is_pid_one() => {}
            None if signal == libc::SIGSTOP && self.placement == Placement::Group => {}
            terminal => {
                if let Some(terminal) = terminal {
                    terminal.take_back(self.group);
                }
                // cannot fail: the signal is a valid one, and we may send it to ourselves
                let _ = raise(nix::sys::signal::Signal::SIGSTOP);
            }
        }
    }

    fn give_terminal_back(&self, ended: &Ended) {
        let Some(terminal) = &self.terminal else {
            return;
        };
        terminal.take_back(self.group);
        if !matches!(ended.status, Some(ExitStatus::Exited(_))) {
            terminal.restore_modes();
        }
    }
}

/// Our ends of the command's pipes.
struct Pipes {
    stdout: Option<Receiver>,
    stderr: Option<Receiver>,
    /// How many chunks the follower has taken.
    taken: Cell<u64>,
    /// Whose bytes the follower has in hand; none while we wait for the command.
    in_hand: Cell<Option<Stream>>,
}

#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

impl Pipes {
    /// Reads both until both have ended, a chunk at a time. Started again, it goes on with the chunk that was in hand.
    async fn pump(&self, follower: &mut impl Follower, chunk: &mut Vec<u8>) {
        let mut stdout = self.stdout.as_ref();
        let mut stderr = self.stderr.as_ref();
        loop {
            match self.in_hand.get() {
                Some(Stream::Stdout) => follower.stdout(chunk).await,
                Some(Stream::Stderr) => follower.stderr(chunk).await,
                None => {}
            }
            self.taken.set(self.taken.get() + u64::from(self.in_hand.take().is_some()));
            if stdout.is_none() && stderr.is_none() {
                return;
            }
            let (length, stream) = tokio::select! {
                () = readable(stdout) => (read(&mut stdout, chunk), Stream::Stdout),
                () = readable(stderr) => (read(&mut stderr, chunk), Stream::Stderr),
                () = until(follower.due()) => {
                    follower.look_again().await;
                    continue;
                }
            };
            self.in_hand.set((length > 0).then_some(stream));
            // A command that always has something to say does not keep us from signals and limits: a pipe that can be read is ready at
            // once.
            yield_now().await;
        }
    }

    /// Whether the pump has come to an end, or to empty pipes, before the limit, which begins anew with each chunk that is taken until
    /// somebody is in a hurry.
    async fn drained(&self, pump: impl Future<Output = ()>, hurried: impl Future<Output = ()>) -> bool {
        let (mut pump, mut emptied, mut hurried) = (std::pin::pin!(pump), std::pin::pin!(self.emptied()), std::pin::pin!(hurried));
        let mut is_hurried = false;
        let mut seen = self.taken.get();
        let mut deadline = tokio::time::Instant::now() + DRAIN_LIMIT;
        loop {
            tokio::select! {
                () = &mut pump => return true,
                () = &mut emptied => return true,
                () = &mut hurried, if !is_hurried => is_hurried = true,
                () = sleep_until(deadline) => {
                    let late = deadline.elapsed();
                    if late > DRAIN_LIMIT / 10 {
                        // We stood still, and so, most likely, did the reader.
                        deadline = tokio::time::Instant::now() + late.min(DRAIN_LIMIT);
                        continue;
                    }
                    if is_hurried || self.taken.get() == seen {
                        return false;
                    }
                    seen = self.taken.get();
                    deadline = tokio::time::Instant::now() + DRAIN_LIMIT;
                }
            }
        }
    }

    /// Returns when all that was written has been read and followed. For pipes that never end, since somebody outside of
    /// the tree has got hold of them.
    async fn emptied(&self) {
        let empty = |pipe: &Option<Receiver>| pipe.as_ref().is_none_or(|pipe| sys::bytes_in_pipe(pipe.as_fd()) == 0);
        // 1 ms: the usual case, pipes that end, does not come here at all
        while !(self.in_hand.get().is_none() && empty(&self.stdout) && empty(&self.stderr)) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Returns when there is something to read; never for a pipe that is not there.
async fn readable(pipe: Option<&Receiver>) {
    match pipe {
        // an error shows itself at the read
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

/// Returns then; never without a then.
pub(crate) async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// Reads what is there, up to the buffer's capacity, in the place of what was in it; forgets the pipe at its end.
fn read(pipe: &mut Option<&Receiver>, buffer: &mut Vec<u8>) -> usize {
    let Some(open) = pipe else { return 0 };
    buffer.clear();
    match open.try_read_buf(buffer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
        Ok(0) | Err(_) => {
            *pipe = None;
            0
        }
        Ok(length) => length,
    }
}
