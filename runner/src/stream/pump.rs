//! Pumps an agent's pipe through a follower to our output, in a tokio task.
//!
//! Bytes are read into one of a few buffers, pushed to the follower, and the same buffer goes to the writer ([`super::output`]) unless something
//! was masked or rendered. While our output's reader is slow, no buffer is free and the agent's pipe is left alone: back-pressure. While it is
//! broken, bytes are still read and understood. While nothing happens, nothing wakes up.
//!
//! The end comes by itself (EOF), or by a [`Stop`]: from then on only what already stands in the pipe is read, since a process that
//! escaped may hold it open for ever; and nothing waits beyond the stop's deadline.

use std::future::pending;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use agent_sdk::agent::StreamEnd;
use agent_sdk::usage::Usage;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::follow::{Follower, Forward};
use super::output::{BUFFER, Flushed, Output};
use super::tail::PlainFollower;

/// What is still read, unforwarded, of a pipe after the deadline: the most a pipe holds (`/proc/sys/fs/pipe-max-size`), so that the last usage is known.
const LAST_BYTES: u64 = 1 << 20;

/// After so many full chunks in a row the other tasks get their turn: about 8 MiB, some milliseconds.
const TURN: u32 = 64;

/// Something that bytes are pumped through.
pub trait Follow {
    /// Takes the next bytes, which arrived at this time.
    fn push(&mut self, chunk: &[u8], at: SystemTime, out: &mut Vec<u8>) -> Forward;
    /// The stream is at its end.
    fn finish(&mut self, at: SystemTime, out: &mut Vec<u8>);
}

impl Follow for Follower {
    fn push(&mut self, chunk: &[u8], at: SystemTime, out: &mut Vec<u8>) -> Forward {
        Self::push(self, chunk, at, out)
    }
    fn finish(&mut self, at: SystemTime, out: &mut Vec<u8>) {
        Self::finish(self, at, out);
    }
}

impl Follow for PlainFollower {
    fn push(&mut self, chunk: &[u8], _at: SystemTime, out: &mut Vec<u8>) -> Forward {
        Self::push(self, chunk, out)
    }
    fn finish(&mut self, _at: SystemTime, out: &mut Vec<u8>) {
        Self::finish(self, out);
    }
}

/// When the agent last said something. Read when a silence limit may have passed; nothing is woken by it.
#[derive(Debug, Clone)]
pub struct Activity {
    since: Instant,
    shared: Arc<ActivityCells>,
}

#[derive(Debug, Default)]
struct ActivityCells {
    last_ms: AtomicU64,
    blocked: AtomicBool,
}

impl Activity {
    /// The agent starts now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { since: now, shared: Arc::default() }
    }

    /// When something last arrived.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.shared.last_ms.load(Ordering::Relaxed))
    }

    /// Whether the agent is being held up because our own output is not read: that is no silence of the agent's.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.shared.blocked.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        let passed = Instant::now().saturating_duration_since(self.since);
        self.shared.last_ms.store(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// What the supervising loop watches of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// The running total.
    pub usage: Usage,
    /// How often the model was asked.
    pub turns: Option<u64>,
    /// Retries in a row.
    pub retries: u32,
    /// Steps in a row that cost no tokens.
    pub empty_steps: u32,
    /// Whether a tool call is open.
    pub tool_open: bool,
    /// The terminal event.
    pub end: Option<StreamEnd>,
}

impl Progress {
    /// Tells the watchers, if anything changed. For the `after` of [`pump`].
    pub fn publish(follower: &mut Follower, to: &watch::Sender<Self>) {
        if !follower.take_changes().any() {
            return;
        }
        let seen = follower.summary();
        to.send_replace(Self {
            usage: seen.usage,
            turns: seen.turns,
            retries: seen.retries,
            empty_steps: seen.empty_steps,
            tool_open: seen.tool_open,
            end: seen.end.clone(),
        });
    }
}

/// Ends pumps: set to a deadline, what is in the pipes is read and written until then, and no more is waited for.
pub type Stop = watch::Receiver<Option<Instant>>;

/// The reading end of a pipe.
#[derive(Debug)]
pub struct Source {
    fd: AsyncFd<OwnedFd>,
}

