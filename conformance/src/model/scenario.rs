//! A scenario: what the scripted model says, as data. TOML or JSON; unknown fields are errors that name them.
//!
//! ```toml
//! name = "flaky-429"
//! about = "two rate limits, then the work is done"
//!
//! [parameters]                       # what a user may set; {{name}} in any string below
//! command = "git commit -am done"
//!
//! [[turns]]
//! times = 2
//! fault = { status = { code = 429, retry-after = 1 } }
//!
//! [[turns]]
//! reply = { content = [{ shell = "{{command}}" }], usage = { input = 1000, output = 50, cache-read = 200 } }
//!
//! [[turns]]
//! reply = { content = [{ text = "Done." }], usage = { input = 1200, output = 60 } }
//! ```
//!
//! **Which turn answers** is decided by the request, not by a counter of requests: a turn whose reply calls a tool
//! belongs to one round of the conversation (to `times` rounds, or to all that follow with `forever`), and a request
//! that carries the results of *n* rounds of tool calls is answered by the turn of round *n*. So a client that
//! repeats a request gets the same answer again. Faults, and replies that call no tool, belong to the same round as
//! the turn after them and are used `times` times (default 1) before it; the last turn of a round goes on for ever,
//! and after the last round the last turn repeats. See [`super::play`].
//!
//! Two kinds of request never use up a turn: **auxiliary** calls (titles, topic detection, probes), answered with
//! [`Auxiliary`], and the conversations of **sub-agents**, recognised by their prompt and answered with their own turns.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{builtin, check};

/// A whole script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in paths, lists and records.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub about: String,
    /// Names that templates may use, with their defaults.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// How calls beside the conversation are answered.
    #[serde(default)]
    pub auxiliary: Auxiliary,
    /// The main conversation.
    pub turns: Vec<Turn>,
    /// The conversations of sub-agents.
    #[serde(default)]
    pub subagents: Vec<Subagent>,
}

/// How titles, topic detection, side models and probes are answered: at once, with a small usage of their own,
/// whatever fault the conversation has just then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Auxiliary {
    /// What makes a call auxiliary.
    pub rule: AuxiliaryRule,
    /// What is answered.
    pub text: String,
    /// What is billed.
    pub usage: Usage,
}

impl Default for Auxiliary {
    fn default() -> Self {
        // 7/3 is small and odd, so that it stands out in a sum that should not contain it, or lacks it.
        let usage = Usage { input: 7, output: 3, ..Usage::default() };
        Self { rule: AuxiliaryRule::NoTools, text: "Scripted".into(), usage }
    }
}

/// What makes a call auxiliary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuxiliaryRule {
    /// A call that offers no tools, or asks for a single token. Coding agents offer tools in every call of their conversation.
    NoTools,
    /// No call is auxiliary: for agents that are run without tools.
    Never,
}

/// The script of a sub-agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Subagent {
    /// Its name in the records.
    pub name: String,
    /// Text that its first user message contains and the main conversation's does not. May be a template.
    pub prompt: String,
    /// What it is answered.
    pub turns: Vec<Turn>,
}

/// One thing that the model does: a reply or a fault, so many times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Turn {
    /// An answer of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// A failure in place of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// How the bytes travel.
    #[serde(default)]
    pub delivery: Delivery,
    /// How often, before the next turn's time comes. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Never the next turn.
    #[serde(default)]
    pub forever: bool,
}

/// An answer of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Reply {
    /// What it says and calls, in order; may be empty.
    #[serde(default)]
    pub content: Vec<Block>,
    /// What it costs.
    pub usage: Usage,
    /// Why it ends. Default: `tool-use` if it calls a tool, else `end-turn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Block {
    /// Text for the user.
    Text(String),
    /// Reasoning that is shown.
    Thinking(String),
    /// A shell command, run in whichever shell tool the request offers.
    Shell(String),
    /// A task for a sub-agent, given by whichever tool for it the request offers.
    Subagent(String),
    /// A call of a tool by its name.
    Tool(ToolCall),
    /// A call of an MCP server's tool, by the name that the server gave it.
    Mcp(McpCall),
}

/// A call of a tool by its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ToolCall {
    /// The tool's name, as the agent offers it.
    pub name: String,
    /// Its input.
    #[serde(default)]
    pub input: Value,
}

/// A call of an MCP tool. Agents put the server's name before the tool's in different ways; the offered tool is
/// taken whose name ends in the tool's and, if a server is given, contains it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct McpCall {
    /// The tool's name, as its server lists it.
    pub tool: String,
    /// The server's name in the agent's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Its input.
    #[serde(default)]
    pub input: Value,
}

