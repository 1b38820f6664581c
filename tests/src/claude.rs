//! The real Claude Code CLI, as `npm ci --prefix tests/agents` installs it, behind the runner and before a scripted model.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_conformance::model::{Record, Scenario, ScriptedModel};

use crate::runs::{Origin, Scene};
use crate::skip::skip;

/// The CLI's native binary. `None`, said loudly, if it is not installed; where `AGENT_TESTS_NO_SKIP` is set that is a failure.
///
/// # Panics
/// It is not installed, and has to be.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    let modules = std::env::var_os("AGENT_TESTS_NODE_MODULES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/node_modules"), PathBuf::from);
    let cpu = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = |libc: &str| modules.join(format!("@anthropic-ai/claude-code-linux-{cpu}{libc}/claude"));
    let found = [package(""), package("-musl")].into_iter().find(|path| path.is_file());
    if found.is_none() {
        let why = format!("the Claude Code CLI is not in `{}`; `npm ci --prefix tests/agents` installs it", modules.display());
        assert!(std::env::var_os("AGENT_TESTS_NO_SKIP").is_none(), "{why}");
        skip(&why);
    }
    found
}

/// A run of the real CLI, and the model that it asks.
#[derive(Debug)]
pub struct ClaudeRun {
    /// The model.
    pub model: ScriptedModel,
    /// Everything else.
    pub scene: Scene,
}

impl ClaudeRun {
    /// With a scenario that comes with the suite. `None` if the CLI is not installed.
    #[must_use]
    pub fn of(scenario: &str) -> Option<Self> {
        Self::playing(Scenario::builtin(scenario).unwrap())
    }

    /// With any scenario.
    #[must_use]
    pub fn playing(scenario: Scenario) -> Option<Self> {
        Self::on(&Origin::start(), scenario)
    }

    /// On a repository of the test's own.
    #[must_use]
    pub fn on(origin: &Arc<Origin>, scenario: Scenario) -> Option<Self> {
        let program = binary()?;
        let model = ScriptedModel::start(scenario).unwrap();
        // The CLI itself repeats for three minutes.
        let scene = Scene::of(origin.clone(), "claude", &program, &model.base_url()).with("AGENT_MAX_RETRIES", "1");
        Some(Self { model, scene })
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<std::ffi::OsString>) -> Self {
        self.scene = self.scene.with(name, value);
        self
    }

    /// The questions that the model was asked.
    #[must_use]
    pub fn questions(&self) -> Vec<Record> {
        self.model.requests().into_iter().filter(Record::is_question).collect()
    }

    /// The model's requests, a line each.
    #[must_use]
    pub fn requests(&self) -> String {
        self.model.requests().iter().map(|record| format!("{record}\n")).collect()
    }
}
