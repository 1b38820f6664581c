//! Inputs: the raw snapshot of what a platform gave, and its way to a [`Task`].
//!
//! A task document, then what a platform said in its own dialect, then `AGENT_*` variables, then flags; later ones win. The world is read
//! in [`Inputs::read`], in the `read_file` that [`Inputs::resolve`] is given, and where `meaning` looks for an agent; the rest is pure.

mod meaning;
pub mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use agent_sdk::INTERFACE_VERSION;
use agent_sdk::task::{FieldError, Got, MAX_TERMINATION_BUDGET, MIN_TERMINATION_BUDGET, Task};
use serde_json::{Map, Value, json};

use crate::dialects::{Dialect, Said};
use settings::{Kind, SETTINGS, Setting, TASK_FILE, settings_of_path};

/// Prompts and task documents beyond this are refused: no model takes them, and they would be held in memory.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// What a platform gave, not looked at yet.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The dialect in which the platform speaks.
    pub dialect: Dialect,
    /// What it said in its own words.
    pub said: Vec<Said>,
    /// The flags that were given, by their variable's name.
    pub flags: BTreeMap<&'static str, String>,
    /// The task document named by flag.
    pub task_file: Option<PathBuf>,
    /// The prompt as the command's argument; it counts like a flag.
    pub prompt_argument: Option<String>,
    /// What counts where nothing is said, by dotted path: for commands whose defaults differ.
    pub defaults: Vec<(&'static str, Value)>,
    /// Whether an agent is to be started: then it must be named, and have a prompt.
    pub needs_agent: bool,
}

/// A task, and what was odd about its inputs.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The task.
    pub task: Task,
    /// For the log.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with the inputs.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
pub struct InputErrors {
    /// In the order in which they were found, never empty.
    pub errors: Vec<InputError>,
    /// Where the termination message goes, if that much could be read: this error is told there.
    pub message: MessagePlace,
    /// The interface's version that the platform speaks, if that could be read: of another one nothing else can be wrong.
    pub version: Option<String>,
}

/// Where the termination message goes, as far as somebody said so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessagePlace {
    /// Its file.
    pub path: Option<PathBuf>,
    /// How many bytes it may have.
    pub budget: Option<u32>,
}

impl From<Vec<InputError>> for InputErrors {
    fn from(errors: Vec<InputError>) -> Self {
        Self { errors, ..Self::default() }
    }
}

