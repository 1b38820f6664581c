//! The real Gemini CLI, unchanged.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A run that takes longer hangs; the longest of them is done in some twenty seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tokens as the CLI's `result` adds them up over all its models.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub input: u64,
    pub cache_read: u64,
    pub output: u64,
}

/// A home, a git repository, and the way to start the CLI in it.
pub struct Gemini {
    directory: tempfile::TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    prompt: String,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub events: Vec<Value>,
    pub stderr: String,
}

impl Gemini {
    /// `None` if the CLI is not installed.
    pub fn new(base_url: &str) -> Option<Self> {
        let program = super::pins::newest("gemini", "", "bundle/gemini.js")?;
        let directory = tempfile::tempdir().unwrap();
        for folder in ["home/.gemini", "repository", "tmp"] {
            std::fs::create_dir_all(directory.path().join(folder)).unwrap();
        }
        let folder = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let environment = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", folder("home")),
            ("TMPDIR", folder("tmp")),
            ("GOOGLE_GEMINI_BASE_URL", base_url.into()),
            ("GEMINI_API_KEY", "sk-of-the-test".into()),
            // Without it the CLI refuses to work in a directory that it does not know.
            ("GEMINI_CLI_TRUST_WORKSPACE", "true".into()),
            // It would start itself a second time, and not pass on signals.
            ("GEMINI_CLI_NO_RELAUNCH", "true".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ];
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let gemini = Self { directory, program, arguments: Vec::new(), environment, prompt: "Please do it.".into() };
        gemini.configure(json!({}));
        gemini.git(&["init", "--quiet", "--initial-branch=main"]);
        gemini.git(&["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-q", "--allow-empty", "-m", "start"]);
        Some(gemini)
    }

    /// Writes the CLI's settings: one attempt, no look-ups of other hosts, and `more`.
    pub fn configure(&self, more: Value) {
        let mut settings = json!({
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "general": {"maxAttempts": 1, "enableAutoUpdate": false},
            "privacy": {"usageStatisticsEnabled": false},
        });
        let more = if let Value::Object(more) = more { more } else { panic!("settings are an object") };
        settings.as_object_mut().unwrap().extend(more);
        std::fs::write(self.directory.path().join("home/.gemini/settings.json"), settings.to_string()).unwrap();
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    pub fn prompt(mut self, prompt: String) -> Self {
        self.prompt = prompt;
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

    /// Runs it to its end; `meanwhile` is called with its process id when it has started.
    pub fn run(&self, meanwhile: impl FnOnce(u32)) -> Ended {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut child = Command::new("node")
                .arg(&self.program)
                .args(["--yolo", "--output-format", "stream-json"])
                .args(&self.arguments)
                .current_dir(self.directory.path().join("repository"))
                .env_clear()
                .envs(&self.environment)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .expect("node starts");
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(self.prompt.as_bytes()).await.unwrap();
            drop(stdin);
            meanwhile(child.id().expect("it was not waited for yet"));
            let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
            let output = ended.expect("the CLI hangs").unwrap();
            let stdout = String::from_utf8(output.stdout).expect("its stream is UTF-8");
            Ended {
                status: output.status,
                // It leaves without waiting for what it printed to be read: after a long prompt, which it repeats, the rest is cut.
                events: stdout
                    .split_inclusive('\n')
                    .filter(|line| line.ends_with('\n'))
                    .map(|line| serde_json::from_str(line).expect("a line is JSON"))
                    .collect(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        })
    }
}

impl Ended {
    /// The stream's last word.
    pub fn result(&self) -> &Value {
        let last = self.events.last().unwrap_or(&Value::Null);
        assert_eq!(last["type"], "result", "no result; stderr: {}; stream: {:#?}", self.stderr, self.events);
        last
    }

    /// The totals of `stats`. It has no count of thoughts: they are in the total alone.
    pub fn reported(&self) -> Reported {
        let stats = &self.result()["stats"];
        let tokens = |name: &str| stats[name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"));
        let input = tokens("input_tokens");
        Reported { input, cache_read: tokens("cached"), output: tokens("total_tokens") - input }
    }

    /// What it said at last.
    pub fn answer(&self) -> String {
        let said = self.events.iter().filter(|event| event["type"] == "message" && event["role"] == "assistant");
        said.map(|event| event["content"].as_str().unwrap_or_default()).collect()
    }
}
