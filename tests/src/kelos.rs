//! A pod as Kelos' controller builds it, played on this machine, and a reader of what it leaves, both written from Kelos' own description
//! (<https://github.com/kelos-dev/kelos/blob/main/docs/agent-image-interface.md>).
//!
//! The program is `kelos_entrypoint.sh PROMPT`, PID 1, in a clone that is there already, as UID 61100. Of the image come HOME, PATH and
//! where the agent's program is; of the user's own `podOverrides.env` the scripted model's endpoint. Stdout and stderr go to one log.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use agent_conformance::model::ScriptedModel;
use agent_sdk::termination::TerminationMessage;
use base64::Engine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, chown};
use serde_json::Value;

use crate::clis::{self, Cli};
use crate::probe;
use crate::repo::{Source, git_ok};
use crate::runs::{KEY, PATIENCE, wait_until};
use crate::sandbox::{children, namespaces_work, sandbox};

/// The user whom Kelos' init containers and agent containers share.
pub const UID: u32 = 61100;
/// How many lines of the log the controller reads.
const LAST_LINES: usize = 50;
/// Container runtimes store longer lines in pieces, and each piece counts as a line.
const STORED_LINE: usize = 16 << 10;
const BEGIN: &str = "---KELOS_OUTPUTS_START---";
const END: &str = "---KELOS_OUTPUTS_END---";

/// An agent, as Kelos starts it.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// `KELOS_AGENT_TYPE`.
    pub kelos: &'static str,
    /// Our name of it.
    pub agent: &'static str,
    /// The variable with its key.
    pub key: &'static str,
    /// `KELOS_MODEL`, where the tests' model server is found by it.
    pub model: Option<&'static str>,
    /// Whether it says what an answer cost before the run is over.
    pub tells_tokens_at_once: bool,
    /// More variables, as a user gives them by `podOverrides.env`.
    pub env: &'static [(&'static str, &'static str)],
}

/// The agents whose real CLI is started as Kelos starts it.
pub const KINDS: &[Kind] = &[
    Kind { kelos: "claude-code", agent: "claude", key: "ANTHROPIC_API_KEY", model: None, tells_tokens_at_once: true, env: &[] },
    Kind { kelos: "codex", agent: "codex", key: "CODEX_API_KEY", model: None, tells_tokens_at_once: true, env: &[] },
    Kind { kelos: "gemini", agent: "gemini", key: "GEMINI_API_KEY", model: Some("gemini-2.5-pro"), tells_tokens_at_once: false, env: &[] },
    Kind {
        kelos: "opencode",
        agent: "opencode",
        key: "OPENCODE_API_KEY",
        model: Some("anthropic/claude-sonnet-4-5"),
        // Only when the tools of an answer are done.
        tells_tokens_at_once: false,
        env: &[],
    },
];

/// A pod, not started yet.
#[derive(Debug)]
pub struct Pod {
    directory: tempfile::TempDir,
    /// What was cloned.
    pub source: Source,
    env: BTreeMap<OsString, OsString>,
    prompt: Option<OsString>,
}

