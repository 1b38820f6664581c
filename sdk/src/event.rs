//! Events: what an agent's stream said, in words that are the same for every agent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// One understood thing in the stream. As JSON it is one object with `type`, written to `events.jsonl` and by `--log events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Event {
    /// The agent has begun.
    Started {
        /// Its session or thread id.
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<String>,
        /// The model it will ask.
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// Its own version.
        #[serde(skip_serializing_if = "Option::is_none")]
        agent_version: Option<String>,
    },
    /// The agent said something.
    Text {
        /// What it said.
        text: String,
        /// The call of the sub-agent that said it.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
    },
    /// The model reasoned, and the agent shows it.
    Thinking {
        /// The reasoning.
        text: String,
    },
    /// The agent calls a tool.
    ToolCall {
        /// The call's id.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments, as the agent gave them.
        input: serde_json::Value,
        /// The call of the sub-agent that makes it.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
    },
    /// A tool answered.
    ToolResult {
        /// The call's id.
        id: String,
        /// Whether the tool said that it failed.
        failed: bool,
        /// What it answered, shortened.
        output: String,
    },
    /// A sub-agent began or ended.
    SubAgent {
        /// The call or task id.
        id: String,
        /// `started`, `progress`, `completed`, `failed`, or the agent's own word.
        state: String,
        /// What it is for.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
    },
    /// What the run consumed so far, in all.
    Usage {
        /// The running total.
        usage: Usage,
        /// Whether the total is the agent's own final count.
        complete: bool,
    },
    /// A request to the model failed and will be made again.
    Retry {
        /// Which retry this is, from 1.
        attempt: u32,
        /// How many there will be at most.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_attempts: Option<u32>,
        /// How long the agent waits before it.
        #[serde(skip_serializing_if = "Option::is_none")]
        delay_ms: Option<u64>,
        /// The HTTP status, if there was an answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        http_status: Option<u16>,
        /// The error in the agent's words.
        error: String,
    },
    /// Something is amiss, and the agent goes on.
    Warning {
        /// What.
        message: String,
    },
    /// Something failed.
    Error {
        /// What.
        message: String,
        /// The HTTP status, if the model endpoint answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        http_status: Option<u16>,
    },
    /// The stream's terminal event: the agent says that it is done, well or not.
    Ended {
        /// Whether it says that it succeeded.
        succeeded: bool,
        /// Its own word for the end.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// A line of a kind that is known to carry nothing of interest.
    Ignored {
        /// The kind.
        kind: String,
    },
    /// A line of a kind that this version does not know.
    Unknown {
        /// The kind, if it had one.
        kind: String,
    },
    /// A line that is not what the stream format promises.
    Malformed {
        /// The beginning of it.
        head: String,
    },
}

impl Event {
    /// Whether this version has a kind of event of this name.
    #[must_use]
    pub fn is_known(kind: &str) -> bool {
        // Of a tag that it does not know serde says nothing else.
        match serde_json::from_value::<Self>(serde_json::json!({ "type": kind })) {
            Ok(_) => true,
            Err(error) => !error.to_string().starts_with("unknown variant"),
        }
    }
}
