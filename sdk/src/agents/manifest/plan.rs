//! How a manifest's agent is configured and started.
//!
//! What the task has becomes the values of placeholders; what it has not leaves out what asks for it. What the agent lacks is a
//! warning, which `lacking` says, what cannot be done safely an error.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::check::{adds_version, uses};
use super::keep;
use super::schema::{Manifest, Mcp, Power, PromptWay};
use super::template::{Template, VARIABLE, Values};
use crate::agent::{FileContent, FileWrite, Ledger, LedgerForm, Plan, PlanError, PlanRequest, Plugin, Surroundings};
use crate::agents::plugins::{skills, sub_agent_files};
use crate::agents::{codex, endpoint};
use crate::task::{McpServer, Task, Trust};

/// Linux takes no argument and no `NAME=value` longer than this, its final NUL included (`MAX_ARG_STRLEN` in `execve(2)`).
const ARGUMENT_LIMIT: usize = 131_072;

/// The plan for one task.
pub(super) fn plan(manifest: &Manifest, request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
    let PlanRequest { task, surroundings, plugins } = *request;
    let mut planner = Planner { manifest, task, surroundings, values: Values::new(), plan: Plan::default(), errors: Vec::new() };
    planner.gather_values();
    planner.refuse_redirections();
    planner.refuse_versioned_endpoint();
    planner.warn_of_what_lacks(plugins);
    planner.warn_of_limits();
    planner.warn_of_what_is_left_to_others(request);
    planner.add_environment();
    planner.add_files();
    planner.add_instructions();
    planner.add_mcp_servers();
    planner.add_command(plugins);
    planner.add_plugins(plugins);
    planner.add_prompt();
    planner.add_ledgers();
    if planner.errors.is_empty() { Ok(planner.plan) } else { Err(planner.errors) }
}

