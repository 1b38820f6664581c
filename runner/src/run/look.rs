//! The last look at what the agent leaves: on a thread of its own, and for a bounded time.
//!
//! An agent leaves what it likes. A FIFO in the place of `.gitignore` or of the index never lets go of whoever opens it, and a status of
//! millions of files outlasts every grace. The report does not wait for either.

use std::os::fd::AsFd;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::process::signals::ENDS;

/// A hundred thousand files on a slow volume, none of them in the page cache, take some ten seconds.
const UNHURRIED: Duration = Duration::from_secs(60);

/// Kubernetes kills 30 s after its SIGTERM, and the agent had up to 20 of them (`grace`): the rest must suffice for all that is written.
const HURRIED: Duration = Duration::from_secs(3);

/// Ten years, which every clock can add.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How soon a request to end is seen by whoever waits already.
const STEP: Duration = Duration::from_millis(50);

/// How long the look may take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// Whether the end was asked for, or the time was over, before it began.
    pub hurried: bool,
    /// When the whole task's time is over.
    pub deadline: Option<Instant>,
}

/// Why nothing was seen.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The time for it is over.
    #[error("the repository could not be looked at in time")]
    Late,
    /// No thread, or it panicked.
    #[error("the repository could not be looked at: {0}")]
    NoThread(String),
}

/// Looks, and does something else again and again meanwhile. A look that takes too long is left to the end of the process.
///
/// # Errors
/// It took too long, or nobody could look.
pub fn look<T: Send + 'static>(
    patience: Patience,
    meanwhile: &mut dyn FnMut(),
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LookError> {
    look_for(UNHURRIED, HURRIED, patience, meanwhile, look)
}

/// Does what may never end, until somebody asks for our end.
///
/// # Errors
/// Somebody has, or nobody could do it.
pub fn until_asked<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T, LookError> {
    look_for(FOR_EVER, Duration::ZERO, Patience::default(), &mut || (), act)
}

fn look_for<T: Send + 'static>(
    unhurried: Duration,
    hurried: Duration,
    patience: Patience,
    meanwhile: &mut dyn FnMut(),
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LookError> {
    let (sender, seen) = sync_channel(1);
    std::thread::Builder::new()
        // Nobody may wait any more, and that is no failure.
        .spawn(move || drop(sender.send(look())))
        .map_err(|error| LookError::NoThread(error.to_string()))?;
    let begin = Instant::now();
    let mut end = begin + if patience.hurried { hurried } else { unhurried };
    let mut is_hurried = patience.hurried;
    let requests = EndRequests::watch();
    loop {
        let now = Instant::now();
        if !is_hurried && (patience.deadline.is_some_and(|deadline| deadline <= now) || requests.is_one_waiting()) {
            is_hurried = true;
            end = end.min(now + hurried);
        }
        meanwhile();
        let left = end.saturating_duration_since(now);
        let (step, asked) = (left.min(STEP), Instant::now());
        match seen.recv_timeout(step) {
            Ok(seen) => return Ok(seen),
            Err(RecvTimeoutError::Disconnected) => return Err(LookError::NoThread("the look panicked".to_owned())),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(LookError::Late),
            // While we stood still (a container that was frozen, a machine that was moved) the look had no time either.
            Err(RecvTimeoutError::Timeout) => end += asked.elapsed().saturating_sub(step + STEP),
        }
    }
}

/// The signals that ask for the end. They are blocked in the runner, so one that nobody reads any more waits.
struct EndRequests(Option<SignalFd>);

impl EndRequests {
    /// Without a descriptor the look is not shortened, and still ends.
    fn watch() -> Self {
        let set: SigSet = ENDS.into_iter().collect();
        Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).ok())
    }

    fn is_one_waiting(&self) -> bool {
        let Some(signals) = &self.0 else { return false };
        poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_seen_comes_back() {
        assert_eq!(look(Patience { hurried: true, deadline: Some(Instant::now()) }, &mut || (), || 7).unwrap(), 7);
    }

    #[test]
    fn a_look_without_end_is_given_up_when_its_time_or_the_tasks_is_over() {
        let blocked = || {
            let (kept, never) = sync_channel::<()>(0);
            let _ = never.recv();
            drop(kept);
        };
        let over = Patience { hurried: false, deadline: Some(Instant::now()) };
        let asked = Patience { hurried: true, deadline: None };
        for (unhurried, hurried, patience) in
            [(SHORT, FOR_EVER, Patience::default()), (FOR_EVER, SHORT, over), (FOR_EVER, SHORT, asked), (SHORT, FOR_EVER, over)]
        {
            assert!(matches!(look_for(unhurried, hurried, patience, &mut || (), blocked), Err(LookError::Late)), "{patience:?}");
        }
    }

    #[test]
    fn something_else_is_done_meanwhile() {
        let (done, waits) = sync_channel::<()>(1);
        let mut meanwhile = || {
            // Once is enough.
            let _ = done.try_send(());
        };
        assert!(look_for(FOR_EVER, FOR_EVER, Patience::default(), &mut meanwhile, move || waits.recv().is_ok()).unwrap());
    }

    #[test]
    fn a_panic_is_an_error_of_the_look_alone() {
        assert!(matches!(look(Patience::default(), &mut || (), || panic!("in a test")), Err::<(), _>(LookError::NoThread(_))));
    }
}
