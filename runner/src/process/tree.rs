//! The order of the end: TERM, grace, KILL, for the agent's group and for everything else that came of it, wherever it went.
//!
//! A tree is what descends from init, the runner apart. Whoever loses its parent becomes init's child, so leaving the group,
//! the session or the parent (`setsid`, double fork) hides nobody. Shells that entered the container from outside
//! (`kubectl exec`) descend from nobody in it and are left alone. The pipes are the caller's to drain meanwhile.

use std::{collections::HashSet, future::poll_fn, io, os::fd::OwnedFd, task::Poll, time::Duration};

use nix::{
    libc,
    sys::prctl::set_child_subreaper,
    unistd::{Pid, getppid},
};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep, timeout},
};

use super::{
    child::Child,
    descendants::{Process, descendants, nobody_but},
    ending::Ending,
    status::ExitStatus,
    sys,
};

/// Looks that find nobody before nobody is believed to be there: a look is no snapshot, and a process may fork to a place
/// that was looked at already and then die before its own is reached.
const EMPTY_LOOKS: u32 = 2;

/// How long KILL is repeated before what is left counts as beyond our reach: asleep in the kernel, or another user's.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// Where processes cannot be watched (too many, or a kernel without pidfd), how often to look.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Processes that are watched one by one; more would cost more descriptors than they save looks.
const WATCHED: usize = 64;

/// How long the agent has for its own end before others of its tree are asked too; it stops within a second or two, if it does.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rounds of KILL after which everybody is stopped first: by then somebody forks faster than we kill.
const ROUNDS_BEFORE_FREEZE: u32 = 3;

/// Everything that came of the agent.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    init: Pid,
    runner: Pid,
    home: Pid,
}

/// How the end went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How the agent itself ended; `None` when even KILL did not end it.
    pub status: Option<ExitStatus>,
    /// True when the grace was over (or dropped) before everything had ended by itself.
    pub killed: bool,
    /// How many processes were still there when the agent itself had ended.
    pub stragglers: usize,
    /// Who could not be ended.
    pub left: Vec<Pid>,
}

impl Tree {
    /// The tree below `init`; `runner` is we, `home` the group in which init is.
    #[must_use]
    pub fn new(init: Pid, runner: Pid, home: Pid) -> Self {
        Self { init, runner, home }
    }