pub(super) struct Planner<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) task: &'a Task,
    pub(super) surroundings: &'a Surroundings,
    pub(super) values: Values,
    pub(super) plan: Plan,
    pub(super) errors: Vec<PlanError>,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Planner<'_> {
    /// A private file of the agent's own.
    fn own(&self, name: &str) -> PathBuf {
        self.surroundings.private_dir.join(&self.manifest.name).join(name)
    }

    fn gather_values(&mut self) {
        let (task, surroundings, prompt) = (self.task, self.surroundings, self.prompt());
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                self.values.insert(name.to_owned(), value);
            }
        };
        set("home", Some(text(&surroundings.home)));
        set("private", Some(text(&surroundings.private_dir.join(&self.manifest.name))));
        set("workspace", Some(text(&surroundings.work_tree)));
        set("workdir", Some(text(&surroundings.workdir)));
        let agent = &task.agent;
        set("model", agent.model.clone());
        set("effort", agent.effort.clone());
        set("endpoint", agent.endpoint.clone());
        set("resume", agent.resume.clone());
        set("instructions", task.instructions.clone());
        set("max-turns", task.limits.max_turns.map(|turns| turns.to_string()));
        set("max-retries", task.limits.max_retries.map(|retries| retries.to_string()));
        set("max-output-tokens", task.limits.max_output_tokens.map(|tokens| tokens.to_string()));
        set("max-cost-usd", task.limits.max_cost_usd.map(|cost| cost.to_string()));
        set("prompt", prompt);
        for (name, value) in surroundings.env.iter().filter(|(_, value)| !value.is_empty()) {
            set(&format!("{VARIABLE}{name}"), Some(value.clone()));
        }
        let config = self.manifest.config_dir.as_ref().and_then(|dir| {
            let given = dir.variable.as_ref().and_then(|name| surroundings.env.get(name)).filter(|path| !path.is_empty());
            given.map(|path| text(&surroundings.workdir.join(path))).or_else(|| dir.default.expand(&self.values))
        });
        self.values.extend(config.map(|config| ("config".to_owned(), config)));
        let instructions = task.instructions.is_some() && uses(self.manifest, "instructions-file");
        let mcp = self.manifest.mcp.as_ref().filter(|mcp| !task.mcp_servers.is_empty() && mcp.file.is_none());
        let by_file = self.manifest.command.prompt == PromptWay::File;
        let files = [
            ("instructions-file", "instructions.md", instructions),
            ("mcp-file", "mcp.json", mcp.is_some()),
            ("prompt-file", "prompt.md", by_file),
        ];
        for (name, file, _) in files.into_iter().filter(|(_, _, needed)| *needed) {
            self.values.insert(name.to_owned(), text(&self.own(file)));
        }
    }

    /// The prompt, with the instructions before it where they go there.
    fn prompt(&self) -> Option<String> {
        let prompt = self.task.prompt.as_deref()?;
        let in_prompt = self.manifest.instructions.as_ref().is_some_and(|instructions| instructions.in_prompt);
        let instructions = self.task.instructions.as_deref().filter(|_| in_prompt);
        Some(instructions.map_or_else(|| prompt.to_owned(), |instructions| format!("{}\n\n{prompt}", instructions.trim_end())))
    }

    fn refuse_versioned_endpoint(&mut self) {
        if adds_version(self.manifest) {
            self.errors.extend(endpoint::versioned(self.task, endpoint::V1, &format!("is added for `{}`", self.manifest.name)));
        }
    }

    /// A file that can send the key elsewhere is no matter of settings: where it is in force, the agent does not start.
    fn refuse_redirections(&mut self) {
        if self.task.trust == Trust::Repository {
            return;
        }
        let here = |path: &Path| {
            self.manifest.repository.iter().any(|row| row.power == Power::Redirects && path.ends_with(row.path.trim_end_matches('/')))
        };
        let found: Vec<String> =
            self.surroundings.repository_files.keys().filter(|path| here(path)).map(|path| format!("`{}`", path.display())).collect();
        if !found.is_empty() {
            let name = &self.manifest.name;
            let problem = format!(
                "the repository has {}, by which it can send what `{name}` asks its model elsewhere, the key with it",
                found.join(", ")
            );
            let hint = "AGENT_TRUST=instructions hides it; AGENT_TRUST=repository lets it count".to_owned();
            self.errors.push(PlanError { field: "trust".to_owned(), problem, hint });
        }
    }

    fn add_environment(&mut self) {
        let environment = &self.manifest.environment;
        self.plan.env.extend(environment.unset.iter().map(|name| (name.clone(), None)));
        let home = text(&self.surroundings.home);
        if self.surroundings.env.get("HOME") != Some(&home) {
            self.plan.env.insert("HOME".to_owned(), Some(home));
        }
        let is_given = |name: &str| self.surroundings.env.get(name).is_some_and(|value| !value.is_empty());
        let defaults = environment.default.iter().filter(|(name, _)| !is_given(name));
        for (name, template) in defaults.chain(&environment.set) {
            if let Some(value) = template.expand(&self.values) {
                if name.len() + value.len() + 2 > ARGUMENT_LIMIT {
                    let field = if template.uses("prompt") { "prompt" } else { "instructions" };
                    let problem = format!("is too long for the variable `{name}`, in which `{}` takes it", self.manifest.name);
                    self.errors.push(PlanError { field: field.into(), problem, hint: "keep it below 128 KiB".into() });
                }
                self.plan.env.insert(name.clone(), Some(value));
            }
        }
    }

    fn write(&mut self, path: PathBuf, content: FileContent, private: bool) {
        self.plan.files.push(FileWrite { path, content, private });
    }

    /// Fields go into a file together, whoever asks for them: the second write would not see the first.
    fn merge(&mut self, path: PathBuf, fields: Map<String, Value>) {
        let earlier = self.plan.files.iter_mut().find(|file| file.path == path);
        if let Some(FileWrite { content: FileContent::MergeJson(earlier) | FileContent::MergeToml(earlier), .. }) = earlier {
            join(earlier, fields);
            return;
        }
        let is_toml = path.extension().is_some_and(|ending| ending == "toml");
        // Whether a value in it is a secret is for nobody to guess: it is private.
        self.write(path, if is_toml { FileContent::MergeToml(fields) } else { FileContent::MergeJson(fields) }, true);
    }

    fn add_files(&mut self) {
        for file in &self.manifest.files {
            let Some(path) = file.path.expand(&self.values).map(PathBuf::from) else { continue };
            if let Some(fields) = &file.merge {
                match fill(&Value::Object(fields.clone()), &|text| self.leaf(text)) {
                    Some(Value::Object(fields)) => self.merge(path, fields),
                    _ => self.merge(path, Map::new()),
                }
            } else if let Some(text) = file.text.as_ref().and_then(|text| text.expand(&self.values)) {
                self.write(path, FileContent::Replace(text.into_bytes()), true);
            }
        }
    }

    /// A limit that stands alone is a number, as agents want theirs.
    fn leaf(&self, text: &str) -> Option<Value> {
        let value = Template(text.to_owned()).expand(&self.values)?;
        let is_limit = text.starts_with("{max-") && text.find('}') == Some(text.len() - 1);
        Some(serde_json::from_str(&value).ok().filter(|value: &Value| is_limit && value.is_number()).unwrap_or(Value::String(value)))
    }

    fn add_instructions(&mut self) {
        if self.values.contains_key("instructions-file") {
            let content = FileContent::Replace(self.task.instructions.clone().unwrap_or_default().into_bytes());
            self.write(self.own("instructions.md"), content, true);
        }
        let file = self.manifest.instructions.as_ref().and_then(|instructions| instructions.file.as_ref());
        if let Some(file) = file.and_then(|file| file.expand(&self.values)) {
            self.write(file.into(), FileContent::Section(self.task.instructions.clone().unwrap_or_default()), false);
        }
    }

    fn add_mcp_servers(&mut self) {
        let Some(mcp) = &self.manifest.mcp else { return };
        let mut servers = Map::new();
        for (name, server) in &self.task.mcp_servers {
            if let Some(server) = server_in_form(mcp, name, server) {
                servers.insert(name.clone(), server);
            }
        }
        let path = match &mcp.file {
            Some(file) => file.expand(&self.values).map(PathBuf::from),
            None => self.values.get("mcp-file").map(PathBuf::from),
        };
        let Some(path) = path else { return };
        if servers.is_empty() {
            // Those of an earlier run are taken out.
            return self.merge(path, Map::new());
        }
        // From the innermost field outwards; a checked pointer has at least one.
        let fields = mcp.pointer.rsplit('/').filter(|part| !part.is_empty()).map(|part| part.replace("~1", "/").replace("~0", "~"));
        if let Value::Object(fields) = fields.fold(Value::Object(servers), |inner, field| json!({ field: inner })) {
            self.merge(path, fields);
        }
    }

    fn add_command(&mut self, plugins: &[Plugin]) {
        let command = &self.manifest.command;
        self.plan.program = self.task.agent.program.clone().unwrap_or_else(|| command.program.clone());
        let endpoint_has_password = self.task.agent.endpoint.as_ref().is_some_and(|endpoint| endpoint.contains('@'));
        let mut more = Some(self.more_args(plugins));
        for arguments in &command.args {
            let all: Option<Vec<String>> = arguments.all().iter().map(|template| template.expand(&self.values)).collect();
            let Some(all) = all else { continue };
            if endpoint_has_password && arguments.all().iter().any(|template| template.uses("endpoint")) {
                let problem =
                    format!("holds a password, and `{}` takes it as an argument, which every process can read", self.manifest.name);
                self.errors.push(PlanError { field: "agent.endpoint".into(), problem, hint: "leave the password out".into() });
            }
            if let Some(long) = arguments.all().iter().zip(&all).find(|(_, argument)| argument.len() >= ARGUMENT_LIMIT) {
                let field = if long.0.uses("prompt") { "prompt" } else { "instructions" };
                let problem = format!("is too long for an argument, as which `{}` takes it", self.manifest.name);
                self.errors.push(PlanError { field: field.into(), problem, hint: "keep it below 128 KiB".into() });
            }
            if all.first().is_some_and(|first| first == "--") {
                self.plan.args.extend(more.take().unwrap_or_default());
            }
            self.plan.args.extend(all);
        }
        self.plan.args.extend(more.unwrap_or_default());
    }

    /// What comes after the manifest's own flags, and before `--`.
    fn more_args(&self, plugins: &[Plugin]) -> Vec<String> {
        let mut args = Vec::new();
        for plugin in plugins {
            let values = self.with_plugin(plugin);
            args.extend(self.manifest.plugins.iter().flat_map(|plugins| &plugins.args).filter_map(|template| template.expand(&values)));
        }
        args.extend(self.task.agent.extra_args.iter().cloned());
        args
    }

    fn with_plugin(&self, plugin: &Plugin) -> Values {
        let mut values = self.values.clone();
        values.extend([("plugin".to_owned(), plugin.name.clone()), ("plugin-dir".to_owned(), text(&plugin.dir))]);
        values
    }

    fn add_plugins(&mut self, plugins: &[Plugin]) {
        let Some(places) = &self.manifest.plugins else { return };
        for (place, wanted) in [(&places.skills, skills(plugins)), (&places.sub_agents, sub_agent_files(plugins))] {
            let Some(path) = place.as_ref().and_then(|template| template.expand(&self.values)) else { continue };
            match wanted {
                Ok(wanted) => self.write(path.into(), FileContent::Install(wanted), false),
                Err(errors) => self.errors.extend(errors),
            }
        }
    }

    fn add_ledgers(&mut self) {
        if self.manifest.stream.format == "codex" {
            // Without them a session that is resumed has the tokens of its earlier runs in it.
            let home = self.values.get("config").map_or_else(|| codex::codex_home(self.surroundings), PathBuf::from);
            self.plan.ledgers.push(codex::rollouts(&home));
        }
        for ledger in &self.manifest.ledgers {
            // Each has its place in the list, by which its lines are told from another's.
            self.plan.ledgers.push(Ledger {
                dir: ledger.dir.expand(&self.values).unwrap_or_default().into(),
                depth: ledger.depth.into(),
                prefix: keep(&ledger.prefix),
                suffix: keep(&ledger.suffix),
                form: LedgerForm::Lines,
            });
        }
    }

    fn add_prompt(&mut self) {
        let prompt = self.values.get("prompt").cloned().unwrap_or_default();
        match self.manifest.command.prompt {
            PromptWay::Stdin => self.plan.stdin = prompt.into_bytes(),
            PromptWay::File => self.write(self.own("prompt.md"), FileContent::Replace(prompt.into_bytes()), true),
            PromptWay::Argument | PromptWay::Variable => {}
        }
    }
}

