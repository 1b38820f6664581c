//! How OpenCode is configured and started.
//!
//! # Where things go
//! | what | how | why so |
//! |---|---|---|
//! | prompt | stdin | byte-exact, of any size; as an argument it is put into quotes, and 128 KiB fail |
//! | instructions | a section of `AGENTS.md` in OpenCode's configuration directory | read beside the repository's own |
//! | skills, sub-agents | `skills/PLUGIN:SKILL/` and `agents/NAME.md` in that directory | offered by name |
//! | endpoint | a provider's `baseURL` in `OPENCODE_CONFIG_CONTENT` | read after every file of the repository; it wins over them |
//! | the same, MCP servers, keys | a private file that the runner's plugin puts over everything else, and removes | the variable above is inherited by every program that is started; this is seen by none |
//! | npm, offline | a variable that the plugin takes away when all plugins are loaded | else each start installs 60 MB, and waits for it |
//! | endpoint, MCP servers, model, where OpenCode is started later by others | `opencode.json` in that directory | nobody would hand over the plugin |
//!
//! What of the repository's own configuration counts is decided in [`super::trust`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::providers::{self, Choice};
use super::trust::{self, Reach};
use crate::agent::{FileContent, FileWrite, Ledger, LedgerForm, Plan, PlanError, PlanRequest, Surroundings};
use crate::agents::plugins::{self, SubAgent};
use crate::agents::{endpoint, later};
use crate::task::{McpServer, Task};

/// Variables that are set unless the environment has them already.
const DEFAULTS: &[(&str, &str)] = &[
    // An image is what its builder made it, and a run is no time to change it.
    ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
    // It has a list of models built in; without this it asks another host than the endpoint for a newer one.
    ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
];

/// Flags of the runner's own that a task's `extraArgs` may not repeat.
const OWN_FLAGS: &[&str] = &["--format", "--attach", "--command", "--pure"];

/// The variable that keeps npm, which OpenCode has built in, to what is on this machine.
///
/// At each start OpenCode installs `@opencode-ai/plugin`, some 60 MB for people who write plugins, into its configuration directory, and
/// waits for it before it loads any plugin, the runner's own too: most of the time of a start, and all of it where there is no network.
const OFFLINE: &str = "npm_config_offline";
/// The variable with configuration that is read after every file.
const CONTENT: &str = "OPENCODE_CONFIG_CONTENT";
/// The plugin that runs within OpenCode.
const WATCH: &[u8] = include_bytes!("watch.js");

/// The plan for one task.
pub(super) fn plan(request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
    let PlanRequest { task, surroundings, plugins } = *request;
    let mut errors = check(task);
    let given = given_content(surroundings).unwrap_or_else(|error| {
        errors.push(error);
        Map::new()
    });
    let skills = plugins::skills(plugins).unwrap_or_else(|more| {
        errors.extend(more);
        BTreeMap::new()
    });
    let sub_agents = plugins::sub_agents(plugins, sub_agent).unwrap_or_else(|more| {
        errors.extend(more);
        BTreeMap::new()
    });
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut plan = Plan { program: task.agent.program.clone().unwrap_or_else(|| "opencode".to_owned()), ..Plan::default() };
    plan.args = ["run", "--format=json", "--auto", "--print-logs", "--log-level=ERROR"].map(str::to_owned).to_vec();
    let choice = providers::choose(task, &surroundings.env);
    plan.warnings.extend(choice.warning.clone());
    let reach = trust::reach(task.trust, surroundings);
    plan.warnings.extend(reach.warnings());
    let own_dir = surroundings.private_dir.join("opencode");

    set_environment(&mut plan, surroundings, &own_dir, &choice, &reach);
    // Plugins that the platform named by variable may have to be fetched. npm takes its own variables in lower and upper case.
    let is_decided = surroundings.env.keys().any(|name| name.eq_ignore_ascii_case(OFFLINE));
    if !is_decided && !surroundings.for_later && !given.contains_key("plugin") {
        plan.env.insert(OFFLINE.to_owned(), Some("true".to_owned()));
    }
    let lasting = config_dir(surroundings);
    let file = |name: &str, content, private| FileWrite { path: lasting.join(name), content, private };
    plan.files.push(file("AGENTS.md", FileContent::Section(task.instructions.clone().unwrap_or_default()), false));
    plan.files.push(file("skills", FileContent::Install(skills), false));
    plan.files.push(file("agents", FileContent::Install(sub_agents), false));
    if surroundings.for_later {
        let fields = lasting_configuration(task, surroundings, &choice);
        plan.files.push(file("opencode.json", FileContent::MergeJson(fields), true));
        plan.warnings.extend(later::left_to_others("OpenCode", request, &[]));
        if task.agent.effort.is_some() {
            plan.warnings.push("OpenCode takes an effort by its flag `--variant` alone, so whoever starts it has to say it".to_owned());
        }
        return Ok(plan);
    }
    let hidden = hidden_configuration(task, surroundings, &choice, &reach);
    add_configuration(&mut plan, &own_dir, task, given, hidden, &choice);
    add_choices(&mut plan, task);
    plan.args.extend(task.agent.extra_args.iter().cloned());
    plan.stdin = task.prompt.clone().unwrap_or_default().into_bytes();
    Ok(plan)
}

