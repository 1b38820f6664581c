//! What runs in the suite's program when it was started again: one thread, that starts a process by its plan and watches it until its end.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdin, fork, pipe2, setsid};

use super::super::inside;
use super::{KILL_ALL, Namespace, Plan, Report, privileges, root, runtime};

/// As container engines have it: the entry point is not executable, and it is not there.
const NOT_EXECUTABLE: u8 = 126;
/// See [`NOT_EXECUTABLE`].
const NOT_FOUND: u8 = 127;

/// Does what the arguments after [`super::ARGUMENT`] say.
pub(in crate::suite::engine) fn main(arguments: &[OsString]) -> ExitCode {
    if arguments.first().is_some_and(|argument| argument == "probe") {
        return probe();
    }
    // whoever started us has gone if nothing can be said
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn probe() -> ExitCode {
    let tried = isolate().and_then(|()| root::probe());
    let (said, code) = match tried {
        Ok(note) => (note.unwrap_or_default(), ExitCode::SUCCESS),
        Err(error) => (error.to_string(), ExitCode::FAILURE),
    };
    let _ = writeln!(io::stdout(), "{said}");
    code
}

fn run() -> io::Result<()> {
    // the container's standard input is empty, and the socket none of its descriptors
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    dup2_stdin(File::open("/dev/null")?)?;
    keep_to_ourselves();
    let mut lines = BufReader::new(control.try_clone()?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let plan: Plan = serde_json::from_str(&line)?;
    match begin(&plan) {
        Ok(pid) => watch(pid, &plan, control),
        Err(Stop::Report(report)) => say(&control, &report),
        Err(Stop::Error(error)) => say(&control, &Report::Failed(error.to_string())),
    }
}

fn say(mut control: &UnixStream, report: &Report) -> io::Result<()> {
    control.write_all(format!("{}\n", serde_json::to_string(report)?).as_bytes())
}

/// Why there is nothing to watch.
enum Stop {
    Report(Report),
    Error(io::Error),
}

impl<E: Into<io::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Makes what is around the process, and starts it.
fn begin(plan: &Plan) -> Result<Pid, Stop> {
    // what loses its parent becomes our child, so that all of it can be found at the end
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(io::Error::from)?;
    if let Some(namespace) = plan.namespace.as_ref().filter(|namespace| namespace.runc) {
        // a mount namespace only: runc makes the others
        unshare(CloneFlags::CLONE_NEWNS)?;
        root::make_for_runc(namespace)?;
        return match runtime::begin(&namespace.work)? {
            runtime::Begun::Running(pid) => Ok(pid),
            runtime::Begun::Refused(code) => Err(Stop::Report(Report::Ended(code))),
        };
    }
    let made = plan.namespace.as_ref().map(|namespace| make(namespace, &plan.cwd)).transpose()?;
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(theirs);
            let report = match become_the_program(plan, made.as_deref()) {
                Ok(never) => match never {},
                Err(Stop::Report(report)) => report,
                Err(Stop::Error(error)) => Report::Failed(error.to_string()),
            };
            let text = serde_json::to_vec(&report).unwrap_or_default();
            // the parent takes silence for success, and our end for the program's
            let _ = File::from(ours).write_all(&text);
            std::process::exit(i32::from(NOT_EXECUTABLE));
        }
        ForkResult::Parent { child } => {
            drop(ours);
            let mut text = Vec::new();
            // its end is closed when the program runs
            File::from(theirs).read_to_end(&mut text)?;
            if text.is_empty() {
                return Ok(child);
            }
            waitpid(child, None)?;
            Err(Stop::Report(serde_json::from_slice(&text)?))
        }
    }
}

/// Namespaces of our own; the PID namespace is for our children.
fn isolate() -> io::Result<()> {
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWPID;
    unshare(flags).map_err(|error| match error {
        Errno::EPERM => io::Error::other("namespaces cannot be made here: root with CAP_SYS_ADMIN is needed"),
        other => io::Error::other(format!("namespaces cannot be made here: {other}")),
    })
}

fn make(namespace: &Namespace, cwd: &Path) -> io::Result<PathBuf> {
    isolate()?;
    rustix::system::sethostname(b"agent")?;
    let root = root::make(namespace)?;
    // engines make it, if the image has not
    inside::make(&root, cwd, true)?;
    Ok(root)
}

