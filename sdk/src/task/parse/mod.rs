//! From a JSON value to a [`Task`], naming every wrong field.

mod limits;
mod prices;
mod servers;
mod sinks;
mod workspace;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::fields::{FieldError, Fields, Got, quote};
use super::{AgentSettings, LogFormat, Task, Trust};
use limits::read_limits;
use prices::read_prices;
pub use servers::parse_mcp_servers;
use servers::read_mcp_servers;
use sinks::read_sinks;
use workspace::{read_git, read_workspace};

impl Task {
    /// Checks a whole document.
    ///
    /// # Errors
    /// Every wrong, missing and unknown field, in the order of the document.
    pub fn from_value(document: &Value) -> Result<Self, Vec<FieldError>> {
        let (task, errors) = Self::read(document);
        if errors.is_empty() { Ok(task) } else { Err(errors) }
    }

    /// Checks a document of a platform that speaks a newer minor version, and so may say what this one does not know: the task, and what of it
    /// is ignored.
    ///
    /// # Errors
    /// Every field that is wrong or missing.
    pub fn from_newer_value(document: &Value) -> Result<(Self, Vec<FieldError>), Vec<FieldError>> {
        let (task, errors) = Self::read(document);
        let (unknown, wrong): (Vec<_>, Vec<_>) = errors.into_iter().partition(FieldError::is_unknown);
        if wrong.is_empty() { Ok((task, unknown)) } else { Err(wrong) }
    }

    fn read(document: &Value) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let empty = Map::new();
        let object = document.as_object().unwrap_or_else(|| {
            errors.push(FieldError {
                path: "task".into(),
                got: Got::Quoted(quote(document)),
                expected: "an object".into(),
                hint: Some("a task document begins with fields such as `agent:` and `prompt:`".into()),
            });
            &empty
        });
        let e = &mut errors;
        let mut fields = Fields::new("", object);
        let task = Self {
            interface_version: fields.text("interfaceVersion", e),
            agent: read_agent(&mut fields, e),
            prompt: fields.read("prompt", "text that is not empty", e, |value| {
                value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
            }),
            workspace: read_workspace(&mut fields, e),
            git: read_git(&mut fields, e),
            instructions: fields.text("instructions", e),
            plugin_dir: fields.text("pluginDir", e).map(PathBuf::from),
            mcp_servers: fields.object("mcpServers", e).map(|servers| read_mcp_servers("mcpServers", servers, e)).unwrap_or_default(),
            setup_command: read_words(&mut fields, "setupCommand", e),
            limits: read_limits(&mut fields, e),
            prices: read_prices(&mut fields, e),
            trust: read_word(
                &mut fields,
                "trust",
                &[("repository", Trust::Repository), ("base", Trust::Base), ("instructions", Trust::Instructions)],
                e,
            )
            .unwrap_or_default(),
            log: read_word(&mut fields, "log", &[("raw", LogFormat::Raw), ("pretty", LogFormat::Pretty), ("events", LogFormat::Events)], e)
                .unwrap_or_default(),
            sinks: read_sinks(&mut fields, e),
        };
        fields.finish(e);
        (task, errors)
    }
}

type Errors<'e> = &'e mut Vec<FieldError>;

fn read_agent(fields: &mut Fields<'_>, e: Errors<'_>) -> AgentSettings {
    let empty = Map::new();
    let given = fields.object("agent", e);
    let mut agent = Fields::new("agent", given.unwrap_or(&empty));
    let kind = agent.text("type", e);
    if kind.is_none() && !e.iter().any(|error| error.path.starts_with("agent")) {
        e.push(FieldError {
            path: "agent.type".into(),
            got: Got::Missing,
            expected: "the name of an agent".into(),
            hint: Some("for instance `claude`".into()),
        });
    }
    let settings = AgentSettings {
        kind: kind.unwrap_or_default(),
        manifest_dir: agent.text("manifestDir", e).map(PathBuf::from),
        model: agent.text("model", e),
        effort: agent.text("effort", e),
        endpoint: agent.read("endpoint", "a URL that begins with http:// or https://", e, |value| {
            value.as_str().filter(|url| is_http_url(url)).map(|url| url.trim_end_matches('/').to_owned())
        }),
        resume: agent.text("resume", e),
        program: agent.text("program", e),
        extra_args: read_words(&mut agent, "extraArgs", e),
    };
    agent.finish(e);
    settings
}

fn is_http_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !url.contains(char::is_whitespace) && !url.contains(char::is_control)
    })
}

/// A relative path of normal components only.
fn inner_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    (normal && path.components().next().is_some() && !text.contains('\0')).then(|| path.to_owned())
}

/// One of a closed list of words.
fn read_word<T: Copy>(fields: &mut Fields<'_>, name: &'static str, words: &[(&str, T)], e: Errors<'_>) -> Option<T> {
    let expected = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    fields.read(name, &format!("one of {expected}"), e, |value| {
        let text = value.as_str()?;
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    })
}

