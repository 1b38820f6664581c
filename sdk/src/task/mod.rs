//! The task: what a platform wants done, as one validated document.
//!
//! The document is YAML or JSON of the shape of [`Task`]. [`Task::from_value`] checks all of it at once and names every wrong
//! field. A `Task` that exists holds no "maybe invalid" value: it is either whole or never made.

mod fields;
mod parse;
mod span;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prices::Prices;

pub(crate) use fields::nearest;
pub use fields::{FieldError, Got, without_credentials};
pub use parse::parse_mcp_servers;
pub use span::Span;

/// One unit of work: prompt, workspace, settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Task {
    /// The interface version that the platform speaks, `MAJOR.MINOR`; absent means the newest that the image speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_version: Option<String>,
    /// Which agent, and how it asks its model.
    pub agent: AgentSettings,
    /// What the agent is asked to do. Absent only where nothing is started (`agent-runner setup`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Where the agent works.
    #[serde(default)]
    pub workspace: Workspace,
    /// How git servers and forges are spoken to.
    #[serde(default)]
    pub git: GitAccess,
    /// User-level instructions, beside the repository's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// A directory of plugins: `<plugin>/skills/<skill>/SKILL.md`, `<plugin>/agents/<name>.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_dir: Option<PathBuf>,
    /// MCP servers that the agent is to use, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// A command that runs in the workspace before the agent, in exec form: no shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setup_command: Vec<String>,
    /// When to stop.
    #[serde(default)]
    pub limits: Limits,
    /// What models cost, by name; `*` is every other. For agents that tell no cost, or another than is paid.
    #[serde(default, skip_serializing_if = "Prices::is_empty")]
    pub prices: Prices,
    /// What of the repository's own agent configuration counts.
    #[serde(default)]
    pub trust: Trust,
    /// What the runner prints on stdout while the agent runs.
    #[serde(default)]
    pub log: LogFormat,
    /// Where the outcome is written.
    #[serde(default)]
    pub sinks: Sinks,
}

/// Which agent, and how it asks its model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSettings {
    /// `claude`, or another agent's or manifest's name, or the path of a manifest.
    #[serde(rename = "type")]
    pub kind: String,
    /// The directory of manifests, `NAME.toml` each, of agents that are not built in; absent means the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_dir: Option<PathBuf>,
    /// The model, in the agent's own spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Reasoning effort, in the agent's own spelling, for instance `low`, `medium`, `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// The base URL of a model gateway, without the protocol's version path (no `/v1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Continue the session of this id instead of beginning one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// The agent's program: a name on PATH or a path. Absent means the agent's usual name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// More arguments for the agent, after the runner's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_args: Vec<String>,
}

/// Where the agent works. No `repo` means: in the directory as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Workspace {
    /// URL of the repository: https, http, ssh (also `user@host:path`), git, file, or a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Branch, tag, or full commit id to check out; absent, or `HEAD`, means the remote's HEAD.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The working branch: taken up and fast-forwarded if the remote has it, else created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The branch that the work is meant for; absent means `ref` if that is a branch, else the remote's HEAD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_branch: Option<String>,
    /// How many commits of history to fetch; 0 means all.
    pub depth: u32,
    /// The directory of the work tree.
    pub dir: PathBuf,
    /// A partial-clone filter, for instance `blob:none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Fetch submodules too (needs the `git` program).
    pub submodules: bool,
    /// Fetch LFS objects too (needs the `git` and `git-lfs` programs).
    pub lfs: bool,
    /// More remotes, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub remotes: BTreeMap<String, String>,
    /// The directory within the work tree in which the agent is started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdirectory: Option<PathBuf>,
    /// Files to put into the work tree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InjectedFile>,
}

impl Default for Workspace {
    fn default() -> Self {
        Self {
            repo: None,
            reference: None,
            branch: None,
            base_branch: None,
            depth: 1,
            dir: PathBuf::from("."),
            filter: None,
            submodules: false,
            lfs: false,
            remotes: BTreeMap::new(),
            subdirectory: None,
            files: Vec::new(),
        }
    }
}

/// A file that is put into the work tree before the agent starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InjectedFile {
    /// Path relative to the work tree; never outside it, never into `.git`.
    pub path: PathBuf,
    /// The content.
    pub content: String,
    /// Whether it may be executed.
    #[serde(default)]
    pub executable: bool,
}

/// How git servers and forges are spoken to. Secrets come from files that are read anew at each use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GitAccess {
    /// File with the token or password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// User name that goes with the token; absent means `x-access-token`, which GitHub, GitLab and Forgejo accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Private key for ssh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_key_file: Option<PathBuf>,
    /// Known hosts for ssh; absent means that only hosts in the user's own file are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_hosts_file: Option<PathBuf>,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_file: Option<PathBuf>,
    /// Author name of commits; without it, whom the configuration names, else `agent-runner`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Author address of commits, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_email: Option<String>,
}

