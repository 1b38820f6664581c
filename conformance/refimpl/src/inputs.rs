//! Sections 4 and 11: the task, from variables and a document, with every wrong input named; and the version of the interface.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::mutants::broken;
use crate::prices;
use crate::results::is_valid_key;

/// The version of the interface that this implementation follows, and the only one.
pub const VERSION: &str = "1.0";

/// What a value must be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    /// The path of a file whose text is the value; only variables are of this kind.
    File,
    Url,
    Repo,
    Ref,
    Inner,
    Number(u64, u64),
    Decimal,
    Span,
    Switch,
    Word(&'static [&'static str]),
    Words,
    Outputs,
    Prices,
    /// The path of a file with such a table.
    PricesFile,
    /// JSON that this implementation does not look into.
    Json,
}

/// Every variable of section 4, its field in the task document, and what its value must be.
const SETTINGS: &[(&str, &str, Kind)] = &[
    ("AGENT_TYPE", "agent.type", Kind::Word(&["native", "command"])),
    ("AGENT_MANIFEST_DIR", "agent.manifestDir", Kind::Text),
    ("AGENT_MODEL", "agent.model", Kind::Text),
    ("AGENT_EFFORT", "agent.effort", Kind::Text),
    ("AGENT_ENDPOINT", "agent.endpoint", Kind::Url),
    ("AGENT_RESUME", "agent.resume", Kind::Text),
    ("AGENT_PROGRAM", "agent.program", Kind::Text),
    ("AGENT_EXTRA_ARGS", "agent.extraArgs", Kind::Words),
    ("AGENT_PROMPT", "prompt", Kind::Text),
    ("AGENT_PROMPT_FILE", "prompt", Kind::File),
    ("AGENT_INTERFACE_VERSION", "interfaceVersion", Kind::Text),
    ("AGENT_REPO", "workspace.repo", Kind::Repo),
    ("AGENT_REF", "workspace.ref", Kind::Ref),
    ("AGENT_BRANCH", "workspace.branch", Kind::Ref),
    ("AGENT_BASE_BRANCH", "workspace.baseBranch", Kind::Ref),
    ("AGENT_DEPTH", "workspace.depth", Kind::Number(0, u32::MAX as u64)),
    ("AGENT_WORKSPACE_DIR", "workspace.dir", Kind::Text),
    ("AGENT_SUBDIRECTORY", "workspace.subdirectory", Kind::Inner),
    ("AGENT_FILTER", "workspace.filter", Kind::Text),
    ("AGENT_SUBMODULES", "workspace.submodules", Kind::Switch),
    ("AGENT_LFS", "workspace.lfs", Kind::Switch),
    ("AGENT_REMOTES", "workspace.remotes", Kind::Json),
    ("AGENT_FILES", "workspace.files", Kind::Json),
    ("AGENT_TOKEN_FILE", "git.tokenFile", Kind::Text),
    ("AGENT_GIT_USERNAME", "git.username", Kind::Text),
    ("AGENT_SSH_KEY_FILE", "git.sshKeyFile", Kind::Text),
    ("AGENT_KNOWN_HOSTS_FILE", "git.knownHostsFile", Kind::Text),
    ("AGENT_CA_BUNDLE_FILE", "git.caBundleFile", Kind::Text),
    ("AGENT_GIT_USER_NAME", "git.userName", Kind::Text),
    ("AGENT_GIT_USER_EMAIL", "git.userEmail", Kind::Text),
    ("AGENT_INSTRUCTIONS", "instructions", Kind::Text),
    ("AGENT_INSTRUCTIONS_FILE", "instructions", Kind::File),
    ("AGENT_PLUGIN_DIR", "pluginDir", Kind::Text),
    ("AGENT_MCP_SERVERS", "mcpServers", Kind::Json),
    ("AGENT_MCP_SERVERS_FILE", "mcpServers", Kind::File),
    ("AGENT_SETUP_COMMAND", "setupCommand", Kind::Words),
    ("AGENT_TRUST", "trust", Kind::Word(&["repository", "base", "instructions"])),
    ("AGENT_TIMEOUT", "limits.timeout", Kind::Span),
    ("AGENT_SILENCE_TIMEOUT", "limits.silenceTimeout", Kind::Span),
    ("AGENT_GRACE", "limits.grace", Kind::Span),
    ("AGENT_LINGER", "limits.linger", Kind::Span),
    ("AGENT_MAX_COST_USD", "limits.maxCostUsd", Kind::Decimal),
    ("AGENT_PRICES", "prices", Kind::Prices),
    ("AGENT_PRICES_FILE", "prices", Kind::PricesFile),
    ("AGENT_MAX_TURNS", "limits.maxTurns", Kind::Number(1, u64::MAX)),
    ("AGENT_MAX_OUTPUT_TOKENS", "limits.maxOutputTokens", Kind::Number(1, u64::MAX)),
    ("AGENT_MAX_RETRIES", "limits.maxRetries", Kind::Number(0, u64::MAX)),
    ("AGENT_LOG", "log", Kind::Word(&["raw", "pretty", "events"])),
    ("AGENT_TERMINATION_LOG", "sinks.terminationLog", Kind::Text),
    ("AGENT_TERMINATION_BUDGET", "sinks.terminationBudget", Kind::Number(128, 4096)),
    ("AGENT_RESULT_FILE", "sinks.resultFile", Kind::Text),
    ("AGENT_RESULTS_DIR", "sinks.resultsDir", Kind::Text),
    ("AGENT_EVENTS_FILE", "sinks.eventsFile", Kind::Text),
    ("AGENT_OUTPUTS", "sinks.outputs", Kind::Outputs),
    ("AGENT_MARKER", "sinks.marker", Kind::Switch),
];

