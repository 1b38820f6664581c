//! Section 6: PID 1. Programs are started one at a time, watched with all that comes of them, and everybody else's orphans are reaped.
//!
//! One loop does it all. It wakes at least every 50 ms: that is plain, and not what an image should do that waits for a model for hours.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, setsid};

use crate::mutants::broken;

/// Signals that ask for the end of the run.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

const TICK: u16 = 50;

/// Why a program is ended before it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Signal(i32),
    Deadline,
    Silence,
    Linger,
    Turns,
    Cost,
    Tokens,
    Retries,
}

/// How a program ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Its exit code, or 128 + the signal.
    pub code: u8,
    /// The signal that it died of.
    pub signal: Option<i32>,
    /// Why it was told to end, if it was.
    pub stop: Option<Stop>,
}

/// Who listens to a program while it runs.
pub trait Listener {
    fn stdout(&mut self, bytes: &[u8]);
    fn stderr(&mut self, bytes: &[u8]);
    /// Asked again and again: whether it has to end now.
    fn stop(&mut self) -> Option<Stop>;
    /// It was told to end.
    fn stopping(&mut self) {}
}

/// The processes of this container.
#[derive(Debug)]
pub struct Processes {
    signals: SignalFd,
    /// From a request to end until the last byte.
    pub grace: Duration,
}

impl Processes {
    /// Takes charge: signals come by descriptor from now on, orphans come to us, and nobody of this user looks into our environment.
    pub fn take_charge() -> nix::Result<Self> {
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
        if !broken("environ-closed") {
            prctl::set_dumpable(false)?;
        }
        // Outside of a container we are not PID 1; then orphans come to us all the same.
        prctl::set_child_subreaper(true)?;
        let signals = SignalFd::with_flags(&all, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { signals, grace: Duration::from_secs(20) })
    }