/// What an answer costs, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Usage {
    /// Prompt tokens that were neither read from the cache nor written to it.
    pub input: u64,
    /// Generated tokens, reasoning included.
    pub output: u64,
    /// Prompt tokens read from the cache.
    #[serde(default)]
    pub cache_read: u64,
    /// Prompt tokens written to the cache.
    #[serde(default)]
    pub cache_write: u64,
    /// The part of the output that was reasoning; some protocols cannot say it.
    #[serde(default)]
    pub reasoning: u64,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// All is said.
    EndTurn,
    /// Tools are to be run.
    ToolUse,
    /// The output limit was reached.
    MaxTokens,
    /// The model refuses.
    Refusal,
}

/// A failure in place of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// An HTTP error in the protocol's own form.
    Status(StatusFault),
    /// The prompt is longer than the model's context.
    ContextLength(ContextLength),
    /// The account has no money left.
    Credit(Credit),
    /// The request is taken and never answered; the connection stays open.
    Silence(Nothing),
    /// The connection is closed without one byte.
    Close(Nothing),
}

/// An HTTP error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StatusFault {
    /// 400 to 599.
    pub code: u16,
    /// Seconds, in a `retry-after` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The message; by default one that names the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// "prompt is too long: `tokens` tokens > `limit` maximum".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ContextLength {
    /// How long the prompt was.
    pub tokens: u64,
    /// How long it may be.
    pub limit: u64,
}

/// No money left; no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credit {}

/// No settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// How the bytes of an answer travel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Delivery {
    /// Milliseconds before the first byte.
    pub delay_ms: u64,
    /// Few bytes at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// An early end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupt: Option<Interrupt>,
}

/// Few bytes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pace {
    /// So many bytes …
    pub bytes: usize,
    /// … each time after so many milliseconds.
    pub every_ms: u64,
}

/// An early end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Interrupt {
    /// Where.
    pub at: Place,
    /// How.
    pub by: Means,
}

/// A place in an answer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The headers are sent, nothing of the body.
    Headers,
    /// The first event is sent, which tells the prompt's tokens where a protocol tells them so early.
    Start,
    /// Half of the bytes are sent.
    Middle,
    /// All is sent but the last event: the final usage is told, unless it is that event which tells it.
    End,
}

/// How an answer is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// The connection is closed.
    Cut,
    /// The connection stays open and nothing comes any more.
    Silence,
    /// The protocol's error event says that the model is overloaded, and the body ends in order. (A whole answer, in one piece, is cut
    /// instead.)
    Overloaded,
}

impl Block {
    /// Whether this makes the agent run something.
    pub fn is_call(&self) -> bool {
        !matches!(self, Self::Text(_) | Self::Thinking(_))
    }
}

impl Reply {
    /// Whether it calls a tool.
    pub fn calls(&self) -> bool {
        self.content.iter().any(Block::is_call)
    }

    /// Why it ends, said or derived.
    pub fn stop(&self) -> Stop {
        self.stop.unwrap_or(if self.calls() { Stop::ToolUse } else { Stop::EndTurn })
    }
}

impl Turn {
    /// Whether the conversation is expected to go to its next round by this turn.
    pub fn advances(&self) -> bool {
        let whole = self.delivery.interrupt.is_none();
        whole && self.reply.as_ref().is_some_and(|reply| reply.calls() && reply.stop() == Stop::ToolUse)
    }
}

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// No such built-in scenario, and no such file.
    #[error("no scenario `{name}`{}", hint_names(.known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The file cannot be read.
    #[error("cannot read scenario `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or not a scenario.
    #[error("not a scenario in TOML: {0}")]
    Toml(String),
    /// Not JSON, or not a scenario.
    #[error("not a scenario in JSON: {0}")]
    Json(String),
    /// It parses, and makes no sense; each line names one fault.
    #[error("scenario `{name}` cannot be played:\n  {}", faults.join("\n  "))]
    Senseless {
        /// The scenario.
        name: String,
        /// What is wrong, each with its place.
        faults: Vec<String>,
    },
    /// A parameter that this scenario does not have.
    #[error("scenario `{scenario}` has no parameter `{name}`{}", hint_names(.known))]
    NoSuchParameter {
        /// The scenario.
        scenario: String,
        /// What was to be set.
        name: String,
        /// What can be set.
        known: Vec<String>,
    },
}

fn hint_names<T: fmt::Display>(known: &[T]) -> String {
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    if names.is_empty() { "; it has none".into() } else { format!("; there is: {}", names.join(", ")) }
}

