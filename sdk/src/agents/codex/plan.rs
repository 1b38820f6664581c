//! How Codex is configured and started.
//!
//! # Where things go
//! | what | how | why so |
//! |---|---|---|
//! | prompt | stdin | byte-exact, of any size up to Codex' own limit; as an argument a leading dash and 128 KiB fail |
//! | endpoint, MCP servers, trust | `agent-runner.config.toml` in `CODEX_HOME`, a private file, by `--profile` | the user's `config.toml` stays untouched; argv is public, and endpoints and headers hold secrets |
//! | the runner's own settings | `--config` | a level that no file overrides |
//! | instructions | a section of `AGENTS.md` in `CODEX_HOME` | read beside the repository's own; what the user wrote there stays |
//! | skills, sub-agents | `skills/PLUGIN:SKILL`, `agents/NAME.toml` in `CODEX_HOME` | Codex knows no plugins of this kind |
//! | key | stays in the environment, and is kept from the model's shell | a file would outlive the run; see below |
//!
//! # Where the key is seen
//! Codex takes a key from a variable, from `auth.json`, or from a command. The command was tried with a pipe that can be read once: Codex
//! runs it several times at once, and again after each 401. So the key stays in a variable. The shell gets none of it
//! (`shell_environment_policy`, and no snapshot of the shell, which 0.148.0 takes from the whole environment); MCP servers get only the
//! variables that the task gives them. A program of the same user that looks for it in `/proc` finds it in Codex' own environment.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::trust;
use crate::agent::{FileContent, FileWrite, Ledger, LedgerForm, Plan, PlanError, PlanRequest, Surroundings};
use crate::agents::plugins::{self, SubAgent};
use crate::agents::{endpoint, later, limits};
use crate::task::{McpServer, Task};

/// The variables that hold secrets of Codex' providers.
pub(super) const SECRET_VARIABLES: &[&str] =
    &["AZURE_OPENAI_API_KEY", "CODEX_ACCESS_TOKEN", "CODEX_API_KEY", "CODEX_AUTH_JSON", "OPENAI_API_KEY"];

/// The profile that holds what is ours; also the name of our provider.
const PROFILE: &str = "agent-runner";

/// The most characters that Codex takes as a prompt.
const PROMPT_LIMIT: usize = 1 << 20;
/// The most retries that it can be told.
const MOST_RETRIES: u32 = 100;

/// What is set whatever files say.
const SETTINGS: &[&str] = &[
    // An image is what its builder made it, and a run is no time to change it.
    "check_for_update_on_startup=false",
    "analytics.enabled=false",
    // Looks for plugins on hosts of its own.
    "features.plugins=false",
    // A connection that is refused is tried for ever.
    "features.unbounded_connection_retries=false",
    // Holds the whole environment, in a file.
    "features.shell_snapshot=false",
];

/// The efforts that 0.169.0 knows.
const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"];

/// Flags of the runner's own that a task's `extraArgs` may not repeat or undo.
const OWN_FLAGS: &[&str] = &["-p", "--profile", "--json", "--trust", "--ignore-user-config", "-C", "--cd", "--worktree", "--ephemeral"];

/// The plan for one task.
pub(super) fn plan(request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
    let PlanRequest { task, surroundings, plugins } = *request;
    let mut errors = check(task);
    let mut keep = |result: Result<_, Vec<PlanError>>| result.map_err(|more| errors.extend(more)).unwrap_or_default();
    let skills = keep(plugins::skills(plugins));
    let sub_agents = keep(plugins::sub_agents(plugins, sub_agent));
    let levels = trust::levels(task.trust, surroundings).map_err(|error| errors.push(error)).unwrap_or_default();
    let auth_file = auth_file(surroundings).map_err(|error| errors.push(error)).unwrap_or_default();
    if !errors.is_empty() {
        return Err(errors);
    }

    let mut plan = Plan { program: task.agent.program.clone().unwrap_or_else(|| "codex".to_owned()), ..Plan::default() };
    let home = codex_home(surroundings);
    set_environment(&mut plan, surroundings);
    plan.warnings.extend(unknown_effort(task));
    plan.warnings.extend(limits::without_effect("Codex", task, limits::unsaid("codex")));
    plan.warnings.extend(later::left_to_others("Codex", request, &[]));
    if surroundings.for_later {
        add_config(&mut plan, &home, task, surroundings, levels);
    } else {
        add_settings(&mut plan, task);
        add_profile(&mut plan, &home, task, surroundings, levels);
    }
    if let Some(content) = auth_file {
        plan.files.push(FileWrite { path: home.join("auth.json"), content: FileContent::Replace(content), private: true });
    }
    add_instructions(&mut plan, &home, task, surroundings);
    plan.files.push(FileWrite { path: home.join("skills"), content: FileContent::Install(skills), private: false });
    plan.files.push(FileWrite { path: home.join("agents"), content: FileContent::Install(sub_agents), private: false });
    plan.ledgers = vec![rollouts(&home)];
    if let Some(model) = &task.agent.model {
        plan.args.push(format!("--model={model}"));
    }
    plan.args.extend(task.agent.extra_args.iter().cloned());
    if let Some(session) = &task.agent.resume {
        plan.args.extend(["resume".to_owned(), "--".to_owned(), session.clone()]);
    }
    // The prompt is on stdin.
    plan.args.push("-".to_owned());
    plan.stdin = task.prompt.as_deref().unwrap_or_default().as_bytes().to_vec();
    Ok(plan)
}