/// An MCP server, in the `{"mcpServers":{…}}` form that all agents' documentation uses. Without a `type`, a `command` means `stdio` and a
/// `url` means `http`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
#[schemars(transform = type_may_be_absent)]
pub enum McpServer {
    /// A program that speaks MCP on its stdin and stdout.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// Variables for it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
    },
    /// A server by streamable HTTP.
    Http {
        /// Its URL.
        url: String,
        /// Headers for each request.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    /// A server by HTTP with server-sent events, the older transport.
    Sse {
        /// Its URL.
        url: String,
        /// Headers for each request.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
}

/// Says in [`McpServer`]'s schema what its reader takes: most documents leave `type` out, and streamable HTTP has other names too.
fn type_may_be_absent(schema: &mut schemars::Schema) {
    let forms = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    for form in forms.into_iter().flatten() {
        let kind = form.pointer("/properties/type/const").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind == "http" {
            form["properties"]["type"] = serde_json::json!({"type": "string", "enum": ["http", "streamable-http", "streamableHttp"]});
        }
        if kind != "sse"
            && let Some(required) = form.get_mut("required").and_then(Value::as_array_mut)
        {
            required.retain(|name| name != "type");
        }
    }
}

/// When to stop. A limit that is absent does not apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// The whole task, clone and setup included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// The agent printed nothing for this long; `0s` means no limit.
    pub silence_timeout: Span,
    /// The agent's time from the request to end until it is killed. The report comes after it.
    pub grace: Span,
    /// How long the agent may live on after its stream said that it is done.
    pub linger: Span,
    /// Cost in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
    /// How often the model is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u64>,
    /// Generated tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// How often in a row the agent may repeat one request to the model; absent leaves it to the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: None,
            // Longer than the longest tool call that agents allow by default (10 minutes) and a slow answer after it.
            silence_timeout: Span::from_secs(30 * 60),
            // Kubernetes gives 30 s between SIGTERM and SIGKILL by default; the rest is for facts and sinks.
            grace: Span::from_secs(20),
            linger: Span::from_secs(5),
            max_cost_usd: None,
            max_turns: None,
            max_output_tokens: None,
            max_retries: None,
        }
    }
}

/// What of the repository's own agent configuration counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// All of it, as the work tree has it.
    Repository,
    /// As the base branch has it, not as the working branch changed it. In a directory that is no repository: as `instructions`.
    #[default]
    Base,
    /// Instruction files and skills only: nothing that starts a program or changes a setting.
    Instructions,
}

impl Trust {
    /// The word used in inputs and outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Base => "base",
            Self::Instructions => "instructions",
        }
    }
}

/// What the runner prints on stdout while the agent runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The agent's bytes as they came.
    #[default]
    Raw,
    /// For people: what the agent says, which tools it calls, tokens as they grow.
    Pretty,
    /// Normalised events, one JSON object a line.
    Events,
}

/// Where the outcome is written. What is absent is not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sinks {
    /// The Kubernetes termination message.
    pub termination_log: PathBuf,
    /// Its budget in bytes: min(4096, 12288 ÷ containers of the pod).
    pub termination_budget: u32,
    /// The whole outcome as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_file: Option<PathBuf>,
    /// A directory for one file per result. Files that the agent leaves there are claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results_dir: Option<PathBuf>,
    /// Normalised events, one JSON object a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_file: Option<PathBuf>,
    /// Print the marker block as the last lines of stdout.
    pub marker: bool,
    /// Files that the agent is asked to leave as results.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<DeclaredOutput>,
}

/// Where Kubernetes reads the termination message by default.
pub const DEFAULT_TERMINATION_LOG: &str = "/dev/termination-log";
/// The most that the kubelet reads of one container's message (`MaxContainerTerminationMessageLength` in the kubelet).
pub const MAX_TERMINATION_BUDGET: u32 = 4096;
/// Below this not even status, reason and exit code fit safely.
pub const MIN_TERMINATION_BUDGET: u32 = 128;

impl Default for Sinks {
    fn default() -> Self {
        Self {
            termination_log: PathBuf::from(DEFAULT_TERMINATION_LOG),
            termination_budget: MAX_TERMINATION_BUDGET,
            result_file: None,
            results_dir: None,
            events_file: None,
            marker: true,
            outputs: Vec::new(),
        }
    }
}

/// A file that the agent is asked to leave as a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredOutput {
    /// The result's key.
    pub name: String,
    /// The file, relative to the work tree.
    pub path: PathBuf,
    /// The value if the file is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}
