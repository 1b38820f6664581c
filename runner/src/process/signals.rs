//! The signals that reach the runner (init forwards every one that it gets), and what they mean.
//!
//! They are read from a descriptor instead of being handled: `init::enter` has blocked them all before the fork, so none is
//! lost between the fork and this, none has a handler that could run between fork and exec of a child, and SEGV or FPE sent
//! from outside can be forwarded like every other (a real fault still ends the runner: the kernel does not let a blocked
//! fault pass). SIGCHLD alone stays a handler's, the runtime's, since its own children need it.

use std::io;

use nix::{
    libc,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::getpid,
};
use tokio::io::unix::AsyncFd;

use super::sys;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The first TERM, INT, QUIT or HUP: pass it on as it is, and end within the grace.
    End(i32),
    /// TERM or INT once more: end now.
    Hurry(i32),
    /// Anything else: it is the agent's.
    Forward(i32),
}

/// The stream of signals.
#[derive(Debug)]
pub struct Signals {
    source: AsyncFd<SignalFd>,
    end_was_asked: bool,
}

impl Signals {
    /// Takes over every signal but SIGCHLD. Call it first thing within the runtime: until then they wait.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn install() -> io::Result<Self> {
        let mut set = SigSet::all();
        set.remove(Signal::SIGCHLD);
        // after `init::enter` only SIGCHLD changes by this
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None)?;
        let source = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { source: sys::watch_readable(source)?, end_was_asked: false })
    }

    /// The next request. Cancel safe.
    pub async fn next(&mut self) -> Request {
        let signal = self.receive().await;
        let ends = asks_for_the_end(signal);
        match signal {
            _ if ends && !self.end_was_asked => {
                self.end_was_asked = true;
                Request::End(signal)
            }
            libc::SIGTERM | libc::SIGINT => Request::Hurry(signal),
            _ => Request::Forward(signal),
        }
    }

    /// The signal that asked for the end and waits to be read, if one does.
    pub fn waiting(&mut self) -> Option<i32> {
        while let Ok(Some(info)) = self.source.get_ref().read_signal() {
            let signal = i32::try_from(info.ssi_signo).unwrap_or_default();
            if asks_for_the_end(signal) {
                self.end_was_asked = true;
                return Some(signal);
            }
        }
        None
    }

    async fn receive(&mut self) -> i32 {
        loop {
            let Ok(mut ready) = self.source.readable().await else {
                // the runtime is shutting down, and with it whoever waits here
                return std::future::pending().await;
            };
            match ready.get_inner().read_signal() {
                // Our own write into a closed pipe: blocked, an ignored SIGPIPE waits here like the others.
                Ok(Some(info)) if info.ssi_pid == getpid().as_raw() as u32 => {}
                Ok(Some(info)) => {
                    if let Ok(signal @ 1..=sys::LAST_SIGNAL) = i32::try_from(info.ssi_signo) {
                        return signal;
                    }
                }
                Ok(None) | Err(_) => ready.clear_ready(),
            }
        }
    }
}

/// What asks for the end.
pub const ENDS: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

fn asks_for_the_end(signal: i32) -> bool {
    ENDS.iter().any(|end| *end as i32 == signal)
}
