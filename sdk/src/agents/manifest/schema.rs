//! The manifest as types: what `agent.toml` may hold. `spec/v1/manifest.schema.json` is generated from here.
//!
//! The rules by which a stream is read are types of [`super::rules`]. Nothing is checked here: `super::structure` holds a text against the
//! schema of these types, `super::check` against what they mean.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::rules::EventRule;
use super::template::Template;
use crate::agent::RepositoryPower;
use crate::verdict::Reason;

/// A coding agent, described by a file.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// The name by which a task asks for it: lower-case letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// The versions of the agent with which this manifest was tried.
    #[serde(default)]
    pub held_against: Vec<String>,
    /// What the agent cannot be given. A task that asks for it gets a warning.
    #[serde(default)]
    pub lacks: Vec<Ability>,
    /// What is started.
    pub command: Command,
    /// The variables that the agent gets.
    #[serde(default)]
    pub environment: Environment,
    /// The agent's configuration directory, for `{config}`.
    pub config_dir: Option<ConfigDir>,
    /// Files to write before the agent starts.
    #[serde(default, rename = "file")]
    pub files: Vec<File>,
    /// Where the task's instructions go.
    pub instructions: Option<Instructions>,
    /// Where the skills and sub-agents of plugins go.
    pub plugins: Option<Plugins>,
    /// Where MCP servers go.
    pub mcp: Option<Mcp>,
    /// How the agent's stdout is read.
    pub stream: Stream,
    /// Files that the agent writes beside its stream, and that say what its stream does not.
    #[serde(default, rename = "ledger")]
    pub ledgers: Vec<LedgerFiles>,
    /// What failures mean. The last row that matches wins; HTTP statuses have a meaning already.
    #[serde(default, rename = "reason")]
    pub reasons: Vec<ReasonRow>,
    /// The repository's files that configure the agent, for `trust`.
    #[serde(default)]
    pub repository: Vec<RepositoryRow>,
}

/// Something that a task may ask for and an agent may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// A model can be chosen.
    Model,
    /// A reasoning effort can be chosen.
    Effort,
    /// A model gateway can be named.
    Endpoint,
    /// A session can be continued.
    Resume,
    /// User-level instructions can be given.
    Instructions,
    /// Skills can be given.
    Skills,
    /// Sub-agents can be given.
    SubAgents,
    /// MCP servers that are programs can be given.
    McpStdio,
    /// MCP servers by streamable HTTP can be given.
    McpHttp,
    /// MCP servers by server-sent events can be given.
    McpSse,
}

impl Ability {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Model,
        Self::Effort,
        Self::Endpoint,
        Self::Resume,
        Self::Instructions,
        Self::Skills,
        Self::SubAgents,
        Self::McpStdio,
        Self::McpHttp,
        Self::McpSse,
    ];

    /// The word in a manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Effort => "effort",
            Self::Endpoint => "endpoint",
            Self::Resume => "resume",
            Self::Instructions => "instructions",
            Self::Skills => "skills",
            Self::SubAgents => "sub-agents",
            Self::McpStdio => "mcp-stdio",
            Self::McpHttp => "mcp-http",
            Self::McpSse => "mcp-sse",
        }
    }

    /// The field of a task that asks for it.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Model => "agent.model",
            Self::Effort => "agent.effort",
            Self::Endpoint => "agent.endpoint",
            Self::Resume => "agent.resume",
            Self::Instructions => "instructions",
            Self::Skills | Self::SubAgents => "pluginDir",
            Self::McpStdio | Self::McpHttp | Self::McpSse => "mcpServers",
        }
    }
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Command {
    /// The program: a name on PATH or a path.
    pub program: String,
    /// Its arguments. One that stands in a list of its own goes or stays with the others there: if a placeholder in it has no value,
    /// the whole list is left out.
    #[serde(default)]
    pub args: Vec<Arguments>,
    /// How the prompt goes in.
    #[serde(default)]
    pub prompt: PromptWay,
}

/// An argument, or several that belong together.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Arguments {
    /// One argument, left out if a placeholder in it has no value.
    One(Template),
    /// Several, left out together.
    Together(Vec<Template>),
}

impl Arguments {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[Template] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Together(all) => all,
        }
    }
}

/// How the prompt goes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PromptWay {
    /// On stdin: byte-exact and of any size.
    #[default]
    Stdin,
    /// In a private file, whose path is `{prompt-file}`.
    File,
    /// In the argument that holds `{prompt}`, behind an argument `--` or as `--flag={prompt}`. Less than 128 KiB.
    Argument,
    /// In the variable that holds `{prompt}`. Less than 128 KiB.
    Variable,
}

