//! Where a runner runs: as PID 1 of a namespace of its own, as in a container, or as an ordinary process.

use std::{ffi::OsStr, fs, os::unix::process::CommandExt, path::Path, process::Command, sync::OnceLock};

use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    unistd::Pid,
};

use crate::probe;

/// Where a runner runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An ordinary process.
    Plain,
    /// PID 1 of a PID namespace.
    PidOne,
}

impl Place {
    /// Both, or without the namespace where this machine does not allow one; that is said, and counted as skipped.
    #[must_use]
    pub fn all() -> Vec<Self> {
        if namespaces_work() {
            vec![Self::Plain, Self::PidOne]
        } else {
            crate::skip::skip("no PID namespace may be made here (root, or CAP_SYS_ADMIN, is needed), so nothing was tried as PID 1");
            vec![Self::Plain]
        }
    }

    /// A command that starts a program here.
    #[must_use]
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Plain => {
                let mut command = Command::new(program);
                // Whoever started the tests (`nohup`) may have it ignored, which the runner would take for their wish.
                let as_usual = || {
                    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
                    // SAFETY: the default action runs no code of ours.
                    unsafe { sigaction(Signal::SIGHUP, &action) }?;
                    Ok(())
                };
                // SAFETY: between fork and exec it makes one system call, which is async-signal-safe.
                unsafe { command.pre_exec(as_usual) };
                command
            }
            Self::PidOne => sandbox::<&str>(&[], program),
        }
    }

    /// `agent-runner exec -- PROGRAM` here.
    #[must_use]
    pub fn exec(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(probe::runner());
        command.args(["exec", "--"]).arg(program);
        command
    }

    /// The init that a started command of ours has become, in our own PID namespace.
    ///
    /// # Panics
    /// It has ended.
    #[must_use]
    pub fn init_of(self, started: u32) -> Pid {
        let started = Pid::from_raw(i32::try_from(started).unwrap_or_else(|error| panic!("{error}")));
        match self {
            Self::Plain => started,
            Self::PidOne => only_child(started),
        }
    }
}

/// A command that starts a program as PID 1, with options of `init_sandbox`.
#[must_use]
pub fn sandbox<S: AsRef<OsStr>>(options: &[S], program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(probe::program("init_sandbox"));
    command.args(options).arg("--").arg(program);
    command
}

/// Whether this machine lets us make PID namespaces.
#[must_use]
pub fn namespaces_work() -> bool {
    static WORK: OnceLock<bool> = OnceLock::new();
    *WORK.get_or_init(|| {
        let mut command = sandbox::<&str>(&[], probe::program("init_probe"));
        command.args(["exit", "0"]);
        probe::output(&mut command).status.success()
    })
}

/// The one child of a process.
///
/// # Panics
/// It has none, or several.
#[must_use]
pub fn only_child(parent: Pid) -> Pid {
    let children = children(parent);
    assert_eq!(children.len(), 1, "children of {parent}: {children:?}");
    children[0]
}

/// The children of a process with one thread.
#[must_use]
pub fn children(parent: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let pids = text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.map(Pid::from_raw).collect()
}

/// Whether a process is there and not only a zombie.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")) else { return false };
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    // A zombie by its state may have threads that live on (field 20 of `proc_pid_stat(5)`, the 18th behind the name).
    fields.first() != Some(&"Z") || fields.get(17).is_some_and(|threads| *threads != "1")
}
