//! The termination message's file.
//!
//! `/dev/termination-log` is a mount of one file: nothing can be renamed over it. So a message is padded with spaces to the length of what
//! stands there, written by one `pwrite(2)` at 0, and the padding is cut off by `ftruncate(2)`. White space after a JSON object means
//! nothing, and the kernel does not interrupt a write within the first page (4096 bytes, the largest budget), so a process that is killed
//! anywhere in between leaves one whole message.
//!
//! Writers keep apart by `flock(2)`. A program that reads the file *while* it is written should take a shared lock too: on Linux a read and
//! a write of the same page may interleave. Kubernetes reads after the container's end and needs none.

use std::fs::{File, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use agent_sdk::task::DEFAULT_TERMINATION_LOG;

use super::place::{open_in_place, write_file};
use super::{SinkError, Throttle};

/// The size of a page, and of the largest budget. Only so much is overwritten at once.
const PAGE: u64 = 4096;
/// Between two writes while the run goes on: often enough for whoever watches, and nothing for a disk.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often a write while the run goes on gives way to somebody else's lock. Then it is written all the same: a lock held for ever must
/// not keep the state out.
const GIVE_WAY: u8 = 5;
/// How often the last write tries for the lock, and how long it waits in between: together well within the 50 ms that an end may take.
const LAST_TRIES: u8 = 8;
const LAST_PAUSE: Duration = Duration::from_millis(3);

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The message stands.
    Whole,
    /// Somebody else holds the lock; what stood there stands.
    GaveWay,
    /// Not in Kubernetes: the default file is not there, and nobody asked for another.
    Absent,
}

/// The file, and how to write it.
#[derive(Debug, Clone)]
pub struct TerminationFile {
    path: PathBuf,
    gave_way: u8,
}

impl TerminationFile {
    /// The file at `path`. If that is the default path, its absence is silently accepted; any other is created.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), gave_way: 0 }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the message that stands while the run goes on, unless somebody else is writing.
    ///
    /// # Errors
    /// What stands there is no regular file, or cannot be written.
    pub fn write_interim(&mut self, message: &[u8]) -> Result<Written, SinkError> {
        let Some(file) = self.open()? else { return self.create(message) };
        if !lock(&file) && self.gave_way < GIVE_WAY {
            self.gave_way += 1;
            return Ok(Written::GaveWay);
        }
        self.gave_way = 0;
        self.overwrite(&file, message)
    }

    /// Writes the message that is to stay. Somebody else's lock is waited for, but not for long.
    ///
    /// # Errors
    /// What stands there is no regular file, or cannot be written.
    pub fn write_last(&self, message: &[u8]) -> Result<Written, SinkError> {
        let Some(file) = self.open()? else { return self.create(message) };
        for _ in 0..LAST_TRIES {
            if lock(&file) {
                break;
            }
            thread::sleep(LAST_PAUSE);
        }
        self.overwrite(&file, message)
    }

    /// The file, if it is there; opened anew each time, since somebody may have put another in its place.
    fn open(&self) -> Result<Option<File>, SinkError> {
        match open_in_place(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(SinkError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the file with the message in it, so that it is never seen empty; but not the default one, which only the kubelet makes.
    fn create(&self, message: &[u8]) -> Result<Written, SinkError> {
        if self.path == Path::new(DEFAULT_TERMINATION_LOG) {
            return Ok(Written::Absent);
        }
        write_file(&self.path, message).map(|()| Written::Whole)
    }

    fn overwrite(&self, file: &File, message: &[u8]) -> Result<Written, SinkError> {
        let length = file.metadata().map_err(|error| SinkError::of_io("look at", &self.path, error))?.len();
        file.write_all_at(&padded(message, length), 0).map_err(|error| SinkError::of_io("write", &self.path, error))?;
        file.set_len(message.len() as u64).map_err(|error| SinkError::of_io("cut", &self.path, error))?;
        Ok(Written::Whole)
    }
}

/// True unless somebody else has the lock. A file system without locks gives none and keeps nobody out. The lock goes when the file is
/// closed.
fn lock(file: &File) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// The message, followed by spaces that cover what stands in the file's first page.
fn padded(message: &[u8], length: u64) -> Vec<u8> {
    let cover = usize::try_from(length.min(PAGE)).unwrap_or(0).max(message.len());
    let mut bytes = message.to_vec();
    bytes.resize(cover, b' ');
    bytes
}

/// The file with a limit on how often it is written.
#[derive(Debug)]
pub struct TerminationSink {
    file: TerminationFile,
    throttle: Throttle<Vec<u8>>,
    warned: bool,
}

impl TerminationSink {
    /// The sink of a run.
    #[must_use]
    pub fn new(file: TerminationFile) -> Self {
        Self { file, throttle: Throttle::new(INTERVAL), warned: false }
    }

    /// The file beneath.
    #[must_use]
    pub fn file(&self) -> &TerminationFile {
        &self.file
    }

    /// Offers a new state: it is written now, or at the [`deadline`](Self::deadline) if no newer one comes before.
    ///
    /// # Errors
    /// Like [`TerminationFile::write_interim`], but only once: the second failure is no news.
    pub fn offer(&mut self, message: Vec<u8>, now: Instant) -> Result<(), SinkError> {
        let due = self.throttle.offer(message, now);
        self.pass(due)
    }

    /// Writes what waits, if its time has come.
    ///
    /// # Errors
    /// As [`offer`](Self::offer).
    pub fn tick(&mut self, now: Instant) -> Result<(), SinkError> {
        let due = self.throttle.due(now);
        self.pass(due)
    }

    /// When [`tick`](Self::tick) has something to do; nothing while nothing waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.throttle.deadline()
    }

    /// When an offer is written at once: nothing before the first one.
    #[must_use]
    pub fn open_again(&self) -> Option<Instant> {
        self.throttle.open_again()
    }

    /// Writes the message that is to stay, whatever was written when.
    ///
    /// # Errors
    /// As [`offer`](Self::offer).
    pub fn finish(&mut self, message: &[u8]) -> Result<Written, SinkError> {
        self.throttle = Throttle::new(INTERVAL);
        let written = self.file.write_last(message);
        if self.warned { written.or(Ok(Written::Absent)) } else { written }
    }

    fn pass(&mut self, due: Option<Vec<u8>>) -> Result<(), SinkError> {
        let Some(message) = due else { return Ok(()) };
        match self.file.write_interim(&message) {
            Ok(Written::GaveWay) => self.throttle.put_back(message),
            Ok(Written::Whole | Written::Absent) => {}
            Err(error) if !self.warned => {
                self.warned = true;
                return Err(error);
            }
            // Said once already.
            Err(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_covers_what_stood_there_but_never_more_than_a_page() {
        let message = br#"{"status":"failed"}"#;
        for length in 0..=4096_u64 {
            let bytes = padded(message, length);
            assert_eq!(bytes.len() as u64, length.max(message.len() as u64));
            assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        }
        assert_eq!(padded(message, u64::MAX).len(), 4096);
    }

    #[test]
    fn the_default_file_is_never_created() {
        let existed = Path::new(DEFAULT_TERMINATION_LOG).exists();
        assert_eq!(TerminationFile::new(DEFAULT_TERMINATION_LOG).create(b"{}").unwrap(), Written::Absent);
        assert_eq!(Path::new(DEFAULT_TERMINATION_LOG).exists(), existed);
    }
}
