//! The one table of settings: each name once. Variables, flags, `--help` and the spec's table come from it.

/// How the text of a variable or flag becomes a value of the task document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The text itself; the task's own checks say whether it is a number, a duration, a word of a list.
    Text,
    /// `true` or `false`; as a flag it needs no value.
    Switch,
    /// A JSON value.
    Json,
    /// A path to a file whose text is the value.
    TextFile,
    /// A path to a file whose JSON is the value.
    JsonFile,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable.
    pub variable: &'static str,
    /// Where the value stands in the task document, dotted.
    pub path: &'static str,
    /// How text becomes a value.
    pub kind: Kind,
    /// What `--help` shows in place of the value.
    pub value_name: &'static str,
    /// The heading in `--help`.
    pub group: &'static str,
    /// What it means, one or two sentences.
    pub help: &'static str,
}

impl Setting {
    /// The flag without its dashes: the variable's words.
    #[must_use]
    pub fn flag(&self) -> String {
        self.variable.trim_start_matches("AGENT_").to_ascii_lowercase().replace('_', "-")
    }
}

/// The variable that names the task document; its flag is `--task-file` or `--task`.
pub const TASK_FILE: &str = "AGENT_TASK_FILE";
/// The variable in which the agent finds the run's nonce.
pub const NONCE: &str = "AGENT_NONCE";

const TASK: &str = "Task";
const AGENT: &str = "Agent";
const WORKSPACE: &str = "Workspace";
const GIT: &str = "Git access";
const CONFIGURE: &str = "Configuration";
const LIMITS: &str = "Limits";
const SINKS: &str = "Results";

macro_rules! settings {
    ($( $group:ident: $variable:literal $kind:ident $path:literal $value:literal $help:literal; )*) => {
        /// Every setting, in the order of `--help`.
        pub const SETTINGS: &[Setting] = &[ $( Setting {
            variable: $variable, path: $path, kind: Kind::$kind, value_name: $value, group: $group, help: $help,
        }, )* ];
    };
}

