//! How Claude Code is configured and started.
//!
//! # Where things go
//! | what | how | why so |
//! |---|---|---|
//! | prompt | stdin | byte-exact, of any size; as an argument a leading dash and 128 KiB fail |
//! | instructions, a repository's `AGENTS.md` | `rules/agent-runner.md` in Claude's configuration directory | read beside the user's own `CLAUDE.md`, which stays untouched |
//! | MCP servers | a private file, `--mcp-config` | argv is public, and `env` and `headers` hold secrets |
//! | the same, where Claude is started later by others | its user's `.claude.json` | nobody would pass the argument |
//! | endpoint, model, plugins, where Claude is started later by others | its user's `settings.json`, `skills` and `agents` | the same |
//! | plugins | `--plugin-dir` each | no manifest needed; skills and sub-agents are named `plugin:name` |
//! | endpoint | `ANTHROPIC_BASE_URL` in the environment, and pinned in a private file, `--settings` | a repository's settings come after the environment, and before `--settings` |
//! | credentials | a file descriptor where Claude can take them so | hooks, MCP servers and the model's shell inherit the environment |
//!
//! What of the repository's own configuration counts is decided in [`super::trust`].

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::trust::{self, Reach};
use crate::agent::{FileContent, FileWrite, Installed, Plan, PlanError, PlanRequest, Plugin, RepositoryFile, Secret, Surroundings};
use crate::agents::{endpoint, later, plugins};
use crate::task::{McpServer, Task};

/// The variables that hold secrets of Claude's providers.
pub(super) const SECRET_VARIABLES: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_AWS_API_KEY",
    "ANTHROPIC_BEDROCK_MANTLE_API_KEY",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_FOUNDRY_API_KEY",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "CLAUDE_CODE_OAUTH_REFRESH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
];

/// The secrets that Claude reads from a file descriptor too, and the variables that name its number.
const BY_DESCRIPTOR: &[(&str, &str)] =
    &[("ANTHROPIC_API_KEY", "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR"), ("CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR")];

/// Variables that are set unless the environment has them already.
const DEFAULTS: &[(&str, &str)] = &[
    // An image is what its builder made it, and a run is no time to change it.
    ("DISABLE_AUTOUPDATER", "1"),
    // Telemetry, error reports, feature look-ups: without this it asks other hosts than the endpoint.
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
];

/// The efforts that 2.1.197 knows.
const EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];

/// Flags of the runner's own that a task's `extraArgs` may not repeat: the last one would win and undo the pinning.
const OWN_FLAGS: &[&str] = &["--settings", "--setting-sources", "--output-format", "--input-format"];

/// The plan for one task.
pub(super) fn plan(request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
    let PlanRequest { task, surroundings, plugins } = *request;
    let errors = check(task);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut plan = Plan { program: task.agent.program.clone().unwrap_or_else(|| "claude".to_owned()), ..Plan::default() };
    plan.args = ["--dangerously-skip-permissions", "--output-format=stream-json", "--verbose"].map(str::to_owned).to_vec();

    set_environment(&mut plan, task, surroundings);
    let secrets_in_environment = hand_over_secrets(&mut plan, surroundings);
    let reach = trust::reach(task.trust, surroundings, &secrets_in_environment);
    plan.warnings.extend(reach.warnings());

    plan.warnings.extend(unknown_effort(task));
    plan.warnings.extend(later::left_to_others("Claude", request, &[("agent.effort", task.agent.effort.is_some())]));

    plan.add_settings(task, surroundings);
    plan.add_mcp_servers(task, surroundings);
    plan.add_instructions(task, surroundings);
    if surroundings.for_later {
        plan.install_plugins(plugins, surroundings)?;
    } else {
        plan.args.extend(plugins.iter().map(|plugin| format!("--plugin-dir={}", plugin.dir.display())));
    }
    match reach {
        Reach::Everything => plan.env.extend(trust::against_later_changes(surroundings)),
        Reach::Instructions { .. } => plan.add_repository_instructions(surroundings),
    }
    plan.add_choices(task);
    plan.args.extend(task.agent.extra_args.iter().cloned());
    plan.args.push("-p".to_owned());
    plan.stdin = stdin(task.prompt.as_deref().unwrap_or_default());
    Ok(plan)
}