/// One wrong input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// Where it came from: a variable, a flag, or a field of the task document.
    pub source: String,
    /// What is wrong, a fragment.
    pub problem: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for InputErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.errors.len() == 1 { "input is" } else { "inputs are" };
        write!(f, "{} {plural} wrong", self.errors.len())?;
        for error in &self.errors {
            write!(f, "\n  {}: {}", error.source, error.problem)?;
            if let Some(hint) = &error.hint {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl Inputs {
    /// Takes the snapshot of this process's environment, and of its arguments where they are a platform's own.
    #[must_use]
    pub fn read() -> Self {
        let args: Vec<OsString> = std::env::args_os().collect();
        Self::of(&args, std::env::vars_os().collect(), &Path::is_dir)
    }

    /// What a process with these arguments and variables was told, where `is_there` says whether a directory is.
    #[must_use]
    pub fn of(args: &[OsString], env: BTreeMap<OsString, OsString>, is_there: &dyn Fn(&Path) -> bool) -> Self {
        let dialect = Dialect::detect(args, &env, is_there);
        Self { dialect, said: dialect.said(args, &env), env, needs_agent: true, ..Self::default() }
    }

    /// A variable's text; an empty one counts as unset, since platforms template them so.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(std::ffi::OsStr::new(name)).and_then(|value| value.to_str()).filter(|value| !value.is_empty())
    }

    /// The task, from the document, the variables and the flags.
    ///
    /// # Errors
    /// Every wrong input at once.
    pub fn resolve(&self, read_file: impl Fn(&Path) -> std::io::Result<Vec<u8>>) -> Result<Resolved, InputErrors> {
        let mut errors = Vec::new();
        let mut origins: BTreeMap<&'static str, String> = BTreeMap::new();
        // A value that could not be read is named already; its absence is not a second error.
        let mut unread: BTreeSet<&'static str> = BTreeSet::new();
        let read = self.read_document(&read_file, &mut errors);
        // What is not said may stand in a document that could not be read.
        let is_whole = read.is_some();
        let mut document = read.unwrap_or_else(|| json!({}));
        for (path, value) in &self.defaults {
            if document.pointer(&format!("/{}", path.replace('.', "/"))).is_none_or(Value::is_null) {
                place(&mut document, path, value.clone());
            }
        }
        let from_variables = SETTINGS.iter().filter_map(|setting| {
            let value = self.env.get(std::ffi::OsStr::new(setting.variable))?;
            let source = setting.variable.to_owned();
            let text = value.to_str().map(str::to_owned).ok_or_else(|| InputError {
                source: source.clone(),
                problem: "expected UTF-8 text".to_owned(),
                hint: Some(setting.help.to_owned()),
            });
            (!value.is_empty()).then_some((setting, source, text))
        });
        let argument = SETTINGS
            .iter()
            .filter(|setting| setting.variable == "AGENT_PROMPT")
            .filter_map(|setting| Some((setting, "the argument".to_owned(), Ok(self.prompt_argument.clone()?))));
        let from_flags = SETTINGS.iter().filter_map(|setting| {
            let value = self.flags.get(setting.variable)?;
            Some((setting, format!("--{}", setting.flag()), Ok(value.clone())))
        });
        let ours = [from_variables.collect::<Vec<_>>(), argument.chain(from_flags).collect()];
        // What is overridden need not even be right.
        let is_overridden = |path: &str| ours.iter().flatten().any(|(setting, _, _)| setting.path == path);
        let said = self.said.iter().filter_map(|said| {
            let setting = SETTINGS.iter().find(|setting| setting.variable == said.setting)?;
            (!is_overridden(setting.path)).then(|| (setting, said.source.clone(), said.text.clone()))
        });
        for level in std::iter::once(said.collect()).chain(ours.clone()) {
            let mut placed: BTreeMap<&str, String> = BTreeMap::new();
            for (setting, source, text) in level {
                if let Some(other) = placed.get(setting.path) {
                    errors.push(InputError {
                        source,
                        problem: format!("given beside {other}, which sets the same"),
                        hint: Some("set one of them".into()),
                    });
                    continue;
                }
                placed.insert(setting.path, source.clone());
                let converted = text.and_then(|text| {
                    let wrong = |problem| InputError { source: source.clone(), problem, hint: Some(setting.help.to_owned()) };
                    convert(setting, &text, &read_file).map_err(wrong)
                });
                match converted {
                    Ok(value) => {
                        origins.insert(setting.path, source);
                        place(&mut document, setting.path, value);
                    }
                    Err(error) => {
                        unread.insert(setting.path);
                        errors.push(error);
                    }
                }
            }
        }
        if !self.needs_agent && document.pointer("/agent/type").is_none_or(Value::is_null) {
            place(&mut document, "agent.type", agent_sdk::agents::command::NAME.into());
        }
        let version = document.get("interfaceVersion").and_then(Value::as_str).map(str::to_owned);
        let read = match version.as_deref() {
            Some(version) if is_newer_minor(version) => Task::from_newer_value(&document),
            _ => Task::from_value(&document).map(|task| (task, Vec::new())),
        };
        let (task, ignored, wrong) = match read {
            Ok((task, ignored)) => (Some(task), ignored, Vec::new()),
            Err(fields) => (None, Vec::new(), fields),
        };
        let told = wrong.iter().filter(|field| is_whole || field.got != Got::Missing);
        errors.extend(told.filter_map(|field| Self::name_source(field, &origins, &unread)));
        let meant = meaning::check(&document).into_iter().filter(|meant| wrong.iter().all(|field| field.path != meant.path));
        errors.extend(meant.map(|meant| {
            let source = origins.get(meant.path.as_str()).cloned().unwrap_or_else(|| match settings_of_path(&meant.path).next() {
                Some(setting) if origins.contains_key(setting.path) => format!("{} ({})", origins[setting.path], meant.path),
                _ => format!("{} in the task document", meant.path),
            });
            InputError { source, problem: meant.problem, hint: Some(meant.hint) }
        }));
        let has_prompt = document.get("prompt").is_some_and(|prompt| !prompt.is_null());
        if self.needs_agent && is_whole && !has_prompt && !unread.contains("prompt") {
            errors.push(InputError {
                source: "prompt".into(),
                problem: "expected what the agent is to do, got nothing".into(),
                hint: Some(self.dialect.prompt_hint().into()),
            });
        }
        match task {
            Some(task) if errors.is_empty() => {
                let mut warnings = self.warnings();
                let unknown =
                    |field: FieldError| format!("`{}` is of a newer interface than {INTERFACE_VERSION}, and is ignored", field.path);
                warnings.extend(ignored.into_iter().map(unknown));
                warnings.extend(without_repository(&document, &origins));
                Ok(Resolved { task, warnings })
            }
            _ => Err(InputErrors { errors, message: message_place(&document), version }),
        }
    }

    /// The task document, or an empty one where none is named. `None` if it cannot be read, which is an error then.
    fn read_document(&self, read_file: &impl Fn(&Path) -> std::io::Result<Vec<u8>>, errors: &mut Vec<InputError>) -> Option<Value> {
        let named = self.task_file.clone().map(|path| ("--task-file", path));
        let Some((source, path)) = named.or_else(|| self.variable(TASK_FILE).map(|path| (TASK_FILE, PathBuf::from(path)))) else {
            return Some(json!({}));
        };
        let problem = match read_document(&path, read_file) {
            Ok(document) => return Some(document),
            Err(problem) => problem,
        };
        errors.push(InputError {
            source: source.to_owned(),
            problem,
            hint: Some("`agent-runner schema task` prints what it may hold".into()),
        });
        None
    }

    /// Says which variable or flag a wrong field came from.
    fn name_source(field: &FieldError, origins: &BTreeMap<&'static str, String>, unread: &BTreeSet<&'static str>) -> Option<InputError> {
        let setting = settings_of_path(&field.path).find(|setting| origins.contains_key(setting.path));
        let any = settings_of_path(&field.path).next();
        if any.is_some_and(|setting| unread.contains(setting.path)) {
            return None;
        }
        let source = match setting {
            Some(setting) if field.path == setting.path => origins[setting.path].clone(),
            Some(setting) => format!("{} ({})", origins[setting.path], field.path),
            None => match any {
                Some(setting) if field.got == Got::Missing => format!("{} ({})", setting.variable, field.path),
                _ => format!("{} in the task document", field.path),
            },
        };
        let problem = field.problem();
        let hint = field.hint.clone().or_else(|| setting.or(any).map(|setting| setting.help.to_owned()));
        Some(InputError { source, problem, hint })
    }

    /// Variables that look like ours and are not: a misspelt one would otherwise be ignored without a word.
    fn warnings(&self) -> Vec<String> {
        let known = |name: &str| {
            name == TASK_FILE
                || name == settings::NONCE
                || SETTINGS.iter().any(|setting| setting.variable == name)
                || name.starts_with("AGENT_RUNNER_")
        };
        let unknown = self.env.keys().filter_map(|name| name.to_str()).filter(|name| name.starts_with("AGENT_") && !known(name));
        unknown
            .map(|name| format!("the variable {name} is not one that agent-runner knows; `agent-runner run --help` lists them"))
            .collect()
    }
}

/// Whether a platform that speaks this version may say more than this one knows.
fn is_newer_minor(version: &str) -> bool {
    let numbers = |version: &str| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    let (asked, ours) = (numbers(version), numbers(INTERFACE_VERSION));
    asked.zip(ours).is_some_and(|(asked, ours)| asked.0 == ours.0 && asked.1 > ours.1)
}

/// Reads a task document; nothing in it is checked yet.
///
/// # Errors
/// A fragment: it cannot be read, or is neither YAML nor JSON.
pub fn read_document(path: &Path, read_file: impl Fn(&Path) -> std::io::Result<Vec<u8>>) -> Result<Value, String> {
    let bytes = read_file(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    parse_document(&bytes).map_err(|problem| format!("`{}` is not a task document: {problem}", path.display()))
}

/// Reads a file for [`Inputs::resolve`], bounded.
///
/// # Errors
/// What the file system says, or that the file is larger than any prompt.
pub fn read_input_file(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("larger than 64 MiB"));
    }
    Ok(bytes)
}

