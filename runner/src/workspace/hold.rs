//! Whose a workspace is while a run works in it: what one has arranged there (files set aside, locks of its git, the branch that HEAD is
//! on) is nothing that a killed run left, and no other run's to take up.
//!
//! It is an `flock(2)` on a file of the git directory, which the kernel lets go with the process that holds it, however that ends. The
//! file stays: one that were removed could be held by two. A file system that knows no locks, or does not let us write, holds nobody off.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;

use super::error::WorkspaceError;
use super::wire::{Stopped, pause};
use super::{Context, Progress};

/// What is locked in a git directory.
const HELD: &str = "agent-runner-held";

/// How often it is tried again.
const INTERVAL: Duration = Duration::from_millis(100);

/// What a run does that finds another one at work in its workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenHeld {
    /// Waits for its end, this long: a platform may start a run's successor while that is still ending.
    Wait(Duration),
    /// Works beside it, and leaves everything as it is.
    Share,
}

impl Default for WhenHeld {
    /// Kubernetes gives a pod 30 s to end, if nothing else is said, and our own manifests some more.
    fn default() -> Self {
        Self::Wait(Duration::from_secs(60))
    }
}

/// A workspace that is worked in. Dropped, it is free again.
#[derive(Debug)]
#[must_use = "the workspace is free for others when this goes"]
pub struct Hold {
    /// Kept open for its lock alone.
    _lock: Option<File>,
    is_others: bool,
}

impl Hold {
    /// Of a repository, by its git directory.
    pub(crate) fn of_repository(git_dir: &Path, context: &Context<'_>) -> Result<Self, WorkspaceError> {
        Self::take(&|| open_in(git_dir), context)
    }

    /// Of a directory that is there only while somebody holds it, or was killed.
    pub(crate) fn of_directory(dir: &Path, context: &Context<'_>) -> Result<Self, WorkspaceError> {
        Self::take(&|| open_directory(dir), context)
    }

    /// Of a directory that was just made: nobody can have it yet.
    pub(crate) fn at_once(dir: &Path) -> Self {
        let lock = open_directory(dir).ok().filter(|file| file.try_lock().is_ok());
        Self { _lock: lock, is_others: false }
    }

    fn take(open: &dyn Fn() -> io::Result<File>, context: &Context<'_>) -> Result<Self, WorkspaceError> {
        let begin = Instant::now();
        let mut is_told = false;
        loop {
            // Opened anew each time: whoever held it may have taken it away.
            let lock = match open() {
                Ok(lock) => lock,
                Err(_) => return Ok(Self { _lock: None, is_others: false }),
            };
            match (lock.try_lock(), context.when_held) {
                (Ok(()), _) => return Ok(Self { _lock: Some(lock), is_others: false }),
                (Err(TryLockError::Error(_)), _) => return Ok(Self { _lock: None, is_others: false }),
                (Err(TryLockError::WouldBlock), WhenHeld::Share) => return Ok(Self { _lock: None, is_others: true }),
                (Err(TryLockError::WouldBlock), WhenHeld::Wait(patience)) if begin.elapsed() >= patience => {
                    let problem = format!("another run works in it, and did not end within {} s", patience.as_secs());
                    return Err(WorkspaceError::Conflict { dir: context.dir.clone(), problem });
                }
                (Err(TryLockError::WouldBlock), WhenHeld::Wait(patience)) => {
                    tell_and_pause(patience, &mut is_told, context)?;
                }
            }
        }
    }

    /// Whether another run holds it, and this one works beside that.
    #[must_use]
    pub fn is_others(&self) -> bool {
        self.is_others
    }
}

/// Tries again as long as another run clones into the directory, and there is time.
pub(crate) fn in_time<T>(context: &Context<'_>, act: impl Fn() -> Result<T, WorkspaceError>) -> Result<T, WorkspaceError> {
    let begin = Instant::now();
    let mut is_told = false;
    loop {
        match (act(), context.when_held) {
            (Err(WorkspaceError::Taken { .. }), WhenHeld::Wait(patience)) if begin.elapsed() < patience => {
                tell_and_pause(patience, &mut is_told, context)?;
            }
            (done, _) => return done,
        }
    }
}

/// Waits a little, and says once that it does.
fn tell_and_pause(patience: Duration, is_told: &mut bool, context: &Context<'_>) -> Result<(), WorkspaceError> {
    if !std::mem::replace(is_told, true) {
        (context.progress)(Progress::Held { patience });
    }
    pause(INTERVAL, &context.cancel).map_err(|Stopped| WorkspaceError::Cancelled)
}

/// Whether a run of this kind finds the repository in a directory held by another, and leaves it so.
pub(crate) fn is_shared(root: &Path, context: &Context<'_>) -> bool {
    // A git directory elsewhere (a file `.git`) is looked at when the repository is opened.
    context.when_held == WhenHeld::Share && Hold::of_repository(&root.join(".git"), context).is_ok_and(|hold| hold.is_others())
}

/// No link is followed, and no pipe waited for, that somebody left there.
const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

fn open_in(git_dir: &Path) -> io::Result<File> {
    let path = git_dir.join(HELD);
    // Written to by nobody: some network file systems lock only what is open for writing.
    let writable = OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(FLAGS).open(&path);
    writable.or_else(|_| OpenOptions::new().read(true).custom_flags(FLAGS).open(&path))
}

fn open_directory(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(FLAGS | libc::O_DIRECTORY).open(dir)
}