/// What Codex cannot take.
fn check(task: &Task) -> Vec<PlanError> {
    let mut errors = Vec::from_iter(endpoint::versioned(task, endpoint::V1, "is added for Codex"));
    let mut error = |field: String, problem: String, hint: &str| errors.push(PlanError { field, problem, hint: hint.to_owned() });
    let characters = task.prompt.as_deref().map_or(0, |prompt| prompt.chars().count());
    if characters > PROMPT_LIMIT {
        let problem = format!("has {characters} characters, and Codex takes at most {PROMPT_LIMIT}");
        error("prompt".into(), problem, "put the long part into a file of the workspace, and name the file");
    }
    for (number, argument) in task.agent.extra_args.iter().enumerate() {
        let flag = argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag);
        if OWN_FLAGS.contains(&flag) {
            let problem = format!("`{flag}` is the runner's to say");
            error(format!("agent.extraArgs[{number}]"), problem, "put lasting settings into `config.toml` in CODEX_HOME");
        }
    }
    for (name, server) in &task.mcp_servers {
        if matches!(server, McpServer::Sse { .. }) {
            let problem = "Codex has no transport by server-sent events".into();
            error(format!("mcpServers.{name}"), problem, "use streamable HTTP (`\"type\": \"http\"`), which most servers offer too");
        }
    }
    errors
}

fn unknown_effort(task: &Task) -> Option<String> {
    let effort = task.agent.effort.as_ref().filter(|effort| !EFFORTS.contains(&effort.as_str()))?;
    Some(format!("Codex may refuse the effort `{effort}`; known are {}", EFFORTS.join(", ")))
}

/// A sub-agent as Codex reads it.
fn sub_agent(name: &str, agent: &SubAgent) -> (PathBuf, Vec<u8>) {
    let field = |name: &str| agent.fields.get(name).map(String::as_str);
    let name_within = field("name").unwrap_or(name);
    let text = [
        ("name", name_within),
        ("description", field("description").unwrap_or(name_within)),
        ("developer_instructions", agent.prompt.as_str()),
    ]
    .map(|(key, value)| format!("{key} = {}\n", toml_string(value)));
    (format!("{name}.toml").into(), text.concat().into_bytes())
}

/// A basic string of TOML: JSON's escapes, and one more character that may not stand as it is.
fn toml_string(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007F")
}

/// The files that Codex writes beside its stream, one a thread.
pub(in crate::agents) fn rollouts(home: &Path) -> Ledger {
    Ledger { dir: home.join("sessions"), depth: 3, prefix: "rollout-", suffix: ".jsonl", form: LedgerForm::Lines }
}

/// Codex' home directory.
pub(in crate::agents) fn codex_home(surroundings: &Surroundings) -> PathBuf {
    let given = surroundings.env.get("CODEX_HOME").filter(|dir| !dir.is_empty());
    given.map_or_else(|| surroundings.home.join(".codex"), |dir| surroundings.workdir.join(dir))
}

fn given<'a>(surroundings: &'a Surroundings, name: &str) -> Option<&'a String> {
    surroundings.env.get(name).filter(|value| !value.is_empty())
}

