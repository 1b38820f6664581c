//! Evidence: what was seen of an image, scenario by scenario. All that checks read.
//!
//! [`store`] keeps it as a directory and reads it back, so that it can be judged again without an engine.

mod ended;
mod records;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use ended::Ended;
pub use records::{AgentEvent, AgentRecord, GitRequest, HeadFact, McpRequest, ModelRequest, PromptWay};

use super::subject::Subject;
use crate::model::bill::Tokens;

/// Everything that was seen in one go of the suite.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// What it was seen with, and of what.
    pub about: About,
    /// What was seen in each scenario that was run, by its name.
    pub runs: BTreeMap<String, Run>,
}

/// What evidence was seen with, and of what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The suite's version.
    pub suite_version: String,
    /// The engine's name.
    pub engine: String,
    /// What the engine can do.
    pub abilities: BTreeSet<Ability>,
    /// The image.
    pub subject: Subject,
    /// Values that must stand in no report: the suite's canaries, by what they stand for.
    pub canaries: BTreeMap<String, String>,
}

/// Something that an engine can do or see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// Look at the image's configuration and labels.
    Configuration,
    /// Look into the image's file system.
    Files,
    /// Start the image.
    Start,
    /// Start it as PID 1 of a PID namespace of its own.
    PidNamespace,
    /// Start it as any user and group.
    User,
    /// Start it with a root file system that cannot be written.
    ReadOnlyRoot,
    /// Start it without capabilities and with `no_new_privs`.
    NoCapabilities,
}

impl Ability {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Configuration, Self::Files, Self::Start, Self::PidNamespace, Self::User, Self::ReadOnlyRoot, Self::NoCapabilities];

    /// As a half sentence after "this engine cannot".
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Configuration => "look at the image's configuration",
            Self::Files => "look into the image's file system",
            Self::Start => "start the image",
            Self::PidNamespace => "start the image as PID 1",
            Self::User => "start the image as any user",
            Self::ReadOnlyRoot => "make the root file system read-only",
            Self::NoCapabilities => "take capabilities away",
        }
    }
}

/// What was seen in one scenario.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// What was told and seen, but for bytes.
    pub facts: RunFacts,
    /// Stdout, whole up to the suite's bound.
    pub stdout: Vec<u8>,
    /// Stderr, likewise.
    pub stderr: Vec<u8>,
    /// The termination message, if the file was written.
    pub termination: Option<Vec<u8>>,
    /// The result file, if it is there.
    pub result_file: Option<Vec<u8>>,
    /// The events file, if it is there.
    pub events_file: Option<Vec<u8>>,
    /// The regular files of the results directory, by name.
    pub results: BTreeMap<String, Vec<u8>>,
}

/// What was told and seen in one scenario, but for bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunFacts {
    /// The container's environment, as the scenario set it beside the image's own.
    pub env: BTreeMap<String, String>,
    /// What the scenario knows and checks want: for instance the commit that was served.
    pub known: BTreeMap<String, String>,
    /// How the container ended.
    pub ended: Ended,
    /// What kept the scenario from being run as it should, and is the suite's own fault or the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What the engine cannot do, so that the scenario was not run.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<Ability>,
    /// What the image lacks, so that the scenario was not run: its own fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prerequisite: Option<String>,
    /// Why the scenario says nothing about this image, for instance since its agent speaks to no model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inapplicable: Option<String>,
    /// What the suite's programs in the container wrote down, in order.
    pub records: Vec<AgentRecord>,
    /// What the git server was asked, in order.
    pub git: Vec<GitRequest>,
    /// What the MCP server over HTTP was asked, in order.
    pub mcp: Vec<McpRequest>,
    /// What the model server was asked, in order.
    pub model: Vec<ModelRequest>,
    /// How many connections it had, also those on which nothing was asked.
    #[serde(skip_serializing_if = "is_zero")]
    pub model_connections: u64,
    /// What it billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bill: Option<Tokens>,
    /// Files below the workspace when all had ended that hold the token, by their path in it.
    pub token_in: Vec<String>,
    /// Entries of the workspace directory when all had ended, but for none: at most a hundred.
    pub workspace: Vec<String>,
    /// HEAD of the workspace when all had ended, if it is a repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadFact>,
    /// Whether a file that only a followed link leads to is as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untouched: Option<bool>,
    /// Milliseconds from the last signal that the scenario sent to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_signal_ms: Option<u64>,
    /// Milliseconds from start to end.
    pub duration_ms: u64,
    /// Whether stdout or stderr was longer than the suite keeps.
    pub shortened: bool,
}

/// For serde.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Run {
    /// The record of the agent's start, if it was started.
    #[must_use]
    pub fn agent_started(&self) -> Option<&AgentRecord> {
        self.records("agent").find(|record| matches!(record.event, AgentEvent::Started { .. }))
    }

    /// What the program in this role wrote down.
    pub fn records<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a AgentRecord> {
        self.facts.records.iter().filter(move |record| record.role == role)
    }

    /// A thing that the scenario knows.
    #[must_use]
    pub fn known(&self, name: &str) -> &str {
        self.facts.known.get(name).map_or("", String::as_str)
    }

    /// The termination message as JSON.
    #[must_use]
    pub fn message(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.termination.as_deref()?).ok()
    }

    /// The result file as JSON.
    #[must_use]
    pub fn outcome(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.result_file.as_deref()?).ok()
    }
}
