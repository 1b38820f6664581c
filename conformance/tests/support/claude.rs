//! The real Claude Code CLI, unchanged, as `tests/setup` installs it.

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

/// The CLI's native binary. `None`, said on stderr, if it is not installed; with AGENT_TESTS_NO_SKIP set that is a failure.
pub fn binary() -> Option<PathBuf> {
    let modules = std::env::var_os("AGENT_TESTS_NODE_MODULES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agents/node_modules"), PathBuf::from);
    let cpu = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = |libc: &str| modules.join(format!("@anthropic-ai/claude-code-linux-{cpu}{libc}/claude"));
    let found = [package(""), package("-musl")].into_iter().find(|path| path.is_file());
    if found.is_none() {
        let why = format!("the Claude Code CLI is not in `{}`; `tests/setup` installs it", modules.display());
        assert!(std::env::var_os("AGENT_TESTS_NO_SKIP").is_none(), "{why}");
        skip(&why);
    }
    found
}

/// Says so past the harness's capture, and to the file from which `tests/run` counts what was skipped: a line a test.
pub(super) fn skip(why: &str) {
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

/// A home, a git repository, and the way to start the CLI in it.
pub struct Claude {
    directory: tempfile::TempDir,
    binary: PathBuf,
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

/// Tokens as the CLI's own `result` adds them up over all its models.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub input: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub output: u64,
}

impl Claude {
    /// `None` if the CLI is not installed.
    pub fn new(base_url: &str) -> Option<Self> {
        let binary = binary()?;
        let directory = tempfile::tempdir().unwrap();
        for folder in ["home", "repository", "tmp"] {
            std::fs::create_dir(directory.path().join(folder)).unwrap();
        }
        let folder = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let environment = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", folder("home")),
            ("TMPDIR", folder("tmp")),
            ("ANTHROPIC_BASE_URL", base_url.into()),
            ("ANTHROPIC_API_KEY", "sk-of-the-test".into()),
            ("DISABLE_AUTOUPDATER", "1".into()),
            // Without it the CLI looks up hosts of its own.
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".into()),
            // It retries for three minutes by default.
            ("CLAUDE_CODE_MAX_RETRIES", "1".into()),
            // Without it the CLI refuses to skip permissions as root.
            ("IS_SANDBOX", "1".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ];
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let claude = Self { directory, binary, arguments: Vec::new(), environment, prompt: "Please do it.".into() };
        claude.git(&["init", "--quiet", "--initial-branch=main"]);
        claude.git(&["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-q", "--allow-empty", "-m", "start"]);
        Some(claude)
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

    pub fn repository(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    /// The output of git in the repository.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = std::process::Command::new("git")
            .args(arguments)
            .current_dir(self.repository())
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
            .args(["--dangerously-skip-permissions", "--output-format", "stream-json", "--verbose", "-p"])
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

impl Ended {
    /// The stream's last word.
    pub fn result(&self) -> &Value {
        let last = self.events.last().unwrap_or(&Value::Null);
        assert_eq!(last["type"], "result", "no result; stderr: {}; stream: {:#?}", self.stderr, self.events);
        last
    }

    /// The sum of `modelUsage`, which, unlike `usage`, includes sub-agents.
    pub fn reported(&self) -> Reported {
        let models = self.result()["modelUsage"].as_object().expect("modelUsage").values();
        models.fold(Reported::default(), |sum, model| {
            let tokens = |name: &str| model[name].as_u64().unwrap_or_else(|| panic!("no {name} in {model}"));
            Reported {
                input: sum.input + tokens("inputTokens"),
                cache_read: sum.cache_read + tokens("cacheReadInputTokens"),
                cache_write: sum.cache_write + tokens("cacheCreationInputTokens"),
                output: sum.output + tokens("outputTokens"),
            }
        })
    }
}
