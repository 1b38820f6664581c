//! The first of the two processes: PID 1 of a container, or a subreaper outside of one.
//!
//! [`enter`] forks at once. The child is the runner, which does everything (`crate::process` and up); the parent stays here:
//! a small synchronous loop that sleeps until there is something to do, reaps whatever comes to it, passes signals on to the
//! runner, and when the runner has ended sees to it that nobody of the tree is left. Two processes, so that a crash of the
//! runner is survived by somebody who can report it, and so that no library's child is ever reaped from under it.
//!
//! - `supervise`: the loop,
//! - `sweep`: the end of what is left,
//! - [`last_words`]: what is reported in the runner's place,
//! - [`oom`]: whether it was memory.

use std::{panic, path::Path, process, time::Duration};

use nix::{
    sys::{
        prctl::{set_child_subreaper, set_dumpable, set_pdeathsig},
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    },
    unistd::{ForkResult, Pid, fork, getpgrp, getpid, getppid, setpgid},
};

use crate::process::{Terminal, Tree, sys};

pub mod last_words;
pub mod oom;
mod supervise;
mod sweep;

pub use last_words::{Death, LastWordsBoard, Slot};

/// EX_SOFTWARE of `sysexits.h`: a panic of the runner.
const OUR_FAULT: u8 = 70;

/// How init is to behave.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Called after the runner has ended without [`LastWordsBoard::close`], with what it had last said: at once, since we may
    /// be killed next, and again when nobody is left who could write over it. So it must be fit to be called twice. Returns the code to leave
    /// with.
    pub last_words: fn(&Slot, Death) -> u8,
    /// Called when nobody is left, with what a runner that could not do it itself noted by [`LastWordsBoard::note_place`], and whether we
    /// are PID 1.
    pub clear: fn(&Path, bool),
    /// Called when there can be no runner, with why not; it reports, and returns the code to leave with.
    pub no_runner: fn(&str) -> u8,
    /// The signal that init wants when its own parent dies; for a runner below something that may go away.
    pub parent_death: Option<Signal>,
    /// Between TERM and KILL for what the runner leaves behind, if it has not published another.
    pub grace: Duration,
}

/// What the runner knows of its parent.
#[derive(Debug)]
pub struct RunnerSide {
    init: Pid,
    home: Pid,
    board: Option<LastWordsBoard>,
}

impl RunnerSide {
    /// Init's process id.
    #[must_use]
    pub fn init(&self) -> Pid {
        self.init
    }

    /// Whether init is PID 1: then there is no shell above us, and the PID namespace is ours.
    #[must_use]
    pub fn is_pid_one(&self) -> bool {
        self.init.as_raw() == 1
    }

    /// What comes of the agent.
    #[must_use]
    pub fn tree(&self) -> Tree {
        Tree::new(self.init, getpid(), self.home)
    }

    /// The terminal on stdin, if it is ours to hand over.
    #[must_use]
    pub fn terminal(&self) -> Option<Terminal> {
        Terminal::on_stdin(self.home)
    }

    /// Where to leave what is to be said if we are killed; `None` without the memory for it. Take it once, keep it.
    pub fn take_board(&mut self) -> Option<LastWordsBoard> {
        self.board.take()
    }
}

/// Splits this process in two: init, which never returns from here, and the runner, which is `runner` and leaves with its code.
///
/// Call it before any thread is started: a fork copies only the thread that calls it, and locks held by others stay locked.
/// In the runner every signal is blocked until [`crate::process::Signals::install`]. It is the leader of a process group of
/// its own, so that a `^C` meant for the foreground reaches it once, by init, and not twice.
pub fn enter(options: Options, runner: impl FnOnce(RunnerSide) -> u8) -> ! {
    let everything = SigSet::all();
    // fails only for a wrong argument, which this is not; from here on nothing interrupts us and nothing gets lost
    let _ = sys::block(&everything);
    // Whoever started us may have left it ignored: then the kernel would bury our children by itself, and tell nobody.
    let as_usual = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action calls no code of ours. It fails only for a wrong argument, which this is not.
    let _ = unsafe { sigaction(Signal::SIGCHLD, &as_usual) };
    // Our environment holds the agent's key: other programs of this user must not read it in /proc. A new program is open again.
    // Fails only for a wrong argument, which this is not.
    let _ = set_dumpable(false);
    let init = getpid();
    let home = getpgrp();
    if init.as_raw() != 1 {
        // Linux has had it since 3.4; without it orphans would go to the real PID 1, and only /proc would suffer
        let _ = set_child_subreaper(true);
    }
    // `nohup` says so. A blocked signal comes nevertheless, so it has to be dropped when it does.
    let ignores_hangup = init.as_raw() != 1 && is_ignored(Signal::SIGHUP);
    if let Some(signal) = options.parent_death {
        let parent = getppid();
        // a valid signal, so this does not fail
        let _ = set_pdeathsig(signal);
        if getppid() != parent {
            // it died before that, so the signal is ours to send; it waits, blocked, until the loop
            sys::kill(init, signal as i32);
        }
    }
    // each process gets one owner of the same memory by the fork
    let board = LastWordsBoard::new();
    // SAFETY: no other thread exists yet, as this function demands; so the child may do whatever it likes.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let side = RunnerSide { init, home, board };
            process::exit(i32::from(be_runner(side, runner)))
        }
        Ok(ForkResult::Parent { child }) => {
            let code = supervise::supervise(child, home, board, options, ignores_hangup);
            process::exit(i32::from(code))
        }
        Err(error) => process::exit(i32::from((options.no_runner)(&format!("no second process: {error}")))),
    }
}

/// Whether whoever started us has a signal ignored.
fn is_ignored(signal: Signal) -> bool {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no action here calls code of ours, and the one that was there comes back.
    unsafe {
        let Ok(before) = sigaction(signal, &ignore) else { return false };
        // fails only for a wrong argument, which this is not
        let _ = sigaction(signal, &before);
        matches!(before.handler(), SigHandler::SigIgn)
    }
}

fn be_runner(side: RunnerSide, runner: impl FnOnce(RunnerSide) -> u8) -> u8 {
    // cannot fail for ourselves, just forked: neither a session leader nor after an exec
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    // TERM: if init is killed, the agent is still ended in order
    let _ = set_pdeathsig(Signal::SIGTERM);
    if getppid() != side.init {
        // init was killed before that; nothing has been started yet
        return 128 + Signal::SIGTERM as u8;
    }
    // the report of a panic is written while it unwinds; what comes out here has had its report, or never could have one
    panic::catch_unwind(panic::AssertUnwindSafe(|| runner(side))).unwrap_or(OUR_FAULT)
}
