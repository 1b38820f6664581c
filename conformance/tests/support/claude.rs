//! The real Claude Code CLI, unchanged, in its oldest pinned version: newer ones repeat some failures and look for MCP servers' tools
//! before they call them, so that they ask more often than a scenario has answers. They are tried behind the runner.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;

use super::desk::{Desk, Ended};

/// Tokens as the CLI's own `result` adds them up over all its models.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub input: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub output: u64,
}

/// A desk for the CLI, and the way to start it there.
pub struct Claude {
    pub desk: Desk,
    binary: PathBuf,
    arguments: Vec<String>,
    prompt: String,
}

impl Claude {
    /// `None` if the CLI is not installed.
    pub fn new(base_url: &str) -> Option<Self> {
        let package = if cfg!(target_arch = "aarch64") { "claude-code-linux-arm64" } else { "claude-code-linux-x64" };
        let binary = super::pins::oldest("claude", &format!("@anthropic-ai/{package}"), "claude")?;
        let desk = Desk::new(&[
            ("ANTHROPIC_BASE_URL", base_url),
            ("ANTHROPIC_API_KEY", "sk-of-the-test"),
            ("DISABLE_AUTOUPDATER", "1"),
            // Without it the CLI looks up hosts of its own.
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            // It retries for three minutes by default.
            ("CLAUDE_CODE_MAX_RETRIES", "1"),
            // Without it the CLI refuses to skip permissions as root.
            ("IS_SANDBOX", "1"),
        ]);
        let arguments = ["--dangerously-skip-permissions", "--output-format", "stream-json", "--verbose", "-p"].map(str::to_owned);
        Some(Self { desk, binary, arguments: arguments.into(), prompt: "Please do it.".into() })
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.desk.variable(name, value);
        self
    }

    pub fn prompt(mut self, prompt: String) -> Self {
        self.prompt = prompt;
        self
    }

    /// Runs it to its end; `meanwhile` is called with its process id when it has started.
    pub fn run(&self, meanwhile: impl FnOnce(u32)) -> Ended {
        self.desk.run(&self.binary, &self.arguments, &self.prompt, meanwhile).whole()
    }
}

impl Reported {
    /// The sum of `modelUsage`, which, unlike `usage`, includes sub-agents.
    pub fn of(ended: &Ended) -> Self {
        let models = ended.result()["modelUsage"].as_object().expect("modelUsage").values();
        models.fold(Self::default(), |sum, model| {
            let tokens = |name: &str| model[name].as_u64().unwrap_or_else(|| panic!("no {name} in {model}"));
            Self {
                input: sum.input + tokens("inputTokens"),
                cache_read: sum.cache_read + tokens("cacheReadInputTokens"),
                cache_write: sum.cache_write + tokens("cacheCreationInputTokens"),
                output: sum.output + tokens("outputTokens"),
            }
        })
    }
}
