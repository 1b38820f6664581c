//! The real Codex CLI, unchanged.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;

use super::desk::{Desk, Ended};

/// Tokens as `turn.completed` says them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub input: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub output: u64,
    pub reasoning: u64,
}

/// A desk for the CLI, and the way to start it there.
pub struct Codex {
    pub desk: Desk,
    binary: PathBuf,
    arguments: Vec<String>,
    prompt: String,
}

impl Codex {
    /// `None` if the CLI is not installed.
    pub fn new(base_url: &str) -> Option<Self> {
        let package = if cfg!(target_arch = "aarch64") { "@openai/codex-linux-arm64" } else { "@openai/codex-linux-x64" };
        let binary = super::pins::newest("codex", package, "vendor/*/bin/codex")?;
        let desk = Desk::new(&[("CODEX_API_KEY", "sk-of-the-test")]);
        let arguments = ["exec", "--dangerously-bypass-approvals-and-sandbox", "--json"].map(str::to_owned);
        let codex = Self { desk, binary, arguments: arguments.into(), prompt: "Please do it.".into() };
        codex.configure(base_url, "");
        Some(codex)
    }

    /// Writes the CLI's configuration: a provider at this address, few retries, no look-ups of other hosts, and `more`.
    pub fn configure(&self, base_url: &str, more: &str) {
        let text = format!(
            r#"
            model = "gpt-5.5"
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
        self.desk.home_file(".codex/config.toml", &text);
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn model(self, model: &str) -> Self {
        self.argument("--model").argument(model)
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

/// The last message of the model.
pub fn answer(ended: &Ended) -> &str {
    let messages = ended.events.iter().rev().find(|event| event["item"]["type"] == "agent_message");
    messages.and_then(|event| event["item"]["text"].as_str()).unwrap_or_default()
}

impl Reported {
    /// What `turn.completed` says; `None` if the turn failed, which tells no usage.
    pub fn of(ended: &Ended) -> Option<Self> {
        let usage = ended.last()["usage"].as_object()?;
        let tokens = |name: &str| usage[name].as_u64().unwrap_or_else(|| panic!("no {name} in {usage:?}"));
        Some(Self {
            input: tokens("input_tokens"),
            cache_read: tokens("cached_input_tokens"),
            cache_write: tokens("cache_write_input_tokens"),
            output: tokens("output_tokens"),
            reasoning: tokens("reasoning_output_tokens"),
        })
    }
}