/// What OpenCode cannot take.
fn check(task: &Task) -> Vec<PlanError> {
    let mut errors = Vec::from_iter(endpoint::versioned(task, endpoint::V1_AND_BETA, "is added for the provider that the model names"));
    for (number, argument) in task.agent.extra_args.iter().enumerate() {
        let flag = argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag);
        if OWN_FLAGS.contains(&flag) {
            errors.push(PlanError {
                field: format!("agent.extraArgs[{number}]"),
                problem: format!(
                    "`{flag}` is not to be changed: the runner reads the stream, and its plugin pins endpoint and credentials"
                ),
                hint: "put lasting settings into `opencode.json` in OpenCode's configuration directory".into(),
            });
        }
    }
    errors
}

/// The configuration that the platform gave by variable: it stays, and the runner's is put over it.
fn given_content(surroundings: &Surroundings) -> Result<Map<String, Value>, PlanError> {
    let Some(text) = surroundings.env.get(CONTENT).filter(|text| !text.trim().is_empty()) else { return Ok(Map::new()) };
    serde_json::from_str(text).map_err(|error| PlanError {
        field: CONTENT.into(),
        problem: format!("is no JSON object, so nothing can be added to it: {error}"),
        hint: "write it without comments".into(),
    })
}

fn set_environment(plan: &mut Plan, surroundings: &Surroundings, own_dir: &Path, choice: &Choice, reach: &Reach) {
    let mut set = |name: &str, value: String| plan.env.insert(name.to_owned(), Some(value));
    for (name, value) in DEFAULTS {
        if !surroundings.env.contains_key(*name) {
            set(name, (*value).to_owned());
        }
    }
    if let Some(home) = surroundings.home.to_str().filter(|home| surroundings.env.get("HOME").map(String::as_str) != Some(*home)) {
        set("HOME", home.to_owned());
    }
    if surroundings.for_later {
        return;
    }
    // It unpacks a library of some megabytes at each start and leaves it there. Other programs' TMPDIR stays what it is.
    set("BUN_TMPDIR", own_dir.display().to_string());
    if *reach != Reach::Everything {
        set("OPENCODE_DISABLE_PROJECT_CONFIG", "1".to_owned());
    }
    for name in &choice.used {
        plan.env.insert((*name).to_owned(), None);
    }
    if surroundings.env.contains_key("OPENCODE_PURE") {
        plan.env.insert("OPENCODE_PURE".to_owned(), None);
        plan.warnings.push("OPENCODE_PURE is not handed on: it would keep the runner's own plugin away".to_owned());
    }
}

/// OpenCode's configuration directory.
fn config_dir(surroundings: &Surroundings) -> PathBuf {
    let given = |name: &str| surroundings.env.get(name).filter(|dir| !dir.is_empty()).map(|dir| surroundings.workdir.join(dir));
    given("OPENCODE_CONFIG_DIR")
        .unwrap_or_else(|| given("XDG_CONFIG_HOME").unwrap_or_else(|| surroundings.home.join(".config")).join("opencode"))
}

/// The task's MCP servers in OpenCode's form.
fn mcp_servers(task: &Task) -> Value {
    let servers = task.mcp_servers.iter().map(|(name, server)| {
        let server = match server {
            McpServer::Stdio { command, args, env } => {
                let command: Vec<&String> = std::iter::once(command).chain(args).collect();
                json!({ "type": "local", "command": command, "environment": env })
            }
            // It finds out by itself which of the two the server speaks.
            McpServer::Http { url, headers } | McpServer::Sse { url, headers } => {
                json!({ "type": "remote", "url": url, "headers": headers, "oauth": false })
            }
        };
        (name.clone(), server)
    });
    servers.collect::<Map<_, _>>().into()
}

/// Puts `over` over `into`: objects field by field, lists at the end, everything else in its place.
fn put(over: Value, into: &mut Value) {
    match (over, into) {
        (Value::Object(over), Value::Object(into)) => {
            for (key, value) in over {
                put(value, into.entry(key).or_insert(Value::Null));
            }
        }
        (Value::Array(over), Value::Array(into)) => into.extend(over),
        (over, into) => *into = over,
    }
}

