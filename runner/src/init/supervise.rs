//! Init's loop: wait for a signal, do the one thing that it asks for, wait again. No timers, so an idle container is not
//! woken at all (tini wakes every second).

use std::{
    io::{IsTerminal, stderr, stdin, stdout},
    mem,
    time::Duration,
};

use nix::{
    libc,
    sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask},
    unistd::{Pid, getpid},
};

use super::{
    Options,
    last_words::{Death, LastWordsBoard},
    oom::OomCounter,
    sweep,
};
use crate::process::{
    ExitStatus,
    sys::{self, Change, Waited},
    terminal,
};

/// Supervises the runner until nobody is left; the code to leave with.
pub(super) fn supervise(runner: Pid, home: Pid, board: Option<LastWordsBoard>, options: Options, ignores_hangup: bool) -> u8 {
    // the runner is on its way already, so this costs it nothing
    let memory = OomCounter::start();
    let status = watch(runner, Hangup::new(ignores_hangup));
    if status.signal().is_none() && board.as_ref().is_some_and(LastWordsBoard::is_closed) && sweep::bury() {
        // as most runs end: all has been said, and nobody is there; the board goes with this process
        mem::forget(board);
        return status.code();
    }
    let last = board.as_ref().and_then(LastWordsBoard::read);
    let grace = last.as_ref().map_or(options.grace, |slot| slot.grace);
    let said = last.filter(|_| board.as_ref().is_some_and(|board| !board.is_closed()));
    let death = Death { status, out_of_memory: memory.has_grown() };
    let code = said.as_ref().map_or(status.code(), |slot| (options.last_words)(slot, death));
    if getpid().as_raw() != 1 && status.signal().is_some() {
        terminal::reclaim(getpid(), home);
    }
    if sweep::sweep(runner, home, grace) == sweep::Found::Somebody
        && let Some(slot) = &said
    {
        let _ = (options.last_words)(slot, death);
    }
    if let Some(place) = board.as_ref().and_then(LastWordsBoard::place) {
        (options.clear)(&place, getpid().as_raw() == 1);
    }
    code
}

/// The loop. Returns when the runner has ended.
fn watch(runner: Pid, mut hangup: Hangup) -> ExitStatus {
    let everything = SigSet::all();
    loop {
        // an interruption (we were stopped and continued) tells nothing: the signal itself comes next
        let Some(arrived) = sys::wait_signal(&everything, None) else {
            continue;
        };
        match arrived.signal {
            libc::SIGCHLD => {
                if let Some(status) = reap(runner) {
                    return status;
                }
            }
            _ if hangup.tolerates(arrived) => {}
            // the runner may be gone, with its SIGCHLD next in the queue
            signal => drop(sys::kill(runner, signal)),
        }
    }
}

/// Buries everybody who has died: signals of one kind do not queue, so one SIGCHLD may stand for thousands.
fn reap(runner: Pid) -> Option<ExitStatus> {
    let anybody = Pid::from_raw(-1);
    loop {
        match sys::wait(anybody, libc::WUNTRACED) {
            Waited::Child(pid, change) if pid == runner => match change {
                Change::Ended(status) => return Some(status),
                Change::Stopped(_) => stop_with(runner),
                Change::Continued => {}
            },
            Waited::Child(..) => {}
            Waited::Nothing | Waited::NoChild => return None,
        }
    }
}

/// The runner has stopped itself, since the agent was stopped (`^Z`). Our shell waits for the whole job, which is our process
/// group, so that stops, and with it we. The SIGCONT that wakes us is passed on like every signal.
fn stop_with(runner: Pid) {
    if getpid().as_raw() != 1 {
        let terminal_stop: SigSet = [Signal::SIGTSTP].into_iter().collect();
        // TSTP, not STOP: where no shell is left that could continue us (an orphaned group) the kernel lets it pass
        sys::kill(Pid::from_raw(0), libc::SIGTSTP);
        // we stop within the first of these two lines, and are continued within it
        let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&terminal_stop), None);
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&terminal_stop), None);
        if sys::is_pending(Signal::SIGCONT) {
            return;
        }
    }
    // nobody will: go on
    sys::kill(runner, libc::SIGCONT);
}

/// When the leader of our session dies, the kernel sends SIGHUP and SIGCONT to the terminal's foreground group. If none of
/// our streams is that terminal, its end is not ours: the first such pair is taken for what it is, and the run goes on. Whoever starts us with
/// SIGHUP ignored wants none of them to count, whoever sends it: a shell that goes sends it once more.
struct Hangup {
    is_ignored: bool,
    terminal_is_ours: bool,
    expected: [bool; 2],
}

impl Hangup {
    fn new(is_ignored: bool) -> Self {
        Self {
            is_ignored,
            terminal_is_ours: stdin().is_terminal() || stdout().is_terminal() || stderr().is_terminal(),
            expected: [true, true],
        }
    }

    /// True for every SIGHUP that is ignored; else for the first SIGHUP and the first SIGCONT after it that the kernel sends by itself.
    fn tolerates(&mut self, arrived: sys::Arrived) -> bool {
        if self.is_ignored && arrived.signal == libc::SIGHUP {
            return true;
        }
        if self.terminal_is_ours || !arrived.from_kernel {
            return false;
        }
        let [hup, cont] = &mut self.expected;
        match arrived.signal {
            libc::SIGHUP => std::mem::take(hup),
            libc::SIGCONT if !*hup => std::mem::take(cont),
            _ => false,
        }
    }
}

/// Waits for `limit`, or less if somebody has died meanwhile or the end is wanted now.
pub(super) fn pause(limit: Duration) -> Pause {
    let everything = SigSet::all();
    match sys::wait_signal(&everything, Some(limit)) {
        Some(arrived) => match arrived.signal {
            libc::SIGCHLD => Pause::SomebodyDied,
            libc::SIGTERM | libc::SIGINT => Pause::Hurry,
            _ => Pause::Nothing,
        },
        None => Pause::Nothing,
    }
}

/// Why a pause ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// There may be somebody to bury.
    SomebodyDied,
    /// TERM or INT.
    Hurry,
    /// Time over, or a signal that has nobody left to go to.
    Nothing,
}