fn become_the_program(plan: &Plan, made: Option<&Path>) -> Result<std::convert::Infallible, Stop> {
    setsid()?;
    default_signals();
    if let (Some(namespace), Some(made)) = (&plan.namespace, made) {
        root::enter(namespace, made)?;
        privileges::drop(namespace)?;
    }
    std::env::set_current_dir(&plan.cwd).map_err(|error| io::Error::other(format!("cannot go to `{}`: {error}", plan.cwd.display())))?;
    let program = find(plan).ok_or(Stop::Report(Report::Ended(NOT_FOUND)))?;
    let error = Command::new(program).arg0(&plan.args[0]).args(&plan.args[1..]).env_clear().envs(&plan.env).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    // as an engine would say it, which is where a reader looks for it
    let _ = writeln!(io::stderr(), "cannot start `{}`: {error}", plan.args[0]);
    Err(Stop::Report(Report::Ended(code)))
}

/// The program, as `execvp` would find it with the environment that it gets.
fn find(plan: &Plan) -> Option<PathBuf> {
    let name = plan.args.first()?;
    if name.contains('/') {
        return Some(name.into());
    }
    let path = plan.env.get("PATH").map_or("", String::as_str);
    path.split(':').map(|dir| Path::new(dir).join(name)).find(|place| place.is_file())
}

/// No descriptor but 0, 1 and 2 goes to the program, whatever the suite was started with.
fn keep_to_ourselves() {
    // SAFETY: marks descriptors, and closes none. Where the kernel does not know it, descriptors of Rust are marked anyway.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// The program starts with the default actions, whatever the suite ignores.
fn default_signals() {
    for signal in Signal::iterator() {
        // SAFETY: the default action runs no code of ours. Those that cannot be changed have it anyway.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
    }
}

/// Does what the suite says until the process has ended, then says how.
fn watch(pid: Pid, plan: &Plan, control: UnixStream) -> io::Result<()> {
    let descriptor = open_pidfd(pid)?;
    // the suite may have gone: then its end of the socket is closed, and that is seen below
    let _ = say(&control, &Report::Started);
    loop {
        let mut ready = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN), PollFd::new(control.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        if ready[0].any() == Some(true) {
            break;
        }
        let mut byte = [KILL_ALL];
        // nothing to read means that the suite has gone
        match (&control).read(&mut byte) {
            Ok(1) if byte[0] != KILL_ALL => {
                // a process that has not been waited for can be sent any signal
                let _ = Signal::try_from(i32::from(byte[0])).map(|signal| kill(pid, signal));
            }
            _ => {
                if plan.namespace.is_none() {
                    kill_all();
                }
                kill(pid, Signal::SIGKILL)?;
                break;
            }
        }
    }
    let code = match waitpid(pid, None)? {
        WaitStatus::Exited(_, code) => u8::try_from(code).unwrap_or(u8::MAX),
        WaitStatus::Signaled(_, signal, _) => 128 + u8::try_from(signal as i32).unwrap_or(0),
        other => return say(&control, &Report::Failed(format!("unexpected {other:?}"))),
    };
    match &plan.namespace {
        None => kill_the_rest()?,
        Some(namespace) if namespace.runc => runtime::end(&namespace.work),
        Some(_) => {}
    }
    say(&control, &Report::Ended(code))
}

/// On the host nothing dies with its PID 1. Where the kernel kills all, no process lives to see another die; so here all are stopped first,
/// and killed then: what comes of a death, such as the signal that a child can ask for when its parent dies, finds nobody who could act on
/// it.
fn kill_all() {
    let send = |pid: u32, signal| {
        // it may have ended by now
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
    };
    let mut stopped = BTreeSet::new();
    loop {
        let all = below(std::process::id());
        let new: Vec<u32> = all.difference(&stopped).copied().collect();
        if new.is_empty() {
            break;
        }
        for pid in new {
            send(pid, Signal::SIGSTOP);
            stopped.insert(pid);
        }
    }
    // children before parents
    stopped.into_iter().rev().for_each(|pid| send(pid, Signal::SIGKILL));
}

/// All processes that come of one, as far as they can be seen in one look.
fn below(pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![pid];
    while let Some(pid) = ahead.pop() {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            ahead.extend(children.split_ascii_whitespace().filter_map(|child| child.parse().ok()).filter(|child| found.insert(*child)));
        }
    }
    found
}

/// On the host nobody kills what the process has left behind. It has become our child, or is below one that has.
fn kill_the_rest() -> io::Result<()> {
    loop {
        let pid = std::process::id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for child in children.split_ascii_whitespace().filter_map(|child| child.parse().ok()) {
            // it may have ended by now
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        match waitpid(None, None) {
            Err(Errno::ECHILD) => return Ok(()),
            _ => continue,
        }
    }
}

fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}