impl Source {
    /// Takes the reading end of an agent's pipe, for instance `ChildStdout::into_owned_fd`. It becomes non-blocking, which nobody else
    /// notices: the reading end is ours alone.
    ///
    /// # Errors
    /// If there is no tokio runtime with I/O, or the descriptor cannot be watched (a regular file).
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // SAFETY: an `OwnedFd` is open, is always the same descriptor, and closes it only when it is dropped, which is after the
        // `AsyncFd` that owns it has deregistered it.
        Ok(Self { fd: unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? } })
    }

    /// Reads into the buffer's free capacity.
    fn read(&self, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
        let room = buffer.spare_capacity_mut();
        // SAFETY: read(2) is given memory that is ours to write, `room.len()` bytes of it, and only writes there.
        let got = unsafe { nix::libc::read(self.fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
        let got = usize::try_from(Errno::result(got)?).unwrap_or(0);
        // SAFETY: the kernel has initialised `got` bytes behind the buffer's length, within its capacity.
        unsafe { buffer.set_len(buffer.len() + got) };
        Ok(got)
    }
}

/// How a pump ended.
#[derive(Debug)]
pub struct PumpReport {
    /// Bytes read.
    pub read: u64,
    /// Whether the pipe came to its end; otherwise it was stopped, or failed.
    pub eof: bool,
    /// Bytes that were to be written and were not even tried, because the output was broken, or stuck at the end.
    pub unwritten: u64,
    /// What became of the last buffers.
    pub flushed: Flushed,
    /// Why reading failed.
    pub read_error: Option<io::Error>,
}

/// Pumps until the pipe ends or `stop` is set. `after` is called after each chunk and once at the end.
pub async fn pump<F: Follow>(
    from: &Source,
    through: &mut F,
    to: &mut Output,
    activity: &Activity,
    mut stop: Stop,
    mut after: impl FnMut(&mut F),
) -> PumpReport {
    let mut report = PumpReport { read: 0, eof: false, unwritten: 0, flushed: Flushed::All, read_error: None };
    let mut deadline = None;
    let mut out = Vec::new();
    // What is read when the output is stuck at the end goes here, only to be understood.
    let mut unwritable = Vec::new();
    // A buffer that there was no need to send.
    let mut spare = None;
    let mut left = LAST_BYTES;
    let mut turn = 0;
    loop {
        let free = match spare.take() {
            Some(buffer) => Some(buffer),
            None => free_buffer(to, activity, &mut deadline, &mut stop).await,
        };
        let (mut buffer, writable) = match free {
            Some(buffer) => (buffer, true),
            None => (std::mem::take(&mut unwritable), false),
        };
        if buffer.capacity() == 0 {
            buffer.reserve_exact(BUFFER);
        }
        let got = match read_some(from, &mut buffer, &mut deadline, &mut stop).await {
            Ok(Some(0)) => {
                report.eof = true;
                break;
            }
            Ok(Some(got)) => got,
            Ok(None) => break,
            Err(error) => {
                report.read_error = Some(error);
                break;
            }
        };
        report.read += got as u64;
        activity.touch();
        let forward = through.push(&buffer, SystemTime::now(), &mut out);
        after(through);
        if forward == Forward::Out {
            // The two change places: `buffer` is what is written, and the chunk's room takes the next output.
            std::mem::swap(&mut buffer, &mut out);
        }
        let len = buffer.len() as u64;
        if !writable || to.error().is_some() || buffer.is_empty() {
            report.unwritten += len;
            buffer.clear();
            if writable {
                spare = Some(buffer);
            } else {
                unwritable = buffer;
            }
        } else if !to.send(buffer) {
            report.unwritten += len;
        }
        out.clear();
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            left = left.saturating_sub(got as u64);
            if left == 0 {
                break;
            }
        }
        turn += 1;
        if turn % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    through.finish(SystemTime::now(), &mut out);
    after(through);
    let len = out.len() as u64;
    if len > 0 && (to.error().is_some() || !to.send(out)) {
        report.unwritten += len;
    }
    report.flushed = flush(to, deadline, &mut stop).await;
    report
}

/// A free buffer, or `None` if there is none by the deadline.
async fn free_buffer(to: &mut Output, activity: &Activity, deadline: &mut Option<Instant>, stop: &mut Stop) -> Option<Vec<u8>> {
    if let Some(buffer) = to.try_buffer() {
        return Some(buffer);
    }
    activity.shared.blocked.store(true, Ordering::Relaxed);
    let buffer = loop {
        match *deadline {
            Some(deadline) => break timeout_at(deadline, to.buffer()).await.ok(),
            None => tokio::select! {
                biased;
                buffer = to.buffer() => break Some(buffer),
                until = stopped(stop) => *deadline = Some(until),
            },
        }
    };
    activity.shared.blocked.store(false, Ordering::Relaxed);
    // The wait was ours: the agent's silence counts from now.
    activity.touch();
    buffer
}

/// Reads what there is, waiting for it unless the end has begun; `None` if it has and nothing is there.
async fn read_some(from: &Source, buffer: &mut Vec<u8>, deadline: &mut Option<Instant>, stop: &mut Stop) -> io::Result<Option<usize>> {
    loop {
        // Asked of the kernel, not of tokio: its readiness is a cache that knows nothing before the first event.
        match from.read(buffer) {
            Err(Errno::EAGAIN) if deadline.is_some() => return Ok(None),
            Err(Errno::EAGAIN) => tokio::select! {
                biased;
                ready = from.fd.readable() => {
                    let mut ready = ready?;
                    match ready.try_io(|_| from.read(buffer).map_err(io::Error::from)) {
                        Ok(got) => return got.map(Some),
                        Err(_would_block) => {}
                    }
                }
                until = stopped(stop) => *deadline = Some(until),
            },
            Err(Errno::EINTR) => {}
            got => return Ok(Some(got?)),
        }
    }
}

async fn flush(to: &mut Output, deadline: Option<Instant>, stop: &mut Stop) -> Flushed {
    let deadline = match deadline {
        Some(deadline) => deadline,
        None => tokio::select! {
            biased;
            () = to.flushed() => return Flushed::All,
            until = stopped(stop) => until,
        },
    };
    to.flush(deadline).await
}

/// Waits for the stop. If nobody can stop us any more, for ever.
async fn stopped(stop: &mut Stop) -> Instant {
    let until = stop.wait_for(Option::is_some).await.ok().and_then(|until| *until);
    match until {
        Some(until) => until,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::double::JsonDouble;
    use crate::stream::follow::Log;
    use crate::stream::mask::Secrets;
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn new_pipe() -> (OwnedFd, File) {
        let (read, write) = nix::unistd::pipe().unwrap();
        (read, File::from(write))
    }

    fn receiver(read: OwnedFd) -> Source {
        Source::new(read).unwrap()
    }

    fn follower(secrets: &Secrets) -> Follower {
        Follower::new(Box::new(JsonDouble::default()), Log::Raw, secrets)
    }

    fn soon(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    const LINE: &[u8] = b"{\"usage\":{\"in\":1,\"out\":2}}\n";

    /// Pumps `lines` lines to `output`, and gives back the report, the usage and the output.
    fn pump_to(output: OwnedFd, lines: usize, secrets: &Secrets) -> (PumpReport, Option<u64>, Output) {
        let (read, mut write) = new_pipe();
        let producer = std::thread::spawn(move || (0..lines).try_for_each(|_| write.write_all(LINE)));
        let done = runtime().block_on(async {
            let mut output = Output::spawn("test", output).unwrap();
            let mut follower = follower(secrets);
            let (_keep, stop) = watch::channel(None);
            let activity = Activity::new(Instant::now());
            let report = pump(&receiver(read), &mut follower, &mut output, &activity, stop, |_| {}).await;
            (report, follower.summary().usage.output_tokens, output)
        });
        producer.join().unwrap().expect("the agent's writes all succeed");
        done
    }

    #[test]
    fn all_bytes_come_out_as_they_went_in() {
        let (read, write) = new_pipe();
        let consumer = std::thread::spawn(move || {
            let mut all = Vec::new();
            File::from(read).read_to_end(&mut all).unwrap();
            all
        });
        let (report, usage, output) = pump_to(write.into(), 20_000, &Secrets::new());
        drop(output);
        assert_eq!(consumer.join().unwrap(), LINE.repeat(20_000));
        assert!(report.eof && report.unwritten == 0 && report.flushed == Flushed::All);
        assert_eq!(usage, Some(40_000));
    }

    #[test]
    fn masked_output_keeps_its_order() {
        let secrets = Secrets::new();
        secrets.add(b"\"usage\":{\"in\"").unwrap();
        let file = tempfile::tempfile().unwrap();
        let (report, _, output) = pump_to(file.try_clone().unwrap().into(), 20_000, &secrets);
        assert_eq!(output.written(), file.metadata().unwrap().len());
        assert_eq!(report.unwritten, 0);
        let mut text = String::new();
        let mut file = file;
        std::io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "{***:1,\"out\":2}}\n".repeat(20_000));
    }

    #[test]
    fn a_closed_output_never_hurts_the_agent() {
        let (read, write) = new_pipe();
        drop(read);
        let (report, usage, output) = pump_to(write.into(), 20_000, &Secrets::new());
        assert!(report.eof);
        assert_eq!(usage, Some(40_000), "all was read and understood");
        assert_eq!(output.error().unwrap().raw_os_error(), Some(nix::libc::EPIPE));
    }

    #[test]
    fn a_full_disk_never_hurts_the_agent() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (report, usage, output) = pump_to(full.into(), 20_000, &Secrets::new());
        assert!(report.eof);
        assert_eq!(usage, Some(40_000));
        assert_eq!(output.error().unwrap().raw_os_error(), Some(nix::libc::ENOSPC));
    }

    #[test]
    fn an_output_that_is_never_read_holds_the_agent_up_but_not_the_end() {
        let (_never_read, stuck) = new_pipe();
        let (read, mut write) = new_pipe();
        // More than our buffers and both pipes hold, so that the agent is still writing when the end comes.
        let producer = std::thread::spawn(move || (0..200_000).try_for_each(|_| write.write_all(LINE)));
        runtime().block_on(async {
            let mut output = Output::spawn("test", stuck.into()).unwrap();
            let mut follower = follower(&Secrets::new());
            let (ask, stop) = watch::channel(None);
            let activity = Activity::new(Instant::now());
            let watched = activity.clone();
            let from = receiver(read);
            let stopper = async {
                while !watched.is_blocked() {
                    tokio::task::yield_now().await;
                }
                ask.send_replace(Some(soon(20)));
            };
            let (report, ()) = tokio::join!(pump(&from, &mut follower, &mut output, &activity, stop, |_| {}), stopper);
            assert_eq!(report.flushed, Flushed::Stuck);
            assert!(!report.eof && report.unwritten > 0, "{report:?}");
            assert!(follower.summary().usage.output_tokens.unwrap() > 0);
            assert_eq!(follower.counts().bytes, report.read);
        });
        assert!(producer.join().unwrap().is_err(), "the pipe is closed after the end");
    }

    #[test]
    fn a_stop_reads_what_is_in_the_pipe_though_somebody_holds_it_open() {
        let (read, mut held_open) = new_pipe();
        held_open.write_all(LINE).unwrap();
        held_open.write_all(b"{\"end\":true}").unwrap();
        let (sender, watcher) = watch::channel(Progress::default());
        runtime().block_on(async {
            let mut output = Output::spawn("test", tempfile::tempfile().unwrap().into()).unwrap();
            let mut follower = follower(&Secrets::new());
            let (ask, stop) = watch::channel(None);
            ask.send_replace(Some(soon(60_000)));
            let activity = Activity::new(Instant::now());
            let report =
                pump(&receiver(read), &mut follower, &mut output, &activity, stop, |follower| Progress::publish(follower, &sender)).await;
            assert!(!report.eof && report.read_error.is_none());
            assert_eq!(report.flushed, Flushed::All);
            assert_eq!(output.written(), LINE.len() as u64 + 12);
        });
        assert!(watcher.borrow().end.is_some(), "the last line counts without its newline");
        assert_eq!(watcher.borrow().usage.input_tokens, Some(1));
        drop(held_open);
    }

    #[test]
    fn stderr_is_pumped_by_the_same_loop() {
        let (read, mut write) = new_pipe();
        write.write_all(b"warning: hush-hush\n").unwrap();
        drop(write);
        let secrets = Secrets::new();
        secrets.add(b"hush-hush").unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut follower = PlainFollower::new(&secrets);
        runtime().block_on(async {
            let mut output = Output::spawn("test", file.try_clone().unwrap().into()).unwrap();
            let (_ask, stop) = watch::channel(None);
            let report = pump(&receiver(read), &mut follower, &mut output, &Activity::new(Instant::now()), stop, |_| {}).await;
            assert!(report.eof);
            assert_eq!(output.written(), 13);
        });
        assert_eq!(follower.tail(), "warning: ***\n");
    }

    #[test]
    fn output_that_somebody_made_non_blocking_is_waited_for() {
        let (read, write) = new_pipe();
        fcntl(&write, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let consumer = std::thread::spawn(move || {
            let mut all = Vec::new();
            File::from(read).read_to_end(&mut all).unwrap();
            all.len()
        });
        let (report, _, output) = pump_to(write.into(), 20_000, &Secrets::new());
        drop(output);
        assert_eq!((consumer.join().unwrap(), report.unwritten), (LINE.len() * 20_000, 0));
    }
}
