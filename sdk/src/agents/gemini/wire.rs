//! The lines of Gemini CLI's `--output-format stream-json`, and of the files that it writes, as borrowed types.
//!
//! Only the fields that are read stand here. A field of a type other than the expected one counts as absent. The format:
//! <https://geminicli.com/docs/cli/headless/>; the recorded streams under `tests/fixtures/gemini-*` show what is really printed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The value if it is of that type.
fn lenient<'de, D: Deserializer<'de>, T: for<'a> Deserialize<'a>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

/// Any line.
#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) session_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) role: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) content: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) tool_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) tool_id: Option<String>,
    #[serde(default)]
    pub(super) parameters: Value,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) output: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) error: Option<Failure>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) severity: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) message: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) stats: Option<Stats>,
}

/// What failed.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Failure {
    #[serde(default, rename = "type", deserialize_with = "lenient")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) message: Option<String>,
}

/// What the run consumed, in all or of one model.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Stats {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) total_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) cached: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) models: Option<BTreeMap<String, Stats>>,
}

/// A line of a session's file: a message, if it has an `id`.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) tokens: Option<MessageTokens>,
}

/// Tokens of one answer, as the service counts them: the prompt with what was cached, reasoning apart from what was said.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct MessageTokens {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) input: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) output: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) cached: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) thoughts: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) tool: Option<u64>,
}

/// A record of the telemetry file.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) attributes: Option<Attributes>,
}

/// What a record of a request to the model says.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Attributes {
    #[serde(default, rename = "event.name", deserialize_with = "lenient")]
    pub(super) event: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) role: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) error: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) status_code: Option<u16>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) finish_reasons: Option<Vec<String>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) input_token_count: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) output_token_count: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) cached_content_token_count: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) thoughts_token_count: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) tool_token_count: Option<u64>,
}
