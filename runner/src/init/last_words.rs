//! What is to be said if the runner is killed: written by the runner while it lives, read by init when it is dead.
//!
//! The two share a piece of memory made before the fork. It has two slots and the number of the one that counts: the runner
//! fills the other and then changes the number, so at every instant one slot is whole, however it dies. SIGKILL, the OOM
//! killer and a crash leave shared memory as it is.

use std::{
    ffi::OsStr,
    num::NonZeroUsize,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nix::{
    libc,
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap},
};

use crate::process::ExitStatus;

/// PATH_MAX of Linux, which is what `open(2)` takes.
const PATH_BYTES: usize = libc::PATH_MAX as usize;

/// All that Kubernetes keeps of the messages of a pod; no single container's is larger.
const MESSAGE_BYTES: usize = 12 << 10;

/// What the runner last published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The termination message's file.
    pub path: PathBuf,
    /// How many bytes it may have.
    pub budget: usize,
    /// The message as it was written last.
    pub message: Vec<u8>,
    /// The agent's, which now init gives.
    pub grace: Duration,
    /// What [`LastWordsBoard::note_phase`] noted since; its meaning is the runner's.
    pub phase: Option<u8>,
}

/// How the runner died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Its end: a signal, or a code with which it left without [`LastWordsBoard::close`].
    pub status: ExitStatus,
    /// True when the kernel has killed for want of memory in our control group since the start.
    pub out_of_memory: bool,
}

/// What does not fit the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    /// The path.
    #[error("the path of the termination message has {0} bytes, more than `PATH_MAX`")]
    Path(usize),
    /// The message.
    #[error("the termination message has {0} bytes, more than any budget")]
    Message(usize),
    /// The private directory's path.
    #[error("the path of the private directory has {0} bytes, more than `PATH_MAX`")]
    Place(usize),
}

/// The shared memory. The runner writes, init reads; never both, for init reads when the runner is dead.
#[derive(Debug)]
pub struct LastWordsBoard {
    memory: NonNull<Memory>,
}

// SAFETY: the memory belongs to no thread; all that is shared within the process goes through `&mut self` or atomics.
unsafe impl Send for LastWordsBoard {}

#[repr(C)]
struct Memory {
    /// 0: nothing yet, 1 or 2: that slot counts; with [`CLOSED`] added: all is said.
    counts: AtomicU32,
    /// 0: none noted since the slot was written; else one more than what was noted.
    phase: AtomicU32,
    /// 0: none noted; else the length of what stands in `place`.
    place_length: AtomicU32,
    place: [u8; PATH_BYTES],
    slots: [Written; 2],
}

const CLOSED: u32 = 4;

#[repr(C)]
#[derive(Clone, Copy)]
struct Written {
    path_length: usize,
    message_length: usize,
    budget: usize,
    grace_millis: u64,
    path: [u8; PATH_BYTES],
    message: [u8; MESSAGE_BYTES],
}