/// A list of strings, as a list or as text that holds a JSON list.
fn read_words(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> Vec<String> {
    let Some(list) = fields.list(name, e) else { return Vec::new() };
    let mut words = Vec::new();
    for (index, value) in list.iter().enumerate() {
        match value.as_str().filter(|word| !word.contains('\0')) {
            Some(word) => words.push(word.to_owned()),
            None => fields.error(&format!("{name}[{index}]"), value, "text", e),
        }
    }
    words
}

fn read_text_map(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> BTreeMap<String, String> {
    let Some(object) = fields.read_unquoted(name, "an object", e, Value::as_object) else { return BTreeMap::new() };
    let mut map = BTreeMap::new();
    for (key, value) in object {
        // The value may be a secret (a header, a variable), so it is not quoted.
        match value.as_str().filter(|text| !text.contains('\0')) {
            Some(text) => {
                map.insert(key.clone(), text.to_owned());
            }
            None => {
                e.push(FieldError { path: fields.path(&format!("{name}.{key}")), got: Got::Unquoted, expected: "text".into(), hint: None })
            }
        }
    }
    map
}

/// A list of objects, each read by `read`.
fn read_each<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    e: Errors<'_>,
    mut read: impl FnMut(&mut Fields<'_>, &mut Vec<FieldError>) -> Option<T>,
) -> Vec<T> {
    let Some(list) = fields.list(name, e) else { return Vec::new() };
    let mut all = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let path = fields.path(&format!("{name}[{index}]"));
        let Some(object) = value.as_object() else {
            e.push(FieldError { path, got: Got::Quoted(quote(value)), expected: "an object".into(), hint: None });
            continue;
        };
        let mut inner = Fields::new(&path, object);
        // One that lacks something has said so.
        all.extend(read(&mut inner, e));
        inner.finish(e);
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::McpServer;
    use super::*;

    fn errors(document: Value) -> Vec<String> {
        Task::from_value(&document).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_smallest_task() {
        let task = Task::from_value(&json!({"agent": {"type": "claude"}, "prompt": "hi"})).unwrap();
        assert_eq!(task.workspace.depth, 1);
        assert_eq!(task.trust, Trust::Base);
        assert_eq!(Task::from_value(&serde_json::to_value(&task).unwrap()).unwrap(), task);
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let all = errors(json!({
            "agent": {"type": "", "endpoint": "ftp://x"},
            "promt": "hi",
            "workspace": {"depth": -1, "branch": "a..b", "files": [{"path": "../x", "content": ""}, 3]},
            "limits": {"timeout": "soon", "maxTurns": 0},
            "mcpServers": {"a b": {"command": "x"}, "c": {}},
            "sinks": {"terminationBudget": 5000, "outputs": [{"name": "a"}]},
            "trust": "nobody"
        }));
        for part in [
            "`agent.type`",
            "`agent.endpoint`",
            "`promt`: expected no such field (did you mean `prompt`?)",
            "`workspace.depth`",
            "`workspace.branch`",
            "`workspace.files[0].path`",
            "`workspace.files[1]`",
            "`limits.timeout`",
            "`limits.maxTurns`",
            "`mcpServers.a b`",
            "`mcpServers.c`",
            "`sinks.terminationBudget`",
            "`sinks.outputs[0].path`: expected a relative path",
            "`trust`",
        ] {
            assert!(all.iter().any(|error| error.starts_with(part)), "{part} in {all:#?}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_a_user_is_not() {
        let all = errors(json!({"agent": {"type": "x"}, "workspace": {"repo": "https://u:p@host/r.git"}}));
        assert!(all.len() == 1 && !all[0].contains("u:p"), "{all:?}");
        let all = errors(json!({"agent": {"type": "x"}, "workspace": {"remotes": {"fork": "https://u:p@host/r.git"}}}));
        assert!(all.len() == 1 && all[0].starts_with("`workspace.remotes.fork`") && !all[0].contains("u:p"), "{all:?}");
        for repo in ["https://bob:pa/ssw0rd@host/r.git", "https://bob:p@s/s@host/r.git", "https://u:1234@host/r.git"] {
            let all = errors(json!({"agent": {"type": "x"}, "workspace": {"repo": repo}}));
            assert!(all.len() == 1 && ["pa/ss", "p@s", "1234"].iter().all(|part| !all[0].contains(part)), "{all:?}");
        }
        for repo in
            ["ssh://git@host/r.git", "https://host:8443/@scope/r@v.git", "http://[::1]/a@b.git", "ssh://git@[::1]:22/a@b", "git@host:a@b"]
        {
            let task = Task::from_value(&json!({"agent": {"type": "x"}, "workspace": {"repo": repo}}));
            assert!(task.is_ok(), "{repo}: {task:?}");
        }
    }

    #[test]
    fn git_dir_cannot_be_written_into_however_it_is_spelt() {
        for path in [".git/config", "a/.GIT/hooks/x", "/etc/passwd", "a/../../b", ""] {
            let document = json!({"agent": {"type": "x"}, "workspace": {"files": [{"path": path, "content": ""}]}});
            assert!(Task::from_value(&document).is_err(), "{path}");
        }
    }

    #[test]
    fn mcp_servers_come_with_or_without_their_type() {
        let servers = parse_mcp_servers(&json!({"mcpServers": {
            "a": {"command": "x", "args": ["1"], "env": {"K": "v"}},
            "b": {"url": "http://h/mcp", "headers": {"H": "v"}},
            "c": {"type": "sse", "url": "http://h/sse"}
        }}))
        .unwrap();
        assert!(matches!(servers["a"], McpServer::Stdio { .. }));
        assert!(matches!(servers["b"], McpServer::Http { .. }));
        assert!(matches!(servers["c"], McpServer::Sse { .. }));
    }

    #[test]
    fn a_secret_in_a_header_is_never_quoted() {
        let all = parse_mcp_servers(&json!({"a": {"url": "http://h", "headers": {"Authorization": ["sekret"]}}})).unwrap_err();
        assert!(!format!("{all:?}").contains("sekret"));
        for wrong in [
            json!({"a": {"url": "http://h", "headers": "Authorization: sekret"}}),
            json!({"a": {"command": "c", "env": "KEY=sekret"}}),
            json!({"a": {"url": "wss://h/?token=sekret"}}),
        ] {
            let all = parse_mcp_servers(&wrong).unwrap_err();
            assert!(all.len() == 1 && !all[0].to_string().contains("sekret"), "{all:?}");
        }
    }
}