/// Fields into fields, tables into tables.
fn join(into: &mut Map<String, Value>, fields: Map<String, Value>) {
    for (name, value) in fields {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => join(old, new),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

/// An MCP server in its kind's form; nothing if the agent takes no such servers.
fn server_in_form(mcp: &Mcp, name: &str, server: &McpServer) -> Option<Value> {
    let (form, values) = match server {
        McpServer::Stdio { command, args, env } => {
            let whole: Vec<&String> = std::iter::once(command).chain(args).collect();
            let values = json!({ "name": name, "command": command, "args": args, "env": env, "command-and-args": whole });
            (&mcp.stdio, values)
        }
        McpServer::Http { url, headers } => (&mcp.http, json!({ "name": name, "url": url, "headers": headers })),
        McpServer::Sse { url, headers } => (&mcp.sse, json!({ "name": name, "url": url, "headers": headers })),
    };
    let texts: Values = values.as_object()?.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let leaf = |text: &str| {
        // A leaf that is one placeholder becomes the value itself, lists and tables included.
        let whole = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).and_then(|name| values.get(name));
        whole.cloned().or_else(|| Template(text.to_owned()).expand(&texts).map(Value::String))
    };
    fill(&Value::Object(form.clone()?), &leaf)
}

/// A value whose texts are templates, with their values; what has none is left out.
fn fill(value: &Value, leaf: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
    match value {
        Value::String(text) => leaf(text),
        Value::Array(items) => Some(items.iter().filter_map(|item| fill(item, leaf)).collect()),
        Value::Object(fields) => {
            let filled: Map<String, Value> = fields.iter().filter_map(|(name, value)| Some((name.clone(), fill(value, leaf)?))).collect();
            // A table of which nothing is left says nothing; one that was empty is meant so.
            (fields.is_empty() || !filled.is_empty()).then_some(Value::Object(filled))
        }
        other => Some(other.clone()),
    }
}
