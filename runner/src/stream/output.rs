//! Our own stdout and stderr, written without ever holding up the supervising loop.
//!
//! What the other side takes at once is written at once, by `pwritev2(2)` with `RWF_NOWAIT`. The rest, and everything where the kernel
//! cannot promise not to wait (a terminal, a file on most disks, a pipe before Linux 6.4), goes to a thread that makes blocking writes,
//! which is started when it is first needed. Not `O_NONBLOCK`: that flag sits on the open file description, which our stdout shares with
//! the shell or container runtime that gave it to us and with everyone else who inherited it; setting it would make *their* writes fail
//! with EAGAIN. And not `poll(2)` before each write: a pipe that polls as writable promises no more than PIPE_BUF bytes, so a larger
//! blocking write may still stop the loop. The thread sleeps on a channel while there is nothing to write (no wake-ups), takes
//! back-pressure by being slow, and is simply left behind if its reader never reads again: leaving the process ends it.
//!
//! A reader that goes away (EPIPE), a full disk, or any other failure is remembered, and from then on bytes are thrown away: the agent is
//! never hurt by what becomes of our output.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{IoSlice, ReadWriteFlags, pwritev2};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};

/// How much is read at once, and so the usual size of a buffer: twice a pipe's usual capacity, and small enough to stay in the processor's
/// cache between reading, scanning and writing.
pub const BUFFER: usize = 128 << 10;

/// Buffers in flight: one is filled while one is written and one waits.
const BUFFERS: usize = 3;

/// How long what is still in our hands at the end may wait for a reader of ours that does not read.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How much longer a file may take, which has no reader whom anybody waits for in vain: a disk that is busy.
const FILE_LIMIT: Duration = Duration::from_secs(30);

/// How often to try again where no writer could be started.
const WITHOUT_WRITER: Duration = Duration::from_millis(10);

/// The thread only calls write(2).
pub(super) const STACK: usize = 64 << 10;

/// The position that means: where the descriptor is, as write(2) has it (`pwritev2(2)`).
const HERE: u64 = u64::MAX;

/// A descriptor that is written without waiting for it.
#[derive(Debug)]
pub struct Output {
    name: &'static str,
    to: Arc<OwnedFd>,
    is_file: bool,
    /// Whether the kernel writes to it without waiting.
    at_once: bool,
    spare: Vec<Vec<u8>>,
    writer: Option<Writer>,
    /// What waits for a writer: no thread could be had (a limit of processes).
    held: VecDeque<Vec<u8>>,
    /// With the writer, or held.
    in_flight: usize,
    /// Whether a reader who does not read costs bytes instead of time.
    is_hasty: bool,
    has_lost: bool,
    /// Why it is broken; 0 is that it is not.
    broken: Arc<AtomicI32>,
}

/// The thread that waits.
#[derive(Debug)]
struct Writer {
    jobs: SyncSender<Vec<u8>>,
    done: UnboundedReceiver<Vec<u8>>,
}

/// How long a reader is waited for at the end.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For each buffer.
    pub step: Duration,
    /// For all of them.
    pub until: Instant,
}

impl Patience {
    /// When the next wait ends.
    #[must_use]
    pub fn next(self) -> Instant {
        self.until.min(Instant::now() + self.step)
    }
}

/// What became of what was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// All of it was written.
    All,
    /// The time was over while a reader did not read, or something was lost for that before.
    Stuck,
    /// The output is broken, for this reason, and there is no point in waiting: EPIPE is a reader who has gone.
    Broken(Errno),
}

impl Output {
    /// The caller gives a duplicate of the descriptor, so that closing it here closes nothing of anybody's.
    #[must_use]
    pub fn new(name: &'static str, to: OwnedFd) -> Self {
        Self {
            name,
            is_file: is_file(&to),
            to: Arc::new(to),
            at_once: true,
            spare: Vec::new(),
            writer: None,
            held: VecDeque::new(),
            in_flight: 0,
            is_hasty: false,
            has_lost: false,
            broken: Arc::default(),
        }
    }

    /// An empty buffer, as soon as one is free: this is where a slow reader of our output slows the agent down. Safe to cancel.
    pub async fn buffer(&mut self) -> Vec<u8> {
        self.take_back();
        while self.in_flight >= BUFFERS && !self.is_hasty {
            self.wait_for_one().await;
        }
        self.spare.pop().unwrap_or_default()
    }

    /// From here on nobody is waited for: what finds no room is lost, with all that follows it.
    pub fn wait_no_longer(&mut self) {
        self.is_hasty = true;
    }