/// The variables that the agent gets, beside those of the container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Environment {
    /// Set, whatever the container says. One whose placeholder has no value is left as it is.
    pub set: BTreeMap<String, Template>,
    /// Set where the container does not say otherwise.
    pub default: BTreeMap<String, Template>,
    /// Taken away.
    pub unset: Vec<String>,
    /// Which variables hold secrets: they are masked in everything that is written.
    pub secrets: Vec<String>,
}

/// The agent's configuration directory.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConfigDir {
    /// The variable that names it, if the agent knows one.
    pub variable: Option<String>,
    /// Where it is otherwise, for instance `{home}/.agent`.
    pub default: Template,
}

/// A file to write. Exactly one of `text` and `merge` says what is in it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct File {
    /// Its path; begins with `{home}`, `{config}` or `{private}`.
    pub path: Template,
    /// Its whole text. If a placeholder in it has no value, the file is not written.
    pub text: Option<Template>,
    /// Fields to merge into the JSON object that is there, or into the TOML document where the path ends in `.toml`. A text whose
    /// placeholder has no value is left out; what an earlier run merged and this one does not is taken out again.
    pub merge: Option<Map<String, Value>>,
}

/// Where the task's instructions go; `{instructions}` and `{instructions-file}` are other ways.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Instructions {
    /// A file of Markdown that the agent reads for every project. What else stands in it stays.
    pub file: Option<Template>,
    /// Before the prompt, where the agent reads no such file.
    #[serde(default)]
    pub in_prompt: bool,
}

/// Where the skills and sub-agents of plugins go.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Plugins {
    /// Arguments for each plugin; `{plugin}` is its name, `{plugin-dir}` its directory.
    pub args: Vec<Template>,
    /// The directory in which the agent looks for skills: each becomes `PLUGIN:SKILL/SKILL.md` there.
    pub skills: Option<Template>,
    /// The directory in which the agent looks for sub-agents: each becomes `NAME.md` there.
    pub sub_agents: Option<Template>,
}

/// Where MCP servers go: into an object of a JSON or TOML file, each under its name, in a form for each kind.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mcp {
    /// The file, TOML where its path ends so, else JSON. Absent means a private one of JSON, whose path is `{mcp-file}`.
    pub file: Option<Template>,
    /// Where in it the servers stand, as a JSON pointer.
    #[serde(default = "mcp_pointer")]
    pub pointer: String,
    /// The form of a server that is a program: `{command}`, `{args}`, `{env}`, `{command-and-args}`, `{name}`.
    pub stdio: Option<Map<String, Value>>,
    /// The form of a server by streamable HTTP: `{url}`, `{headers}`, `{name}`.
    pub http: Option<Map<String, Value>>,
    /// The form of a server by server-sent events, likewise.
    pub sse: Option<Map<String, Value>>,
}

fn mcp_pointer() -> String {
    "/mcpServers".to_owned()
}

/// How the agent's stdout is read.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stream {
    /// `json-lines` (read by the rules below), `text` (lines for people, in which `[[reason]]` looks), `none` (only the exit code counts),
    /// or the name of a built-in agent whose stream it is like.
    pub format: String,
    /// What the lines of `json-lines` mean. Every rule that fits a line is applied, in this order.
    #[serde(default, rename = "event")]
    pub events: Vec<EventRule>,
}

/// Files that the agent writes beside its stream: JSON lines, read while they grow. Only what this run adds to them counts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LedgerFiles {
    /// The directory below which they lie; begins with `{home}`, `{config}` or `{private}`.
    pub dir: Template,
    /// How many directories deep below it; 0: in it.
    #[serde(default)]
    pub depth: u8,
    /// How their names begin.
    #[serde(default)]
    pub prefix: String,
    /// How their names end.
    pub suffix: String,
    /// What their lines mean, as those of the stream. Lines that no rule fits are passed over.
    #[serde(rename = "event")]
    pub events: Vec<EventRule>,
}

/// What a failure means. All that is given must be so.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReasonRow {
    /// The HTTP status that the stream reported.
    pub status: Option<u16>,
    /// A part of what the stream or stderr said, in any case of letters.
    pub text: Option<String>,
    /// The agent's exit code. With 0 a run that seems to have succeeded can be called failed.
    pub exit: Option<u8>,
    /// What it means.
    pub reason: Reason,
}

/// A path in the repository that configures the agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RepositoryRow {
    /// A file or directory, relative to the work tree.
    pub path: String,
    /// What it can do.
    pub power: Power,
}

/// What a file of the repository can do to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// It tells the agent something: instructions, skills.
    Instructs,
    /// It changes settings or starts programs: hooks, MCP servers.
    Executes,
    /// It can send the model's requests, with the key, elsewhere. Where `trust` leaves such a file in place, the agent is not
    /// started, unless the task trusts the repository.
    Redirects,
}

impl From<Power> for RepositoryPower {
    fn from(power: Power) -> Self {
        match power {
            Power::Instructs => Self::Instructs,
            Power::Executes | Power::Redirects => Self::Executes,
        }
    }
}
