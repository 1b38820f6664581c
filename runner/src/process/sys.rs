//! The system calls that `nix` has not, or has only for signals with a name: its `Signal` ends at 31, and its `waitpid`
//! fails with `EINVAL` for a child that a real-time signal ended (after the child is gone, so the status would be lost).

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    time::Duration,
};

use nix::{
    libc,
    sys::{
        signal::{SigSet, SigmaskHow, Signal},
        signalfd::SignalFd,
    },
    unistd::Pid,
};

use tokio::io::{Interest, unix::AsyncFd};

use super::status::ExitStatus;

/// The highest signal number of Linux on every architecture that we build for.
pub const LAST_SIGNAL: i32 = 64;

/// What `wait` has to tell about a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is no more.
    Ended(ExitStatus),
    /// A signal stopped it (`^Z`, SIGSTOP, a read from a terminal that is not its own).
    Stopped(i32),
    /// SIGCONT woke it.
    Continued,
}

/// What [`wait`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// A child changed.
    Child(Pid, Change),
    /// There are children, and none has changed.
    Nothing,
    /// There is no (such) child at all.
    NoChild,
}

/// `waitpid(which, WNOHANG | flags)`; never blocks, and never fails for a reason that a caller could mend.
pub fn wait(which: Pid, flags: libc::c_int) -> Waited {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for an int for the whole call.
        let pid = unsafe { libc::waitpid(which.as_raw(), &raw mut status, libc::WNOHANG | flags) };
        return match pid {
            0 => Waited::Nothing,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => continue,
            -1 => Waited::NoChild,
            pid => Waited::Child(Pid::from_raw(pid), change(status)),
        };
    }
}

fn change(status: libc::c_int) -> Change {
    if libc::WIFEXITED(status) {
        // WEXITSTATUS masks with 0xff, so nothing is lost
        Change::Ended(ExitStatus::Exited(libc::WEXITSTATUS(status) as u8))
    } else if libc::WIFSTOPPED(status) {
        Change::Stopped(libc::WSTOPSIG(status))
    } else if libc::WIFCONTINUED(status) {
        Change::Continued
    } else {
        Change::Ended(ExitStatus::Signalled(libc::WTERMSIG(status)))
    }
}

/// How the child ended, if it has; it stays a zombie, so that its pid, and with it the id of its group, cannot be given to
/// somebody else while signals are still sent to the group.
pub fn peek_ended(child: Pid) -> Option<ExitStatus> {
    match wait_info(child, libc::WEXITED | libc::WNOWAIT)? {
        (libc::CLD_EXITED, status) => Some(ExitStatus::Exited((status & 0xff) as u8)),
        (_, signal) => Some(ExitStatus::Signalled(signal)),
    }
}

/// Whether the child was stopped or continued since the last question; its end is not taken.
pub fn stopped_or_continued(child: Pid) -> Option<Change> {
    match wait_info(child, libc::WSTOPPED | libc::WCONTINUED)? {
        (libc::CLD_CONTINUED, _) => Some(Change::Continued),
        (_, signal) => Some(Change::Stopped(signal)),
    }
}

/// `waitid(P_PID, child, WNOHANG | flags)`: its code (CLD_…) and status.
fn wait_info(child: Pid, flags: libc::c_int) -> Option<(libc::c_int, libc::c_int)> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // pids are positive, so the cast loses nothing
    let id = child.as_raw() as libc::id_t;
    // SAFETY: `info` is a valid place for a siginfo_t for the whole call.
    let answer = unsafe { libc::waitid(libc::P_PID, id, &raw mut info, libc::WNOHANG | flags) };
    // SAFETY: waitid filled the SIGCHLD members of the union, or left the zeroes in place.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    (answer == 0 && pid != 0).then_some((info.si_code, status))
}

/// `kill(2)` by number. ESRCH (it is gone) and EPERM (it has become somebody else) are what signals meet in a tree that is
/// ending, so the answer is only whether anybody got it.
pub fn kill(target: Pid, signal: i32) -> bool {
    // SAFETY: kill takes two integers and touches no memory of ours.
    unsafe { libc::kill(target.as_raw(), signal) == 0 }
}

