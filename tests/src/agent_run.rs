//! A run of a real agent CLI behind the runner and before a scripted model.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::sync::Arc;

use agent_conformance::model::{Record, Scenario, ScriptedModel};

use crate::clis::{self, Cli};
use crate::runs::{Counted, Ended, KEY, Origin, Scene};
use crate::sandbox::Place;

/// A run of the real CLI, and the model that it asks.
#[derive(Debug)]
pub struct AgentRun {
    /// The model.
    pub model: ScriptedModel,
    /// Everything else.
    pub scene: Scene,
}

impl AgentRun {
    /// The newest version with a scenario that comes with the suite. `None` if the CLI is not installed.
    #[must_use]
    pub fn of(agent: &str, scenario: &str) -> Option<Self> {
        Self::playing(agent, Scenario::builtin(scenario).unwrap())
    }

    /// With any scenario.
    #[must_use]
    pub fn playing(agent: &str, scenario: Scenario) -> Option<Self> {
        Self::on(agent, &Origin::start(), scenario)
    }

    /// On a repository of the test's own.
    #[must_use]
    pub fn on(agent: &str, origin: &Arc<Origin>, scenario: Scenario) -> Option<Self> {
        Some(Self::with_cli(&clis::newest(agent)?, origin, scenario))
    }

    /// A CLI of any version, on any repository, with any scenario.
    #[must_use]
    pub fn with_cli(cli: &Cli, origin: &Arc<Origin>, scenario: Scenario) -> Self {
        let model = ScriptedModel::start(scenario).unwrap();
        let scene = Scene::of(origin.clone(), cli.agent, &cli.program, &model.base_url());
        // The CLIs themselves repeat for minutes.
        let scene = scene.with(clis::key_variable(cli.agent), KEY).with("AGENT_MAX_RETRIES", "1");
        // On a busy machine some take seconds to end after their last word; what they end with is looked at.
        let scene = scene.with("AGENT_LINGER", "60s");
        let scene = clis::shortcuts(cli.agent).into_iter().fold(scene, |scene, (name, file)| scene.with(name, file));
        Self { model, scene }
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<std::ffi::OsString>) -> Self {
        self.scene = self.scene.with(name, value);
        self
    }

    /// Elsewhere than as an ordinary process.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.scene = self.scene.at(place);
        self
    }

    /// As the CLI starts by itself, without the tests' shortcuts.
    #[must_use]
    pub fn without_shortcuts(mut self, agent: &str) -> Self {
        self.scene = clis::shortcuts(agent).into_iter().fold(self.scene, |scene, (name, _)| scene.without(name));
        self
    }

    /// The questions that the model was asked.
    #[must_use]
    pub fn questions(&self) -> Vec<Record> {
        self.model.requests().into_iter().filter(Record::is_question).collect()
    }

    /// Asserts of a run that was ended from outside that no more is counted than was billed, and that the branch and its commit are known.
    ///
    /// # Panics
    /// It is not so.
    pub fn assert_within_the_bill(&self, ended: &Ended) {
        assert!(ended.tokens().is_within(Counted::billed(self.model.bill().total)), "{}\n{ended}", self.requests());
        let commit = self.scene.git(&["rev-parse", "HEAD"]);
        assert_eq!((ended.parameter("branch"), ended.parameter("commit")), (Some("work"), Some(commit.as_str())), "{ended}");
    }

    /// The model's requests, a line each.
    #[must_use]
    pub fn requests(&self) -> String {
        self.model.requests().iter().map(|record| format!("{record}\n")).collect()
    }
}
