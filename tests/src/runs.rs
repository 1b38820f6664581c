//! A whole run: the runner's binary as a real process, with a git server, a model's endpoint and an agent's program, and all that is
//! left when it is over.
//!
//! What stands behind the endpoint, and which program the agent is, is for the caller to say: [`crate::agent_run`] has the real ones.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agent_conformance::model::Tokens;
use agent_sdk::termination::TerminationMessage;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::git_servers::{Listener, git_daemon};
use crate::probe::{self, Running};
use crate::repo::{Source, git_ok};
use crate::sandbox::{Place, children};

/// A run of the real CLI that takes longer hangs: the longest is done in some ten seconds on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The key that every agent is given: a word that is found wherever it should not be.
pub const KEY: &str = "sk-ant-the-key-of-the-test";

/// A repository behind a real git server. Many runs may share one.
#[derive(Debug)]
pub struct Origin {
    /// The repository: `main` has three commits.
    pub source: Source,
    git: Listener,
    /// Where it is; dropped last.
    _directory: tempfile::TempDir,
}

impl Origin {
    /// Makes the repository and starts the server.
    #[must_use]
    pub fn start() -> Arc<Self> {
        Self::with(|_| ())
    }

    /// With more in the repository: what `change` commits is pushed.
    #[must_use]
    pub fn with(change: impl FnOnce(&Source)) -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let source = Source::new(directory.path(), "origin.git");
        change(&source);
        source.push();
        let git = git_daemon(&source.root);
        Arc::new(Self { source, git, _directory: directory })
    }

    /// The repository's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("git://{}/origin.git", self.git.address())
    }
}

/// Everything around one run, in a directory of its own.
#[derive(Debug)]
pub struct Scene {
    directory: tempfile::TempDir,
    /// What is cloned.
    pub origin: Arc<Origin>,
    env: BTreeMap<OsString, OsString>,
    place: Place,
}

impl Scene {
    /// A run of an agent on a clone of `main`, on the new branch `work`.
    #[must_use]
    pub fn new(agent: &str, program: &Path, endpoint: &str) -> Self {
        Self::of(Origin::start(), agent, program, endpoint)
    }

    /// The same, of a repository that is there.
    #[must_use]
    pub fn of(origin: Arc<Origin>, agent: &str, program: &Path, endpoint: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for folder in ["home", "tmp"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        let repo = origin.url();
        let scene = Self { directory, origin, env: BTreeMap::new(), place: Place::Plain };
        let path = std::env::var("PATH").unwrap();
        let inside = |name: &str| scene.path(name).to_str().unwrap().to_owned();
        let variables = [
            ("PATH", path),
            ("HOME", inside("home")),
            ("TMPDIR", inside("tmp")),
            // Also keeps the CLI's own folder below TMPDIR, so that nothing is left outside.
            ("CLAUDE_CODE_TMPDIR", inside("tmp")),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("AGENT_TYPE", agent.into()),
            ("AGENT_MANIFEST_DIR", crate::clis::manifests().to_str().unwrap().into()),
            ("AGENT_PROGRAM", program.to_str().unwrap().into()),
            ("AGENT_ENDPOINT", endpoint.into()),
            ("AGENT_PROMPT", "Please do it.".into()),
            ("AGENT_REPO", repo),
            ("AGENT_BRANCH", "work".into()),
            ("AGENT_WORKSPACE_DIR", inside("workspace")),
            ("AGENT_TERMINATION_LOG", inside("termination")),
            ("AGENT_RESULT_FILE", inside("result.json")),
            ("AGENT_EVENTS_FILE", inside("events.jsonl")),
        ];
        variables.into_iter().fold(scene, |scene, (name, value)| scene.with(name, value))
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Without a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(std::ffi::OsStr::new(name));
        self
    }

    /// Elsewhere than as an ordinary process.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Something of this run, by its name.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the agent works.
    #[must_use]
    pub fn workspace(&self) -> PathBuf {
        self.path("workspace")
    }

    /// Git's word in the workspace.
    #[must_use]
    pub fn git(&self, args: &[&str]) -> String {
        git_ok(&self.workspace(), args)
    }

    /// The termination message's file as it is now; `None` where there is none.
    #[must_use]
    pub fn termination(&self) -> Option<Vec<u8>> {
        fs::read(self.path("termination")).ok()
    }

    /// Starts the runner.
    #[must_use]
    pub fn start(&self) -> Started<'_> {
        let mut command = self.place.command(probe::runner());
        command.env_clear().envs(&self.env).current_dir(self.directory.path()).stdin(Stdio::null());
        command.stderr(File::create(self.path("stderr")).unwrap());
        Started { scene: self, running: Running::start(&mut command) }
    }

