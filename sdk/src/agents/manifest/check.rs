//! What a manifest means: everything that the shape of its fields does not say.
//!
//! All errors are collected, so that an author mends a file in one go. A manifest that passed has no malformed template or pointer in
//! it, and says of each thing that a task may ask for either where it goes or that the agent lacks it.

use serde_json::{Map, Value};

use super::ManifestError;
use super::rules;
use super::schema::{Ability, File, Manifest, PromptWay};
use super::structure::{self, Lines};
use super::template::{self, Part, Template, is_variable};
use crate::task::nearest;

/// Placeholders for directories.
const PLACES: &[&str] = &["home", "config", "private", "workspace", "workdir"];
/// Those that a path may begin with: never the repository's tree.
const ROOTS: &[&str] = &["home", "config", "private"];
/// Placeholders for what the task chose.
const CHOICES: &[&str] = &[
    "model",
    "effort",
    "endpoint",
    "resume",
    "instructions",
    "instructions-file",
    "mcp-file",
    "max-turns",
    "max-retries",
    "max-output-tokens",
    "max-cost-usd",
];
/// Placeholders for what a program that is an MCP server consists of.
const STDIO: &[&str] = &["name", "command", "args", "env", "command-and-args"];
/// The same for a server by HTTP.
const REMOTE: &[&str] = &["name", "url", "headers"];

/// Reads and checks a manifest.
pub(super) fn parse(text: &str) -> Result<Manifest, Vec<ManifestError>> {
    let (manifest, lines) = structure::read(text)?;
    let mut check = Check { lines, errors: Vec::new() };
    check.names(&manifest);
    check.command(&manifest);
    check.environment(&manifest);
    check.files(&manifest);
    check.plugins_and_mcp(&manifest);
    check.stream(&manifest);
    check.reasons_and_repository(&manifest);
    check.abilities(&manifest);
    check.errors.sort_by_key(|error| error.line);
    if check.errors.is_empty() { Ok(manifest) } else { Err(check.errors) }
}

/// The errors so far.
pub(super) struct Check {
    lines: Lines,
    errors: Vec<ManifestError>,
}

