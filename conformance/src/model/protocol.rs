//! What a wire protocol must do to be spoken by the scripted model. Each is one sibling file; [`PROTOCOLS`] lists them.
//!
//! A protocol is pure: bytes in, bytes out. It knows nothing of scenarios, sockets, or the ledger.

use hyper::Method;
use hyper::body::Bytes;
use serde_json::Value;

use super::anthropic::Anthropic;
use super::gemini::Gemini;
use super::openai_chat::OpenAiChat;
use super::openai_responses::OpenAiResponses;
use super::scenario::{Fault, Stop, Usage};
use super::tools::OfferedTool;

/// All protocols. A request belongs to the first that knows its path; the first one's error form is used for a path
/// that none knows.
pub const PROTOCOLS: &[&dyn Protocol] = &[&Anthropic, &OpenAiChat, &OpenAiResponses, &Gemini];

/// A wire protocol between an agent and a model.
pub trait Protocol: Sync {
    /// Its name in records.
    fn name(&self) -> &'static str;

    /// Understands a request; `None` if the path is not one of this protocol's. `path` is without prefix and query.
    fn read(&self, method: &Method, path: &str, body: &[u8]) -> Option<Call>;

    /// An answer as the events of a stream, in order.
    fn stream(&self, answer: &Answer) -> Vec<Piece>;

    /// An answer in one piece.
    fn whole(&self, answer: &Answer) -> Piece;

    /// The answer to a call that only counts a prompt's tokens.
    fn token_count(&self, tokens: u64) -> Bytes;

    /// Status and message of a fault that is an HTTP error; `None` for faults of the connection.
    fn fault(&self, fault: &Fault) -> Option<(u16, String)>;

    /// The events of a fault that is found out when an answer has begun; `None` where it is an HTTP error.
    fn streamed_fault(&self, _fault: &Fault, _model: &str) -> Option<Vec<Piece>> {
        None
    }

    /// The body of an HTTP error.
    fn error(&self, status: u16, message: &str, request_id: &str) -> Bytes;

    /// The body of an HTTP error that is this fault, where the fault tells more than status and message.
    fn fault_body(&self, _fault: &Fault, status: u16, message: &str, request_id: &str) -> Bytes {
        self.error(status, message, request_id)
    }

    /// The event that says in mid-stream that the model is overloaded.
    fn overloaded_event(&self) -> Bytes;
}

/// What a request wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// An answer of the model.
    Ask(Ask),
    /// The number of tokens in a prompt.
    CountTokens {
        /// The model whose tokens are to be counted.
        model: String,
    },
    /// A sign of life.
    Probe,
    /// Another transport, as a WebSocket: it is refused.
    Upgrade,
    /// It cannot be understood; the message says why.
    Malformed(String),
}

/// A question to the model, as far as a script needs to understand it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The model that is asked.
    pub model: String,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Whether the stream is to tell its usage, where a protocol leaves that to the request.
    pub stream_usage: bool,
    /// The tools that may be called.
    pub tools: Vec<OfferedTool>,
    /// How many rounds of tool calls it carries the results of.
    pub rounds: usize,
    /// The id of the sub-agent that was just started, where the agent goes on beside it unless it waits for that id.
    pub started: Option<String>,
    /// The text of the conversation's first user message.
    pub first_prompt: String,
    /// The output limit that it sets.
    pub max_output: Option<u64>,
    /// The JSON Schema that the answer's text must follow, if it asks for one.
    pub schema: Option<Value>,
}

/// An answer, with every template filled and every tool chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Unique on this server; letters, digits and `_`.
    pub id: String,
    /// The model that was asked.
    pub model: String,
    /// What is said and called, in order.
    pub content: Vec<Said>,
    /// Why it ends.
    pub stop: Stop,
    /// What it costs.
    pub usage: Usage,
    /// Whether its stream is to tell that, where a protocol leaves that to the request.
    pub stream_usage: bool,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Text for the user.
    Text(String),
    /// Reasoning that is shown.
    Thinking(String),
    /// A tool call.
    Call {
        /// The tool.
        name: String,
        /// Its input.
        input: Value,
    },
}

/// Some bytes of an answer, and what they tell about its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The bytes.
    pub bytes: Bytes,
    /// The whole usage as the client knows it once it has these bytes; `None` if they do not change it.
    pub told: Option<Told>,
}

/// What a client knows of the usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The usage.
    pub usage: Usage,
    /// Whether this is the final one.
    pub last: bool,
}

/// Parts of at most `size` bytes, on character borders; at least one, for an empty text is said, too.
pub fn text_parts(text: &str, size: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let mut end = size.max(1).min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
        if rest.is_empty() {
            return parts;
        }
    }
}

/// Part size for a text of this length: some twenty bytes, as models send them, but never more than a few hundred parts.
pub fn part_size(length: usize) -> usize {
    20.max(length / 256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_the_text(text in "\\PC{0,60}", size in 0_usize..9) {
            let parts = text_parts(&text, size);
            prop_assert_eq!(parts.concat(), text.clone());
            prop_assert!(parts.len() == 1 || parts.iter().all(|part| !part.is_empty()));
        }
    }
}