    /// Everybody alive in it now.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn processes(&self) -> io::Result<Vec<Process>> {
        let root = if self.init_is_gone() { self.runner } else { self.init };
        descendants(root, self.runner)
    }

    /// To be called before the first signal: if init was killed, whoever loses its parent from now on comes to us. Who had
    /// lost it before is out of sight then.
    pub fn adopt_if_init_is_gone(&self) {
        if self.init_is_gone() {
            // Linux has had it since 3.4; without it only the agent's group can be ended
            let _ = set_child_subreaper(true);
        }
    }

    fn init_is_gone(&self) -> bool {
        getppid() != self.init
    }

    /// Ends the tree, the child first; returns when nobody is left, or nobody within reach.
    ///
    /// `told` is the signal that the child's group has been sent already, if any; without one it gets TERM now. `ending`
    /// drops what is left of the grace.
    pub async fn end(&self, child: &mut Child, told: Option<i32>, grace: Duration, ending: &Ending) -> Ended {
        let mut stragglers = None;
        let deadline = Instant::now() + grace;
        let gently = async {
            tokio::select! {
                () = self.ask(child, told, grace, &mut stragglers) => true,
                () = tokio::time::sleep_until(deadline) => false,
                () = ending.hurried() => false,
            }
        }
        .await;
        let left = if gently { Vec::new() } else { self.kill(child).await };
        Ended { status: child.ended(), killed: !gently, stragglers: stragglers.unwrap_or(0), left }
    }

    /// Asks everybody to end, each group once, and returns when nobody is left.
    ///
    /// The child's group comes first, and the others when it has ended: an agent whose tool dies before it does takes the
    /// tool's answer and asks its model once more. But who waits for a program in another group never ends by itself, so
    /// after a part of the grace they are asked too.
    async fn ask(&self, child: &mut Child, told: Option<i32>, grace: Duration, stragglers: &mut Option<usize>) {
        let others_at = Instant::now() + (grace / 4).min(PATIENCE);
        // Groups, not processes: what a clean-up starts after its TERM belongs to the clean-up, and must not get another.
        let mut asked = HashSet::new();
        if told.is_none_or(|signal| signal == libc::SIGTERM) {
            asked.insert(child.pid());
        }
        if told.is_none() {
            child.signal_group(libc::SIGTERM);
        }
        if child.ended().is_some() && !self.init_is_gone() && nobody_but(self.init, self.runner, child.pid()) {
            // As most programs end.
            *stragglers = Some(0);
            return;
        }
        let mut empty = 0;
        while empty < EMPTY_LOOKS {
            let ended = child.ended().is_some();
            let Ok(found) = self.processes() else {
                self.ask_blindly(child).await;
                return;
            };
            if ended {
                stragglers.get_or_insert(found.len());
            }
            if found.is_empty() && ended {
                empty += 1;
                continue;
            }
            empty = 0;
            let others = ended || Instant::now() >= others_at;
            let groups: HashSet<Pid> = found.iter().map(|process| process.group).collect();
            for &group in &groups {
                // the child may be busy with the INT or HUP that it got; who outlives it needs a clearer word
                let not_yet = if group == child.pid() { !ended } else { !others };
                if not_yet || !asked.insert(group) {
                    continue;
                }
                self.signal(group, &found, libc::SIGTERM);
            }
            for process in found.iter().filter(|process| process.is_stopped()) {
                // it would never see the signal
                sys::kill(process.pid, libc::SIGCONT);
            }
            tokio::select! {
                () = some_end(&found) => {}
                () = tokio::time::sleep_until(others_at), if !others => {}
            }
        }
    }

    /// Without `/proc` nobody but the child can be seen. As PID 1's child all others can still be reached.
    async fn ask_blindly(&self, child: &mut Child) {
        self.signal_all(libc::SIGTERM);
        child.wait().await;
        // who is left cannot be seen and so not be waited for
        child.signal_group(libc::SIGKILL);
        self.signal_all(libc::SIGKILL);
    }

    /// Kills everybody, again and again, until nobody is left or the limit is reached; who is left then.
    async fn kill(&self, child: &mut Child) -> Vec<Pid> {
        let started = Instant::now();
        let mut round = 0;
        let mut empty = 0;
        loop {
            // a group is killed in one go, so nobody in it can fork away
            child.signal_group(libc::SIGKILL);
            let Ok(found) = self.processes() else {
                self.signal_all(libc::SIGKILL);
                // bounded: a child that even KILL does not end is asleep in the kernel
                let _ = timeout(KILL_LIMIT, child.wait()).await;
                return Vec::new();
            };
            if found.is_empty() && child.ended().is_some() {
                empty += 1;
                if empty == EMPTY_LOOKS {
                    return Vec::new();
                }
                continue;
            }
            empty = 0;
            if started.elapsed() > KILL_LIMIT {
                return found.iter().map(|process| process.pid).collect();
            }
            round += 1;
            let found = if round > ROUNDS_BEFORE_FREEZE { self.freeze(found) } else { found };
            let groups: HashSet<Pid> = found.iter().map(|process| process.group).collect();
            for group in groups {
                self.signal(group, &found, libc::SIGKILL);
            }
            // not only for them to go: who cannot be killed must not keep us busy
            let _ = timeout(LOOK_EVERY, some_end(&found)).await;
        }
    }

    /// Stops everybody until a look finds nobody who runs. Unlike KILL this frees no place under a limit of processes for
    /// the next one to be forked into, so it comes to an end.
    fn freeze(&self, mut found: Vec<Process>) -> Vec<Process> {
        // a storm is bounded by the limit of processes; each round stops all that a look has seen
        const ROUNDS: u32 = 100;
        for _ in 0..ROUNDS {
            let mut running = false;
            for process in found.iter().filter(|process| !process.is_stopped()) {
                running |= sys::kill(process.pid, libc::SIGSTOP);
            }
            if !running {
                break;
            }
            match self.processes() {
                Ok(again) => found = again,
                Err(_) => break,
            }
        }
        found
    }

    /// A signal to everybody of `found` in this group: in one go where the group is the tree's own, else one by one.
    fn signal(&self, group: Pid, found: &[Process], signal: i32) {
        let led_from_within = found.iter().any(|process| process.pid == group);
        let ours = group == self.home || group == self.runner;
        if led_from_within && !ours && sys::kill_group(group, signal) {
            return;
        }
        for process in found.iter().filter(|process| process.group == group) {
            sys::kill(process.pid, signal);
        }
    }

    /// To everybody in the PID namespace but init and us: only where the namespace is the tree.
    fn signal_all(&self, signal: i32) {
        if self.init.as_raw() == 1 {
            sys::kill(Pid::from_raw(-1), signal);
        }
    }
}

/// Returns when one of them has ended, or when it is time to look again.
async fn some_end(found: &[Process]) {
    let watched: io::Result<Vec<AsyncFd<OwnedFd>>> =
        found.iter().take(WATCHED + 1).map(|process| sys::watch_readable(sys::pidfd_open(process.pid)?)).collect();
    match watched {
        Ok(watched) if (1..=WATCHED).contains(&watched.len()) => {
            poll_fn(|context| {
                let ended = watched.iter().any(|process| process.poll_read_ready(context).is_ready());
                if ended { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        // nobody found but the child not waited for yet, too many, one that is gone already, or a kernel without pidfd
        _ => sleep(LOOK_EVERY).await,
    }
}

impl Tree {
    /// Kills everybody at once, without a runtime: for a runner that has panicked, before it reports. Bounded.
    pub fn kill_now(&self) {
        for _ in 0..ROUNDS_BEFORE_FREEZE + 100 {
            let Ok(found) = self.processes() else {
                self.signal_all(libc::SIGKILL);
                return;
            };
            if found.iter().all(Process::is_dead) {
                return;
            }
            for process in &found {
                sys::kill(process.pid, libc::SIGKILL);
            }
        }
    }
}