settings! {
    TASK: "AGENT_TYPE" Text "agent.type" "NAME" "Which agent does the task, for instance `claude`; also the name of a manifest, or the path of one";
    TASK: "AGENT_PROMPT" Text "prompt" "TEXT" "What the agent is asked to do; also the command's one argument";
    TASK: "AGENT_PROMPT_FILE" TextFile "prompt" "FILE" "File with the prompt; use it for prompts of 128 KiB and more, which no variable can hold";
    TASK: "AGENT_INTERFACE_VERSION" Text "interfaceVersion" "X.Y" "The Agent Image Interface version that the platform speaks";
    AGENT: "AGENT_MANIFEST_DIR" Text "agent.manifestDir" "DIR" "Directory of manifests, NAME.toml each, of agents that are not built in [default: /etc/agent-runner/agents]";
    AGENT: "AGENT_MODEL" Text "agent.model" "NAME" "Model, in the agent's own spelling";
    AGENT: "AGENT_EFFORT" Text "agent.effort" "WORD" "Reasoning effort, in the agent's own spelling";
    AGENT: "AGENT_ENDPOINT" Text "agent.endpoint" "URL" "Base URL of a model gateway, without /v1; no file of the repository can override it";
    AGENT: "AGENT_RESUME" Text "agent.resume" "ID" "Continue this session instead of beginning one";
    AGENT: "AGENT_PROGRAM" Text "agent.program" "PROGRAM" "The agent's program, where it is not on PATH under its usual name";
    AGENT: "AGENT_EXTRA_ARGS" Json "agent.extraArgs" "JSON" "More arguments for the agent, as a JSON list of strings";
    WORKSPACE: "AGENT_REPO" Text "workspace.repo" "URL" "Repository to clone (https, http, ssh, git, file); absent means: work in the directory as it is";
    WORKSPACE: "AGENT_REF" Text "workspace.ref" "REF" "Branch, tag or full commit id to start from; absent, or `HEAD`, means the remote's HEAD";
    WORKSPACE: "AGENT_BRANCH" Text "workspace.branch" "NAME" "Working branch: fast-forwarded if the remote has it, else created";
    WORKSPACE: "AGENT_BASE_BRANCH" Text "workspace.baseBranch" "NAME" "Branch that the work is meant for";
    WORKSPACE: "AGENT_DEPTH" Text "workspace.depth" "N" "Commits of history to fetch, 0 for all [default: 1]";
    WORKSPACE: "AGENT_WORKSPACE_DIR" Text "workspace.dir" "DIR" "Directory of the work tree [default: the current directory]";
    WORKSPACE: "AGENT_SUBDIRECTORY" Text "workspace.subdirectory" "DIR" "Directory within the work tree in which the agent is started";
    WORKSPACE: "AGENT_FILTER" Text "workspace.filter" "SPEC" "Partial-clone filter, for instance `blob:none`";
    WORKSPACE: "AGENT_SUBMODULES" Switch "workspace.submodules" "BOOL" "Fetch submodules too (needs git in the image)";
    WORKSPACE: "AGENT_LFS" Switch "workspace.lfs" "BOOL" "Fetch LFS objects too (needs git and git-lfs in the image)";
    WORKSPACE: "AGENT_REMOTES" Json "workspace.remotes" "JSON" "More remotes, as a JSON object of URLs by name";
    WORKSPACE: "AGENT_FILES" Json "workspace.files" "JSON" "Files to put into the work tree, as a JSON list of {path, content, executable}";
    GIT: "AGENT_TOKEN_FILE" Text "git.tokenFile" "FILE" "File with the git and forge token; git and gh read it anew at each use, so it may be rotated";
    GIT: "AGENT_GIT_USERNAME" Text "git.username" "NAME" "User name that goes with the token [default: x-access-token]";
    GIT: "AGENT_SSH_KEY_FILE" Text "git.sshKeyFile" "FILE" "Private key for ssh";
    GIT: "AGENT_KNOWN_HOSTS_FILE" Text "git.knownHostsFile" "FILE" "Known hosts for ssh";
    GIT: "AGENT_CA_BUNDLE_FILE" Text "git.caBundleFile" "FILE" "Certificates (PEM) to trust beside the system's";
    GIT: "AGENT_GIT_USER_NAME" Text "git.userName" "NAME" "Author of commits; without it, whom the configuration names, else agent-runner";
    GIT: "AGENT_GIT_USER_EMAIL" Text "git.userEmail" "EMAIL" "Author's address, likewise";
    CONFIGURE: "AGENT_INSTRUCTIONS" Text "instructions" "TEXT" "User-level instructions, beside the repository's own AGENTS.md or CLAUDE.md";
    CONFIGURE: "AGENT_INSTRUCTIONS_FILE" TextFile "instructions" "FILE" "File with the user-level instructions";
    CONFIGURE: "AGENT_PLUGIN_DIR" Text "pluginDir" "DIR" "Directory of plugins: PLUGIN/skills/SKILL/SKILL.md, PLUGIN/agents/NAME.md";
    CONFIGURE: "AGENT_MCP_SERVERS" Json "mcpServers" "JSON" "MCP servers, as {\"mcpServers\":{NAME:{command,args,env}|{url,headers}}}";
    CONFIGURE: "AGENT_MCP_SERVERS_FILE" JsonFile "mcpServers" "FILE" "File with the MCP servers, in the same form";
    CONFIGURE: "AGENT_SETUP_COMMAND" Json "setupCommand" "JSON" "Command to run in the workspace before the agent, as a JSON list of strings; no shell";
    CONFIGURE: "AGENT_TRUST" Text "trust" "WHOM" "What of the repository's agent configuration counts: `repository`, `base` or `instructions` [default: base]";
    LIMITS: "AGENT_TIMEOUT" Text "limits.timeout" "TIME" "For the whole task, for instance `30m`";
    LIMITS: "AGENT_SILENCE_TIMEOUT" Text "limits.silenceTimeout" "TIME" "The agent may print nothing for this long, 0 for ever [default: 30m; for exec 0]";
    LIMITS: "AGENT_GRACE" Text "limits.grace" "TIME" "The agent's time from a request to end until it is killed; give terminationGracePeriodSeconds 10 seconds more, for the report [default: 20s]";
    LIMITS: "AGENT_LINGER" Text "limits.linger" "TIME" "How long the agent may live on after its stream said that it is done [default: 5s; for exec for ever]";
    LIMITS: "AGENT_MAX_COST_USD" Text "limits.maxCostUsd" "USD" "Stop when the run has cost this much";
    LIMITS: "AGENT_PRICES" Json "prices" "JSON" "What models cost, US dollars for a million tokens, for agents that tell no cost: {MODEL:{input,output,cacheRead,cacheWrite}}, `*` for every other";
    LIMITS: "AGENT_PRICES_FILE" JsonFile "prices" "FILE" "File with the prices, in the same form";
    LIMITS: "AGENT_MAX_TURNS" Text "limits.maxTurns" "N" "Stop when the model was asked this often";
    LIMITS: "AGENT_MAX_OUTPUT_TOKENS" Text "limits.maxOutputTokens" "N" "Stop when this many tokens were generated";
    LIMITS: "AGENT_MAX_RETRIES" Text "limits.maxRetries" "N" "Stop when one request to the model failed more often than this in a row";
    SINKS: "AGENT_LOG" Text "log" "FORMAT" "What stdout shows: `raw` (the agent's own bytes), `pretty`, `events` [default: raw]";
    SINKS: "AGENT_TERMINATION_LOG" Text "sinks.terminationLog" "FILE" "The Kubernetes termination message [default: /dev/termination-log]";
    SINKS: "AGENT_TERMINATION_BUDGET" Text "sinks.terminationBudget" "BYTES" "Its budget: min(4096, 12288 / containers in the pod) [default: 4096]";
    SINKS: "AGENT_RESULT_FILE" Text "sinks.resultFile" "FILE" "The whole outcome as JSON";
    SINKS: "AGENT_RESULTS_DIR" Text "sinks.resultsDir" "DIR" "One file per result; files that the agent leaves there are claims";
    SINKS: "AGENT_EVENTS_FILE" Text "sinks.eventsFile" "FILE" "Normalised events, one JSON object a line";
    SINKS: "AGENT_OUTPUTS" Json "sinks.outputs" "JSON" "Files that the agent is asked to leave as results, as a JSON list of {name, path, default}";
    SINKS: "AGENT_MARKER" Switch "sinks.marker" "BOOL" "Print the marker block as the last lines of stdout [default: true; false for exec]";
}

/// The setting of a place in the document, for naming the source of an error.
pub fn settings_of_path(path: &str) -> impl Iterator<Item = &'static Setting> {
    SETTINGS
        .iter()
        .filter(move |setting| path == setting.path || path.strip_prefix(setting.path).is_some_and(|rest| rest.starts_with(['.', '['])))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use agent_sdk::task::Task;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_name_stands_once() {
        let names: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.variable).collect();
        assert_eq!(names.len(), SETTINGS.len());
        assert!(SETTINGS.iter().all(|setting| setting.variable.starts_with("AGENT_")));
    }

    /// A path of the table that the task does not know would be an error for every user who sets it.
    #[test]
    fn every_path_is_one_that_the_task_knows() {
        for setting in SETTINGS {
            let mut document = json!({"agent": {"type": "x"}});
            super::super::place(&mut document, setting.path, Value::from(77));
            let errors = Task::from_value(&document).err().unwrap_or_default();
            assert!(!errors.iter().any(|error| error.expected == "no such field"), "{}: {errors:?}", setting.variable);
        }
    }
}
