//! A case: a directory with every sink, the variables of a task, and the way to run it, plainly or as PID 1.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Runs it as it is, and as PID 1 of a namespace.
pub fn in_both(test: impl Fn(Case)) {
    test(Case::new());
    let made = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    if made.is_ok_and(|output| output.status.success()) {
        let case = Case::new();
        case.as_pid_1.set(true);
        test(case);
    } else {
        skip("no PID namespace may be made here (root, or CAP_SYS_ADMIN, is needed), so nothing was tried as PID 1");
    }
}

/// Says so past the harness's capture, and to the file from which `tests/run` counts what was skipped: a line a test.
fn skip(why: &str) {
    use std::io::Write as _;
    let line = format!("{}: {why}\n", std::thread::current().name().unwrap_or("a test"));
    // Nothing can be done if stderr is gone.
    let _ = std::io::stderr().write_all(format!("SKIPPED: {line}").as_bytes());
    if let Some(path) = std::env::var_os("AGENT_TESTS_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(written.is_ok(), "a skip that is not counted would pass: {written:?}");
    }
}

/// The program that plays the agent, and the setup command.
pub fn scripted_agent() -> String {
    let target = PathBuf::from(env!("CARGO_BIN_EXE_refimpl"));
    let path = target.parent().unwrap().join("examples/scripted_agent");
    assert!(path.is_file(), "cargo builds examples before it runs tests: {}", path.display());
    path.display().to_string()
}

/// A run to be.
pub struct Case {
    dir: tempfile::TempDir,
    env: RefCell<BTreeMap<String, String>>,
    as_pid_1: Cell<bool>,
}

/// A run that is over.
pub struct Ended {
    pub code: u8,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub termination: Vec<u8>,
    result_file: Vec<u8>,
}

impl Case {
    pub fn new() -> Self {
        let case = Self { dir: tempfile::tempdir().unwrap(), env: RefCell::default(), as_pid_1: Cell::new(false) };
        std::fs::create_dir(case.path("work")).unwrap();
        let files = [
            ("WORKSPACE_DIR", "work"),
            ("TERMINATION_LOG", "termination"),
            ("RESULT_FILE", "result.json"),
            ("RESULTS_DIR", "results"),
            ("EVENTS_FILE", "events"),
        ];
        for (name, file) in files {
            case.env.borrow_mut().insert(format!("AGENT_{name}"), case.path(file));
        }
        let home = case.path("");
        let program = scripted_agent();
        for (name, value) in [
            ("AGENT_TYPE", "native"),
            ("AGENT_PROMPT", "a prompt"),
            ("AGENT_PROGRAM", program.as_str()),
            ("HOME", home.as_str()),
            ("TMPDIR", home.as_str()),
        ] {
            case.env.borrow_mut().insert(name.to_owned(), value.to_owned());
        }
        case.env.borrow_mut().insert("PATH".to_owned(), std::env::var("PATH").unwrap());
        case
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn result(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join("results").join(name)).ok()
    }

    pub fn events(&self) -> String {
        std::fs::read_to_string(self.path("events")).unwrap()
    }

    pub fn agent(&self, steps: &[&str]) -> &Self {
        self.env.borrow_mut().insert("AGENT_EXTRA_ARGS".to_owned(), json!(steps).to_string());
        self
    }

    pub fn set(&self, name: &str, value: &str) -> &Self {
        self.env.borrow_mut().insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn unset(&self, name: &str) -> &Self {
        self.env.borrow_mut().remove(name);
        self
    }

    fn start(&self) -> Child {
        let program = env!("CARGO_BIN_EXE_refimpl");
        let mut command = Command::new(if self.as_pid_1.get() { "unshare" } else { program });
        if self.as_pid_1.get() {
            command.args(["--pid", "--fork", "--mount-proc", "--kill-child", program]);
        }
        command.env_clear().envs(&*self.env.borrow()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub fn run(&self) -> Ended {
        self.end(self.start(), Vec::new())
    }

    /// Sends a signal when this stands on stdout.
    pub fn run_until_output(&self, awaited: &str, signal: Signal) -> Ended {
        let mut child = self.start();
        let mut stdout = Vec::new();
        while !String::from_utf8_lossy(&stdout).contains(awaited) {
            let mut buffer = [0; 1024];
            let length = child.stdout.as_mut().unwrap().read(&mut buffer).unwrap();
            assert_ne!(length, 0, "it ended before it printed `{awaited}`");
            stdout.extend_from_slice(&buffer[..length]);
        }
        let whom = if self.as_pid_1.get() { only_child(child.id()) } else { child.id() };
        // Without a namespace nobody ends the agent of a runner that was killed.
        let is_orphaned = signal == Signal::SIGKILL && !self.as_pid_1.get();
        let orphan = is_orphaned.then(|| only_child(whom));
        kill(Pid::from_raw(whom.cast_signed()), signal).unwrap();
        let ended = self.end(child, stdout);
        if let Some(orphan) = orphan {
            kill(Pid::from_raw(orphan.cast_signed()), Signal::SIGKILL).unwrap();
        }
        ended
    }

    fn end(&self, child: Child, mut stdout: Vec<u8>) -> Ended {
        let output = child.wait_with_output().unwrap();
        stdout.extend(output.stdout);
        Ended {
            code: u8::try_from(output.status.code().unwrap_or(255)).unwrap(),
            stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            termination: std::fs::read(self.path("termination")).unwrap(),
            result_file: std::fs::read(self.path("result.json")).unwrap_or_default(),
        }
    }
}

/// What a process has started: of `unshare`, PID 1 of the namespace; of the runner, the agent.
fn only_child(parent: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    children.trim().parse().unwrap()
}

impl Ended {
    pub fn message(&self) -> Value {
        serde_json::from_slice(&self.termination).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.termination)))
    }

    pub fn outcome(&self) -> Value {
        serde_json::from_slice(&self.result_file).unwrap()
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}
