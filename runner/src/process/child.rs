//! One started program: what it is apart from us in, its pipes, and the news of it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::{
    fcntl::OFlag,
    libc,
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
    },
    unistd::{Pid, getpid, getppid, pipe2, setpgid, setsid},
};
use tokio::{
    net::unix::pipe::Receiver,
    signal::unix::{SignalKind, signal},
};

use super::{
    input,
    launch::{Input, Launch, LaunchError, Output, Placement},
    spawn::spawn,
    status::ExitStatus,
    sys::{self, Change, Waited},
    terminal::Terminal,
};

/// A started program. It is not waited for when dropped; [`Child::reap`] or init does that.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    placement: Placement,
    news: tokio::signal::unix::Signal,
    /// What it writes, if that was to be piped.
    pub stdout: Option<Receiver>,
    /// What it complains, if that was to be piped.
    pub stderr: Option<Receiver>,
}

impl Child {
    /// Starts a program; when this returns, exec has succeeded.
    ///
    /// In the child, before exec: its own group or session, the foreground of `terminal` if one is lent, every signal at its
    /// default action and none blocked (Rust ignores SIGPIPE, init and the runner block everything, and both would be
    /// inherited), a TERM when the runner dies, and nothing open but 0, 1 and 2.
    ///
    /// Call it from the runtime's own thread, within the runtime: the parent-death signal comes when the *thread* that forked
    /// ends (`prctl(2)`), so from a pool's thread it would come at once.
    ///
    /// # Errors
    /// The program does not start, with the reason.
    pub fn spawn(launch: &Launch, terminal: Option<&Terminal>) -> Result<Self, LaunchError> {
        let no_pipes = |source| LaunchError::Pipes { program: launch.program.clone(), source };
        // before the fork, so that no news is lost
        let news = signal(SignalKind::child()).map_err(no_pipes)?;
        let mut env: BTreeMap<_, _> = launch.env.iter().map(|(name, value)| (name.as_os_str(), value.clone())).collect();
        let mut descriptors = Vec::new();
        for (variable, secret) in &launch.descriptors {
            let descriptor = input::from_secret(secret).map_err(no_pipes)?;
            env.insert(variable, OsString::from(descriptor.as_raw_fd().to_string()));
            descriptors.push(descriptor);
        }
        let kept: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let stdin = match &launch.stdin {
            Input::Null => Some(nowhere(OpenOptions::new().read(true)).map_err(no_pipes)?),
            Input::Inherit => None,
            Input::Bytes(bytes) => Some(input::from_bytes(bytes).map_err(no_pipes)?),
        };
        let (stdout, to_stdout) = output(launch.stdout).map_err(no_pipes)?;
        let (stderr, to_stderr) = output(launch.stderr).map_err(no_pipes)?;

        let placement = launch.placement;
        let runner = getpid();
        // a session of its own has no terminal to take
        let terminal = terminal.filter(|_| placement == Placement::Group).and_then(Terminal::to_be_taken);
        let stdio = [&stdin, &to_stdout, &to_stderr].map(|end| end.as_ref().map(AsFd::as_fd));
        // SAFETY: `prepare` makes system calls only; it allocates nothing and takes no lock.
        let pid = unsafe { spawn(launch, &env, stdio, &mut || prepare(placement, terminal, runner, &kept)) };
        let pid = pid.map_err(|source| LaunchError::diagnose(launch, source))?;
        Ok(Self { pid, placement, news, stdout, stderr })
    }

    /// Its process id, which is the id of its group too.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// In what it is apart from us.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// A signal to everybody in its group; false when nobody got it.
    pub fn signal_group(&self, signal: i32) -> bool {
        sys::kill_group(self.pid, signal)
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        sys::peek_ended(self.pid)
    }

    /// The next change. After an end it is the same end again and again, until [`Self::reap`]: as long as the zombie is there
    /// its pid is nobody else's, and so signals to the group stay safe.
    pub async fn changed(&mut self) -> Change {
        loop {
            if let Some(status) = self.ended() {
                return Change::Ended(status);
            }
            // not waitpid, which would take the end as well and with it the pid
            if let Some(change) = sys::stopped_or_continued(self.pid) {
                return change;
            }
            // None means that the runtime is shutting down; nobody polls us after that
            self.news.recv().await;
        }
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> ExitStatus {
        loop {
            if let Change::Ended(status) = self.changed().await {
                return status;
            }
        }
    }

    /// Buries it, if it has ended. From then on its pid may be somebody else's.
    pub fn reap(self) -> Option<ExitStatus> {
        match sys::wait(self.pid, 0) {
            Waited::Child(_, Change::Ended(status)) => Some(status),
            _ => None,
        }
    }
}

/// Our end and the child's, where the child's is not ours already.
fn output(wanted: Output) -> io::Result<(Option<Receiver>, Option<OwnedFd>)> {
    match wanted {
        Output::Inherit => Ok((None, None)),
        Output::Null => Ok((None, Some(nowhere(OpenOptions::new().write(true))?))),
        Output::Pipe => {
            let (reader, writer): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC)?;
            sys::enlarge_pipe(writer.as_fd());
            Ok((Some(Receiver::from_owned_fd(reader)?), Some(writer)))
        }
    }
}