impl LastWordsBoard {
    /// An empty one; `None` without memory for it. Pages are taken only when they are written.
    #[must_use]
    pub fn new() -> Option<Self> {
        let length = NonZeroUsize::new(size_of::<Memory>())?;
        // SAFETY: a new mapping at a place of the kernel's choice disturbs nothing.
        let memory = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED) };
        // all zeroes, which is a valid and empty `Memory`
        Some(Self { memory: memory.ok()?.cast() })
    }

    /// Publishes what is to be said from now on if we are killed.
    ///
    /// # Errors
    /// It does not fit; then what was published before still counts.
    pub fn publish(&mut self, path: &Path, budget: usize, message: &[u8], grace: Duration) -> Result<(), TooLong> {
        let path = path.as_os_str().as_bytes();
        if path.len() > PATH_BYTES {
            return Err(TooLong::Path(path.len()));
        }
        if message.len() > MESSAGE_BYTES {
            return Err(TooLong::Message(message.len()));
        }
        let counts = self.counts();
        let next = if counts.load(Ordering::Relaxed) & !CLOSED == 1 { 2 } else { 1 };
        let slot = self.slot(next);
        // SAFETY: `slot` points into our mapping; nobody reads this slot, since it does not count (the other process reads
        // only when we are dead), and both lengths were compared with the arrays.
        unsafe {
            (&raw mut (*slot).path_length).write(path.len());
            (&raw mut (*slot).message_length).write(message.len());
            (&raw mut (*slot).budget).write(budget);
            (&raw mut (*slot).grace_millis).write(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
            ptr::copy_nonoverlapping(path.as_ptr(), (&raw mut (*slot).path).cast(), path.len());
            ptr::copy_nonoverlapping(message.as_ptr(), (&raw mut (*slot).message).cast(), message.len());
        }
        // the message has its own; killed in between, we had come at least as far as the last one says
        self.phase().store(0, Ordering::Release);
        // Release: whoever sees the number sees the slot
        counts.store(next, Ordering::Release);
        Ok(())
    }

    /// The run has come to another phase, and nothing else has changed since the last [`Self::publish`]: much less work than a message.
    pub fn note_phase(&mut self, phase: u8) {
        self.phase().store(u32::from(phase) + 1, Ordering::Release);
    }

    /// There is a directory that is to be gone when nobody is left. To be noted once.
    ///
    /// # Errors
    /// Its path does not fit.
    pub fn note_place(&mut self, directory: &Path) -> Result<(), TooLong> {
        let path = directory.as_os_str().as_bytes();
        let length = u32::try_from(path.len()).ok().filter(|_| path.len() <= PATH_BYTES).ok_or(TooLong::Place(path.len()))?;
        // SAFETY: a place within our mapping that is as long as was asked; nobody reads it before it has a length.
        unsafe { ptr::copy_nonoverlapping(path.as_ptr(), (&raw mut (*self.memory.as_ptr()).place).cast(), path.len()) };
        self.place_length().store(length, Ordering::Release);
        Ok(())
    }

    /// All has been said: init keeps silent, however we end from here on.
    pub fn close(&mut self) {
        self.counts().fetch_or(CLOSED, Ordering::Release);
    }

    fn counts(&self) -> &AtomicU32 {
        // SAFETY: the mapping lives as long as we do, and the number is only touched as an atomic.
        unsafe { &(*self.memory.as_ptr()).counts }
    }

    fn phase(&self) -> &AtomicU32 {
        // SAFETY: as for `counts`.
        unsafe { &(*self.memory.as_ptr()).phase }
    }

    fn place_length(&self) -> &AtomicU32 {
        // SAFETY: as for `counts`.
        unsafe { &(*self.memory.as_ptr()).place_length }
    }

    fn slot(&self, number: u32) -> *mut Written {
        let at = if number == 2 { 1 } else { 0 };
        // SAFETY: the address of a place within our mapping.
        unsafe { &raw mut (*self.memory.as_ptr()).slots[at] }
    }

    /// Whether [`Self::close`] was called.
    pub(super) fn is_closed(&self) -> bool {
        self.counts().load(Ordering::Acquire) & CLOSED != 0
    }

    /// What [`Self::note_place`] noted; only for a process that outlives the writer.
    pub(super) fn place(&self) -> Option<PathBuf> {
        let length = self.place_length().load(Ordering::Acquire) as usize;
        // SAFETY: whole since it has a length, and its writer is dead. A copy, so that nothing refers to shared memory.
        let place = unsafe { (&raw const (*self.memory.as_ptr()).place).read() };
        let path = place.get(..length).filter(|path| !path.is_empty())?;
        Some(OsStr::from_bytes(path).into())
    }

    /// What counts; only for a process that outlives the writer.
    pub(super) fn read(&self) -> Option<Slot> {
        let number @ (1 | 2) = self.counts().load(Ordering::Acquire) & !CLOSED else {
            return None;
        };
        // SAFETY: the slot that counts is whole, and its writer is dead. A copy, so that nothing refers to shared memory.
        let written = unsafe { Box::new(self.slot(number).read()) };
        // lengths are the writer's word: a runner gone mad could have written anything, and init must not fall with it
        Some(Slot {
            path: OsStr::from_bytes(written.path.get(..written.path_length)?).into(),
            budget: written.budget,
            message: written.message.get(..written.message_length)?.to_vec(),
            grace: Duration::from_millis(written.grace_millis),
            phase: self.phase().load(Ordering::Acquire).checked_sub(1).and_then(|phase| u8::try_from(phase).ok()),
        })
    }
}

