//! What a test saw of an agent's abilities, noted where it was seen: the table in `docs/agents.md` is made of these notes alone.

use std::io::Write;

use serde::{Deserialize, Serialize};

/// Something that a user may want of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// A task with a commit: branch, commit, and tokens equal to the bill.
    Task,
    /// Failures of the model end with the right reason and exit code.
    Reasons,
    /// Tokens equal the bill in every run that ends.
    Usage,
    /// Tokens of sub-agents and side models are counted.
    SubAgentUsage,
    /// A killed run has the tokens of the answers before.
    PartialUsage,
    /// What it cost, in US dollars.
    Cost,
    /// SIGTERM and SIGINT end it, with nobody left.
    Signals,
    /// A prompt of 1 MiB.
    LongPrompt,
    /// A prompt that begins with a dash or a slash, or holds quotes and line breaks, byte for byte.
    AnyPrompt,
    /// User-level instructions.
    Instructions,
    /// The repository's `AGENTS.md`.
    RepositoryInstructions,
    /// Skills of plugins.
    Skills,
    /// Sub-agents of plugins.
    SubAgents,
    /// MCP servers that are programs.
    McpStdio,
    /// MCP servers by streamable HTTP, with headers.
    McpHttp,
    /// MCP servers by server-sent events.
    McpSse,
    /// The model.
    Model,
    /// Reasoning effort.
    Effort,
    /// A model gateway.
    Endpoint,
    /// Continuing a session by its id.
    Resume,
    /// A limit on how often the model is asked.
    TurnLimit,
    /// A limit on how often one request is repeated.
    RetryLimit,
    /// A hostile repository gets neither a request nor a program with the key.
    Trust,
    /// The key is hidden from the model's shell and MCP servers.
    HiddenKey,
}

/// Every ability, in the order of the table, and its words there.
pub const ABILITIES: &[(Ability, &str)] = &[
    (Ability::Task, "A task with a commit: branch, commit, and tokens equal to the bill"),
    (Ability::Reasons, "Failures of the model end with the right reason and exit code"),
    (Ability::Usage, "Tokens equal the bill in every run that ends"),
    (Ability::SubAgentUsage, "Tokens of sub-agents and side models are counted"),
    (Ability::PartialUsage, "A killed run has the tokens of the answers before"),
    (Ability::Cost, "What it cost, in US dollars"),
    (Ability::Signals, "SIGTERM and SIGINT end it, with nobody left"),
    (Ability::LongPrompt, "A prompt of 1 MiB"),
    (Ability::AnyPrompt, "A prompt that begins with a dash or a slash, or holds quotes and line breaks, byte for byte"),
    (Ability::Instructions, "User-level instructions"),
    (Ability::RepositoryInstructions, "The repository's `AGENTS.md`"),
    (Ability::Skills, "Skills of plugins"),
    (Ability::SubAgents, "Sub-agents of plugins"),
    (Ability::McpStdio, "MCP servers that are programs"),
    (Ability::McpHttp, "MCP servers by streamable HTTP, with headers"),
    (Ability::McpSse, "MCP servers by server-sent events"),
    (Ability::Model, "The model"),
    (Ability::Effort, "Reasoning effort"),
    (Ability::Endpoint, "A model gateway"),
    (Ability::Resume, "Continuing a session by its id"),
    (Ability::TurnLimit, "A limit on how often the model is asked"),
    (Ability::RetryLimit, "A limit on how often one request is repeated"),
    (Ability::Trust, "A hostile repository gets neither a request nor a program with the key"),
    (Ability::HiddenKey, "The key is hidden from the model's shell and MCP servers"),
];

/// How far it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Support {
    /// As asked.
    Yes,
    /// With this restriction.
    Partly(String),
    /// Not, for this reason.
    No(String),
}

/// One note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The agent's name.
    pub agent: String,
    /// What was tried.
    pub ability: Ability,
    /// What was seen.
    pub support: Support,
}

/// Notes what the calling test has just seen: the last thing that it does, after all that it asserts.
///
/// # Panics
/// The note cannot be written: an ability that is not noted would be missing.
pub fn saw(agent: &str, ability: Ability, support: Support) {
    let Some(path) = std::env::var_os("AGENT_TESTS_COVERAGE") else { return };
    let note = Seen { agent: agent.to_owned(), ability, support };
    let mut line = serde_json::to_string(&note).expect("a note is JSON");
    line.push('\n');
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    assert!(written.is_ok(), "what was seen cannot be noted: {written:?}");
}