    /// Runs a program to its end, and the end of all that came of it. The error is that of starting it.
    pub fn run(&mut self, mut command: Command, stdin: &[u8], listener: &mut dyn Listener) -> std::io::Result<Ended> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (keep_blocked, keep_ignored) = (broken("signal-state.blocked"), broken("signal-state.ignored"));
        // SAFETY: only system calls that are safe after a fork.
        unsafe {
            command.pre_exec(move || {
                setsid()?;
                // By the raw call: the C library refuses two numbers that a parent may have left ignored. Handler, flags, restorer, mask:
                // all none.
                for signal in 1..=64 {
                    libc::syscall(libc::SYS_rt_sigaction, signal, [0_u64; 4].as_ptr(), std::ptr::null::<u64>(), 8_usize);
                }
                if keep_ignored {
                    sigaction(Signal::SIGUSR2, &SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty()))?;
                }
                let mut mask = SigSet::empty();
                if keep_blocked {
                    mask.add(Signal::SIGUSR1);
                }
                sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        drop(command);
        let main = Pid::from_raw(child.id().cast_signed());
        let mut input = child.stdin.take().filter(|_| !stdin.is_empty());
        let mut output = child.stdout.take();
        let mut errors = child.stderr.take();
        for fd in
            [input.as_ref().map(AsFd::as_fd), output.as_ref().map(AsFd::as_fd), errors.as_ref().map(AsFd::as_fd)].into_iter().flatten()
        {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let mut stdin = stdin;
        let mut ended: Option<(u8, Option<i32>)> = None;
        let mut stop: Option<(Stop, Instant)> = None;
        let mut leftovers = Leftovers::default();
        loop {
            self.sleep(input.as_ref().filter(|_| !stdin.is_empty()), output.as_ref(), errors.as_ref());
            for signal in self.pending() {
                if !ENDING.contains(&signal) {
                    forward(ended.is_none().then_some(main), signal);
                } else if stop.is_some() {
                    // Asked twice: at once.
                    forward(ended.is_none().then_some(main), Signal::SIGKILL);
                } else {
                    stop = Some((Stop::Signal(signal as i32), Instant::now()));
                    listener.stopping();
                    let sent = if broken("signal-forwarded") { Signal::SIGUSR1 } else { signal };
                    forward(ended.is_none().then_some(main), sent);
                }
            }
            write_some(&mut input, &mut stdin);
            read_some(&mut output, |bytes| listener.stdout(bytes));
            read_some(&mut errors, |bytes| listener.stderr(bytes));
            let nobody_left = reap(main, &mut ended);
            if stop.is_none()
                && let Some(why) = listener.stop()
            {
                stop = Some((why, Instant::now()));
                listener.stopping();
                forward(ended.is_none().then_some(main), Signal::SIGTERM);
            }
            let Some((code, signal)) = ended else {
                let over = stop.is_some_and(|(_, since)| since.elapsed() >= self.grace && !self.is_lenient(since) || self.is_harsh(since));
                if over {
                    forward(Some(main), Signal::SIGKILL);
                }
                continue;
            };
            if !nobody_left && broken("last-writer") {
                return Ok(Ended { code, signal, stop: stop.map(|(why, _)| why) });
            }
            if output.is_some() && !nobody_left && leftovers.since.is_none() && broken("stdout-held-open") {
                continue;
            }
            if !nobody_left && !leftovers.are_beyond_reach(self.grace) {
                leftovers.end(stop.map(|(_, since)| since), self.grace);
                continue;
            }
            // Nobody is left who could write: what is in the pipes is all.
            read_some(&mut output, |bytes| listener.stdout(bytes));
            read_some(&mut errors, |bytes| listener.stderr(bytes));
            return Ok(Ended { code, signal, stop: stop.map(|(why, _)| why) });
        }
    }

    /// For the mutant that reports too early: the end of what is left.
    pub fn sweep(&mut self) {
        let mut leftovers = Leftovers::default();
        while !reap(Pid::from_raw(-1), &mut Some((0, None))) && !leftovers.are_beyond_reach(self.grace) {
            leftovers.end(None, self.grace);
            std::thread::sleep(Duration::from_millis(u64::from(TICK)));
        }
    }

    fn is_lenient(&self, since: Instant) -> bool {
        since.elapsed() < self.grace + Duration::from_secs(9) && broken("grace")
    }

    /// Long enough for an agent that ends when it is told to.
    fn is_harsh(&self, since: Instant) -> bool {
        since.elapsed() >= self.grace * 3 / 10 && broken("grace.short")
    }

    /// Until something happens, or a little while.
    fn sleep(&self, input: Option<&impl AsFd>, output: Option<&impl AsFd>, errors: Option<&impl AsFd>) {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(input.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLOUT)));
        fds.extend(output.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        fds.extend(errors.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        // Interrupted or not, everything is looked at afterwards.
        let _ = poll(&mut fds, PollTimeout::from(TICK));
    }

    fn pending(&mut self) -> Vec<Signal> {
        let mut all = Vec::new();
        while let Ok(Some(info)) = self.signals.read_signal() {
            if let Ok(signal) = Signal::try_from(info.ssi_signo.cast_signed())
                && signal != Signal::SIGCHLD
            {
                all.push(signal);
            }
        }
        all
    }
}

/// Sends a signal to a process that is still ours to signal.
fn forward(main: Option<Pid>, signal: Signal) {
    if let Some(main) = main {
        // It may have ended in this moment.
        let _ = kill(main, signal);
    }
}

/// Buries whoever has died. True when no child is left, and with it nobody at all.
fn reap(main: Pid, ended: &mut Option<(u8, Option<i32>)>) -> bool {
    loop {
        let whom = if ended.is_none() && broken("reaping") { main } else { Pid::from_raw(-1) };
        match waitpid(whom, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == main => *ended = Some((u8::try_from(code & 0xff).unwrap_or(255), None)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                *ended = Some((128 + u8::try_from(signal as i32).unwrap_or(0), Some(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) => return false,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
    }
}

/// What a program has left behind.
#[derive(Debug, Default)]
struct Leftovers {
    /// Since when they are asked to end.
    since: Option<Instant>,
    /// Who has been asked.
    asked: BTreeSet<Pid>,
}

impl Leftovers {
    /// TERM to each, and KILL when the grace is over: counted from the request to end, if there was one.
    fn end(&mut self, stopped: Option<Instant>, grace: Duration) {
        let since = *self.since.get_or_insert_with(Instant::now);
        let over = stopped.unwrap_or(since).elapsed() >= grace;
        for pid in descendants() {
            if over || broken("escaped-processes") {
                let _ = kill(pid, Signal::SIGKILL);
            } else if self.asked.insert(pid) {
                // Whoever ended meanwhile needs no signal; who is stopped would not see a TERM.
                let _ = kill(pid, Signal::SIGTERM);
                let _ = kill(pid, Signal::SIGCONT);
            }
        }
    }

    /// Asleep in the kernel, say.
    fn are_beyond_reach(&self, grace: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() > grace + Duration::from_secs(2))
    }
}

/// Everybody below us, by /proc.
fn descendants() -> Vec<Pid> {
    let mut parents: BTreeMap<i32, i32> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // The program's name, in brackets, may hold anything; state and parent follow it.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.insert(pid, parent.unwrap_or(0));
    }
    let ours = getpid().as_raw();
    let is_below = |pid: i32| {
        let mut at = pid;
        // As many steps as there are processes: a loop cannot be, but /proc was not read in one instant.
        for _ in 0..parents.len() {
            match parents.get(&at) {
                Some(parent) if *parent == ours => return true,
                Some(parent) => at = *parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().copied().filter(|pid| is_below(*pid)).map(Pid::from_raw).collect()
}

fn write_some(input: &mut Option<std::process::ChildStdin>, rest: &mut &[u8]) {
    while let Some(pipe) = input {
        if rest.is_empty() {
            // The mutant does so only where there is a token: with each run of it somebody's patience has to be over.
            if !(std::env::var_os("AGENT_TOKEN_FILE").is_some() && broken("stdin-end")) {
                *input = None;
            }
            return;
        }
        match pipe.write(rest) {
            Ok(written) => *rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            // It does not want to read.
            Err(_) => *input = None,
        }
    }
}

/// Reads what is there, but no more than 1 MiB before everything else has its turn.
fn read_some(pipe: &mut Option<impl Read>, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0; 64 << 10];
    for _ in 0..16 {
        let Some(open) = pipe else { return };
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(length) => take(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => *pipe = None,
        }
    }
}
