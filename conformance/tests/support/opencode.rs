//! The real OpenCode CLI, unchanged, with a provider that is "compatible with OpenAI".

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;

use serde_json::{Value, json};

use super::desk::{Desk, Ended};

/// Tokens as the CLI's `step_finish` events add up: its input is without the cache, its output without the reasoning.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub input: u64,
    pub cache_read: u64,
    pub output: u64,
    pub reasoning: u64,
}

/// A desk for the CLI, and the way to start it there.
pub struct OpenCode {
    pub desk: Desk,
    binary: PathBuf,
    config: Value,
}

impl OpenCode {
    /// `None` if the CLI is not installed.
    pub fn new(base_url: &str) -> Option<Self> {
        let package = if cfg!(target_arch = "aarch64") { "opencode-linux-arm64" } else { "opencode-linux-x64" };
        let binary = super::pins::newest("opencode", package, "bin/opencode")?;
        let desk = Desk::new(&[("OPENCODE_DISABLE_AUTOUPDATE", "1"), ("OPENCODE_DISABLE_MODELS_FETCH", "1")]);
        let options = json!({"baseURL": format!("{base_url}/v1"), "apiKey": "sk-of-the-test"});
        let provider = json!({"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"gpt-x": {}}});
        // Without a title of its own it asks the model for one, which is on the bill and not in its stream.
        let config = json!({"provider": {"scripted": provider}, "agent": {"title": {"disable": true}}});
        Some(Self { desk, binary, config })
    }

    /// With an MCP server on stdio.
    pub fn mcp_server(mut self, name: &str, program: &str) -> Self {
        self.config["mcp"][name] = json!({"type": "local", "command": [program]});
        self
    }

    /// Runs it to its end.
    pub fn run(&mut self, prompt: &str) -> Ended {
        self.desk.variable("OPENCODE_CONFIG_CONTENT", &self.config.to_string());
        let arguments = ["run", "--format", "json", "--auto", "--model", "scripted/gpt-x"];
        self.desk.run(&self.binary, &arguments, prompt, |_| {}).whole()
    }
}

impl Reported {
    /// The sum over its steps.
    pub fn of(ended: &Ended) -> Self {
        let steps = ended.events.iter().filter(|event| event["type"] == "step_finish").map(|event| &event["part"]["tokens"]);
        steps.fold(Self::default(), |sum, tokens| {
            let count = |path: &str| tokens.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {tokens}"));
            Self {
                input: sum.input + count("/input"),
                cache_read: sum.cache_read + count("/cache/read"),
                output: sum.output + count("/output"),
                reasoning: sum.reasoning + count("/reasoning"),
            }
        })
    }
}
