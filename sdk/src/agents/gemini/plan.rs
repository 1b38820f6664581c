//! How Gemini CLI is configured and started.
//!
//! # Where things go
//! | what | how | why so |
//! |---|---|---|
//! | prompt | stdin | of any size; as an argument a leading dash and 128 KiB fail |
//! | instructions | a section of `GEMINI.md` in Gemini's directory | what else is there stays |
//! | a repository's `AGENTS.md` and `CLAUDE.md` | `context.fileName` in the settings | Gemini reads `GEMINI.md` alone by itself |
//! | MCP servers, effort, limits | `settings.json` in Gemini's directory, merged, private | there is no flag for a file of settings, and the system's are not read unless they are root's |
//! | plugins | extensions, each with a manifest that has a version | without one they are skipped |
//! | endpoint, credentials | the environment | what is set there no `.env` of the repository sets |
//! | telemetry | a private file, which nobody but [`super::ledgers`] reads | the stream tells nothing of requests that fail, nor of an answer that was cut |
//!
//! What of the repository's own configuration counts stands in [`super::trust`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ledgers::{self, TELEMETRY};
use super::settings::{self, DOLLAR, auth_type};
use super::trust;
use crate::agent::{FileContent, FileWrite, Installed, Plan, PlanError, PlanRequest, Plugin, Surroundings};
use crate::agents::{endpoint, later, limits};
use crate::task::Task;

/// The variables that hold secrets.
pub(super) const SECRET_VARIABLES: &[&str] =
    &["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CLOUD_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN", "GEMINI_CLI_CUSTOM_HEADERS"];

/// Where the keys of Google AI Studio count.
const ENDPOINT: &str = "https://generativelanguage.googleapis.com";

/// Flags of the runner's own that a task's `extraArgs` may not repeat.
const OWN_FLAGS: &[&str] = &["--output-format", "-o", "--prompt", "-p", "--prompt-interactive", "-i"];

/// The name of what the runner installs, before a plugin's.
const EXTENSION_PREFIX: &str = "agent-runner-";

/// The plan for one task.
pub(super) fn plan(request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
    let PlanRequest { task, surroundings, plugins } = *request;
    let mut errors = check(task);
    errors.extend(trust::check(surroundings));
    errors.extend(collisions(plugins));
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut plan = Plan { program: task.agent.program.clone().unwrap_or_else(|| "gemini".to_owned()), ..Plan::default() };
    plan.args = ["--yolo", "--output-format=stream-json"].map(str::to_owned).to_vec();
    let gemini_dir = gemini_dir(surroundings);
    let own_dir = surroundings.private_dir.join("gemini");

    set_environment(&mut plan, task, surroundings, &own_dir);
    plan.ledgers = ledgers::ledgers(&gemini_dir, &own_dir);
    let (settings, warnings) = settings::settings(task, surroundings);
    plan.warnings.extend(warnings);
    plan.warnings.extend(trust::warning(task.trust, surroundings));
    plan.warnings.extend(limits::without_effect("Gemini", task, limits::unsaid("gemini")));
    plan.warnings.extend(later::left_to_others("Gemini", request, &[]));
    // MCP servers' variables and headers hold secrets.
    plan.files.push(FileWrite { path: gemini_dir.join("settings.json"), content: FileContent::MergeJson(settings), private: true });
    add_instructions(&mut plan, task, &gemini_dir);
    add_extensions(&mut plan, plugins, &gemini_dir);
    // Only so that the directory for the telemetry is there.
    plan.files.push(FileWrite { path: own_dir.join(TELEMETRY), content: FileContent::Replace(Vec::new()), private: true });
    if surroundings.for_later && task.agent.endpoint.is_some() {
        let problem = "Gemini takes an endpoint from its environment alone, and no directory is trusted unless that says so";
        plan.warnings.push(format!("{problem}: whoever starts it has to set GOOGLE_GEMINI_BASE_URL and GEMINI_CLI_TRUST_WORKSPACE=true"));
    }
    let choices = [("--model", &task.agent.model), ("--resume", &task.agent.resume)];
    // Written as `--flag=value`, since a value may begin with a dash.
    plan.args.extend(choices.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value.as_ref()?))));
    plan.args.extend(task.agent.extra_args.iter().cloned());
    plan.stdin = stdin(task.prompt.as_deref().unwrap_or_default());
    Ok(plan)
}

/// What Gemini cannot take.
fn check(task: &Task) -> Vec<PlanError> {
    let mut errors = Vec::from_iter(endpoint::versioned(task, endpoint::V1_AND_BETA, "Gemini adds itself"));
    for (number, argument) in task.agent.extra_args.iter().enumerate() {
        let flag = argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag);
        if OWN_FLAGS.contains(&flag) {
            errors.push(PlanError {
                field: format!("agent.extraArgs[{number}]"),
                problem: format!("`{flag}` is set by the runner"),
                hint: "leave it out".into(),
            });
        }
    }
    errors
}

/// Skills and sub-agents of all extensions share one space of names.
fn collisions(plugins: &[Plugin]) -> Vec<PlanError> {
    let mut owners: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut errors = Vec::new();
    for plugin in plugins {
        let skills = plugin.skills.iter().map(|name| ("skill", name));
        for (kind, name) in skills.chain(plugin.agents.keys().map(|name| ("sub-agent", name))) {
            if let Some(other) = owners.insert((kind, name), &plugin.name) {
                errors.push(PlanError {
                    field: "pluginDir".into(),
                    problem: format!(
                        "the plugins `{other}` and `{}` both have a {kind} `{name}`, and Gemini would take one of them",
                        plugin.name
                    ),
                    hint: "rename one of them".into(),
                });
            }
        }
    }
    errors
}