impl Pod {
    /// A pod for an agent of Kelos' name, on the new branch `work`. `None`, said loudly, where this machine allows no PID namespaces.
    #[must_use]
    pub fn new(kelos: &str) -> Option<Self> {
        if !namespaces_work() {
            crate::skip::skip("no PID namespace may be made here (root, or CAP_SYS_ADMIN, is needed), so no pod was played");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let source = Source::new(directory.path(), "origin.git");
        let pod = Self { directory, source, env: BTreeMap::new(), prompt: Some("Please do it.".into()) };
        for folder in ["home/.local/bin", "tmp", "plugins"] {
            fs::create_dir_all(pod.path(folder)).unwrap();
        }
        let origin = format!("file://{}", pod.source.bare.display());
        git_ok(pod.directory.path(), ["clone", "-q", "--depth", "1", "--no-single-branch", &origin, "repo"]);
        git_ok(&pod.path("repo"), ["checkout", "-q", "-b", "work"]);
        symlink(probe::runner(), pod.path("kelos_entrypoint.sh")).unwrap();
        // The kubelet's file is root's, and everybody may write it.
        fs::write(pod.path("termination"), "").unwrap();
        fs::set_permissions(pod.path("termination"), PermissionsExt::from_mode(0o666)).unwrap();
        let inside = |name: &str| pod.path(name).into_os_string();
        let mut path = inside("home/.local/bin");
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let variables = [
            ("PATH", path),
            ("HOME", inside("home")),
            ("TMPDIR", inside("tmp")),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("AGENT_TERMINATION_LOG", inside("termination")),
            ("KELOS_AGENT_TYPE", kelos.into()),
            ("KELOS_BRANCH", "work".into()),
            ("KELOS_BASE_BRANCH", "main".into()),
        ];
        Some(variables.into_iter().fold(pod, |pod, (name, value)| pod.with(name, value)))
    }

    /// A pod for a real CLI that asks this model.
    #[must_use]
    pub fn of(kind: &Kind, cli: &Cli, model: &ScriptedModel) -> Option<Self> {
        let pod = Self::new(kind.kelos)?
            .with(kind.key, KEY)
            .with("AGENT_PROGRAM", &cli.program)
            .with("AGENT_ENDPOINT", model.base_url())
            .with("AGENT_MAX_RETRIES", "1");
        let pod = clis::shortcuts(kind.agent).into_iter().fold(pod, |pod, (name, file)| pod.with(name, file));
        let more = kind.env.iter().copied().chain(kind.model.map(|model| ("KELOS_MODEL", model)));
        Some(more.fold(pod, |pod, (name, value)| pod.with(name, value)))
    }

    /// The same for the newest pinned version; `None` also where that is not installed.
    #[must_use]
    pub fn newest(kind: &Kind, model: &ScriptedModel) -> Option<Self> {
        Self::of(kind, &clis::newest(kind.agent)?, model)
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
        self.env.remove(OsStr::new(name));
        self
    }

    /// With this prompt, or with no argument at all.
    #[must_use]
    pub fn prompt(mut self, prompt: Option<&str>) -> Self {
        self.prompt = prompt.map(OsString::from);
        self
    }

    /// Something of this pod, by its name: `home`, `tmp`, `repo`, `plugins`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file beside the repository.
    pub fn file(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Git's word in the work tree, which is another user's.
    #[must_use]
    pub fn git(&self, args: &[&str]) -> String {
        git_ok(&self.path("repo"), ["-c", "safe.directory=*"].iter().chain(args))
    }

    /// Starts it.
    #[must_use]
    pub fn start(&self) -> Started<'_> {
        fs::set_permissions(self.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["home", "tmp", "repo", "srv", "plugins"] {
            give(&self.path(name));
        }
        let log = File::create(self.path("log")).unwrap();
        let mut command: Command = sandbox(&["--user", &UID.to_string()], self.path("kelos_entrypoint.sh"));
        command.args(&self.prompt).env_clear().envs(&self.env).current_dir(self.path("repo"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Started { pod: self, child: command.spawn().unwrap() }
    }

    /// Starts it and waits for its end.
    #[must_use]
    pub fn run(&self) -> Ended {
        self.start().finish()
    }

    /// All files below a directory of this pod, with their modes and contents.
    #[must_use]
    pub fn files(&self, name: &str) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut files = BTreeMap::new();
        collect(&self.path(name), &mut files);
        files
    }
}

/// Makes a tree the agent's user's.
fn give(path: &Path) {
    chown(path, Some(UID.into()), Some(UID.into())).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

fn collect(dir: &Path, files: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            collect(&path, files);
        } else if kind.is_file() {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let content = fs::read(&path).unwrap();
            files.insert(path, (mode, content));
        }
    }
}

/// A pod at work. It is killed if it is dropped.
#[derive(Debug)]
pub struct Started<'a> {
    pod: &'a Pod,
    child: Child,
}

impl Started<'_> {
    /// Sends PID 1 a signal, as the kubelet does.
    pub fn signal(&self, signal: Signal) {
        let sandbox = Pid::from_raw(self.child.id().cast_signed());
        wait_until("the pod's PID 1", || !children(sandbox).is_empty());
        kill(children(sandbox)[0], signal).unwrap();
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.pod.path("log")).unwrap()).into_owned()
    }

    /// Waits for the end.
    #[must_use]
    pub fn finish(mut self) -> Ended {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "no end of\n{}", self.log());
            // Only not to take the processor from what is waited for.
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let log = self.log();
        let message = fs::read(self.pod.path("termination")).unwrap();
        TerminationMessage::parse(&message).unwrap_or_else(|error| panic!("{error}\n{log}"));
        Ended { code: status.code().unwrap(), outputs: Outputs::read(&log), message: serde_json::from_slice(&message).unwrap(), log }
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        // after `finish` there is nobody to kill or to wait for any more
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a pod left.
#[derive(Debug)]
pub struct Ended {
    /// The container's exit code.
    pub code: i32,
    /// Its log.
    pub log: String,
    /// What the controller makes of it.
    pub outputs: Outputs,
    /// Its termination message.
    pub message: Value,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = self.log.lines().count().saturating_sub(60);
        writeln!(f, "code {}, message {:#}\nthe last of the log:", self.code, self.message)?;
        self.log.lines().skip(start).try_for_each(|line| writeln!(f, "{}", line.chars().take(600).collect::<String>()))
    }
}

