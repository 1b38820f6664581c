//! Pieces of our own for an output (lines of the log, the marker block): whole and in order, whoever writes them, and without a runtime.
//!
//! As [`super::output`] does it for the agent's bytes, nobody ever waits for a reader: what the other side takes at once is written at
//! once, the rest by a thread. What is not read is kept up to a bound, and lost beyond it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::output::{FLUSH_LIMIT, STACK, is_file, write_all, write_at_once};

/// How much is kept for a reader who does not read: hours of a log like ours.
const KEPT: usize = 256 << 10;

/// As much as a pipe that polls as writable takes without waiting (`pipe(7)`).
const PIPE_BUF: usize = 4096;

/// An output with what it has not taken yet; clones share both.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: &'static str,
    to: OwnedFd,
    /// A file has no reader whom anybody could wait for.
    is_file: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    lost: u64,
    /// Whether the kernel writes without waiting.
    at_once: bool,
    has_thread: bool,
    is_writing: bool,
    /// Whether a flush has waited in vain since something was last written.
    is_stuck: bool,
    broken: Option<io::Error>,
}

impl State {
    fn is_done(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let piece = self.waiting.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    fn keep(&mut self, piece: Vec<u8>) {
        self.bytes += piece.len();
        self.waiting.push_back(piece);
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.broken = Some(error);
            self.waiting.clear();
            self.bytes = 0;
        }
    }
}

impl Queue {
    /// The caller gives a duplicate of the descriptor.
    #[must_use]
    pub fn new(name: &'static str, to: OwnedFd) -> Self {
        let is_file = is_file(&to);
        let (waiting, at_once) = (VecDeque::new(), true);
        let state = State { waiting, bytes: 0, lost: 0, at_once, has_thread: false, is_writing: false, is_stuck: false, broken: None };
        Self(Arc::new(Shared { name, to, is_file, state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Writes a piece, now or later; returns at once. What nobody reads for too long is lost, and a line says so to who reads on.
    pub fn put(&self, mut piece: Vec<u8>) {
        let shared = &self.0;
        let mut state = shared.lock();
        if state.broken.is_some() {
            return;
        }
        if state.is_done() && shared.is_file {
            return state.note(write_all(shared.to.as_fd(), &piece));
        }
        if state.is_done() && state.at_once {
            match write_at_once(&shared.to, &piece) {
                Ok(written) => drop(piece.drain(..written)),
                Err(_) => state.at_once = false,
            }
        }
        if piece.is_empty() {
            return;
        }
        if state.bytes > 0 && state.bytes + piece.len() > KEPT {
            state.lost += 1;
            return;
        }
        if state.lost > 0 {
            let lost = std::mem::take(&mut state.lost);
            state.keep(format!("\n WARN {lost} lines were not read in time and are lost\n").into_bytes());
        }
        state.keep(piece);
        Shared::start(shared, &mut state);
        shared.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than that, and not again for a reader who has not read since.
    ///
    /// # Errors
    /// It is not read (`TimedOut`), or could not be written.
    pub fn flush(&self, limit: Duration) -> io::Result<()> {
        let shared = &self.0;
        let mut state = shared.lock();
        let limit = if state.is_stuck { Duration::ZERO } else { limit };
        if !state.is_done() {
            Shared::start(shared, &mut state);
        }
        if state.has_thread {
            let waited = shared.changed.wait_timeout_while(state, limit, |state| !state.is_done());
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        } else {
            shared.write_here(&mut state, Instant::now() + limit);
        }
        state.is_stuck = !state.is_done();
        match &state.broken {
            Some(error) => Err(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)),
            None if state.is_done() => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it")),
        }
    }
}

/// For what is written at the very end: it is waited for at the flush.
impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::flush(self, FLUSH_LIMIT)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoned, a writer has panicked between two whole states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread; if none can be had (a limit of processes), the next piece tries again.
    fn start(shared: &Arc<Self>, state: &mut State) {
        if state.has_thread {
            return;
        }
        let its = Arc::clone(shared);
        let started = thread::Builder::new().name(format!("write-{}", shared.name)).stack_size(STACK).spawn(move || its.write_for_ever());
        state.has_thread = started.is_ok();
    }

    fn write_for_ever(&self) {
        let mut state = self.lock();
        loop {
            while let Some(piece) = state.take() {
                state.is_writing = true;
                drop(state);
                let written = write_all(self.to.as_fd(), &piece);
                state = self.lock();
                state.is_writing = false;
                state.is_stuck = false;
                state.note(written);
            }
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes what waits without a thread, as far as it is read in time.
    fn write_here(&self, state: &mut State, deadline: Instant) {
        while let Some(mut piece) = state.take() {
            while !piece.is_empty() {
                let left = deadline.saturating_duration_since(Instant::now());
                let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                if !poll(&mut [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)], left).is_ok_and(|ready| ready > 0) {
                    state.bytes += piece.len();
                    return state.waiting.push_front(piece);
                }
                match nix::unistd::write(&self.to, &piece[..piece.len().min(PIPE_BUF)]) {
                    Ok(written) => drop(piece.drain(..written)),
                    Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
                    Err(error) => return state.note(Err(error.into())),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// As much as a pipe holds (`pipe(7)`).
    const FULL: usize = 64 << 10;

    fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(&[b'.'; FULL]).unwrap();
        (reader, writer)
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_he_reads_at_last_is_whole_and_in_order() {
        let (mut reader, writer) = full_pipe();
        let queue = Queue::new("test", writer.into());
        let lines: Vec<_> = (0..1000).map(|number| format!("line {number}\n")).collect();
        lines.iter().for_each(|line| queue.put(line.clone().into_bytes()));
        assert_eq!(queue.flush(Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut text = vec![0; FULL + lines.concat().len()];
        reader.read_exact(&mut text).unwrap();
        while queue.flush(LONG).is_err() {
            // Until the thread has written the first piece, this reader counts as one who does not read.
            thread::yield_now();
        }
        assert!(text.ends_with(lines.concat().as_bytes()));
    }

    #[test]
    fn what_is_kept_for_nobody_is_bounded() {
        let (reader, writer) = full_pipe();
        let queue = Queue::new("test", writer.into());
        (0..2 * KEPT / 1000).for_each(|_| queue.put(vec![b'x'; 1000]));
        let state = queue.0.lock();
        assert!(state.bytes <= KEPT && state.lost > 0, "{}", state.bytes);
        drop(reader);
    }

    #[test]
    fn without_a_thread_it_is_written_when_it_is_flushed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = Queue::new("test", writer.into());
        let mut state = queue.0.lock();
        state.keep(b"one ".to_vec());
        state.keep(b"two".to_vec());
        queue.0.write_here(&mut state, Instant::now() + LONG);
        assert!(state.is_done() && !state.has_thread);
        drop(state);
        drop(queue);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let queue = Queue::new("test", writer.into());
        queue.put(b"lost".to_vec());
        assert_eq!(queue.flush(LONG).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