fn set_environment(plan: &mut Plan, surroundings: &Surroundings) {
    if let Some(home) = surroundings.home.to_str().filter(|home| surroundings.env.get("HOME").map(String::as_str) != Some(*home)) {
        plan.env.insert("HOME".to_owned(), Some(home.to_owned()));
    }
    if given(surroundings, "CODEX_HOME").is_some() {
        // Codex takes it relative to nothing.
        plan.env.insert("CODEX_HOME".to_owned(), codex_home(surroundings).to_str().map(str::to_owned));
    }
    if let (None, Some(key)) = (given(surroundings, "CODEX_API_KEY"), given(surroundings, "OPENAI_API_KEY")) {
        // That one alone it does not send.
        plan.env.insert("CODEX_API_KEY".to_owned(), Some(key.clone()));
    }
    if surroundings.env.contains_key("CODEX_AUTH_JSON") {
        plan.env.insert("CODEX_AUTH_JSON".to_owned(), None);
    }
}

/// The content of `auth.json`, as `CODEX_AUTH_JSON` has it; a line break within a string, which JSON forbids, is mended.
fn auth_file(surroundings: &Surroundings) -> Result<Option<Vec<u8>>, PlanError> {
    let Some(text) = given(surroundings, "CODEX_AUTH_JSON") else { return Ok(None) };
    let mended = escape_controls(text);
    match serde_json::from_str::<Map<String, Value>>(&mended) {
        Ok(auth) => Ok(Some(format!("{:#}\n", Value::Object(auth)).into_bytes())),
        // What stands there is a secret: only where it is wrong is said.
        Err(error) => Err(PlanError {
            field: "CODEX_AUTH_JSON".into(),
            problem: format!("is no JSON object: line {}, column {}", error.line(), error.column()),
            hint: "give the whole content of an `auth.json` that `codex login` wrote".into(),
        }),
    }
}

/// The text with control characters within its JSON strings escaped.
fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let (mut within, mut after_backslash) = (false, false);
    for character in text.chars() {
        match character {
            '"' if !after_backslash => within = !within,
            '\n' if within => {
                escaped.push_str("\\n");
                continue;
            }
            control if within && control.is_control() => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(control)));
                continue;
            }
            _ => {}
        }
        after_backslash = character == '\\' && !after_backslash;
        escaped.push(character);
    }
    escaped
}

/// What no file overrides.
fn add_settings(plan: &mut Plan, task: &Task) {
    plan.args = ["exec", "--dangerously-bypass-approvals-and-sandbox", "--json"].map(str::to_owned).to_vec();
    plan.args.push(format!("--profile={PROFILE}"));
    let mut settings: Vec<String> = SETTINGS.iter().map(|setting| (*setting).to_owned()).collect();
    settings.push(format!("shell_environment_policy.exclude={}", json!(SECRET_VARIABLES)));
    if !trust::is_trusted(task.trust) {
        settings.push("project_doc_max_bytes=0".to_owned());
    }
    if let Some(effort) = &task.agent.effort {
        settings.push(format!("model_reasoning_effort={}", toml_string(effort)));
    }
    plan.args.extend(settings.into_iter().map(|setting| format!("--config={setting}")));
}

/// The file that is ours: all of it is of this run.
fn add_profile(plan: &mut Plan, home: &Path, task: &Task, surroundings: &Surroundings, levels: Value) {
    let path = home.join(format!("{PROFILE}.config.toml"));
    plan.files.push(FileWrite { path, content: FileContent::MergeToml(profile(task, surroundings, levels)), private: true });
}

/// The user's own file, which Codex reads without being told: for a start by somebody else, with no arguments of ours.
fn add_config(plan: &mut Plan, home: &Path, task: &Task, surroundings: &Surroundings, levels: Value) {
    let mut fields = profile(task, surroundings, levels);
    for setting in SETTINGS {
        let Some((path, value)) = setting.split_once('=') else { continue };
        let value = json!(value == "true");
        match path.split_once('.') {
            Some((table, key)) => fields.entry(table).or_insert_with(|| json!({}))[key] = value,
            None => _ = fields.insert(path.to_owned(), value),
        }
    }
    fields.insert("shell_environment_policy".to_owned(), json!({ "exclude": SECRET_VARIABLES }));
    if !trust::is_trusted(task.trust) {
        fields.insert("project_doc_max_bytes".to_owned(), json!(0));
    }
    let choices = [("model", &task.agent.model), ("model_reasoning_effort", &task.agent.effort)];
    fields.extend(choices.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))));
    plan.files.push(FileWrite { path: home.join("config.toml"), content: FileContent::MergeToml(fields), private: true });
}