const TASK_FILE: &str = "AGENT_TASK_FILE";

/// What of the interface's variables an agent of this image gets as it came: it reads them itself.
const FOR_THE_AGENT: &[&str] = &["AGENT_MODEL", "AGENT_EFFORT", "AGENT_ENDPOINT", "AGENT_RESUME", "AGENT_INSTRUCTIONS", "AGENT_PLUGIN_DIR"];

/// A task: the value of each field that was given, checked, by its path in the document.
#[derive(Debug, Default)]
pub struct Task(BTreeMap<String, Value>);

/// What was given: the task as far as it is right, and what is wrong.
#[derive(Debug, Default)]
pub struct Inputs {
    pub task: Task,
    pub wrong: Vec<String>,
}

impl Task {
    pub fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path)?.as_str()
    }

    pub fn words(&self, path: &str) -> Vec<String> {
        let list = self.0.get(path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }

    pub fn number(&self, path: &str) -> Option<u64> {
        self.0.get(path)?.as_u64()
    }

    pub fn decimal(&self, path: &str) -> Option<f64> {
        self.0.get(path)?.as_f64()
    }

    pub fn switch(&self, path: &str) -> Option<bool> {
        self.0.get(path)?.as_bool()
    }

    /// A length of time; zero is as good as absent.
    pub fn span(&self, path: &str) -> Option<Duration> {
        self.number(path).filter(|milliseconds| *milliseconds > 0).map(Duration::from_millis)
    }

    pub fn value(&self, path: &str) -> Option<&Value> {
        self.0.get(path)
    }

    pub fn list(&self, path: &str) -> &[Value] {
        self.0.get(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// Reads the environment and the document that it names. Nothing is asked of what is not set.
pub fn read() -> Inputs {
    let mut inputs = Inputs::default();
    let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    if !(has_document() && broken("variable-wins")) {
        read_document(&mut inputs);
    }
    for (variable, path, kind) in SETTINGS {
        let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else { continue };
        given.entry(path).or_default().push(variable);
        match of_variable(&value, *kind).and_then(|value| check(*kind, &value)) {
            Ok(value) => {
                inputs.task.0.insert((*path).to_owned(), value);
            }
            Err(problem) => inputs.wrong.push(format!("{variable}: {problem}")),
        }
    }
    if has_document() && broken("variable-wins") {
        read_document(&mut inputs);
    }
    for both in given.values().filter(|variables| variables.len() > 1) {
        inputs.wrong.push(format!("{} say the same: set one of them", both.join(" and ")));
    }
    if !given.contains_key("agent.type") && inputs.task.text("agent.type").is_none() {
        inputs.wrong.push("AGENT_TYPE: the agent must be named".to_owned());
    }
    if !given.contains_key("prompt") && inputs.task.text("prompt").is_none() {
        inputs.wrong.push("AGENT_PROMPT: there is no prompt".to_owned());
    }
    if broken("unknown-variables") && unknown_variables().next().is_some() {
        inputs.wrong.extend(unknown_variables().map(|name| format!("{name}: no such variable")));
    }
    inputs
}

fn unknown_variables() -> impl Iterator<Item = String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| name.starts_with("AGENT_") && !is_ours(OsStr::new(name)))
}

fn has_document() -> bool {
    std::env::var_os(TASK_FILE).is_some_and(|path| !path.is_empty())
}

fn read_document(inputs: &mut Inputs) {
    if !has_document() {
        return;
    }
    let path = std::env::var(TASK_FILE).unwrap_or_default();
    let document = std::fs::read_to_string(&path).map_err(|error| format!("cannot read `{path}`: {error}")).and_then(|text| {
        let is_json = text.trim_start().starts_with('{');
        if broken("task-document.json") && is_json {
            return Ok(json!({}));
        }
        if broken("task-document.yaml") && !is_json {
            return Err("the document is not JSON".to_owned());
        }
        let read = if is_json {
            serde_json::from_str::<Value>(&text).map_err(|error| error.to_string())
        } else {
            serde_saphyr::from_str::<Value>(&text).map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
        };
        read.map_err(|error| format!("`{path}` is neither JSON nor YAML: {error}"))
    });
    match document {
        Err(problem) => inputs.wrong.push(format!("{TASK_FILE}: {problem}")),
        Ok(Value::Object(fields)) => read_fields(inputs, "", &fields),
        Ok(_) => inputs.wrong.push(format!("{TASK_FILE}: `{path}` holds no object")),
    }
}

/// The fields of the document, or of one of its sections.
fn read_fields(inputs: &mut Inputs, section: &str, fields: &Map<String, Value>) {
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        let is_section = SETTINGS.iter().any(|(_, known, _)| known.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.')));
        let setting = SETTINGS.iter().find(|(_, known, kind)| *known == path && !matches!(kind, Kind::File));
        match (setting, value) {
            (Some((_, _, kind)), value) => match check(*kind, value) {
                Ok(value) => {
                    inputs.task.0.insert(path, value);
                }
                Err(problem) => inputs.wrong.push(format!("`{path}` in the task document: {problem}")),
            },
            (None, Value::Object(inner)) if is_section => read_fields(inputs, &path, inner),
            _ => inputs.wrong.push(format!("`{path}` in the task document: no such field, or of another form")),
        }
    }
}

/// The value that the text of a variable stands for.
fn of_variable(value: &OsString, kind: Kind) -> Result<Value, String> {
    let text = value.to_str().ok_or("expected UTF-8 text")?;
    let json = |text: &str| serde_json::from_str(text).map_err(|error| format!("expected JSON: {error}"));
    let file = || {
        let read = std::fs::read(text).map_err(|error| format!("cannot read `{text}`: {error}"))?;
        String::from_utf8(read).map_err(|_| format!("`{text}` is not UTF-8 text"))
    };
    match kind {
        Kind::Words | Kind::Outputs | Kind::Prices | Kind::Json => json(text),
        Kind::PricesFile => json(&file()?),
        Kind::File => file().map(Value::from),
        _ => Ok(Value::from(text)),
    }
}

/// The value as the task holds it, or what is wrong with it.
fn check(kind: Kind, value: &Value) -> Result<Value, String> {
    let text = value.as_str().filter(|text| !text.trim().is_empty() && !text.contains('\0'));
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    let checked = match kind {
        Kind::Text | Kind::File => text.map(Value::from),
        Kind::Url => text.filter(|url| is_url(url)).map(Value::from),
        Kind::Repo => text.filter(|repo| is_repo(repo)).map(Value::from),
        Kind::Ref => text.filter(|name| is_ref(name)).map(Value::from),
        Kind::Inner => text.filter(|path| is_inner(path)).map(Value::from),
        Kind::Number(least, most) => number.filter(|number| (least..=most).contains(number)).map(Value::from),
        Kind::Decimal => {
            let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
            number.filter(|number| *number > 0.0 && number.is_finite()).map(Value::from)
        }
        Kind::Span => number.and_then(|seconds| seconds.checked_mul(1000)).or_else(|| milliseconds(text?)).map(Value::from),
        Kind::Switch => value.as_bool().map(Value::from).or_else(|| match text?.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(Value::from(true)),
            "false" | "0" | "no" => Some(Value::from(false)),
            _ => None,
        }),
        Kind::Word(words) => text.filter(|text| words.contains(text)).map(Value::from),
        Kind::Words => {
            let all_text = |list: &&Vec<Value>| list.iter().all(|word| word.as_str().is_some_and(|word| !word.contains('\0')));
            value.as_array().filter(all_text).cloned().map(Value::from)
        }
        Kind::Outputs => value.as_array().filter(|list| list.iter().all(is_output)).cloned().map(Value::from),
        Kind::Prices | Kind::PricesFile => Some(value.clone()).filter(prices::are_valid),
        Kind::Json => Some(value.clone()),
    };
    checked.ok_or_else(|| format!("expected {}", expectation(kind)))
}

