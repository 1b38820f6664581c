//! The end of what the runner has left behind: usually nothing, for it ends the tree itself (`process::tree`). Init's word is
//! the last and the surest, since it alone is told by the kernel that it has no children any more.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use nix::{
    libc,
    unistd::{Pid, getpid},
};

use super::supervise::{Pause, pause};
use crate::process::{
    descendants::{Process, descendants},
    sys::{self, Waited},
};

/// How long KILL is repeated before who is left counts as beyond our reach: asleep in the kernel, or another user's.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// Between two rounds of KILL, if nobody dies of the first.
const ROUND: Duration = Duration::from_millis(5);

/// Whether there was anything to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody was left.
    Nobody,
    /// Somebody was, and may have written to places that are ours.
    Somebody,
}

/// Ends everybody who is left: TERM, grace, KILL. A TERM or INT that comes meanwhile drops the grace.
pub(super) fn sweep(runner: Pid, home: Pid, grace: Duration) -> Found {
    if bury() {
        return Found::Nobody;
    }
    signal_all(runner, home, libc::SIGTERM);
    let started = Instant::now();
    while let Some(rest) = grace.checked_sub(started.elapsed()).filter(|rest| !rest.is_zero()) {
        if pause(rest) == Pause::Hurry {
            break;
        }
        if bury() {
            return Found::Somebody;
        }
    }
    let started = Instant::now();
    while !bury() && started.elapsed() < KILL_LIMIT {
        signal_all(runner, home, libc::SIGKILL);
        pause(ROUND);
    }
    Found::Somebody
}

/// Buries whoever has died; true when no child is left at all, which with every orphan coming to us means: nobody.
pub(super) fn bury() -> bool {
    loop {
        match sys::wait(Pid::from_raw(-1), 0) {
            Waited::Child(..) => {}
            Waited::Nothing => return false,
            Waited::NoChild => return true,
        }
    }
}

/// A signal to everybody below us. Groups first: those are reached in one go, so nobody in them can fork away.
fn signal_all(runner: Pid, home: Pid, signal: i32) {
    let Ok(found) = descendants(getpid(), runner) else {
        // no /proc: as PID 1 everybody can still be reached, if with less care for those who came from outside
        if getpid().as_raw() == 1 {
            sys::kill(Pid::from_raw(-1), signal);
        }
        return;
    };
    let mut groups = HashSet::new();
    for Process { pid, group, .. } in &found {
        let led_from_within = found.iter().any(|process| process.pid == *group);
        if *group != home && led_from_within {
            if groups.insert(*group) {
                sys::kill_group(*group, signal);
            }
        } else {
            sys::kill(*pid, signal);
        }
    }
    for process in found.iter().filter(|process| process.is_stopped()) {
        // it would not see a TERM
        sys::kill(process.pid, libc::SIGCONT);
    }
}
