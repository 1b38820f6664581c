//! The termination message: the outcome as one small JSON object.
//!
//! Kubernetes keeps at most min(4096, 12288 ÷ containers of the pod) bytes of what stands in `/dev/termination-log` when a container ends,
//! and cuts the rest silently. So the cutting is done here, by a written order ([`fit`]), and what comes out is always one whole object:
//!
//! ```json
//! {"status":"failed","reason":"RateLimited","exitCode":75,"phase":"agent","origin":"agent","retry":true,"message":"429 …",
//!  "parameters":{"branch":"fix-7","commit":"9fceb02…","input-tokens":"2430"},"agent":"claude","cut":["message"],
//!  "resultFile":"/results/result.json","resultSha256":"…"}
//! ```
//!
//! Three makers: [`fit`] for an outcome, [`interim`] for the message that stands while the run goes on, [`last_words`] for what init writes
//! when the runner was killed. Writing the bytes somewhere is the runner's part.

mod draft;
mod fit;
mod interim;
mod last_words;
mod shorten;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verdict::{Origin, Phase, Reason, Status};

pub use fit::{WholeAt, fit};
pub use interim::{Progress, interim};
pub use last_words::{Death, LastWords, last_words};

/// In [`TerminationMessage::cut`]: more was left out than there was room to name.
pub const CUT_MORE: &str = "*";

/// A termination message, read back.
///
/// `status`, `reason` and `exitCode` are there in every message of 128 bytes or more, first and in this order. Everything else may be
/// absent because the outcome has none or because there was no room; in the latter case `cut` names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TerminationMessage {
    /// What became of the task.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// The exit code of the container.
    pub exit_code: u8,
    /// The phase that the run was in when its end was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Whose doing the end was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Whether the same task, started again later and unchanged, may well succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<bool>,
    /// One sentence for people. Shortened in its middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The results as flat text. Known keys are whole or absent; a long claim may be shortened at its end.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// The agent's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// How the agent's process itself ended: its exit code, or 128 + the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_exit_code: Option<u8>,
    /// The signal that ended the run or the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the tokens and the cost are the agent's own final count, or what was seen until the run was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_complete: Option<bool>,
    /// The parameters that the agent or a script claimed; the runner saw all others itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
    /// The interface version that the message follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_version: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What was amiss and did not stop the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The agent's last message. Shortened in its middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What was shortened or left out: names of fields, `parameters.NAME` for a parameter, and `*` if there was no room to name all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// Where the whole outcome stands, as a path in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_file: Option<String>,
    /// The SHA-256 of that file, in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_sha256: Option<String>,
}

impl TerminationMessage {
    /// Reads a message back. White space around it, which a writer may leave as padding, does not matter; fields of later versions neither.
    ///
    /// # Errors
    /// What is not one JSON object with status, reason and exit code.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