/// What Claude cannot take.
fn check(task: &Task) -> Vec<PlanError> {
    let mut errors = Vec::from_iter(endpoint::versioned(task, endpoint::V1, "Claude adds itself"));
    for (number, argument) in task.agent.extra_args.iter().enumerate() {
        let flag = argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag);
        if OWN_FLAGS.contains(&flag) {
            errors.push(PlanError {
                field: format!("agent.extraArgs[{number}]"),
                problem: format!("`{flag}` is set by the runner, which pins endpoint and credentials with it"),
                hint: "put lasting settings into `settings.json` in Claude's configuration directory".into(),
            });
        }
    }
    errors
}

/// Claude says so on stderr only, and goes on with its default. A warning, since a later version may know more of them.
fn unknown_effort(task: &Task) -> Option<String> {
    let effort = task.agent.effort.as_ref().filter(|effort| !EFFORTS.contains(&effort.as_str()))?;
    Some(format!("Claude may ignore the effort `{effort}`; known are {}", EFFORTS.join(", ")))
}

/// The prompt as Claude takes it for text.
fn stdin(prompt: &str) -> Vec<u8> {
    // What begins with `/` is taken for a command, and an unknown one ends the run with code 0 and no model call. One line break
    // before it makes it text; nothing else is changed.
    let mut stdin = Vec::with_capacity(prompt.len() + 1);
    if prompt.starts_with('/') {
        stdin.push(b'\n');
    }
    stdin.extend_from_slice(prompt.as_bytes());
    stdin
}

/// The variables that are no secrets.
fn set_environment(plan: &mut Plan, task: &Task, surroundings: &Surroundings) {
    let mut set = |name: &str, value: String| plan.env.insert(name.to_owned(), Some(value));
    for (name, value) in DEFAULTS {
        if !surroundings.env.contains_key(*name) {
            set(name, (*value).to_owned());
        }
    }
    if let Some(home) = surroundings.home.to_str().filter(|home| surroundings.env.get("HOME").map(String::as_str) != Some(*home)) {
        set("HOME", home.to_owned());
    }
    if let Some(endpoint) = &task.agent.endpoint {
        set("ANTHROPIC_BASE_URL", endpoint.clone());
    }
    if let Some(retries) = task.limits.max_retries {
        set("CLAUDE_CODE_MAX_RETRIES", retries.to_string());
    }
    if surroundings.is_root {
        // As root it refuses `--dangerously-skip-permissions` unless it is told that this is a sandbox; a container is one.
        set("IS_SANDBOX", "1".to_owned());
    }
    if SECRET_VARIABLES.iter().any(|name| surroundings.env.contains_key(*name)) {
        // "Routing and credentials come from the host": what settings files say about them is ignored, in every file. Only where
        // the environment does hold credentials: else they are in the user's own settings, which must count then.
        set("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1".to_owned());
    }
}

/// Moves the secrets that can be read from a descriptor out of the environment; gives the names of those that stay in it.
fn hand_over_secrets(plan: &mut Plan, surroundings: &Surroundings) -> Vec<&'static str> {
    let present = |name: &&&'static str| surroundings.env.get(**name).is_some_and(|value| !value.is_empty());
    let mut staying = Vec::new();
    for secret in SECRET_VARIABLES.iter().filter(present) {
        let Some((_, variable)) = BY_DESCRIPTOR.iter().find(|(name, _)| name == secret) else {
            staying.push(*secret);
            continue;
        };
        let value = surroundings.env.get(*secret).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
        plan.descriptors.insert((*variable).to_owned(), Secret(value));
        plan.env.insert((*secret).to_owned(), None);
    }
    staying
}