impl Drop for LastWordsBoard {
    fn drop(&mut self) {
        // SAFETY: our own mapping, with the length that it was made with; nothing refers to it any more. Cannot fail so.
        let _ = unsafe { munmap(self.memory.cast(), size_of::<Memory>()) };
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::{LastWordsBoard, MESSAGE_BYTES, PATH_BYTES, TooLong};

    const GRACE: Duration = Duration::from_millis(1500);

    #[test]
    fn what_was_published_last_counts() {
        let mut board = LastWordsBoard::new().unwrap();
        assert_eq!(board.read(), None);
        for round in 0..5 {
            let message = format!("message {round}");
            board.publish(Path::new("/dev/termination-log"), 4096, message.as_bytes(), GRACE).unwrap();
            let slot = board.read().unwrap();
            assert_eq!(slot.message, message.as_bytes());
            assert_eq!(slot.path, Path::new("/dev/termination-log"));
            assert_eq!((slot.budget, slot.grace), (4096, GRACE));
        }
    }

    #[test]
    fn a_phase_counts_until_the_next_message() {
        let mut board = LastWordsBoard::new().unwrap();
        board.publish(Path::new("a"), 1, b"x", GRACE).unwrap();
        assert_eq!(board.read().unwrap().phase, None);
        for phase in [0, 4] {
            board.note_phase(phase);
            assert_eq!(board.read().unwrap().phase, Some(phase));
        }
        board.publish(Path::new("a"), 1, b"y", GRACE).unwrap();
        assert_eq!(board.read().unwrap().phase, None);
    }

    #[test]
    fn a_place_is_noted_whole_or_not() {
        let mut board = LastWordsBoard::new().unwrap();
        assert_eq!(board.place(), None);
        assert_eq!(board.note_place(Path::new(&"x".repeat(PATH_BYTES + 1))), Err(TooLong::Place(PATH_BYTES + 1)));
        assert_eq!(board.place(), None);
        board.note_place(Path::new("/tmp/place")).unwrap();
        board.publish(Path::new("a"), 1, b"x", GRACE).unwrap();
        assert_eq!(board.place().as_deref(), Some(Path::new("/tmp/place")));
        // gone mad
        board.place_length().store(u32::MAX, std::sync::atomic::Ordering::Release);
        assert_eq!(board.place(), None);
    }

    #[test]
    fn what_does_not_fit_leaves_the_last_one() {
        let mut board = LastWordsBoard::new().unwrap();
        let full = vec![b'x'; MESSAGE_BYTES];
        board.publish(Path::new("a"), 1, &full, GRACE).unwrap();
        let refused = board.publish(Path::new("b"), 1, &[&full[..], b"y"].concat(), GRACE);
        assert_eq!(refused, Err(TooLong::Message(MESSAGE_BYTES + 1)));
        assert_eq!(board.read().unwrap().message, full);
    }

    #[test]
    fn an_update_that_is_cut_off_leaves_the_other_slot() {
        let mut board = LastWordsBoard::new().unwrap();
        board.publish(Path::new("a"), 1, b"first", GRACE).unwrap();
        let half_done = board.slot(2);
        // SAFETY: within the mapping, and nobody else has it.
        unsafe {
            (&raw mut (*half_done).message_length).write(usize::MAX);
            (&raw mut (*half_done).path_length).write(usize::MAX);
        }
        assert_eq!(board.read().unwrap().message, b"first");
        // and if the number had come loose, nonsense is nothing, not a crash
        board.counts().store(2, std::sync::atomic::Ordering::Release);
        assert_eq!(board.read(), None);
        board.counts().store(77, std::sync::atomic::Ordering::Release);
        assert_eq!(board.read(), None);
    }

    #[test]
    fn a_closed_board_is_known_as_such_and_keeps_its_grace() {
        let mut board = LastWordsBoard::new().unwrap();
        board.publish(Path::new("a"), 1, b"x", GRACE).unwrap();
        assert!(!board.is_closed());
        board.close();
        assert!(board.is_closed());
        assert_eq!(board.read().unwrap().grace, GRACE);
        board.publish(Path::new("b"), 1, b"y", GRACE).unwrap();
        assert!(!board.is_closed(), "who publishes again is to be heard");
    }
}