    /// Starts it and waits for its end.
    #[must_use]
    pub fn run(&self) -> Ended {
        self.start().finish()
    }

    /// The processes that came of this run and are alive: all have its directory in their environment.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let mark = self.directory.path().as_os_str().as_encoded_bytes();
        let holds = |bytes: &[u8]| bytes.windows(mark.len()).any(|part| part == mark);
        let processes = fs::read_dir("/proc").unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().parse::<i32>().is_ok());
        // A process may end while it is looked at, which is as good as not being there; so is a zombie, whose environment is empty.
        let of_ours = processes.filter(|entry| fs::read(entry.path().join("environ")).is_ok_and(|environ| holds(&environ)));
        of_ours
            .map(|entry| {
                let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                format!("{} {}", entry.file_name().display(), String::from_utf8_lossy(&command).replace('\0', " "))
            })
            .collect()
    }
}

/// An endpoint at which nobody listens: no service has that port, and no machine chooses it for a program that asks for any.
#[must_use]
pub fn nobody() -> String {
    "http://127.0.0.1:4".to_owned()
}

/// Looks until something is so.
///
/// # Panics
/// It does not come to be.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "in vain waited for {what}");
        // Only not to take the processor from what is waited for.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A runner at work. It is killed if it is dropped.
#[derive(Debug)]
pub struct Started<'a> {
    scene: &'a Scene,
    running: Running,
}

impl Started<'_> {
    /// The init of the two processes.
    #[must_use]
    pub fn init(&self) -> Pid {
        self.scene.place.init_of(self.running.child.id())
    }

    /// Sends init a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.init(), signal).unwrap();
    }

    /// Waits until PID 1 of its namespace is there.
    pub fn wait_for_init(&self) {
        let sandbox = Pid::from_raw(self.running.child.id().cast_signed());
        wait_until("the namespace's init", || !children(sandbox).is_empty());
    }

    /// Ends the container as a runtime does that has waited long enough: PID 1 of the namespace, and with it all the others, by SIGKILL
    /// from outside. Gives the exit code, and what stands in the termination message's file.
    #[must_use]
    pub fn kill_container(self) -> (i32, Vec<u8>) {
        assert_eq!(self.scene.place, Place::PidOne);
        let sandbox = Pid::from_raw(self.running.child.id().cast_signed());
        for init in children(sandbox) {
            // One that has just ended needs no signal.
            let _ = kill(init, Signal::SIGKILL);
        }
        let (code, _) = self.running.finish_within(PATIENCE);
        assert_eq!(self.scene.left(), <[String; 0]>::default());
        (code, self.scene.termination().unwrap_or_default())
    }

    /// Waits for the end, and looks at what is left.
    #[must_use]
    pub fn finish(self) -> Ended {
        let (code, stdout) = self.running.finish_within(PATIENCE);
        let stderr = String::from_utf8_lossy(&fs::read(self.scene.path("stderr")).unwrap()).into_owned();
        let message = self.scene.termination().unwrap_or_default();
        let seen = || format!("stdout:\n{}\nstderr:\n{stderr}", stdout.join("\n"));
        TerminationMessage::parse(&message)
            .unwrap_or_else(|error| panic!("{error} in the message {:?}\n{}", String::from_utf8_lossy(&message), seen()));
        let message: Value = serde_json::from_slice(&message).unwrap();
        Ended { code, message, left: self.scene.left(), stdout, stderr }
    }
}

/// What is left of a run that is over. Its message was a valid one.
#[derive(Debug)]
pub struct Ended {
    /// The exit code of the container.
    pub code: i32,
    /// The termination message.
    pub message: Value,
    /// Processes that should not be there any more.
    pub left: Vec<String>,
    /// Lines of stdout.
    pub stdout: Vec<String>,
    /// All of stderr.
    pub stderr: String,
}

/// How a run is to end, as a reader of the message sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// `status`.
    pub status: &'a str,
    /// `reason`.
    pub reason: &'a str,
    /// The container's exit code, and `exitCode`.
    pub code: i32,
    /// `retry`.
    pub retry: bool,
}