    /// Writes a filled buffer, or gives it to the writer. What cannot be written is lost: the output is broken then.
    pub fn send(&mut self, mut filled: Vec<u8>) {
        self.take_back();
        if self.in_flight == 0 && self.at_once && !self.is_broken() && !self.has_lost {
            match write_at_once(&self.to, &filled) {
                Ok(written) => drop(filled.drain(..written)),
                Err(_) => self.at_once = false,
            }
        }
        self.has_lost |= self.is_hasty && self.in_flight >= BUFFERS;
        if filled.is_empty() || self.is_broken() || self.has_lost {
            return self.keep(filled);
        }
        self.in_flight += 1;
        self.held.push_back(filled);
        self.hand_over();
    }

    /// How long to wait at most, if that is how long for a reader.
    #[must_use]
    pub fn patience(&self, for_reader: Patience) -> Patience {
        if self.is_file { Patience { step: FILE_LIMIT, until: for_reader.until + FILE_LIMIT } } else { for_reader }
    }

    /// Waits until all that was sent is written, but no longer than that.
    pub async fn flush(&mut self, patience: Patience) -> Flushed {
        let mut is_late = false;
        while self.in_flight > 0 && !is_late {
            is_late = timeout_at(patience.next(), self.wait_for_one()).await.is_err();
        }
        match self.broken() {
            Some(errno) => Flushed::Broken(errno),
            None if is_late || self.has_lost => Flushed::Stuck,
            None => Flushed::All,
        }
    }

    /// Why nothing is written any more.
    fn broken(&self) -> Option<Errno> {
        let errno = self.broken.load(Ordering::Relaxed);
        (errno != 0).then(|| Errno::from_raw(errno))
    }

    fn is_broken(&self) -> bool {
        self.broken().is_some()
    }

    /// Gives the writer what waits for it; it is started if it was not, and if that is possible.
    fn hand_over(&mut self) {
        if self.writer.is_none() {
            self.writer = Writer::start(self.name, Arc::clone(&self.to), Arc::clone(&self.broken)).ok();
        }
        let Some(writer) = &self.writer else { return };
        while let Some(filled) = self.held.pop_front() {
            let sent = writer.jobs.try_send(filled).is_ok();
            self.in_flight -= usize::from(!sent);
        }
    }

    /// Writes what waits for a writer as far as that goes without one.
    fn write_held(&mut self) {
        while self.at_once
            && let Some(held) = self.held.front_mut()
        {
            match write_at_once(&self.to, held) {
                Ok(0) => return,
                Ok(written) => drop(held.drain(..written)),
                Err(_) => self.at_once = false,
            }
            if self.held.front().is_some_and(Vec::is_empty)
                && let Some(written) = self.held.pop_front()
            {
                self.in_flight -= 1;
                self.keep(written);
            }
        }
    }

    /// Takes back what the writer is done with.
    fn take_back(&mut self) {
        while let Some(buffer) = self.writer.as_mut().and_then(|writer| writer.done.try_recv().ok()) {
            self.in_flight -= 1;
            self.keep(buffer);
        }
    }

    /// Waits until the writer is done with one buffer.
    async fn wait_for_one(&mut self) {
        let Some(writer) = &mut self.writer else {
            tokio::time::sleep(WITHOUT_WRITER).await;
            self.write_held();
            return self.hand_over();
        };
        match writer.done.recv().await {
            Some(buffer) => {
                self.in_flight -= 1;
                self.keep(buffer);
            }
            // It is gone (its thread cannot end by itself; this is for a bug there): go on without it.
            None => {
                self.in_flight = 0;
                self.broken.store(Errno::EIO as i32, Ordering::Relaxed);
            }
        }
    }

    fn keep(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        // A burst of rendered text must not hold its memory for ever.
        buffer.shrink_to(2 * BUFFER);
        self.spare.push(buffer);
    }
}

/// A file has no reader whom anybody could wait for.
pub(super) fn is_file(to: &OwnedFd) -> bool {
    fstat(to).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
}

impl Writer {
    fn start(name: &str, to: Arc<OwnedFd>, broken: Arc<AtomicI32>) -> io::Result<Self> {
        let (jobs, theirs) = sync_channel(BUFFERS + 1);
        let (back, done) = unbounded_channel();
        // Not joined: it ends when `jobs` is dropped, or is left behind in a write that never returns.
        thread::Builder::new().name(format!("write-{name}")).stack_size(STACK).spawn(move || write_jobs(&to, &theirs, &back, &broken))?;
        Ok(Self { jobs, done })
    }
}

fn write_jobs(to: &OwnedFd, jobs: &Receiver<Vec<u8>>, back: &UnboundedSender<Vec<u8>>, broken: &AtomicI32) {
    while let Ok(job) = jobs.recv() {
        if broken.load(Ordering::Relaxed) == 0
            && let Err(error) = write_all(to.as_fd(), &job)
        {
            broken.store(error.raw_os_error().unwrap_or(Errno::EIO as i32), Ordering::Relaxed);
        }
        if back.send(job).is_err() {
            return;
        }
    }
}

