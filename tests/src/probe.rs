//! Finds the programs that tests start: the runner's binary, and the fixtures of this crate.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

/// How long anything may take before the test fails instead of hanging. Far beyond what a busy machine needs.
pub const TOO_LONG: Duration = Duration::from_secs(120);

/// The runner's binary, built if need be: cargo builds only a package's own binaries for its tests.
///
/// # Panics
/// It does not build.
pub fn runner() -> &'static Path {
    static RUNNER: OnceLock<PathBuf> = OnceLock::new();
    RUNNER.get_or_init(|| {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // the whole workspace, as `tests/run` builds it: with fewer packages other features would be chosen, and everything built again
        build.args(["build", "--quiet", "--workspace", "--bins"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        // what cargo tells this test about its package would make build scripts (ring's) run again, each time
        let told = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in told.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            build.env_remove(name);
        }
        let built = build.status();
        assert!(built.is_ok_and(|status| status.success()), "the runner does not build");
        program("agent-runner")
    })
}

/// A program of this crate, by its name.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    // tests run from `target/PROFILE/deps`
    let test = env::current_exe().unwrap_or_else(|error| panic!("where are we? {error}"));
    let found = test.ancestors().nth(2).map(|profile| profile.join(name));
    match found {
        Some(path) if path.exists() => path,
        other => panic!("`{name}` is not at {other:?}"),
    }
}

/// A started program whose lines are waited for.
#[derive(Debug)]
pub struct Running {
    /// The program.
    pub child: Child,
    lines: mpsc::Receiver<String>,
    /// What came so far.
    pub seen: Vec<String>,
}

impl Running {
    /// Starts a command with its stdout in our hands.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = child.stdout.take().map(lines_of);
        let lines = lines.unwrap_or_else(|| panic!("no stdout"));
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits until a line starts with this; the whole line.
    ///
    /// # Panics
    /// The output ends or pauses for too long before that.
    pub fn expect(&mut self, start: &str) -> String {
        loop {
            match self.lines.recv_timeout(TOO_LONG) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.starts_with(start) {
                        return line;
                    }
                }
                Err(error) => panic!("no line `{start}` ({error}) after {:?}", self.seen),
            }
        }
    }

    /// Waits until nobody holds the output any more.
    ///
    /// # Panics
    /// Somebody does, for too long.
    pub fn expect_end(&mut self) {
        self.read_to_end(TOO_LONG);
    }

    /// Waits for the end of the program; its code, and all lines.
    ///
    /// # Panics
    /// It does not end, or not by a code.
    #[must_use]
    pub fn finish(self) -> (i32, Vec<String>) {
        self.finish_within(TOO_LONG)
    }

    /// [`Self::finish`] for what takes its time.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn finish_within(mut self, limit: Duration) -> (i32, Vec<String>) {
        self.read_to_end(limit);
        let status = self.child.wait().unwrap_or_else(|error| panic!("{error}"));
        let code = status.code().unwrap_or_else(|| panic!("{status} after {:?}", self.seen));
        (code, std::mem::take(&mut self.seen))
    }

    fn read_to_end(&mut self, limit: Duration) {
        loop {
            match self.lines.recv_timeout(limit) {
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(error) => panic!("no end ({error}) after {:?}", self.seen),
            }
        }
    }
}

impl Drop for Running {
    /// A test that fails leaves nobody behind: the death of init ends the rest, as PID 1's or by the parent-death signal.
    fn drop(&mut self) {
        // after `finish` there is nobody to kill or to wait for any more
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.by_ref().read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    lines
}

/// Runs a command to its end.
///
/// # Panics
/// It does not start.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The code of a command that has ended by one.
///
/// # Panics
/// A signal ended it.
#[must_use]
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}
