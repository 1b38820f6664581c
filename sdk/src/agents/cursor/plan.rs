//! How Cursor's CLI is configured and started.
//!
//! # Where things go
//! | what | how | why so |
//! |---|---|---|
//! | prompt | stdin | of any size, and no option, whatever it begins with |
//! | instructions, effort | a section of `AGENTS.md` in Cursor's directory | there is no flag for effort |
//! | skills | `skills/PLUGIN:SKILL/` in Cursor's directory | never in the repository, where `git add -A` would take them |
//! | sub-agents | `agents/NAME.md` there | likewise |
//! | MCP servers | `mcp.json` there, private; `--approve-mcps` | the CLI has no argument for them; in print mode nobody could approve |
//! | endpoint | an error | the CLI speaks to Cursor's own service only |
//! | credentials | `CURSOR_API_KEY`, as it is | the CLI reads it from nowhere else |
//!
//! What the documentation does not say (whether `--trust` was there in a version, what a leading `&` does on stdin) was not tried.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::trust;
use crate::agent::{FileContent, FileWrite, Plan, PlanError, PlanRequest, Surroundings};
use crate::agents::plugins::{self, SubAgent};
use crate::agents::{later, limits};
use crate::task::{McpServer, Task};

/// Flags of the runner's own that a task's `extraArgs` may not repeat: without them there is nothing to follow.
const OWN_FLAGS: &[&str] = &["-p", "--print", "--output-format", "--endpoint", "--api-key"];

/// The plan for one task.
pub(super) fn plan(request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
    let PlanRequest { task, surroundings, plugins: given } = *request;
    let mut errors = check(task);
    errors.extend(trust::check(surroundings));
    let skills = plugins::skills(given).unwrap_or_else(|collisions| collect(&mut errors, collisions));
    let agents = plugins::sub_agents(given, sub_agent).unwrap_or_else(|collisions| collect(&mut errors, collisions));
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut plan = Plan { program: task.agent.program.clone().unwrap_or_else(|| "cursor-agent".to_owned()), ..Plan::default() };
    // The container is the sandbox, and nobody is there to be asked.
    let fixed = ["--print", "--output-format=stream-json", "--force", "--trust", "--approve-mcps", "--sandbox=disabled"];
    plan.args = fixed.map(str::to_owned).to_vec();
    // Written as `--flag=value`, since a value may begin with a dash.
    let choices = [("--model", &task.agent.model), ("--resume", &task.agent.resume)];
    plan.args.extend(choices.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value.as_ref()?))));
    plan.args.extend(task.agent.extra_args.iter().cloned());
    plan.stdin = stdin(task.prompt.as_deref().unwrap_or_default());
    if surroundings.env.get("HOME").map(PathBuf::from).as_ref() != Some(&surroundings.home) {
        plan.env.insert("HOME".to_owned(), surroundings.home.to_str().map(str::to_owned));
    }

    let own = surroundings.home.join(".cursor");
    let file = |name: &str, content, private| FileWrite { path: own.join(name), content, private };
    plan.files.push(file("AGENTS.md", FileContent::Section(instructions(task)), false));
    plan.files.push(file("mcp.json", FileContent::MergeJson(mcp_servers(task)), true));
    plan.files.push(file("skills", FileContent::Install(skills), false));
    plan.files.push(file("agents", FileContent::Install(agents), false));
    plan.warnings = warnings(task, surroundings);
    plan.warnings.extend(later::left_to_others("Cursor's CLI", request, &[("agent.model", task.agent.model.is_some())]));
    Ok(plan)
}

/// What the CLI cannot take.
fn check(task: &Task) -> Vec<PlanError> {
    let mut errors = Vec::new();
    if task.agent.endpoint.is_some() {
        errors.push(PlanError {
            field: "agent.endpoint".into(),
            problem: "Cursor's CLI speaks to Cursor's own service only, and to no model gateway".into(),
            hint: "leave it out, or use another agent behind the gateway".into(),
        });
    }
    for (number, argument) in task.agent.extra_args.iter().enumerate() {
        let flag = argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag);
        if OWN_FLAGS.contains(&flag) {
            errors.push(PlanError {
                field: format!("agent.extraArgs[{number}]"),
                problem: format!("`{flag}` is the runner's to say"),
                hint: "leave it out; a key belongs in CURSOR_API_KEY".into(),
            });
        }
    }
    errors
}

fn warnings(task: &Task, surroundings: &Surroundings) -> Vec<String> {
    let no_key = surroundings.env.get("CURSOR_API_KEY").is_none_or(String::is_empty);
    let no_key = no_key.then(|| "`CURSOR_API_KEY` is not set: without it Cursor's CLI needs somebody's login in HOME".to_owned());
    let unheld = limits::without_effect("Cursor's CLI", task, limits::unsaid("cursor"));
    unheld.chain(no_key).chain(trust::warning(surroundings)).collect()
}

/// The prompt as the CLI takes it for text.
fn stdin(prompt: &str) -> Vec<u8> {
    // A message that begins with `/` is a command, and one with `&` is handed to Cursor's cloud: one line break makes it text.
    let guard = if prompt.starts_with(['/', '&']) { "\n" } else { "" };
    format!("{guard}{prompt}").into_bytes()
}

/// The user-level instructions, with the effort as a line of them.
fn instructions(task: &Task) -> String {
    let effort = task.agent.effort.as_ref().map(|effort| format!("Use {effort} reasoning effort for this task.\n"));
    let parts: Vec<String> = task.instructions.iter().cloned().chain(effort).collect();
    parts.join("\n\n")
}

/// In the form of Cursor's `mcp.json`, which tells HTTP from server-sent events by itself.
fn mcp_servers(task: &Task) -> Map<String, Value> {
    if task.mcp_servers.is_empty() {
        return Map::new();
    }
    let servers = task.mcp_servers.iter().map(|(name, server)| {
        let server = match server {
            McpServer::Stdio { command, args, env } => json!({ "command": command, "args": args, "env": env }),
            McpServer::Http { url, headers } | McpServer::Sse { url, headers } => json!({ "url": url, "headers": headers }),
        };
        (name.clone(), server)
    });
    Map::from_iter([("mcpServers".to_owned(), Value::Object(servers.collect()))])
}

/// In Cursor's form. A model's name is left out: the file is another agent's, and Cursor's names differ.
fn sub_agent(name: &str, agent: &SubAgent) -> (PathBuf, Vec<u8>) {
    let description = agent.fields.get("description").map_or(name, String::as_str);
    // A string of JSON is one of YAML.
    let text = format!("---\nname: {}\ndescription: {}\n---\n\n{}\n", json!(name), json!(description), agent.prompt);
    (format!("{name}.md").into(), text.into_bytes())
}

fn collect<T: Default>(errors: &mut Vec<PlanError>, more: Vec<PlanError>) -> T {
    errors.extend(more);
    T::default()
}