/// Claude's configuration directory.
fn config_dir(surroundings: &Surroundings) -> PathBuf {
    let given = surroundings.env.get("CLAUDE_CONFIG_DIR").filter(|dir| !dir.is_empty());
    given.map_or_else(|| surroundings.home.join(".claude"), |dir| surroundings.workdir.join(dir))
}

/// The file in which Claude keeps what it knows of its user, MCP servers among it.
fn user_config(surroundings: &Surroundings) -> PathBuf {
    let given = surroundings.env.get("CLAUDE_CONFIG_DIR").filter(|dir| !dir.is_empty());
    given.map_or_else(|| surroundings.home.clone(), |dir| surroundings.workdir.join(dir)).join(".claude.json")
}

/// A file of this run's only. They stand beside one another: a directory of their own would be made and removed by every run, which takes
/// longer than everything that is written into it.
fn own(surroundings: &Surroundings, name: &str) -> PathBuf {
    surroundings.private_dir.join(format!("claude-{name}"))
}

fn json_file(value: &Value) -> FileContent {
    FileContent::Replace(format!("{value:#}\n").into_bytes())
}

impl Plan {
    /// What no file of the repository overrides.
    fn add_settings(&mut self, task: &Task, surroundings: &Surroundings) {
        let endpoint = task.agent.endpoint.as_ref().or_else(|| surroundings.env.get("ANTHROPIC_BASE_URL"));
        // Only what the container gave: what it left to the user's own settings is theirs to say.
        let given = trust::PINNED.iter().filter_map(|name| Some(((*name).to_owned(), json!(surroundings.env.get(*name)?))));
        let mut env: Map<String, Value> = given.collect();
        if let Some(endpoint) = endpoint {
            env.insert("ANTHROPIC_BASE_URL".to_owned(), json!(endpoint));
        }
        if surroundings.for_later {
            let fields =
                [("env", (!env.is_empty()).then_some(Value::Object(env))), ("model", task.agent.model.as_ref().map(|model| json!(model)))];
            let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
            let path = config_dir(surroundings).join("settings.json");
            self.files.push(FileWrite { path, content: FileContent::MergeJson(fields), private: true });
            return;
        }
        let path = own(surroundings, "settings.json");
        // A file and not an argument: an endpoint may hold a password, and argv is public.
        self.args.push(format!("--settings={}", path.display()));
        self.files.push(FileWrite { path, content: json_file(&json!({ "env": env })), private: true });
    }

    fn add_mcp_servers(&mut self, task: &Task, surroundings: &Surroundings) {
        if task.mcp_servers.is_empty() {
            return;
        }
        let servers: Map<String, Value> = task
            .mcp_servers
            .iter()
            .map(|(name, server)| {
                let server = match server {
                    McpServer::Stdio { command, args, env } => json!({ "type": "stdio", "command": command, "args": args, "env": env }),
                    McpServer::Http { url, headers } => json!({ "type": "http", "url": url, "headers": headers }),
                    McpServer::Sse { url, headers } => json!({ "type": "sse", "url": url, "headers": headers }),
                };
                (name.clone(), server)
            })
            .collect();
        if surroundings.for_later {
            // The user's own servers, which Claude starts unasked.
            let fields = Map::from_iter([("mcpServers".to_owned(), Value::Object(servers))]);
            let path = user_config(surroundings);
            self.files.push(FileWrite { path, content: FileContent::MergeJson(fields), private: true });
            return;
        }
        let path = own(surroundings, "mcp.json");
        self.args.push(format!("--mcp-config={}", path.display()));
        self.files.push(FileWrite { path, content: json_file(&json!({ "mcpServers": servers })), private: true });
    }