/// `kill(2)` to every member of a process group; like [`kill`].
pub fn kill_group(group: Pid, signal: i32) -> bool {
    // 0 and 1 would mean our own group and everybody: never what the caller of this means
    group.as_raw() > 1 && kill(Pid::from_raw(-group.as_raw()), signal)
}

/// A signal that was waited for.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// Its number.
    pub signal: i32,
    /// True when the kernel sent it by itself (a terminal that hung up), false when a process did.
    pub from_kernel: bool,
}

/// Waits for one of the blocked signals of `set`, for ever or for `limit`; `None` when the time is over.
pub fn wait_signal(set: &SigSet, limit: Option<Duration>) -> Option<Arrived> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(limit.subsec_nanos() as i32),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: set, info and limit are valid for the call; a null limit means no limit.
    let signal = unsafe { libc::sigtimedwait(set.as_ref(), &raw mut info, limit) };
    // EINTR (stopped and continued meanwhile) and EAGAIN (time over) are the same to the callers: they look at their clock
    (signal > 0).then_some(Arrived { signal, from_kernel: info.si_code == libc::SI_KERNEL })
}

/// Blocks `set` in this thread, in addition to what is blocked; the old mask.
pub fn block(set: &SigSet) -> nix::Result<SigSet> {
    let mut old = SigSet::empty();
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(set), Some(&mut old))?;
    Ok(old)
}

/// Whether a blocked signal waits for us.
pub fn is_pending(signal: Signal) -> bool {
    let mut set = SigSet::empty().as_ref().to_owned();
    // SAFETY: `set` is a valid place for a sigset_t, and both calls take valid arguments.
    unsafe { libc::sigpending(&raw mut set) == 0 && libc::sigismember(&raw const set, signal as i32) == 1 }
}

/// Every signal to its default action. Only system calls, so it may run between fork and exec.
///
/// By the raw call, for the C library refuses the two numbers that it keeps for itself, and a parent may have left them
/// ignored all the same.
pub fn default_dispositions() {
    // handler, flags, restorer, mask, as the kernel has them on 64-bit machines: SIG_DFL, none, none, empty
    let default = [0_u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the kernel reads the four words, and SIG_DFL installs no code of ours; KILL and STOP are refused.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null::<u64>(), size_of::<u64>()) };
    }
}

/// Marks every descriptor from 3 on as close-on-exec. Only system calls, so it may run between fork and exec.
pub fn close_on_exec_from_3() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: takes three integers; the raw call, because C libraries older than the kernel lack the function.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if answer == 0 {
        return;
    }
    // Linux before 5.11, or a seccomp filter that does not know the call. 4096 is the belt's length: ours are all
    // close-on-exec already, and what a platform hands down has low numbers.
    for descriptor in 3..4096 {
        // SAFETY: a descriptor that is not open gives EBADF, nothing else.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// A descriptor that becomes readable when the process, child or not, has ended.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers; returns a new descriptor (close-on-exec by itself) or -1.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = i32::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given this descriptor to us, and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Asks for a pipe buffer of 1 MiB, so that an agent seldom waits for us.
///
/// Best effort: 1 MiB is what an unprivileged process may ask for by default (`/proc/sys/fs/pipe-max-size`), and a user who
/// has spent the share of pipe pages gets `EPERM` and keeps the 64 KiB.
pub fn enlarge_pipe(pipe: BorrowedFd<'_>) {
    const PIPE_BYTES: libc::c_int = 1 << 20;
    // SAFETY: the descriptor is open for the length of the borrow, and the call takes integers.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
}

/// How many bytes lie in the pipe, unread.
pub fn bytes_in_pipe(pipe: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, for which there is room.
    let answer = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if answer == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Registers a descriptor that we own with the runtime, for reading.
pub fn watch_readable<T: AsRawFd + OwnsItsDescriptor>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the owner keeps its descriptor open and the same until it is dropped, as `OwnsItsDescriptor` says.
    Ok(unsafe { AsyncFd::register_with_interest(owner, Interest::READABLE)? })
}

/// Keeps one descriptor open from its making to its drop.
pub trait OwnsItsDescriptor {}
impl OwnsItsDescriptor for OwnedFd {}
impl OwnsItsDescriptor for SignalFd {}
