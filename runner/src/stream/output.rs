//! Our own stdout and stderr, written without ever holding up the supervising loop.
//!
//! A thread per descriptor makes blocking writes. Not `O_NONBLOCK`: that flag sits on the open file description, which our stdout shares
//! with the shell or container runtime that gave it to us and with everyone else who inherited it; setting it would make *their*
//! writes fail with EAGAIN. And not `poll(2)` before each write: a pipe that polls as writable promises no more than PIPE_BUF
//! bytes, so a larger blocking write may still stop the loop. The thread sleeps on a channel while there is nothing to write (no wake-ups),
//! takes back-pressure by being slow, and is simply left behind if its reader never reads again: leaving the process ends it.
//!
//! A reader that goes away (EPIPE), a full disk, or any other failure is remembered, and from then on bytes are thrown away: the agent is
//! never hurt by what becomes of our output.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};

/// The size of a buffer: twice a pipe's usual capacity, and small enough to stay in the processor's cache between reading, scanning and writing.
pub const BUFFER: usize = 128 << 10;

/// Buffers in flight: one is filled while one is written and one waits.
const BUFFERS: usize = 3;

/// The thread only calls write(2).
const STACK: usize = 64 << 10;

/// A descriptor that is written by a thread of its own.
#[derive(Debug)]
pub struct Output {
    to_writer: SyncSender<Vec<u8>>,
    from_writer: UnboundedReceiver<Vec<u8>>,
    allocated: usize,
    in_flight: usize,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    error: OnceLock<io::Error>,
}

/// What became of what was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// All of it was written, or the output is broken and there is no point in waiting.
    All,
    /// The deadline passed while a reader did not read.
    Stuck,
}

impl Output {
    /// Starts the writing thread. The caller gives a duplicate of the descriptor, so that closing it here closes nothing of anybody's.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn spawn(name: &str, to: OwnedFd) -> io::Result<Self> {
        let (to_writer, jobs) = sync_channel(BUFFERS + 1);
        let (back, from_writer) = unbounded_channel();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        // Not joined: it ends when `to_writer` is dropped, or is left behind in a write that never returns.
        thread::Builder::new().name(format!("write-{name}")).stack_size(STACK).spawn(move || write_jobs(&to, &jobs, &back, &theirs))?;
        Ok(Self { to_writer, from_writer, allocated: 0, in_flight: 0, shared })
    }

    /// An empty buffer, if one is free.
    pub fn try_buffer(&mut self) -> Option<Vec<u8>> {
        match self.from_writer.try_recv() {
            Ok(buffer) => {
                self.in_flight -= 1;
                Some(buffer)
            }
            Err(_) if self.allocated < BUFFERS => {
                self.allocated += 1;
                Some(Vec::with_capacity(BUFFER))
            }
            Err(_) => None,
        }
    }

    /// An empty buffer, as soon as one is free: this is where a slow reader of our output slows the agent down. Safe to cancel.
    pub async fn buffer(&mut self) -> Vec<u8> {
        if let Some(buffer) = self.try_buffer() {
            return buffer;
        }
        match self.from_writer.recv().await {
            Some(buffer) => {
                self.in_flight -= 1;
                buffer
            }
            // The writer is gone (its thread cannot end by itself; this is for a bug there): go on without it.
            None => Vec::with_capacity(BUFFER),
        }
    }

    /// Gives a filled buffer to the writer. It comes back empty by [`Self::buffer`].
    ///
    /// Returns false if too many are in flight, or the writer is gone, and the bytes are lost.
    pub fn send(&mut self, filled: Vec<u8>) -> bool {
        let sent = self.to_writer.try_send(filled).is_ok();
        self.in_flight += usize::from(sent);
        sent
    }

    /// Waits until all that was sent is written. Safe to cancel.
    pub async fn flushed(&mut self) {
        while self.in_flight > 0 {
            if self.from_writer.recv().await.is_none() {
                return;
            }
            self.in_flight -= 1;
            self.allocated = self.allocated.saturating_sub(1);
        }
    }

    /// Waits until all that was sent is written, but no longer than the deadline.
    pub async fn flush(&mut self, deadline: Instant) -> Flushed {
        match timeout_at(deadline, self.flushed()).await {
            Ok(()) => Flushed::All,
            Err(_) => Flushed::Stuck,
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// The error that broke the output.
    #[must_use]
    pub fn error(&self) -> Option<&io::Error> {
        self.shared.error.get()
    }
}

fn write_jobs(to: &OwnedFd, jobs: &Receiver<Vec<u8>>, back: &UnboundedSender<Vec<u8>>, shared: &Shared) {
    while let Ok(mut job) = jobs.recv() {
        if shared.error.get().is_none() {
            match write_all(to.as_fd(), &job) {
                Ok(()) => {
                    shared.written.fetch_add(job.len() as u64, Ordering::Relaxed);
                }
                // Only this thread sets it, so it is not set yet.
                Err(error) => drop(shared.error.set(error)),
            }
        }
        job.clear();
        // A burst of rendered text must not hold its memory for ever.
        job.shrink_to(2 * BUFFER);
        if back.send(job).is_err() {
            return;
        }
    }
}

/// Writes all bytes to a descriptor, blocking or not: somebody who shares it may have made it non-blocking (Node does that to pipes).
///
/// # Errors
/// What write(2) says, but for EINTR and EAGAIN.
pub fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(to, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => match poll(&mut [PollFd::new(to, PollFlags::POLLOUT)], PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
