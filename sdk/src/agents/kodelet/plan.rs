//! How Kodelet is configured and started.
//!
//! # Where things go
//! | what | how | why so |
//! |---|---|---|
//! | prompt | stdin | of any size, and no option, whatever it begins with |
//! | provider | `--provider`, by the model's name or prefix | the default is OpenAI, whatever the model |
//! | instructions | a section of `AGENTS.md` in `~/.kodelet` | read beside the repository's |
//! | skills | `~/.kodelet/skills/PLUGIN:SKILL/` | never in the repository |
//! | sub-agents | a warning | there are none of one's own |
//! | MCP servers | `~/.kodelet/mcp.json`, private | read by the extension `kodelet@mcp`, which has to be in the image |
//! | endpoint | `ANTHROPIC_BASE_URL`, `OPENAI_API_BASE` | they win over every file |
//! | settings | the user's file as the only one | the repository's could redirect the key |

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::trust;
use crate::agent::{FileContent, FileWrite, Plan, PlanError, PlanRequest, Plugin, Surroundings};
use crate::agents::{endpoint, later, limits, plugins};
use crate::task::{McpServer, Task};

/// Flags of the runner's own that a task's `extraArgs` may not repeat: without them there is nothing to follow.
const OWN_FLAGS: &[&str] = &["--headless", "--stream-deltas", "--provider", "--no-save", "--result-only"];

/// A provider of Kodelet's.
struct Provider {
    name: &'static str,
    key: &'static str,
    endpoint: &'static str,
    /// What the endpoint's variable has after the gateway's URL.
    version: &'static str,
}

const ANTHROPIC: Provider = Provider { name: "anthropic", key: "ANTHROPIC_API_KEY", endpoint: "ANTHROPIC_BASE_URL", version: "" };
const OPENAI: Provider = Provider { name: "openai", key: "OPENAI_API_KEY", endpoint: "OPENAI_API_BASE", version: "/v1" };

/// The plan for one task.
pub(super) fn plan(request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
    let PlanRequest { task, surroundings, plugins: given } = *request;
    let mut errors = check(task);
    let skills = plugins::skills(given).unwrap_or_else(|collisions| {
        errors.extend(collisions);
        BTreeMap::new()
    });
    if !errors.is_empty() {
        return Err(errors);
    }
    let (provider, model) = provider(task, surroundings);
    let mut plan = Plan { program: task.agent.program.clone().unwrap_or_else(|| "kodelet".to_owned()), ..Plan::default() };
    plan.args = ["run", "--headless", "--stream-deltas"].map(str::to_owned).to_vec();
    plan.args.push(format!("--provider={}", provider.name));
    // Written as `--flag=value`, since a value may begin with a dash.
    let turns = task.limits.max_turns.map(|turns| turns.to_string());
    let choices =
        [("--model", &model), ("--reasoning-effort", &task.agent.effort), ("--resume", &task.agent.resume), ("--max-turns", &turns)];
    plan.args.extend(choices.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value.as_ref()?))));
    plan.args.extend(task.agent.extra_args.iter().cloned());
    plan.stdin = task.prompt.clone().unwrap_or_default().into_bytes();

    let own = surroundings.home.join(".kodelet");
    let mut set = |name: &str, value: String| plan.env.insert(name.to_owned(), Some(value));
    set("KODELET_CONFIG_FILE", own.join("config.yaml").display().to_string());
    set("KODELET_CONFIG_FILE_MODE", "isolated".to_owned());
    if surroundings.env.get("HOME").map(PathBuf::from).as_ref() != Some(&surroundings.home) {
        set("HOME", surroundings.home.display().to_string());
    }
    if let Some(endpoint) = &task.agent.endpoint {
        set(provider.endpoint, format!("{endpoint}{}", provider.version));
    }

    let file = |name: &str, content, private| FileWrite { path: own.join(name), content, private };
    plan.files.push(file("AGENTS.md", FileContent::Section(task.instructions.clone().unwrap_or_default()), false));
    plan.files.push(file("mcp.json", FileContent::MergeJson(mcp_servers(task)), true));
    plan.files.push(file("skills", FileContent::Install(skills), false));
    plan.warnings = warnings(task, given, surroundings, &provider, model.is_some());
    let agent = &task.agent;
    let chosen =
        [("agent.model", agent.model.is_some()), ("agent.effort", agent.effort.is_some()), ("agent.endpoint", agent.endpoint.is_some())];
    plan.warnings.extend(later::left_to_others("Kodelet", request, &chosen));
    Ok(plan)
}

