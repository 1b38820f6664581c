//! The terminal on stdin, where there is one: lent to the agent's process group, and taken back.
//!
//! Only the foreground group of a terminal may read from it and gets its `^C`, `^Z` and size changes. An interactive agent
//! must therefore be that group, not only sit in front of it. Every call here is made with SIGTTOU blocked (the runner and
//! init block everything), since `tcsetpgrp` from a group in the background would stop us otherwise (`tcsetpgrp(3)`).

use std::{
    io::{IsTerminal, stdin},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use nix::{
    sys::termios::{SetArg, Termios, tcgetattr, tcsetattr},
    unistd::{Pid, tcgetpgrp, tcsetpgrp},
};

use super::{descendants::descendants, sys};

/// A terminal that is our session's.
#[derive(Debug)]
pub struct Terminal {
    descriptor: OwnedFd,
    home: Pid,
    modes: Option<Termios>,
}

impl Terminal {
    /// The terminal on stdin, if there is one and it is our session's.
    ///
    /// Whether we, the group `home` of init, have its foreground is asked when it is to be lent: a run in the background
    /// (`agent-runner … &`) has nothing to give until its shell says `fg`.
    #[must_use]
    pub fn on_stdin(home: Pid) -> Option<Self> {
        let stdin = stdin();
        // ENOTTY here means the terminal of another session
        if !stdin.is_terminal() || tcgetpgrp(&stdin).is_err() {
            return None;
        }
        let descriptor = stdin.as_fd().try_clone_to_owned().ok()?;
        let modes = tcgetattr(&descriptor).ok();
        Some(Self { descriptor, home, modes })
    }

    /// For the child to take the foreground itself between fork and exec, so that it never runs without; `None` if it is not
    /// ours to give.
    pub(crate) fn to_be_taken(&self) -> Option<RawFd> {
        self.is_ours().then(|| self.descriptor.as_raw_fd())
    }

    /// Lends it to `group` if the foreground is ours to give; false when a shell has it for itself (`bg`).
    pub fn lend(&self, group: Pid) -> bool {
        self.is_ours() && tcsetpgrp(&self.descriptor, group).is_ok()
    }

    /// Whether we have its foreground.
    pub(crate) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.descriptor).is_ok_and(|foreground| foreground == self.home)
    }

    /// Takes it back from `group`; does nothing when somebody else has it.
    pub fn take_back(&self, group: Pid) {
        // the group may be gone by now, then the terminal still names it
        if tcgetpgrp(&self.descriptor).is_ok_and(|foreground| foreground == group) {
            // a terminal that hung up has no foreground any more: nothing to mend
            let _ = tcsetpgrp(&self.descriptor, self.home);
        }
    }

    /// Takes it back from whoever has it: from a program that has taken it and then did not start.
    pub(crate) fn reclaim(&self) {
        // a terminal that hung up has no foreground any more: nothing to mend
        let _ = tcsetpgrp(&self.descriptor, self.home);
    }

    /// Puts the modes (echo, line editing) back as they were before the agent, which had no chance to do it itself.
    pub fn restore_modes(&self) {
        if let Some(modes) = &self.modes {
            // as above: a terminal that is gone needs no modes
            let _ = tcsetattr(&self.descriptor, SetArg::TCSADRAIN, modes);
        }
    }
}

/// Takes the terminal on stdin back for `home`, if the dead runner had lent it to somebody below `init`. With signals blocked.
pub(crate) fn reclaim(init: Pid, home: Pid) {
    let stdin = stdin();
    // an error: not the terminal of our session, or gone; then it was not lent either
    let Some(foreground) = tcgetpgrp(&stdin).ok().filter(|_| stdin.is_terminal()) else {
        return;
    };
    let below_us = |group: Pid| descendants(init, init).is_ok_and(|found| found.iter().any(|process| process.group == group));
    // signal 0 only asks; whoever is left in it may have been lent it, or be a shell that has it by right
    if foreground != home && (!sys::kill_group(foreground, 0) || below_us(foreground)) {
        let _ = tcsetpgrp(&stdin, home);
    }
}