/// Some of the lists of placeholders as one.
fn known(lists: &[&[&'static str]]) -> Vec<&'static str> {
    lists.concat()
}

impl Check {
    pub(super) fn error(&mut self, path: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self.errors.push(ManifestError { line: self.lines.of(path), path: path.to_owned(), problem: problem.into(), hint });
    }

    fn template(&mut self, path: &str, template: &Template, known: &[&str], variables: bool) {
        if let Err(error) = template.check(known, variables) {
            self.error(path, error.problem, error.hint);
        }
        if template.0.contains('\0') {
            self.error(path, "holds a NUL byte", "");
        }
    }

    /// All texts in a value are templates.
    fn templates(&mut self, path: &str, value: &Value, known: &[&str]) {
        match value {
            Value::String(text) => self.template(path, &Template(text.clone()), known, true),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(number, item)| self.templates(&format!("{path}[{number}]"), item, known));
            }
            Value::Object(fields) => fields.iter().for_each(|(name, value)| self.templates(&format!("{path}.{name}"), value, known)),
            _ => {}
        }
    }

    /// The path of a file that is written.
    fn path(&mut self, path: &str, template: &Template, known: &[&str]) {
        let before = self.errors.len();
        self.template(path, template, known, false);
        let rooted = ROOTS.iter().any(|root| template.0.starts_with(&format!("{{{root}}}/")));
        if before == self.errors.len() && (!rooted || template.0.split('/').any(|part| matches!(part, ".." | "."))) {
            self.error(
                path,
                "is not below a directory that may be written",
                "begin it with `{home}/`, `{config}/` or `{private}/`, without `..`",
            );
        }
    }

    fn names(&mut self, manifest: &Manifest) {
        let name = &manifest.name;
        let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) || name.len() > 64 || !name.bytes().all(fit) {
            self.error("name", "is no name", "up to 64 lower-case letters, digits, `.`, `_`, `-`, beginning with a letter");
        }
        if crate::agents::by_name(name).is_some() {
            self.error("name", format!("`{name}` is a built-in agent's"), "choose another one");
        }
        if manifest.about.trim().is_empty() || manifest.about.contains(['\n', '\0']) {
            self.error("about", "is not one line of text", "say what the agent is and what its program is called");
        }
    }

    fn command(&mut self, manifest: &Manifest) {
        let command = &manifest.command;
        if command.program.trim().is_empty() || command.program.contains('\0') {
            self.error("command.program", "names no program", "a name on PATH, or an absolute path");
        }
        let mut known = known(&[PLACES, CHOICES]);
        match command.prompt {
            PromptWay::Argument => known.push("prompt"),
            PromptWay::File => known.push("prompt-file"),
            PromptWay::Stdin | PromptWay::Variable => {}
        }
        let mut behind_dashes = false;
        for (number, arguments) in command.args.iter().enumerate() {
            for template in arguments.all() {
                let path = format!("command.args[{number}]");
                self.template(&path, template, &known, false);
                behind_dashes |= template.0 == "--";
                if template.0.starts_with("{prompt}") && !behind_dashes {
                    let hint = "put an argument \"--\" before it, or write `--flag={prompt}`; where the agent takes neither, \" {prompt}\"";
                    self.error(&path, "would be taken for a flag where the prompt begins with a dash", hint);
                }
            }
        }
        let used = command.args.iter().flat_map(|arguments| arguments.all()).filter(|template| template.uses("prompt")).count();
        let in_variable = manifest.environment.set.values().filter(|template| template.uses("prompt")).count();
        let in_file = uses(manifest, "prompt-file");
        match command.prompt {
            PromptWay::Argument if used != 1 => {
                self.error("command.prompt", "is `argument`, and not exactly one argument has `{prompt}`", "")
            }
            PromptWay::Variable if in_variable != 1 => {
                self.error("command.prompt", "is `variable`, and not exactly one in `environment.set` has `{prompt}`", "");
            }
            PromptWay::File if !in_file => self.error("command.prompt", "is `file`, and nothing tells the agent `{prompt-file}`", ""),
            _ => {}
        }
    }

    fn environment(&mut self, manifest: &Manifest) {
        let environment = &manifest.environment;
        let mut known = known(&[PLACES, CHOICES]);
        match manifest.command.prompt {
            PromptWay::Variable => known.push("prompt"),
            PromptWay::File => known.push("prompt-file"),
            PromptWay::Stdin | PromptWay::Argument => {}
        }
        for (table, variables) in [("set", &environment.set), ("default", &environment.default)] {
            for (name, template) in variables {
                let path = format!("environment.{table}.{name}");
                self.variable(&path, name);
                self.template(&path, template, &known, true);
            }
        }
        for (list, names) in [("unset", &environment.unset), ("secrets", &environment.secrets)] {
            names.iter().enumerate().for_each(|(number, name)| self.variable(&format!("environment.{list}[{number}]"), name));
        }
        for name in environment.unset.iter().filter(|name| environment.set.contains_key(*name)) {
            self.error("environment.unset", format!("takes away `{name}`, which is set"), "");
        }
    }

    fn variable(&mut self, path: &str, name: &str) {
        if !is_variable(name) {
            self.error(path, "is no variable's name", "letters, digits and `_`, beginning with no digit");
        }
    }

    fn files(&mut self, manifest: &Manifest) {
        if let Some(dir) = &manifest.config_dir {
            if let Some(name) = &dir.variable {
                self.variable("config-dir.variable", name);
            }
            self.template("config-dir.default", &dir.default, &["home", "private"], false);
            if !dir.default.0.starts_with("{home}/") && !dir.default.0.starts_with("{private}/") {
                self.error("config-dir.default", "is not below `{home}` or `{private}`", "for instance `{home}/.agent`");
            }
        } else if uses(manifest, "config") {
            self.error("config-dir", "is missing, and `{config}` is used", "say where the agent's configuration directory is");
        }
        let paths = known(&[PLACES]);
        let content = known(&[PLACES, CHOICES]);
        for (number, file) in manifest.files.iter().enumerate() {
            let path = format!("file[{number}]");
            self.path(&format!("{path}.path"), &file.path, &paths);
            match (&file.text, &file.merge) {
                (Some(text), None) => self.template(&format!("{path}.text"), text, &content, true),
                (None, Some(fields)) => self.templates(&format!("{path}.merge"), &Value::Object(fields.clone()), &content),
                _ => self.error(&path, "does not say what is in it", "exactly one of `text` and `merge`"),
            }
        }
        if let Some(instructions) = &manifest.instructions {
            if let Some(file) = &instructions.file {
                self.path("instructions.file", file, &paths);
            }
            if instructions.file.is_some() == instructions.in_prompt {
                self.error("instructions", "does not say where they go", "either `file = \"…\"` or `in-prompt = true`");
            }
        }
    }

    fn plugins_and_mcp(&mut self, manifest: &Manifest) {
        if let Some(plugins) = &manifest.plugins {
            let names = known(&[PLACES, &["plugin", "plugin-dir"]]);
            for (number, template) in plugins.args.iter().enumerate() {
                self.template(&format!("plugins.args[{number}]"), template, &names, false);
            }
            for (field, template) in [("skills", &plugins.skills), ("sub-agents", &plugins.sub_agents)] {
                template.iter().for_each(|template| self.path(&format!("plugins.{field}"), template, &known(&[PLACES])));
            }
        }
        let Some(mcp) = &manifest.mcp else { return };
        match &mcp.file {
            Some(file) => self.path("mcp.file", file, &known(&[PLACES])),
            None if !uses(manifest, "mcp-file") => {
                self.error(
                    "mcp.file",
                    "is missing, and nothing tells the agent `{mcp-file}`",
                    "name the file that the agent reads, or hand `{mcp-file}` over",
                );
            }
            None => {}
        }
        if !rules::is_pointer(&mcp.pointer) || mcp.pointer.is_empty() {
            self.error("mcp.pointer", "is no JSON pointer to a field", "for instance `/mcpServers`");
        }
        for (kind, form, names) in [("stdio", &mcp.stdio, STDIO), ("http", &mcp.http, REMOTE), ("sse", &mcp.sse, REMOTE)] {
            if let Some(form) = form {
                self.templates(&format!("mcp.{kind}"), &Value::Object(form.clone()), names);
            }
        }
        if mcp.stdio.is_none() && mcp.http.is_none() && mcp.sse.is_none() {
            self.error("mcp", "has no form for any kind of server", "`mcp.stdio`, `mcp.http` or `mcp.sse`");
        }
    }

    fn stream(&mut self, manifest: &Manifest) {
        let stream = &manifest.stream;
        let built_in: Vec<String> = crate::agents::all().iter().map(|agent| agent.name().to_owned()).collect();
        let formats: Vec<&str> = built_in
            .iter()
            .map(String::as_str)
            .filter(|name| *name != crate::agents::command::NAME)
            .chain([rules::JSON_LINES, rules::TEXT, rules::NONE])
            .collect();
        if !formats.contains(&stream.format.as_str()) {
            let near = nearest(&stream.format, formats.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let list = || format!("known are {}", formats.join(", "));
            self.error("stream.format", "is no format that is known", near.unwrap_or_else(list));
        }
        match (stream.format.as_str(), stream.events.is_empty()) {
            (rules::JSON_LINES, true) => self.error("stream.event", "is missing", "`json-lines` is read by `[[stream.event]]` rules"),
            (rules::JSON_LINES, false) | (_, true) => {}
            (format, false) if formats.contains(&format) => {
                self.error("stream.event", format!("is not looked at: the format is `{format}`"), "");
            }
            // The format is the error.
            _ => {}
        }
        for (number, rule) in stream.events.iter().enumerate() {
            rules::check(self, &format!("stream.event[{number}]"), rule);
        }
        for (number, ledger) in manifest.ledgers.iter().enumerate() {
            let path = format!("ledger[{number}]");
            self.path(&format!("{path}.dir"), &ledger.dir, &known(&[PLACES]));
            if stream.format != rules::JSON_LINES {
                self.error(&path, "is read only beside `json-lines`", "a built-in format knows its own");
            }
            for (number, rule) in ledger.events.iter().enumerate() {
                rules::check(self, &format!("{path}.event[{number}]"), rule);
            }
        }
    }

    fn reasons_and_repository(&mut self, manifest: &Manifest) {
        for (number, row) in manifest.reasons.iter().enumerate() {
            let path = format!("reason[{number}]");
            if row.status.is_none() && row.exit.is_none() && row.text.as_ref().is_none_or(|text| text.trim().is_empty()) {
                self.error(&path, "fits everything", "`status`, `text` or `exit` say what it is about");
            }
            if row.status.is_some_and(|status| !(100..600).contains(&status)) {
                self.error(&format!("{path}.status"), "is no HTTP status", "from 100 to 599");
            }
        }
        for (number, row) in manifest.repository.iter().enumerate() {
            let inside = !row.path.is_empty() && !row.path.starts_with('/') && !row.path.contains('\0');
            let plain = row.path.trim_end_matches('/').split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !inside || !plain || row.path.split('/').any(|part| part.eq_ignore_ascii_case(".git")) {
                self.error(
                    &format!("repository[{number}].path"),
                    "is no path within a repository",
                    "relative, without `..`, and not in `.git`",
                );
            }
        }
    }

    /// Each ability is there or declared to lack.
    fn abilities(&mut self, manifest: &Manifest) {
        for ability in Ability::ALL {
            let word = ability.as_str();
            let is_there = is_provided(manifest, ability);
            match (is_there, manifest.lacks.contains(&ability)) {
                (true, true) => self.error("lacks", format!("has `{word}`, which the manifest provides for"), "leave it out of `lacks`"),
                (false, false) => {
                    let hint = format!("{}; or add `{word}` to `lacks`, so that a task that asks for it is warned", how(ability));
                    self.error("lacks", format!("does not have `{word}`, and nothing gives it to the agent"), hint);
                }
                _ => {}
            }
        }
    }
}

/// How an ability is provided for.
fn how(ability: Ability) -> String {
    match ability {
        Ability::Instructions => "`[instructions]`, `{instructions}` or `{instructions-file}` hand them over".to_owned(),
        Ability::Skills => "`plugins.skills` or `plugins.args` hand them over".to_owned(),
        Ability::SubAgents => "`plugins.sub-agents` or `plugins.args` hand them over".to_owned(),
        Ability::McpStdio | Ability::McpHttp | Ability::McpSse => {
            format!("`[mcp.{}]` says in which form", ability.as_str().trim_start_matches("mcp-"))
        }
        choice => format!("`{{{}}}` in an argument, a variable or a file does", choice.as_str()),
    }
}

/// Whether something in a manifest hands over what a task may ask for.
fn is_provided(manifest: &Manifest, ability: Ability) -> bool {
    let by_args = manifest.plugins.as_ref().is_some_and(|plugins| !plugins.args.is_empty());
    match ability {
        Ability::Instructions => manifest.instructions.is_some() || uses(manifest, "instructions") || uses(manifest, "instructions-file"),
        Ability::Skills => by_args || manifest.plugins.as_ref().is_some_and(|plugins| plugins.skills.is_some()),
        Ability::SubAgents => by_args || manifest.plugins.as_ref().is_some_and(|plugins| plugins.sub_agents.is_some()),
        Ability::McpStdio => manifest.mcp.as_ref().is_some_and(|mcp| mcp.stdio.is_some()),
        Ability::McpHttp => manifest.mcp.as_ref().is_some_and(|mcp| mcp.http.is_some()),
        Ability::McpSse => manifest.mcp.as_ref().is_some_and(|mcp| mcp.sse.is_some()),
        choice => uses(manifest, choice.as_str()),
    }
}

/// Whether a placeholder stands anywhere in what the agent is given.
pub(super) fn uses(manifest: &Manifest, name: &str) -> bool {
    any_template(manifest, &|template| template.uses(name))
}

/// Whether a placeholder stands in what a file holds.
pub(super) fn is_in(file: &File, name: &str) -> bool {
    any_within(file, &|template| template.uses(name))
}

/// Whether the API's version is put behind the endpoint somewhere.
pub(super) fn adds_version(manifest: &Manifest) -> bool {
    any_template(manifest, &|template| {
        let parts = template::parse(&template.0).unwrap_or_default();
        let adds = |pair: &[Part]| matches!(pair, [Part::Placeholder { name, .. }, Part::Text(text)] if name == "endpoint" && text.starts_with("/v1"));
        parts.windows(2).any(adds)
    })
}

fn any_within(file: &File, fits: &dyn Fn(&Template) -> bool) -> bool {
    fn within(value: &Value, fits: &dyn Fn(&Template) -> bool) -> bool {
        match value {
            Value::String(text) => fits(&Template(text.clone())),
            Value::Array(items) => items.iter().any(|item| within(item, fits)),
            Value::Object(fields) => fields.values().any(|value| within(value, fits)),
            _ => false,
        }
    }
    file.text.iter().any(fits) || file.merge.iter().flat_map(Map::values).any(|value| within(value, fits))
}

/// Whether any template of what the agent is given is such a one.
fn any_template(manifest: &Manifest, fits: &dyn Fn(&Template) -> bool) -> bool {
    let args = manifest.command.args.iter().flat_map(|arguments| arguments.all());
    let variables = manifest.environment.set.values().chain(manifest.environment.default.values());
    let ledgers = manifest.ledgers.iter().map(|ledger| &ledger.dir);
    let paths =
        manifest.files.iter().map(|file| &file.path).chain(ledgers).chain(manifest.instructions.iter().filter_map(|it| it.file.as_ref()));
    let plugins = manifest.plugins.iter().flat_map(|plugins| plugins.args.iter().chain(&plugins.skills).chain(&plugins.sub_agents));
    let mcp = manifest.mcp.iter().filter_map(|mcp| mcp.file.as_ref());
    args.chain(variables).chain(paths).chain(plugins).chain(mcp).any(fits) || manifest.files.iter().any(|file| any_within(file, fits))
}