/// Trust, provider and MCP servers.
fn profile(task: &Task, surroundings: &Surroundings, levels: Value) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("projects".to_owned(), levels);
    if let Some(endpoint) = &task.agent.endpoint {
        fields.insert("model_provider".to_owned(), json!(PROFILE));
        fields.insert("model_providers".to_owned(), json!({ PROFILE: provider(endpoint, task, surroundings) }));
    }
    let servers: Map<String, Value> = task.mcp_servers.iter().map(|(name, server)| (name.clone(), mcp_server(server))).collect();
    if !servers.is_empty() {
        fields.insert("mcp_servers".to_owned(), Value::Object(servers));
    }
    fields
}

/// The task's instructions, and the repository's where Codex does not read them by itplan.
fn add_instructions(plan: &mut Plan, home: &Path, task: &Task, surroundings: &Surroundings) {
    let mut text = task.instructions.clone().unwrap_or_default();
    if !trust::is_trusted(task.trust) {
        for (path, of_repository) in trust::instructions(surroundings) {
            if !text.is_empty() {
                text.truncate(text.trim_end().len());
                text.push_str("\n\n");
            }
            text.push_str(&format!("# The repository's own instructions (`{}`)\n\n{of_repository}", path.display()));
        }
        if trust::has_directories_between(surroundings) {
            plan.warnings.push(
                "an `AGENTS.md` between the repository's root and the directory in which Codex is started is not read, unless the \
                 repository is trusted"
                    .to_owned(),
            );
        }
    }
    plan.files.push(FileWrite { path: home.join("AGENTS.md"), content: FileContent::Section(text), private: false });
}

/// A provider of our own: the built-in one tries a WebSocket first, and cannot be told how often to retry.
fn provider(endpoint: &str, task: &Task, surroundings: &Surroundings) -> Value {
    let mut provider = json!({
        "name": PROFILE,
        "base_url": format!("{}/v1", endpoint.trim_end_matches('/')),
        "wire_api": "responses",
        "supports_websockets": false,
    });
    let key = ["CODEX_API_KEY", "OPENAI_API_KEY"].into_iter().find(|name| given(surroundings, name).is_some());
    if let Some(key) = key {
        // Only for a start of ours the one is set by the other.
        provider["env_key"] = json!(if surroundings.for_later { key } else { "CODEX_API_KEY" });
    } else {
        provider["requires_openai_auth"] = json!(true);
    }
    if let Some(retries) = task.limits.max_retries {
        // Retries of a request are silent, and each retry of the stream has them all again.
        provider["request_max_retries"] = json!(0);
        provider["stream_max_retries"] = json!(retries.min(MOST_RETRIES));
    }
    provider
}

fn mcp_server(server: &McpServer) -> Value {
    match server {
        McpServer::Stdio { command, args, env } => json!({ "command": command, "args": args, "env": env }),
        // `check` has refused the latter.
        McpServer::Http { url, headers } | McpServer::Sse { url, headers } => json!({ "url": url, "http_headers": headers }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_line_breaks_in_the_login_are_mended_and_its_text_is_never_shown() {
        let env = |text: &str| Surroundings { env: [("CODEX_AUTH_JSON".to_owned(), text.to_owned())].into(), ..Surroundings::default() };
        let written = auth_file(&env("{\n \"a\": \"x\ny\\\"\tz\" }\n")).unwrap().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), json!({"a": "x\ny\"\tz"}));
        let error = auth_file(&env("{\"key\": sk-secret}")).unwrap_err();
        assert!(!error.to_string().contains("secret") && error.problem.contains("line 1"), "{error}");
        assert_eq!(auth_file(&env("")), Ok(None));
    }

    #[test]
    fn a_sub_agent_is_written_as_toml_that_says_the_same() {
        let agent = SubAgent { fields: [("description".to_owned(), "says \"hi\"".to_owned())].into(), prompt: "a\nb\u{7f}".into() };
        let (path, text) = sub_agent("helper", &agent);
        assert_eq!(path, PathBuf::from("helper.toml"));
        let wanted = "name = \"helper\"\ndescription = \"says \\\"hi\\\"\"\ndeveloper_instructions = \"a\\nb\\u007F\"\n";
        assert_eq!(String::from_utf8(text).unwrap(), wanted);
    }
}