fn nowhere(options: &OpenOptions) -> io::Result<OwnedFd> {
    options.open("/dev/null").map(Into::into)
}

/// In the child, after stdio and directory are set, before exec.
fn prepare(placement: Placement, terminal: Option<i32>, runner: Pid, kept: &[i32]) -> io::Result<()> {
    // nothing of what follows may be interrupted or stopped
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    match placement {
        Placement::Group => setpgid(Pid::from_raw(0), Pid::from_raw(0))?,
        Placement::Session => drop(setsid()?),
    }
    if let Some(terminal) = terminal {
        // SAFETY: the runner keeps the terminal open, and a wrong descriptor would only be refused. A terminal that hung up
        // meanwhile must not keep the program from starting, so the answer does not count.
        unsafe { libc::tcsetpgrp(terminal, libc::getpid()) };
    }
    sys::default_dispositions();
    // TERM, not KILL: init gives what is left its grace
    set_pdeathsig(Signal::SIGTERM)?;
    if getppid() != runner {
        // the runner died before the line above could matter
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    sys::close_on_exec_from_3();
    for &descriptor in kept {
        // SAFETY: the runner holds these open until we have executed; a wrong number would only be refused.
        if unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, runtime::Builder};

    use super::{Child, ExitStatus, Launch, LaunchError};
    use crate::process::launch::{Input, Placement};

    fn start(launch: &Launch) -> Result<(ExitStatus, String), LaunchError> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut child = Child::spawn(launch, None)?;
            let mut text = String::new();
            let mut stdout = child.stdout.take().unwrap();
            stdout.read_to_string(&mut text).await.unwrap();
            let status = child.wait().await;
            assert_eq!(child.reap(), Some(status));
            Ok((status, text))
        })
    }

    #[test]
    fn a_prompt_of_any_size_reaches_a_program_that_reads_late() {
        for length in [0, 70_000, 1 << 20, 5 << 20] {
            let mut launch = Launch::new("sh", ["-c".into(), "echo early; wc -c".into()]);
            launch.stdin = Input::Bytes(vec![b'p'; length]);
            let (status, text) = start(&launch).unwrap();
            assert_eq!(status, ExitStatus::Exited(0));
            assert_eq!(text, format!("early\n{length}\n"));
        }
    }

    #[test]
    fn a_secret_is_read_once_and_is_inherited_by_nobody_else() {
        let mut launch =
            Launch::new("sh", ["-c".into(), "cat /dev/fd/$KEY_FD; echo; cat /dev/fd/$KEY_FD; ls /proc/self/fd | wc -l".into()]);
        launch.descriptors = vec![("KEY_FD".into(), b"s3cret".to_vec())];
        // 0, 1, 2, the secret's, and the one by which `ls` reads the directory
        assert_eq!(start(&launch).unwrap(), (ExitStatus::Exited(0), "s3cret\n5\n".into()));
        let mut other = Launch::new("sh", ["-c".into(), "ls /proc/self/fd | wc -l".into()]);
        other.stdin = Input::Null;
        assert_eq!(start(&other).unwrap(), (ExitStatus::Exited(0), "4\n".into()));
    }

    #[test]
    fn the_kernels_refusals_are_told_apart() {
        let mut launch = Launch::new("true", ["x".repeat(131_072).into()]);
        let error = start(&launch).unwrap_err();
        assert!(matches!(error, LaunchError::TooLarge { .. }), "{error:?}");
        launch.args = vec!["x".repeat(131_071).into()];
        assert_eq!(start(&launch).unwrap().0, ExitStatus::Exited(0));
        launch.args = vec!["nul\0byte".into()];
        let error = start(&launch).unwrap_err();
        assert!(matches!(error, LaunchError::NulByte { .. }), "{error:?}");
        launch.args.clear();
        launch.cwd = Some("/no/such/directory".into());
        let error = start(&launch).unwrap_err();
        assert!(matches!(error, LaunchError::WorkingDirectory { .. }), "{error:?}");
        launch.cwd = None;
        launch.env = vec![("PATH".into(), "/no/such/directory".into())];
        assert_eq!(start(&launch).unwrap_err().code(), 127);
    }

    #[test]
    fn a_session_of_its_own_has_no_terminal() {
        let mut launch = Launch::new("sh", ["-c".into(), "(: </dev/tty) 2>/dev/null && echo tty; echo end".into()]);
        launch.placement = Placement::Session;
        launch.stdin = Input::Null;
        assert_eq!(start(&launch).unwrap(), (ExitStatus::Exited(0), "end\n".into()));
    }
}