fn parse_document(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    // JSON is tried first: its errors are better for what begins like JSON, and large documents are read faster.
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

fn convert(setting: &Setting, text: &str, read_file: &impl Fn(&Path) -> std::io::Result<Vec<u8>>) -> Result<Value, String> {
    let read = |path: &str| -> Result<String, String> {
        let bytes = read_file(Path::new(path)).map_err(|error| format!("cannot read `{path}`: {error}"))?;
        String::from_utf8(bytes).map_err(|_| format!("`{path}` is not UTF-8 text"))
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("expected JSON: {error}"));
    let value = match setting.kind {
        Kind::Text | Kind::Switch => Value::from(text),
        Kind::Json => json(text)?,
        Kind::TextFile => Value::from(read(text)?),
        Kind::JsonFile => json(&read(text)?)?,
    };
    // The wrapping object of the {"mcpServers":{…}} form is part of the variable, not of the document.
    Ok(match value {
        Value::Object(mut object) if setting.path == "mcpServers" && object.len() == 1 && object.contains_key("mcpServers") => {
            object.remove("mcpServers").unwrap_or_default()
        }
        other => other,
    })
}

/// Where the termination message goes, as far as the document says it rightly: of what else is wrong with it, that is where to read.
fn message_place(document: &Value) -> MessagePlace {
    let sinks = document.get("sinks");
    let said = |name: &str| sinks.and_then(|sinks| sinks.get(name));
    let path = said("terminationLog").and_then(Value::as_str).filter(|path| !path.trim().is_empty() && !path.contains('\0'));
    let budget = said("terminationBudget").and_then(|budget| match budget {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    });
    let in_range = |budget: u64| budget.clamp(u64::from(MIN_TERMINATION_BUDGET), u64::from(MAX_TERMINATION_BUDGET));
    MessagePlace { path: path.map(PathBuf::from), budget: budget.and_then(|budget| u32::try_from(in_range(budget)).ok()) }
}

/// What was said about a repository where none is named: nobody looks at it.
fn without_repository(document: &Value, origins: &BTreeMap<&'static str, String>) -> Option<String> {
    // The branches are looked for also in a clone that somebody else made.
    const NEED_ONE: &[&str] = &["ref", "depth", "filter", "submodules", "lfs", "remotes"];
    let workspace = document.get("workspace")?.as_object()?;
    let said = |name: &str| workspace.get(name).is_some_and(|value| !value.is_null());
    let source = |name: &&str| {
        let path = format!("workspace.{name}");
        origins.get(path.as_str()).cloned().unwrap_or(path)
    };
    let idle: Vec<String> = NEED_ONE.iter().filter(|name| said(name)).map(source).collect();
    (!said("repo") && !idle.is_empty())
        .then(|| format!("no repository is named (AGENT_REPO), so this changes nothing: {}", idle.join(", ")))
}

/// Puts a value at a dotted path, making objects on the way. What is in the way and no object stays, and is refused with the document.
fn place(document: &mut Value, path: &str, value: Value) {
    let mut at = document;
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(object) = at else { return };
        if parts.peek().is_none() {
            object.insert(part.to_owned(), value);
            return;
        }
        at = object.entry(part.to_owned()).or_insert_with(|| json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(env: &[(&str, &str)]) -> Inputs {
        Inputs { env: env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(), needs_agent: true, ..Inputs::default() }
    }

    fn files(path: &Path) -> std::io::Result<Vec<u8>> {
        match path.to_str() {
            Some("task.yaml") => Ok(b"agent:\n  type: claude\n  model: opus\nprompt: from the file\nlimits:\n  timeout: 30m\n".to_vec()),
            Some("bad.yaml") => Ok(b"agent: [unclosed".to_vec()),
            Some("prompt.md") => Ok(b"- from a file\n".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    #[test]
    fn later_sources_win() {
        let mut given = inputs(&[("AGENT_TASK_FILE", "task.yaml"), ("AGENT_MODEL", "sonnet")]);
        given.flags.insert("AGENT_MODEL", "haiku".into());
        let task = given.resolve(files).unwrap().task;
        assert_eq!(task.agent.model.as_deref(), Some("haiku"));
        assert_eq!(task.prompt.as_deref(), Some("from the file"));
        assert_eq!(task.limits.timeout.unwrap().to_string(), "30m");
    }

    #[test]
    fn every_wrong_input_is_named_by_where_it_came_from() {
        let given = inputs(&[
            ("AGENT_DEPTH", "many"),
            ("AGENT_TRUST", "me"),
            ("AGENT_MCP_SERVERS", "{"),
            ("AGENT_PROMPT_FILE", "gone.md"),
            ("AGENT_OUTPUTS", r#"[{"name":"a b","path":"x"}]"#),
            ("AGENT_TASK_FILE", "bad.yaml"),
        ]);
        let text = given.resolve(files).unwrap_err().to_string();
        for part in [
            "AGENT_DEPTH: ",
            "AGENT_TRUST: ",
            "AGENT_MCP_SERVERS: ",
            "AGENT_PROMPT_FILE: cannot read",
            "AGENT_OUTPUTS (sinks.outputs[0]",
            "AGENT_TASK_FILE: ",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let absent = ["\n  prompt:", "agent.type"].iter().any(|absent| text.contains(absent));
        assert!(!absent, "what could not be read is one error, not two:\n{text}");
    }

    fn document(text: &'static str) -> impl Fn(&Path) -> std::io::Result<Vec<u8>> {
        move |_| Ok(text.as_bytes().to_vec())
    }

    #[test]
    fn a_section_of_the_wrong_kind_is_an_error_also_where_a_variable_speaks_of_it() {
        let given = inputs(&[
            ("AGENT_TASK_FILE", "t"),
            ("AGENT_TYPE", "claude"),
            ("AGENT_WORKSPACE_DIR", "ws"),
            ("AGENT_GRACE", "20s"),
            ("AGENT_GIT_USER_NAME", "x"),
            ("AGENT_RESULT_FILE", "r"),
        ]);
        let wrong = document("agent: codex\nprompt: x\nworkspace: https://host/r\nlimits: 30m\ngit: /run/token\nsinks: result.json\n");
        let text = given.resolve(wrong).unwrap_err().to_string();
        for section in ["agent", "workspace", "limits", "git", "sinks"] {
            assert!(text.contains(&format!("\n  {section} in the task document: expected an object, got ")), "{section} in\n{text}");
        }
        // Nothing is in the way of a section that is empty, or of a default.
        let empty = document("agent:\nprompt: x\nworkspace:\nlimits:\ngit:\nsinks:\n");
        assert_eq!(given.resolve(empty).unwrap().task.workspace.dir, Path::new("ws"));
        let given =
            Inputs { needs_agent: false, defaults: vec![("limits.silenceTimeout", "0".into())], ..inputs(&[("AGENT_TASK_FILE", "t")]) };
        assert!(given.resolve(document("agent: codex\nlimits: 1s\n")).unwrap_err().to_string().starts_with("2 inputs are wrong"));
        assert!(given.resolve(document("- a\n")).unwrap_err().to_string().contains("task in the task document: expected an object"));
    }

    #[test]
    fn what_only_shows_later_is_named_with_the_rest() {
        let given = inputs(&[
            ("AGENT_TYPE", "claud"),
            ("AGENT_PROMPT", "a"),
            ("AGENT_TIMEOUT", "soon"),
            ("AGENT_REPO", "ftp://host/r"),
            ("AGENT_REMOTES", r#"{"origin":"https://host/r","fork":"ftp://host/r","good":"https://host/r"}"#),
        ]);
        let text = given.resolve(files).unwrap_err().to_string();
        for part in [
            "5 inputs are wrong",
            "\n  AGENT_TYPE: there is no agent `claud`; known: ",
            "\n  AGENT_TIMEOUT: ",
            "\n  AGENT_REPO: repository `ftp://host/r`: ",
            "\n  AGENT_REMOTES (workspace.remotes.origin): ",
            "\n  AGENT_REMOTES (workspace.remotes.fork): repository `ftp://host/r`: ",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let given = inputs(&[("AGENT_TASK_FILE", "t")]);
        let text = given.resolve(document("agent: {type: claude}\nprompt: x\nworkspace: {repo: \"\"}\n")).unwrap_err().to_string();
        assert!(text.contains("\n  workspace.repo in the task document: "), "{text}");
    }

    #[test]
    fn wrong_inputs_know_where_the_message_goes() {
        let place = |env: &[(&str, &str)], text| inputs(env).resolve(document(text)).unwrap_err().message;
        let env = [("AGENT_TASK_FILE", "t"), ("AGENT_TIMEOUT", "soon")];
        let said = place(&env, "sinks: {terminationLog: msg, terminationBudget: 256}");
        assert_eq!(said, MessagePlace { path: Some("msg".into()), budget: Some(256) });
        let said = place(&[env[0], env[1], ("AGENT_TERMINATION_BUDGET", "9000")], "sinks: {terminationLog: [1], terminationBudget: 256}");
        assert_eq!(said, MessagePlace { path: None, budget: Some(MAX_TERMINATION_BUDGET) });
        assert_eq!(place(&env, "sinks: msg"), MessagePlace::default());
    }

    #[test]
    fn what_is_said_of_a_repository_that_nobody_names_is_warned_of() {
        let given = inputs(&[("AGENT_TYPE", "claude"), ("AGENT_PROMPT", "a"), ("AGENT_REF", "v1"), ("AGENT_TASK_FILE", "t")]);
        let warnings = given.resolve(document("workspace: {depth: 0, dir: x, branch: work}")).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].ends_with("changes nothing: AGENT_REF, workspace.depth"), "{warnings:?}");
        let given = inputs(&[("AGENT_TYPE", "claude"), ("AGENT_PROMPT", "a"), ("AGENT_REF", "v1"), ("AGENT_REPO", "/r")]);
        assert!(given.resolve(files).unwrap().warnings.is_empty());
    }

    #[test]
    fn two_ways_to_say_one_thing_on_one_level_are_an_error() {
        let given = inputs(&[("AGENT_TYPE", "claude"), ("AGENT_PROMPT", "a"), ("AGENT_PROMPT_FILE", "prompt.md")]);
        assert!(given.resolve(files).unwrap_err().to_string().contains("given beside AGENT_PROMPT"));
        let mut given = inputs(&[("AGENT_TYPE", "claude"), ("AGENT_PROMPT", "a")]);
        given.flags.insert("AGENT_PROMPT_FILE", "prompt.md".into());
        assert_eq!(given.resolve(files).unwrap().task.prompt.as_deref(), Some("- from a file\n"));
    }

    #[test]
    fn an_empty_variable_is_no_variable_and_a_misspelt_one_is_said() {
        let given = inputs(&[("AGENT_TYPE", "claude"), ("AGENT_PROMPT", "a"), ("AGENT_MODEL", ""), ("AGENT_MODLE", "x")]);
        let resolved = given.resolve(files).unwrap();
        assert_eq!(resolved.task.agent.model, None);
        assert_eq!(resolved.warnings.len(), 1);
        assert!(resolved.warnings[0].contains("AGENT_MODLE"));
    }

    #[test]
    fn a_prompt_as_argument_counts_like_a_flag_and_is_never_said_twice() {
        let mut given = Inputs { prompt_argument: Some("do it".into()), ..inputs(&[("AGENT_TYPE", "claude"), ("AGENT_PROMPT", "other")]) };
        assert_eq!(given.resolve(files).unwrap().task.prompt.as_deref(), Some("do it"));
        given.flags.insert("AGENT_PROMPT", "again".into());
        assert!(given.resolve(files).unwrap_err().to_string().contains("--prompt: given beside the argument"));
    }

    #[test]
    fn where_no_agent_is_started_none_need_be_named() {
        let given = Inputs { needs_agent: false, ..inputs(&[]) };
        assert_eq!(given.resolve(files).unwrap().task.agent.kind, "command");
    }

    #[test]
    fn nothing_at_all_says_what_is_needed() {
        let text = inputs(&[]).resolve(files).unwrap_err().to_string();
        assert!(text.contains("AGENT_TYPE") && text.contains("AGENT_PROMPT"), "{text}");
    }
}