fn expectation(kind: Kind) -> String {
    match kind {
        Kind::Text | Kind::File => "text that is not empty".to_owned(),
        Kind::Url => "a URL that begins with http:// or https://".to_owned(),
        Kind::Repo => "a repository's URL without credentials in it".to_owned(),
        Kind::Ref => "a valid git reference".to_owned(),
        Kind::Inner => "a relative path that stays inside".to_owned(),
        Kind::Number(least, u64::MAX) => format!("a number of at least {least}"),
        Kind::Number(least, most) => format!("a number from {least} to {most}"),
        Kind::Decimal => "an amount above 0".to_owned(),
        Kind::Span => "a length of time such as `90s` or `30m`".to_owned(),
        Kind::Switch => "`true` or `false`".to_owned(),
        Kind::Word(words) => format!("one of {}", words.join(", ")),
        Kind::Words => "a list of strings".to_owned(),
        Kind::Outputs => "a list of {name, path, default}".to_owned(),
        Kind::Prices | Kind::PricesFile => "{MODEL: {input, output, cacheRead, cacheWrite}} with amounts of 0 or more".to_owned(),
        Kind::Json => "JSON".to_owned(),
    }
}

fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !url.contains(|c: char| c.is_whitespace() || c.is_control()))
}

fn is_repo(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let has_password = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    !url.starts_with('-') && !url.contains(char::is_control) && !has_password
}