/// The prompt as Gemini takes it for text: what begins with `/` may be a command of an extension, which one line break before it prevents.
fn stdin(prompt: &str) -> Vec<u8> {
    let line_break = if prompt.starts_with('/') { "\n" } else { "" };
    [line_break, prompt].concat().into_bytes()
}

fn set_environment(plan: &mut Plan, task: &Task, surroundings: &Surroundings, own_dir: &Path) {
    let given = |name: &str| surroundings.env.get(name).filter(|value| !value.is_empty());
    let mut set = |name: &str, value: String| plan.env.insert(name.to_owned(), Some(value));
    for name in trust::PINNED.iter().filter(|name| given(name).is_none()) {
        let proxy = other_spelling(name).and_then(|other| given(&other)).cloned();
        set(name, proxy.unwrap_or_default());
    }
    if let Some(home) = surroundings.home.to_str().filter(|home| surroundings.env.get("HOME").map(String::as_str) != Some(*home)) {
        set("HOME", home.to_owned());
    }
    let is_vertex = auth_type(surroundings) == Some("vertex-ai");
    let variable = if is_vertex { "GOOGLE_VERTEX_BASE_URL" } else { "GOOGLE_GEMINI_BASE_URL" };
    let with_key = auth_type(surroundings).is_some() && !is_vertex;
    let endpoint = task.agent.endpoint.as_ref().or(given(variable)).cloned();
    if let Some(endpoint) = endpoint.or_else(|| with_key.then(|| ENDPOINT.to_owned())) {
        set(variable, endpoint);
    }
    // Without it Gemini does nothing in a directory that nobody told it to trust.
    set("GEMINI_CLI_TRUST_WORKSPACE", "true".to_owned());
    // It would start itself once more, with more memory, and the first process does not pass signals on.
    set("GEMINI_CLI_NO_RELAUNCH", "true".to_owned());
    set(DOLLAR, "$".to_owned());
    if let Some(parameters) = git_parameters(surroundings) {
        set("GIT_CONFIG_PARAMETERS", parameters);
    }
    // Whoever collects telemetry goes on doing so; else it goes to a file and nowhere else, whatever the repository's settings say.
    if given("GEMINI_TELEMETRY_ENABLED").is_none() {
        let telemetry = [
            ("ENABLED", "true".to_owned()),
            ("TARGET", "local".to_owned()),
            ("OUTFILE", own_dir.join(TELEMETRY).display().to_string()),
            ("LOG_PROMPTS", "false".to_owned()),
            ("USE_COLLECTOR", "false".to_owned()),
            ("OTLP_ENDPOINT", String::new()),
        ];
        telemetry.into_iter().for_each(|(name, value)| _ = set(&format!("GEMINI_TELEMETRY_{name}"), value));
    }
}

/// A proxy's variable in small letters instead of capitals, or the other way round: what is read first, with nothing in it, would mean that
/// there is none.
fn other_spelling(name: &str) -> Option<String> {
    let (small, large) = (name.to_ascii_lowercase(), name.to_ascii_uppercase());
    small.ends_with("_proxy").then_some(if name == small { large } else { small })
}

/// Gemini's shell takes git's credential helpers away, by variables that come after every file: with them the runner's, which has the token
/// for a push. What comes after those again is this one, which has git read the work tree's own configuration once more.
fn git_parameters(surroundings: &Surroundings) -> Option<String> {
    let config = surroundings.work_tree.join(".git/config");
    let config = config.to_str().filter(|path| !path.contains('\''))?;
    let given = surroundings.env.get("GIT_CONFIG_PARAMETERS").map_or_else(String::new, |given| format!("{given} "));
    Some(format!("{given}'include.path'='{config}'"))
}

/// Gemini's directory: `.gemini` in its home, which is the user's unless it is said otherwise.
fn gemini_dir(surroundings: &Surroundings) -> PathBuf {
    let given = surroundings.env.get("GEMINI_CLI_HOME").filter(|dir| !dir.is_empty());
    given.map_or_else(|| surroundings.home.clone(), |dir| surroundings.workdir.join(dir)).join(".gemini")
}

/// The task's instructions, and an effort that no setting can say.
fn add_instructions(plan: &mut Plan, task: &Task, gemini_dir: &Path) {
    let mut text = task.instructions.clone().unwrap_or_default();
    if let Some(effort) = task.agent.effort.as_ref().filter(|_| task.agent.model.is_none()) {
        if !text.is_empty() {
            text = format!("{}\n\n", text.trim_end());
        }
        text.push_str(&format!("Reason with {effort} effort.\n"));
        plan.warnings.push("Gemini sets an effort for a model that is named; without one it is asked for in the instructions".into());
    }
    plan.files.push(FileWrite { path: gemini_dir.join("GEMINI.md"), content: FileContent::Section(text), private: false });
}

/// Each plugin as an extension, of its skills and sub-agents alone.
fn add_extensions(plan: &mut Plan, plugins: &[Plugin], gemini_dir: &Path) {
    let mut installed = BTreeMap::new();
    for plugin in plugins {
        let name = format!("{EXTENSION_PREFIX}{}", plugin.name);
        let home = PathBuf::from(&name);
        let manifest: Value = json!({"name": name, "version": "1.0.0"});
        installed.insert(home.join("gemini-extension.json"), Installed::File(format!("{manifest:#}\n").into_bytes()));
        if !plugin.skills.is_empty() {
            installed.insert(home.join("skills"), Installed::Tree(plugin.dir.join("skills")));
        }
        for (agent, content) in &plugin.agents {
            installed.insert(home.join("agents").join(format!("{agent}.md")), Installed::File(content.clone()));
        }
    }
    plan.files.push(FileWrite { path: gemini_dir.join("extensions"), content: FileContent::Install(installed), private: false });
}