    /// Skills and sub-agents where Claude finds its user's own.
    fn install_plugins(&mut self, plugins: &[Plugin], surroundings: &Surroundings) -> Result<(), Vec<PlanError>> {
        for (name, wanted) in [("skills", plugins::skills(plugins)?), ("agents", plugins::sub_agent_files(plugins)?)] {
            let path = config_dir(surroundings).join(name);
            self.files.push(FileWrite { path, content: FileContent::Install(wanted), private: false });
        }
        Ok(())
    }

    /// The task's instructions, and the repository's `AGENTS.md`, which Claude does not read by itself.
    fn add_instructions(&mut self, task: &Task, surroundings: &Surroundings) {
        let mut text = task.instructions.clone().unwrap_or_default();
        for path in agents_md(surroundings) {
            let path = surroundings.work_tree.join(path);
            let Some(path) = path.to_str().filter(|path| is_importable(path)) else {
                self.warnings.push(format!("`{}` is not read: Claude cannot import a path with such characters", path.display()));
                continue;
            };
            if !text.is_empty() {
                text.truncate(text.trim_end().len());
                text.push_str("\n\n");
            }
            text.push('@');
            text.push_str(path);
            text.push('\n');
        }
        let content = if text.is_empty() { FileContent::Absent } else { FileContent::Replace(text.into_bytes()) };
        self.files.push(FileWrite { path: config_dir(surroundings).join("rules/agent-runner.md"), content, private: false });
    }

    /// The repository's instruction files and skills, handed over one by one, since no settings of the repository are loaded.
    fn add_repository_instructions(&mut self, surroundings: &Surroundings) {
        self.args.push("--setting-sources=user".to_owned());
        self.args.push(format!("--add-dir={}", surroundings.work_tree.display()));
        if surroundings.workdir != surroundings.work_tree {
            self.args.push(format!("--add-dir={}", surroundings.workdir.display()));
        }
        self.env.insert("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD".to_owned(), Some("1".to_owned()));
        let skills = Path::new(".claude/skills");
        if surroundings.repository_files.get(skills) == Some(&RepositoryFile::Directory) {
            // As a plugin of its own, and as a copy: a plugin directory may hold hooks and MCP servers too.
            let plugin = own(surroundings, "repository");
            self.files.push(FileWrite {
                path: plugin.join("skills"),
                content: FileContent::Install([(PathBuf::new(), Installed::Tree(surroundings.work_tree.join(skills)))].into()),
                private: false,
            });
            self.args.push(format!("--plugin-dir={}", plugin.display()));
        }
    }

    fn add_choices(&mut self, task: &Task) {
        // Written as `--flag=value`, since a value may begin with a dash.
        let choices = [
            ("--model", task.agent.model.clone()),
            ("--effort", task.agent.effort.clone()),
            ("--resume", task.agent.resume.clone()),
            ("--max-turns", task.limits.max_turns.map(|turns| turns.to_string())),
            ("--max-budget-usd", task.limits.max_cost_usd.map(|cost| cost.to_string())),
        ];
        self.args.extend(choices.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value?))));
        if task.limits.max_output_tokens.is_some() {
            // Without it the stream says of an answer what was generated when it began, and a limit would bite after hundreds of answers.
            self.args.push("--include-partial-messages".to_owned());
        }
    }
}

/// Each `AGENTS.md` beside which there is no `CLAUDE.md`, relative to the work tree.
fn agents_md(surroundings: &Surroundings) -> impl Iterator<Item = &Path> {
    let files = &surroundings.repository_files;
    files.iter().filter(|(path, file)| path.ends_with("AGENTS.md") && matches!(file, RepositoryFile::File(_))).filter_map(|(path, _)| {
        let beside = |name: &str| files.contains_key(&path.with_file_name(name));
        (!beside("CLAUDE.md") && !beside(".claude/CLAUDE.md")).then_some(path.as_path())
    })
}

/// An import is `@path`, and ends at white space.
fn is_importable(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'+' | b'@'))
}
