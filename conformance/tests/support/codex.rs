//! The real Codex CLI, unchanged.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// A run that takes longer hangs; the longest of them is done in a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tokens as `turn.completed` says them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub input: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub output: u64,
    pub reasoning: u64,
}

/// A home, a git repository, and the way to start the CLI in it.
pub struct Codex {
    directory: tempfile::TempDir,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    prompt: String,
    model: String,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub events: Vec<Value>,
    pub stderr: String,
}

impl Codex {
    /// `None` if the CLI is not installed.
    pub fn new(base_url: &str) -> Option<Self> {
        let package = if cfg!(target_arch = "aarch64") { "@openai/codex-linux-arm64" } else { "@openai/codex-linux-x64" };
        let binary = super::pins::newest("codex", package, "vendor/*/bin/codex")?;
        let directory = tempfile::tempdir().unwrap();
        for folder in ["home/.codex", "repository", "tmp"] {
            std::fs::create_dir_all(directory.path().join(folder)).unwrap();
        }
        let folder = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let environment = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", folder("home")),
            ("TMPDIR", folder("tmp")),
            ("CODEX_API_KEY", "sk-of-the-test".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ];
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let model = "gpt-5.5".into();
        let codex = Self { directory, binary, arguments: Vec::new(), environment, prompt: "Please do it.".into(), model };
        codex.configure(base_url, "");
        codex.git(&["init", "--quiet", "--initial-branch=main"]);
        codex.git(&["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-q", "--allow-empty", "-m", "start"]);
        Some(codex)
    }

    /// Writes the CLI's configuration: a provider at this address, few retries, no look-ups of other hosts, and `more`.
    pub fn configure(&self, base_url: &str, more: &str) {
        let text = format!(
            r#"
            model_provider = "scripted"
            check_for_update_on_startup = false
            analytics.enabled = false
            features.plugins = false
            features.unbounded_connection_retries = false
            [model_providers.scripted]
            name = "scripted"
            base_url = "{base_url}/v1"
            env_key = "CODEX_API_KEY"
            request_max_retries = 1
            stream_max_retries = 1
            {more}
            "#
        );
        std::fs::write(self.directory.path().join("home/.codex/config.toml"), text).unwrap();
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn model(mut self, model: &str) -> Self {
        self.model = model.into();
        self
    }

    pub fn prompt(mut self, prompt: String) -> Self {
        self.prompt = prompt;
        self
    }

    pub fn repository(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    /// The output of git in the repository.
    pub fn git(&self, arguments: &[&str]) -> String {
        git(&self.repository(), arguments)
    }

    /// Runs it to its end; `meanwhile` is called with its process id when it has started.
    pub fn run(&self, meanwhile: impl FnOnce(u32)) -> Ended {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let child = self.spawn().await;
            meanwhile(child.id().expect("it was not waited for yet"));
            let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
            let output = ended.expect("the CLI hangs").unwrap();
            let stdout = String::from_utf8(output.stdout).expect("its stream is UTF-8");
            Ended {
                status: output.status,
                events: stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        })
    }

    async fn spawn(&self) -> Child {
        let mut child = Command::new(&self.binary)
            .args(["exec", "--dangerously-bypass-approvals-and-sandbox", "--json", "--model", &self.model])
            .args(&self.arguments)
            .current_dir(self.repository())
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the CLI starts");
        // By stdin, since an argument has at most 128 KiB. Closed at once, or the CLI waits for more.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(self.prompt.as_bytes()).await.unwrap();
        drop(stdin);
        child
    }
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new("git").args(arguments).current_dir(repository).output().expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Ended {
    /// The stream's last word.
    pub fn last(&self) -> &Value {
        self.events.last().unwrap_or(&Value::Null)
    }

    /// The last message of the model.
    pub fn answer(&self) -> &str {
        let messages = self.events.iter().rev().find(|event| event["item"]["type"] == "agent_message");
        messages.and_then(|event| event["item"]["text"].as_str()).unwrap_or_default()
    }

    /// What `turn.completed` says; `None` if the turn failed, which tells no usage.
    pub fn reported(&self) -> Option<Reported> {
        let usage = self.last()["usage"].as_object()?;
        let tokens = |name: &str| usage[name].as_u64().unwrap_or_else(|| panic!("no {name} in {usage:?}"));
        Some(Reported {
            input: tokens("input_tokens"),
            cache_read: tokens("cached_input_tokens"),
            cache_write: tokens("cache_write_input_tokens"),
            output: tokens("output_tokens"),
            reasoning: tokens("reasoning_output_tokens"),
        })
    }
}