impl Ended {
    /// Asserts the exit code and the reason, and that the block and the message say the same of the repository.
    ///
    /// # Panics
    /// It ended otherwise.
    pub fn assert(&self, code: i32, reason: &str) {
        assert_eq!((self.code, self.message["reason"].as_str().unwrap_or_default()), (code, reason), "{self}");
        for key in ["branch", "commit", "base-branch", "cost-usd", "input-tokens", "output-tokens"] {
            assert_eq!(self.outputs.get(key), self.message["parameters"][key].as_str(), "{key}\n{self}");
        }
        assert!(self.log.ends_with(&format!("\n{END}\n")), "something follows the block\n{self}");
    }
}

/// What the controller reads of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    lines: Vec<String>,
}

impl Outputs {
    /// Reads the last block in the last lines of a log.
    #[must_use]
    pub fn read(log: &str) -> Self {
        let mut room = LAST_LINES;
        let last = log.lines().rev().take_while(|line| {
            let stored = line.len().div_ceil(STORED_LINE).max(1);
            let fits = stored <= room;
            room = room.saturating_sub(stored);
            fits
        });
        let text = last.collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
        let block = text.rfind(END).and_then(|end| text[..end].rfind(BEGIN).map(|begin| &text[begin + BEGIN.len()..end]));
        let lines = block.unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
        Self { lines: lines.collect() }
    }

    /// The value of a key; the last of a key wins.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).last().copied()
    }

    /// All values of a key.
    #[must_use]
    pub fn all(&self, key: &str) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.split_once(": ")).filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
    }

    /// The agent's last message.
    #[must_use]
    pub fn response(&self) -> Option<String> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(self.get("response")?).unwrap();
        Some(String::from_utf8(bytes).unwrap())
    }

    /// Whether there is no block, or an empty one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_block_within_the_last_lines_counts() {
        let block = |branch: &str| format!("{BEGIN}\nbranch: {branch}\npr: a\npr: b\n{END}\n");
        let read = |log: &str| Outputs::read(log).get("branch").map(str::to_owned);
        assert_eq!(read(&(block("one") + &block("two"))).as_deref(), Some("two"));
        assert_eq!(read(&(block("one") + "line\n" + BEGIN)).as_deref(), Some("one"));
        assert_eq!(read(&(block("one") + &"line\n".repeat(45))).as_deref(), Some("one"));
        assert_eq!(read(&(block("one") + &"line\n".repeat(46))), None);
        assert_eq!(read(&(block("one") + &"x".repeat(46 * STORED_LINE))), None);
        assert_eq!(Outputs::read(&block("one")).all("pr"), ["a", "b"]);
    }
}