/// Writes what is taken without waiting, which may be nothing.
///
/// # Errors
/// The kernel cannot promise that here, or a sandbox does not know the call; should the output be broken, a blocking write will say it too.
pub(super) fn write_at_once(to: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    match pwritev2(to, &[IoSlice::new(bytes)], HERE, ReadWriteFlags::NOWAIT) {
        Ok(written) => Ok(written),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek};

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    fn soon() -> Patience {
        within(Duration::from_secs(60))
    }

    fn within(step: Duration) -> Patience {
        Patience { step, until: Instant::now() + step }
    }

    async fn put(output: &mut Output, bytes: &[u8]) {
        let mut buffer = output.buffer().await;
        assert!(buffer.is_empty());
        buffer.extend_from_slice(bytes);
        output.send(buffer);
    }

    #[test]
    fn a_file_is_waited_for_longer_than_a_reader() {
        let (_reader, pipe) = std::io::pipe().unwrap();
        let at = within(Duration::ZERO);
        assert_eq!(Output::new("pipe", pipe.into()).patience(at).until, at.until);
        assert!(Output::new("file", tempfile::tempfile().unwrap().into()).patience(at).until > at.until);
    }

    /// Bytes of which no two neighbouring pieces are alike.
    fn pieces() -> Vec<Vec<u8>> {
        (0_u32..40).map(|number| number.to_le_bytes().repeat(5000 + number as usize)).collect()
    }

    #[test]
    fn what_a_pipe_has_room_for_needs_no_thread() {
        let (mut reader, writer) = io::pipe().unwrap();
        block_on(async {
            let mut output = Output::new("test", writer.into());
            put(&mut output, b"one ").await;
            put(&mut output, b"two").await;
            // On a kernel that promises nothing for pipes the thread has to do it.
            assert!(output.writer.is_none() || !output.at_once);
            assert_eq!(output.flush(soon()).await, Flushed::All);
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
    }

    #[test]
    fn a_slow_reader_gets_every_byte_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let read = thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut piece = [0; 777];
            loop {
                match reader.read(&mut piece).unwrap() {
                    0 => return bytes,
                    length => bytes.extend_from_slice(&piece[..length]),
                }
            }
        });
        block_on(async {
            let mut output = Output::new("test", writer.into());
            for piece in pieces() {
                put(&mut output, &piece).await;
                assert!(output.in_flight <= BUFFERS);
            }
            assert_eq!(output.flush(soon()).await, Flushed::All);
        });
        assert!(read.join().unwrap() == pieces().concat());
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (reader, writer) = io::pipe().unwrap();
        block_on(async {
            let mut output = Output::new("test", writer.into());
            output.send(vec![b'x'; 1 << 20]);
            assert_eq!(output.flush(within(Duration::ZERO)).await, Flushed::Stuck);
        });
        drop(reader);
    }

    #[test]
    fn who_is_not_waited_for_loses_the_rest_and_no_piece_before_it() {
        let (mut reader, writer) = io::pipe().unwrap();
        block_on(async {
            let mut output = Output::new("test", writer.into());
            output.wait_no_longer();
            for piece in pieces() {
                put(&mut output, &piece).await;
            }
            let read = thread::spawn(move || {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                bytes
            });
            assert_eq!(output.flush(soon()).await, Flushed::Stuck);
            drop(output);
            let bytes = read.join().unwrap();
            assert!(pieces().concat().starts_with(&bytes) && bytes.len() < pieces().concat().len());
        });
    }

    #[test]
    fn what_found_no_writer_is_written_when_there_is_one_again() {
        let (mut reader, writer) = io::pipe().unwrap();
        block_on(async {
            let mut output = Output::new("test", writer.into());
            // As `send` leaves them when no thread could be started.
            output.held.extend([b"one ".to_vec(), b"two ".to_vec()]);
            output.in_flight = 2;
            put(&mut output, b"three").await;
            assert_eq!(output.flush(soon()).await, Flushed::All);
            assert_eq!(output.in_flight, 0);
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two three");
    }

    #[test]
    fn a_reader_that_is_gone_costs_the_bytes_and_nothing_else() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        block_on(async {
            let mut output = Output::new("test", writer.into());
            for _ in 0..2 * BUFFERS {
                put(&mut output, b"lost").await;
                assert_eq!(output.flush(soon()).await, Flushed::Broken(Errno::EPIPE));
            }
        });
    }

    #[test]
    fn a_file_is_written_where_it_stands() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"before ").unwrap();
        block_on(async {
            let mut output = Output::new("test", file.try_clone().unwrap().into());
            for piece in pieces() {
                put(&mut output, &piece).await;
            }
            assert_eq!(output.flush(soon()).await, Flushed::All);
        });
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        File::read_to_end(&mut file, &mut bytes).unwrap();
        assert!(bytes == [b"before ".to_vec(), pieces().concat()].concat());
    }
}