/// What Kodelet cannot take.
fn check(task: &Task) -> Vec<PlanError> {
    let flags = task.agent.extra_args.iter().map(|argument| argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag));
    let repeated = flags.enumerate().filter(|(_, flag)| OWN_FLAGS.contains(flag));
    let to_error = |(number, flag): (usize, &str)| PlanError {
        field: format!("agent.extraArgs[{number}]"),
        problem: format!("`{flag}` is the runner's to say"),
        hint: "leave it out; the model's name or prefix says the provider".into(),
    };
    endpoint::versioned(task, endpoint::V1, "Kodelet adds itself, or is added for it").into_iter().chain(repeated.map(to_error)).collect()
}

/// The provider and the model without its prefix: `anthropic/…` and `openai/…`, else Claude's names are Anthropic's. Without a model the
/// only key decides.
fn provider(task: &Task, surroundings: &Surroundings) -> (Provider, Option<String>) {
    let has = |name: &str| surroundings.env.get(name).is_some_and(|value| !value.is_empty());
    let Some(model) = &task.agent.model else {
        return (if has(ANTHROPIC.key) && !has(OPENAI.key) { ANTHROPIC } else { OPENAI }, None);
    };
    match model.split_once('/') {
        Some(("anthropic", name)) => (ANTHROPIC, Some(name.to_owned())),
        Some(("openai", name)) => (OPENAI, Some(name.to_owned())),
        _ if model.starts_with("claude") => (ANTHROPIC, Some(model.clone())),
        _ => (OPENAI, Some(model.clone())),
    }
}

fn warnings(task: &Task, plugins: &[Plugin], surroundings: &Surroundings, provider: &Provider, has_model: bool) -> Vec<String> {
    let mut warnings = vec!["Kodelet's stream does not say what a run used: tokens and cost stay unknown".to_owned()];
    if provider.name == ANTHROPIC.name && !has_model {
        warnings.push("Kodelet's default model is OpenAI's: set a model for Anthropic".to_owned());
    }
    warnings.extend(limits::without_effect("Kodelet", task, limits::unsaid("kodelet")));
    if !task.mcp_servers.is_empty() {
        warnings.push("MCP servers are read by Kodelet's extension `kodelet@mcp`, which has to be installed in HOME".to_owned());
    }
    let agents: Vec<String> =
        plugins.iter().flat_map(|plugin| plugin.agents.keys().map(|name| format!("`{}/agents/{name}`", plugin.name))).collect();
    if !agents.is_empty() {
        warnings.push(format!("Kodelet has no sub-agents of one's own; left out: {}", agents.join(", ")));
    }
    warnings.extend(trust::warnings(surroundings, &[ANTHROPIC.key, OPENAI.key]));
    warnings
}

fn mcp_servers(task: &Task) -> Map<String, Value> {
    if task.mcp_servers.is_empty() {
        return Map::new();
    }
    let servers = task.mcp_servers.iter().map(|(name, server)| {
        let server = match server {
            McpServer::Stdio { command, args, env } => json!({ "command": command, "args": args, "env": env }),
            McpServer::Http { url, headers } => json!({ "transport": "http", "url": url, "headers": headers }),
            McpServer::Sse { url, headers } => json!({ "transport": "sse", "url": url, "headers": headers }),
        };
        (name.clone(), server)
    });
    Map::from_iter([("mcpServers".to_owned(), Value::Object(servers.collect()))])
}
