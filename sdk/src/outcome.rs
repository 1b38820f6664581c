//! The outcome: everything known at the end of a run, in one value from which every sink is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::results::{Results, key};
use crate::usage::{Usage, UsageByModel};
use crate::verdict::{Origin, Phase, Reason, Status};

/// Everything known at the end of a run. Written whole as `result.json`, and shortened as the termination message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The interface version that this document follows.
    pub interface_version: String,
    /// The runner's version.
    pub runner_version: String,
    /// What became of the task.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// The exit code of the runner, and so of the container.
    pub exit_code: u8,
    /// Whether the same task, started again later and unchanged, may well succeed.
    pub retry: bool,
    /// The phase that the run was in when its end was decided.
    pub phase: Phase,
    /// Whose doing the end was.
    pub origin: Origin,
    /// One sentence for people.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How the agent's process itself ended: its exit code, or 128 + the signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_exit_code: Option<u8>,
    /// The signal that ended the run or the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Facts and claims by key.
    #[serde(default)]
    pub results: Results,
    /// What the run consumed.
    #[serde(default)]
    pub usage: Usage,
    /// Whether `usage` is the agent's own final count, or what was seen until the run was cut.
    pub usage_complete: bool,
    /// The same by model, as far as the agent says it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub usage_by_model: UsageByModel,
    /// The agent's last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What was amiss and did not stop the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Files of the repository that `trust` put back or hid from the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put_back: Vec<String>,
    /// How long each phase took, in milliseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases_ms: BTreeMap<String, u64>,
    /// What the stream held.
    #[serde(default)]
    pub stream: StreamCounts,
    /// The last part of the agent's stderr, where the run did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_tail: Option<String>,
}

/// What the stream held, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamCounts {
    /// Bytes.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Lines of kinds that this version does not know.
    pub unknown_lines: u64,
    /// Lines that are not what the format promises.
    pub malformed_lines: u64,
    /// Lines so long that they were condensed before they were read.
    pub condensed_lines: u64,
}

impl Outcome {
    /// An outcome with nothing in it but how the run ended. Status, retry, hint and exit code follow from the reason.
    #[must_use]
    pub fn new(runner_version: &str, phase: Phase, origin: Origin, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            interface_version: crate::INTERFACE_VERSION.to_owned(),
            runner_version: runner_version.to_owned(),
            status: reason.status(),
            reason,
            exit_code: reason.code_rule().exit_code(None, None),
            retry: reason.retry(),
            phase,
            origin,
            message: message.into(),
            hint: Some(reason.hint()).filter(|hint| !hint.is_empty()).map(str::to_owned),
            agent_exit_code: None,
            signal: None,
            agent: None,
            results: Results::default(),
            usage: Usage::default(),
            usage_complete: false,
            usage_by_model: UsageByModel::new(),
            answer: None,
            warnings: Vec::new(),
            put_back: Vec::new(),
            phases_ms: BTreeMap::new(),
            stream: StreamCounts::default(),
            stderr_tail: None,
        }
    }

    /// The results as flat text, known keys in order of worth, then claims by name: what parameters, files and markers are written from.
    ///
    /// Usage is among them: from `results` where it is set there, else from `usage`.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&str, String)> {
        let known = key::ALL.iter().filter_map(|key| {
            let text = self.results.get(key).map(|result| result.value.to_string()).or_else(|| self.usage.text(key))?;
            Some((*key, text))
        });
        let others = self.results.iter().filter(|(key, _)| !key::ALL.contains(key)).map(|(key, result)| (key, result.value.to_string()));
        known.chain(others).collect()
    }
}
