//! A real agent CLI, unchanged, through the real runner: a home, a repository, and a task, against a scripted model.
//!
//! [`crate::agent_run`] is for runs whose end is looked at; this is for what they read and write on the way.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent_conformance::model::{Record, ScriptedModel};
use serde_json::Value;

use crate::clis::{self, Cli};
use crate::repo::git_ok;
use crate::runs::Counted;

/// The key that the runner is given; nobody but the model may see it.
pub const KEY: &str = "sk-key-of-the-test";

/// A home, a repository, and the variables of a task.
#[derive(Debug)]
pub struct Stage {
    directory: tempfile::TempDir,
    variables: BTreeMap<OsString, OsString>,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    /// The runner's exit code.
    pub code: Option<i32>,
    /// `result.json`.
    pub outcome: Value,
    /// The termination message.
    pub message: Value,
    /// The agent's stream.
    pub events: Vec<Value>,
    /// What the runner logged.
    pub stderr: String,
}

impl Stage {
    /// For the newest version of a CLI. `None` if it is not installed.
    #[must_use]
    pub fn new(agent: &str, model: &ScriptedModel) -> Option<Self> {
        Some(Self::of(&clis::newest(agent)?, model))
    }

    /// For a CLI of any version.
    #[must_use]
    pub fn of(cli: &Cli, model: &ScriptedModel) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["home", "origin", "tmp"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let this = Self { directory, variables: BTreeMap::new() };
        git_ok(&this.origin(), ["init", "-q", "-b", "main"]);
        this.file("README.md", "A repository.\n");
        let origin = format!("file://{}", this.origin().display());
        let document = serde_json::json!({ "agent": { "type": cli.agent, "program": cli.program, "manifestDir": clis::manifests() } });
        std::fs::write(this.path("task.json"), document.to_string()).unwrap();
        let this = this
            .variable("PATH", std::env::var_os("PATH").unwrap())
            .variable(clis::key_variable(cli.agent), KEY)
            .variable("GIT_CONFIG_NOSYSTEM", "1")
            .variable("AGENT_ENDPOINT", model.base_url())
            .variable("AGENT_PROMPT", "Please do it.")
            .variable("AGENT_REPO", origin)
            .variable("AGENT_MAX_RETRIES", "1");
        let this = clis::shortcuts(cli.agent).into_iter().fold(this, |this, (name, file)| this.variable(name, file));
        let at = |name: &str| this.path(name);
        let paths = [
            ("HOME", at("home")),
            ("TMPDIR", at("tmp")),
            ("AGENT_TASK_FILE", at("task.json")),
            ("AGENT_WORKSPACE_DIR", at("workspace")),
            ("AGENT_RESULT_FILE", at("result.json")),
            ("AGENT_TERMINATION_LOG", at("termination-log")),
        ];
        paths.into_iter().fold(this, |this, (name, path)| this.variable(name, path))
    }

    /// A path in this test's own directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn origin(&self) -> PathBuf {
        self.path("origin")
    }

    /// Sets a variable of the runner's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.remove(std::ffi::OsStr::new(name));
        self
    }

    /// Writes a file into the repository, to be committed when the run starts.
    pub fn file(&self, path: &str, content: &str) {
        write(&self.origin().join(path), content);
    }

    /// Writes a file into the home.
    pub fn home_file(&self, path: &str, content: &str) {
        write(&self.path("home").join(path), content);
    }

    /// Writes a file beside both.
    pub fn other_file(&self, path: &str, content: &str) {
        write(&self.path(path), content);
    }

    /// Commits what is there to `main`, and then what `change` writes to a branch of this name.
    pub fn commit_to_branch(&self, branch: &str, change: impl FnOnce(&Self)) {
        self.commit();
        git_ok(&self.origin(), ["checkout", "-q", "-b", branch]);
        change(self);
        self.commit();
        git_ok(&self.origin(), ["checkout", "-q", "main"]);
    }

    fn commit(&self) {
        git_ok(&self.origin(), ["add", "-A"]);
        git_ok(&self.origin(), ["commit", "-q", "--allow-empty", "-m", "state"]);
    }

    /// Runs the task to its end.
    #[must_use]
    pub fn run(&self) -> Ended {
        self.commit();
        let output = Command::new(crate::probe::runner())
            .env_clear()
            .envs(&self.variables)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome = std::fs::read(self.path("result.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let message = std::fs::read(self.path("termination-log")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ended {
            code: output.status.code(),
            message: message.unwrap_or_else(|| panic!("no termination message: {stdout}{stderr}")),
            outcome: outcome.unwrap_or_else(|| panic!("no result.json: {stdout}{stderr}")),
            // The marker block at the end is no part of the agent's stream.
            events: stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            stderr,
        }
    }

    /// The files below the home and their content, for what programs left there.
    #[must_use]
    pub fn traces(&self, prefix: &str) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(self.path("home")).unwrap().map(|entry| entry.unwrap());
        let named = entries.filter_map(|entry| Some((entry.file_name().to_str()?.strip_prefix(prefix)?.to_owned(), entry.path())));
        named.map(|(name, path)| (name, String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned())).collect()
    }
}

impl Ended {
    /// Fails, with all that is known, unless the task succeeded.
    ///
    /// # Panics
    /// It did not succeed.
    pub fn expect_success(&self) -> &Self {
        assert!(self.code == Some(0) && self.outcome["status"] == "succeeded", "{self:#?}");
        self
    }

    /// A parameter of the termination message.
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

/// The questions of the main conversation.
#[must_use]
pub fn questions(model: &ScriptedModel) -> Vec<Record> {
    model.requests().into_iter().filter(Record::is_question).collect()
}

/// Whether a question offers the tool of that very name.
#[must_use]
pub fn offers(question: &Record, tool: &str) -> bool {
    question.tools.iter().any(|offered| offered == tool)
}

/// What a skill's or a sub-agent's file is, with this name and description.
#[must_use]
pub fn described(name: &str, description: &str) -> String {
    format!("---\nname: {name}\ndescription: {description}\n---\nDo it.\n")
}

/// A shell command by which a program of the repository leaves its own environment, and that of the process that started it.
#[must_use]
pub fn spy(name: &str) -> String {
    format!("env > \"$HOME/spy-{name}\"; cat /proc/$PPID/environ >> \"$HOME/spy-{name}\"")
}

fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