impl Scenario {
    /// Parses and checks a scenario in TOML.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string()))?;
        scenario.checked()
    }

    /// Parses and checks a scenario in JSON.
    pub fn from_json(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = serde_json::from_str(text).map_err(|error| ScenarioError::Json(error.to_string()))?;
        scenario.checked()
    }

    /// The built-in scenario of that name; [`builtin::names`] lists them.
    pub fn builtin(name: &str) -> Result<Self, ScenarioError> {
        match builtin::text(name) {
            Some(text) => Self::from_toml(text),
            None => Err(ScenarioError::Unknown { name: name.into(), known: builtin::names().collect() }),
        }
    }

    /// Reads a file (`.json` as JSON, else TOML); a word without dot and slash is a built-in's name.
    pub fn read(name_or_path: &str) -> Result<Self, ScenarioError> {
        if !name_or_path.contains(['.', '/']) {
            return Self::builtin(name_or_path);
        }
        let path = Path::new(name_or_path);
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Read { path: path.to_path_buf(), source })?;
        if path.extension().is_some_and(|extension| extension == "json") { Self::from_json(&text) } else { Self::from_toml(&text) }
    }

    /// Sets a parameter that the scenario has.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, ScenarioError> {
        match self.parameters.get_mut(name) {
            Some(slot) => {
                value.clone_into(slot);
                Ok(self)
            }
            None => {
                Err(ScenarioError::NoSuchParameter { scenario: self.name, name: name.into(), known: self.parameters.into_keys().collect() })
            }
        }
    }

    /// The scenario itself, if it can be played. Call it on a scenario that was built in code;
    /// the parsers and [`ScriptedModel::start`](super::ScriptedModel::start) do.
    pub fn checked(self) -> Result<Self, ScenarioError> {
        let faults = check::faults(&self);
        if faults.is_empty() { Ok(self) } else { Err(ScenarioError::Senseless { name: self.name, faults }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        name = "minimal"
        [[turns]]
        reply = { content = [{ text = "Hello." }], usage = { input = 11, output = 5 } }
    "#;

    fn error_of(toml: &str) -> String {
        Scenario::from_toml(toml).expect_err("must not parse").to_string()
    }

    #[test]
    fn toml_and_json_give_the_same_scenario() {
        let from_toml = Scenario::from_toml(MINIMAL).unwrap();
        let json = serde_json::to_string(&from_toml).unwrap();
        assert_eq!(Scenario::from_json(&json).unwrap(), from_toml);
        let reply = from_toml.turns[0].reply.as_ref().unwrap();
        assert_eq!(reply.content, [Block::Text("Hello.".into())]);
        assert_eq!((reply.usage.input, reply.usage.output, reply.usage.cache_read), (11, 5, 0));
        assert_eq!(reply.stop(), Stop::EndTurn);
    }

    #[test]
    fn an_unknown_field_is_named_wherever_it_stands() {
        let places = [
            (r#"name = "minimal""#, "name = \"minimal\"\nwrongtop = 1", "wrongtop"),
            ("usage = { input = 11", "usage = { wronguse = 1, input = 11", "wronguse"),
            ("reply = {", "reply = { wrongreply = 1, ", "wrongreply"),
            ("{ text = \"Hello.\" }", "{ wrongblock = \"Hello.\" }", "wrongblock"),
            ("[[turns]]", "[[turns]]\nwrongturn = 1", "wrongturn"),
            ("[[turns]]", "[[turns]]\ndelivery = { wrongway = 1 }", "wrongway"),
            ("[[turns]]", "[auxiliary]\nwrongaux = 1\n[[turns]]", "wrongaux"),
            ("[[turns]]", "[[turns]]\nfault = { status = { code = 500, wrongstatus = 1 } }\n[[turns]]", "wrongstatus"),
            ("[[turns]]", "[[turns]]\nfault = { silence = { wrongsilence = 1 } }\n[[turns]]", "wrongsilence"),
        ];
        for (from, to, wrong) in places {
            let text = MINIMAL.replacen(from, to, 1);
            assert_ne!(text, MINIMAL, "`{from}` is not in the example");
            let error = error_of(&text);
            assert!(error.contains(&format!("`{wrong}`")), "does not name `{wrong}`: {error}");
        }
    }

    #[test]
    fn an_unknown_field_in_json_is_named() {
        let error = Scenario::from_json(r#"{"name": "x", "turn": []}"#).expect_err("unknown").to_string();
        assert!(error.contains("`turn`"), "{error}");
    }

    #[test]
    fn a_parameter_can_be_set_only_if_the_scenario_has_it() {
        let scenario = Scenario::builtin("success").unwrap().with("command", "true").unwrap();
        assert_eq!(scenario.parameters["command"], "true");
        let error = scenario.with("comand", "true").expect_err("no such parameter").to_string();
        assert!(error.contains("`comand`") && error.contains("there is: command"), "{error}");
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Scenario::read("sucess").expect_err("unknown").to_string();
        assert!(error.contains("`sucess`") && error.contains("success"), "{error}");
        let error = Scenario::read("/nonexistent/x.toml").expect_err("unreadable").to_string();
        assert!(error.contains("/nonexistent/x.toml"), "{error}");
    }
}
