//! Where a real CLI runs: a home, a git repository, the variables of its environment; and a run of it to its end.
//!
//! Command lines, configuration and what a stream says of tokens are each CLI's own.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A run that takes longer hangs; the longest of them is done in some twenty seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// A home and a git repository with one commit.
pub struct Desk {
    directory: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub events: Vec<Value>,
    /// What stands on stdout behind the last line break.
    pub cut: String,
    pub stderr: String,
}

impl Desk {
    /// With these variables beside those that every program needs.
    pub fn new(variables: &[(&str, &str)]) -> Self {
        let mut desk = Self { directory: tempfile::tempdir().unwrap(), environment: BTreeMap::new() };
        for folder in ["home", "repository", "tmp"] {
            std::fs::create_dir(desk.path(folder)).unwrap();
        }
        let folder = |name: &str| desk.path(name).to_str().unwrap().to_owned();
        let needed = [("PATH", std::env::var("PATH").unwrap()), ("HOME", folder("home")), ("TMPDIR", folder("tmp"))];
        needed.iter().for_each(|(name, value)| desk.variable(name, value));
        desk.variable("GIT_CONFIG_NOSYSTEM", "1");
        variables.iter().for_each(|(name, value)| desk.variable(name, value));
        desk.git(&["init", "--quiet", "--initial-branch=main"]);
        desk.git(&["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-q", "--allow-empty", "-m", "start"]);
        desk
    }

    /// With one more variable.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.environment.insert(name.into(), value.into());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// Writes a file of the CLI's configuration.
    pub fn home_file(&self, name: &str, content: &str) {
        let path = self.path("home").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// The output of git in the repository.
    pub fn git(&self, arguments: &[&str]) -> String {
        let mut git = std::process::Command::new("git");
        let output = git.args(arguments).current_dir(self.repository()).env("HOME", self.path("home")).output().expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs a program to its end, with the prompt on stdin, since an argument has at most 128 KiB; `meanwhile` is called with its process
    /// id when it has started.
    pub fn run(&self, program: impl AsRef<OsStr>, arguments: &[impl AsRef<OsStr>], prompt: &str, meanwhile: impl FnOnce(u32)) -> Ended {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut child = Command::new(program)
                .args(arguments)
                .current_dir(self.repository())
                .env_clear()
                .envs(&self.environment)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .expect("the CLI starts");
            // Closed at once, or the CLI waits for more.
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(prompt.as_bytes()).await.unwrap();
            drop(stdin);
            meanwhile(child.id().expect("it was not waited for yet"));
            let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
            let output = ended.expect("the CLI hangs").unwrap();
            let stdout = String::from_utf8(output.stdout).expect("its stream is UTF-8");
            let (lines, cut) = stdout.rsplit_once('\n').unwrap_or(("", &stdout));
            Ended {
                status: output.status,
                events: lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect(),
                cut: cut.to_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        })
    }
}

impl Ended {
    /// The stream's last word.
    pub fn last(&self) -> &Value {
        self.events.last().unwrap_or(&Value::Null)
    }

    /// The same, of a stream that was printed whole.
    pub fn whole(self) -> Self {
        assert_eq!(self.cut, "", "the stream ends in the middle of a line: {self:#?}");
        self
    }

    /// The stream's last word, which is a result.
    pub fn result(&self) -> &Value {
        let last = self.last();
        assert_eq!(last["type"], "result", "no result; stderr: {}; stream: {:#?}", self.stderr, self.events);
        last
    }
}