/// A sub-agent in OpenCode's form. The tools and models that its author named are another agent's words.
fn sub_agent(name: &str, agent: &SubAgent) -> (PathBuf, Vec<u8>) {
    let description = agent.fields.get("description").map_or(name, String::as_str);
    // JSON is YAML too, whatever stands in it.
    let text = format!("---\ndescription: {}\nmode: subagent\n---\n{}\n", json!(description), agent.prompt);
    (PathBuf::from(format!("{name}.md")), text.into_bytes())
}

/// The provider that the task's model names, as the task's endpoint has it.
fn provider(task: &Task, choice: &Choice) -> Option<Value> {
    let endpoint = task.agent.endpoint.as_ref()?;
    let mut provider = json!({ "options": { "baseURL": format!("{}{}", endpoint.trim_end_matches('/'), choice.path) } });
    if !choice.known {
        provider["npm"] = json!("@ai-sdk/openai-compatible");
    }
    if let Some((_, model)) = task.agent.model.as_deref().and_then(|model| model.split_once('/')) {
        // A gateway may have models that OpenCode has never heard of.
        provider["models"][model] = json!({});
    }
    Some(provider)
}

/// What OpenCode finds by itself, where somebody else starts it later.
fn lasting_configuration(task: &Task, surroundings: &Surroundings, choice: &Choice) -> Map<String, Value> {
    let mut providers = json!({});
    if let Some(provider) = provider(task, choice) {
        providers[&choice.provider] = provider;
    }
    // A provider's own variables it knows by itself; of the one key for all it has to be told, by name.
    for provider in providers::with_the_one_key(choice, &surroundings.env) {
        providers[provider]["options"]["apiKey"] = json!(format!("{{env:{}}}", providers::ANY_KEY));
    }
    let mut fields = Map::from_iter([("mcp".to_owned(), mcp_servers(task)), ("autoupdate".to_owned(), json!(false))]);
    if providers.as_object().is_some_and(|providers| !providers.is_empty()) {
        fields.insert("provider".to_owned(), providers);
    }
    if let Some(model) = &task.agent.model {
        fields.insert("model".to_owned(), json!(model));
    }
    fields
}

/// What no program that OpenCode starts may see, and no file of the repository may change.
fn hidden_configuration(task: &Task, surroundings: &Surroundings, choice: &Choice, reach: &Reach) -> Value {
    let mut hidden = json!({ "mcp": mcp_servers(task), "provider": {} });
    for (provider, key) in &choice.keys {
        hidden["provider"][provider]["options"]["apiKey"] = json!(key);
    }
    if let Some(provider) = provider(task, choice) {
        put(json!({ &choice.provider: provider }), &mut hidden["provider"]);
    }
    if *reach != Reach::Everything {
        hidden["instructions"] = json!(trust::instruction_files(surroundings));
        hidden["skills"] = json!({ "paths": trust::skill_directories(surroundings) });
    }
    hidden
}

fn add_configuration(plan: &mut Plan, own_dir: &Path, task: &Task, given: Map<String, Value>, hidden: Value, choice: &Choice) {
    let plugin = own_dir.join("watch.js");
    // A title is one more question to a model, on nobody's account: the stream does not tell of it.
    let title = json!({ "title": { "disable": true } });
    let mut open = json!({ "autoupdate": false, "agent": title, "plugin": [format!("file://{}", plugin.display())] });
    // An endpoint may hold a password, which is not for every program to read.
    if let Some(provider) = provider(task, choice).filter(|_| task.agent.endpoint.as_deref().is_some_and(|url| !url.contains('@'))) {
        open["provider"][&choice.provider] = provider;
    }
    let mut content = Value::Object(given);
    put(open, &mut content);
    plan.env.insert(CONTENT.to_owned(), Some(content.to_string()));
    // The agent's own `npm install` is the task's matter.
    let offline = plan.env.contains_key(OFFLINE).then_some(OFFLINE);
    let hide: Vec<_> = choice.held.iter().copied().filter(|name| !choice.used.contains(name)).chain(offline).collect();
    let overlay = json!({ "config": hidden, "hide": hide });
    let private = |path, content| FileWrite { path, content: FileContent::Replace(content), private: true };
    plan.files.push(private(plugin, WATCH.to_vec()));
    plan.files.push(private(own_dir.join("overlay.json"), overlay.to_string().into_bytes()));
    plan.ledgers.push(Ledger { dir: own_dir.to_owned(), depth: 0, prefix: "ledger", suffix: ".jsonl", form: LedgerForm::Lines });
}

fn add_choices(plan: &mut Plan, task: &Task) {
    // Written as `--flag=value`, since a value may begin with a dash.
    let choices = [("--model", &task.agent.model), ("--variant", &task.agent.effort), ("--session", &task.agent.resume)];
    plan.args.extend(choices.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value.as_ref()?))));
}
