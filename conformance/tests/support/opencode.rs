//! The real OpenCode CLI, unchanged, with a provider that is "compatible with OpenAI".

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A run that takes longer hangs; the longest of them is done in some ten seconds on two busy cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// A home, a git repository, and the way to start the CLI in it.
pub struct OpenCode {
    directory: tempfile::TempDir,
    binary: PathBuf,
    config: Value,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub events: Vec<Value>,
    pub stderr: String,
}

/// Tokens as the CLI's `step_finish` events add up: its input is without the cache, its output without the reasoning.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub input: u64,
    pub cache_read: u64,
    pub output: u64,
    pub reasoning: u64,
}

impl OpenCode {
    /// `None` if the CLI is not installed.
    pub fn new(base_url: &str) -> Option<Self> {
        let package = if cfg!(target_arch = "aarch64") { "opencode-linux-arm64" } else { "opencode-linux-x64" };
        let binary = super::pins::newest("opencode", package, "bin/opencode")?;
        let directory = tempfile::tempdir().unwrap();
        for folder in ["home", "repository", "tmp"] {
            std::fs::create_dir(directory.path().join(folder)).unwrap();
        }
        let options = json!({"baseURL": format!("{base_url}/v1"), "apiKey": "sk-of-the-test"});
        let provider = json!({"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"gpt-x": {}}});
        // Without a title of its own it asks the model for one, which is on the bill and not in its stream.
        let config = json!({"provider": {"scripted": provider}, "agent": {"title": {"disable": true}}});
        let this = Self { directory, binary, config };
        this.git(&["init", "--quiet", "--initial-branch=main"]);
        this.git(&["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-q", "--allow-empty", "-m", "start"]);
        Some(this)
    }

    /// With an MCP server on stdio.
    pub fn mcp_server(mut self, name: &str, program: &str) -> Self {
        self.config["mcp"][name] = json!({"type": "local", "command": [program]});
        self
    }

    /// The output of git in the repository.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = std::process::Command::new("git")
            .args(arguments)
            .current_dir(self.directory.path().join("repository"))
            .env("HOME", self.directory.path().join("home"))
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs it to its end.
    pub fn run(&self, prompt: &str) -> Ended {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut child = Command::new(&self.binary)
                .args(["run", "--format", "json", "--auto", "--model", "scripted/gpt-x"])
                .current_dir(self.directory.path().join("repository"))
                .env_clear()
                .env("PATH", std::env::var("PATH").unwrap())
                .env("HOME", self.directory.path().join("home"))
                .env("TMPDIR", self.directory.path().join("tmp"))
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("OPENCODE_CONFIG_CONTENT", self.config.to_string())
                .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
                .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .expect("the CLI starts");
            // By stdin, since an argument has at most 128 KiB. Closed at once, or the CLI waits for more.
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(prompt.as_bytes()).await.unwrap();
            drop(stdin);
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
}

impl Ended {
    /// The sum over its steps.
    pub fn reported(&self) -> Reported {
        let steps = self.events.iter().filter(|event| event["type"] == "step_finish").map(|event| &event["part"]["tokens"]);
        steps.fold(Reported::default(), |sum, tokens| {
            let count = |path: &str| tokens.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {tokens}"));
            Reported {
                input: sum.input + count("/input"),
                cache_read: sum.cache_read + count("/cache/read"),
                output: sum.output + count("/output"),
                reasoning: sum.reasoning + count("/reasoning"),
            }
        })
    }
}