/// A way to end, on one line.
#[must_use]
pub const fn wanted<'a>(status: &'a str, reason: &'a str, code: i32, retry: bool) -> Wanted<'a> {
    Wanted { status, reason, code, retry }
}

impl Ended {
    /// Asserts how it ended, and that nobody is left.
    ///
    /// # Panics
    /// It ended otherwise.
    pub fn assert(&self, wanted: Wanted<'_>) {
        let message = &self.message;
        let said = Wanted {
            status: message["status"].as_str().unwrap_or_default(),
            reason: message["reason"].as_str().unwrap_or_default(),
            code: self.code,
            retry: message["retry"].as_bool().unwrap_or_default(),
        };
        assert_eq!(said, wanted, "{self}");
        assert_eq!(message["exitCode"], self.code, "{self}");
        assert_eq!(self.left, <[String; 0]>::default(), "processes are left\n{self}");
    }

    /// A parameter of the message.
    #[must_use]
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.message["parameters"][key].as_str()
    }

    /// The tokens of the message.
    #[must_use]
    pub fn tokens(&self) -> Counted {
        Counted::of_message(&self.message)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = self.stdout.len().saturating_sub(20);
        write!(f, "message: {:#}\nstderr:\n{}\nthe last of stdout:\n", self.message, self.stderr)?;
        self.stdout[start..].iter().try_for_each(|line| {
            let line: String = line.chars().take(600).collect();
            writeln!(f, "{line}")
        })
    }
}

/// Tokens as a message says them; what it does not say is `None`, and no 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// All of the prompts.
    pub input: Option<u64>,
    /// Of these, read from the cache.
    pub cache_read: Option<u64>,
    /// Of these, written to the cache.
    pub cache_write: Option<u64>,
    /// All that was generated.
    pub output: Option<u64>,
}

impl Counted {
    /// What a message says.
    #[must_use]
    pub fn of_message(message: &Value) -> Self {
        let count = |key: &str| message["parameters"][key].as_str().map(|text| text.parse().unwrap());
        Self {
            input: count("input-tokens"),
            cache_read: count("cache-read-tokens"),
            cache_write: count("cache-write-tokens"),
            output: count("output-tokens"),
        }
    }

    /// What was billed.
    #[must_use]
    pub fn billed(tokens: Tokens) -> Self {
        Self {
            input: Some(tokens.input_tokens),
            cache_read: Some(tokens.cache_read_tokens),
            cache_write: Some(tokens.cache_write_tokens),
            output: Some(tokens.output_tokens),
        }
    }

    /// What it costs by [`PRICES`], as a result says it.
    ///
    /// # Panics
    /// Nothing is known of the prompts or of what was generated.
    #[must_use]
    pub fn cost(self) -> String {
        let (read, written) = (self.cache_read.unwrap_or(0), self.cache_write.unwrap_or(0));
        let plain = self.input.unwrap() - read - written;
        // In tenths of a millionth.
        let cost = plain * 20 + read * 5 + written * 40 + self.output.unwrap() * 100;
        let (dollars, rest) = (cost / 10_000_000, cost % 10_000_000);
        format!("{dollars}.{rest:07}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// Whether none of the counts is above the other's.
    #[must_use]
    pub fn is_within(self, bound: Self) -> bool {
        let each = |of: fn(&Self) -> Option<u64>| of(&self).unwrap_or(0) <= of(&bound).unwrap_or(0);
        each(|count| count.input) && each(|count| count.cache_read) && each(|count| count.cache_write) && each(|count| count.output)
    }
}

/// What every model costs, for `AGENT_PRICES`: of each kind of tokens something else.
pub const PRICES: &str = r#"{"*": {"input": 2, "cacheRead": 0.5, "cacheWrite": 4, "output": 10}}"#;

/// Does something with each of many, a few at a time: for runs that wait more than they work.
///
/// # Panics
/// One of them panicked; all others are done first.
pub fn in_parallel<T: Sync>(threads: usize, all: &[T], act: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = std::thread::scope(|scope| {
        let work = || {
            let mut failed = 0;
            while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                failed += usize::from(catch_unwind(AssertUnwindSafe(|| act(one))).is_err());
            }
            failed
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
    });
    assert_eq!(failed, 0, "so many of {} failed", all.len());
}