fn is_ref(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let strange = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    !name.starts_with('-')
        && name != "@"
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && !name.contains(strange)
        && name.split('/').all(part)
}

/// A relative path without steps upwards.
pub fn is_inner(path: &str) -> bool {
    !path.is_empty() && std::path::Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

fn is_output(output: &Value) -> bool {
    let Some(fields) = output.as_object() else { return false };
    fields.keys().all(|name| ["name", "path", "default"].contains(&name.as_str()))
        && output["name"].as_str().is_some_and(is_valid_key)
        && output["path"].as_str().is_some_and(is_inner)
        && matches!(output["default"], Value::Null | Value::String(_))
}

/// `90s`, `1h 30m`: pairs of number and unit.
fn milliseconds(text: &str) -> Option<u64> {
    let mut sum: u64 = 0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let letters = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |length| digits + length);
        let unit = match &rest[digits..letters] {
            "ms" | "msec" => 1,
            "s" | "sec" | "secs" | "second" | "seconds" => 1000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(rest[..digits].parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = rest[letters..].trim_start();
    }
    Some(sum)
}

/// Whether a variable is one of the interface's own, which no program of the run gets by itself.
fn is_ours(name: &OsStr) -> bool {
    name == TASK_FILE || name == "AGENT_NONCE" || SETTINGS.iter().any(|(variable, _, _)| name == *variable)
}

/// What of this process's environment the programs of the run get.
pub fn environment() -> Vec<(OsString, OsString)> {
    let passes = |name: &OsStr| !is_ours(name) || FOR_THE_AGENT.iter().any(|known| name == *known);
    std::env::vars_os().filter(|(name, _)| passes(name)).collect()
}
