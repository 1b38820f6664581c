//! From a JSON value to a [`Task`], naming every wrong field.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::fields::{FieldError, Fields, Got, quote};
use super::{
    AgentSettings, DeclaredOutput, GitAccess, InjectedFile, Limits, LogFormat, MAX_TERMINATION_BUDGET, MIN_TERMINATION_BUDGET, McpServer,
    Sinks, Span, Task, Trust, Workspace,
};
use crate::results::is_valid_key;

impl Task {
    /// Checks a whole document.
    ///
    /// # Errors
    /// Every wrong, missing and unknown field, in the order of the document.
    pub fn from_value(document: &Value) -> Result<Self, Vec<FieldError>> {
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
        if errors.is_empty() { Ok(task) } else { Err(errors) }
    }
}

/// Checks the value of `mcpServers`; with the wrapping object `{"mcpServers":{…}}` or without.
///
/// # Errors
/// Every wrong field, with paths that begin with `mcpServers`.
pub fn parse_mcp_servers(value: &Value) -> Result<BTreeMap<String, McpServer>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let inner = value.get("mcpServers").unwrap_or(value);
    let servers = match inner.as_object() {
        Some(servers) => read_mcp_servers("mcpServers", servers, &mut errors),
        None => {
            errors.push(FieldError {
                path: "mcpServers".into(),
                got: Got::Quoted(quote(inner)),
                expected: "an object of servers by name".into(),
                hint: None,
            });
            BTreeMap::new()
        }
    };
    if errors.is_empty() { Ok(servers) } else { Err(errors) }
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

fn read_workspace(fields: &mut Fields<'_>, e: Errors<'_>) -> Workspace {
    let default = Workspace::default();
    let Some(object) = fields.object("workspace", e) else { return default };
    let mut w = Fields::new("workspace", object);
    let workspace = Workspace {
        repo: w.read_unquoted("repo", REPOSITORY, e, |value| value.as_str().filter(|url| is_repository(url)).map(str::to_owned)),
        reference: read_ref(&mut w, "ref", e),
        branch: read_ref(&mut w, "branch", e),
        base_branch: read_ref(&mut w, "baseBranch", e),
        depth: w
            .integer("depth", "a number of commits, 0 for all", e)
            .map_or(default.depth, |depth| u32::try_from(depth).unwrap_or(u32::MAX)),
        dir: w.text("dir", e).map_or(default.dir, PathBuf::from),
        filter: w.text("filter", e),
        submodules: w.boolean("submodules", e).unwrap_or(default.submodules),
        lfs: w.boolean("lfs", e).unwrap_or(default.lfs),
        remotes: read_remotes(&mut w, e),
        subdirectory: w.read("subdirectory", "a relative path that stays inside", e, |value| value.as_str().and_then(inner_path)),
        files: read_each(&mut w, "files", e, |file, e| {
            let path = file.required("path", "a relative path that stays inside the work tree and out of .git", e, |value| {
                value.as_str().and_then(inner_path).filter(|path| !enters_git_dir(path))
            });
            let content = file.read("content", "text", e, |value| value.as_str().map(str::to_owned));
            let executable = file.boolean("executable", e).unwrap_or(false);
            Some(InjectedFile { path: path?, content: content.unwrap_or_default(), executable })
        }),
    };
    w.finish(e);
    workspace
}

/// Repositories by the remote's name. A password in a URL is not quoted.
fn read_remotes(fields: &mut Fields<'_>, e: Errors<'_>) -> BTreeMap<String, String> {
    let remotes = read_text_map(fields, "remotes", e);
    for name in remotes.iter().filter(|(_, url)| !is_repository(url)).map(|(name, _)| name) {
        let path = fields.path(&format!("remotes.{name}"));
        e.push(FieldError { path, got: Got::Unquoted, expected: REPOSITORY.into(), hint: None });
    }
    remotes
}

/// What [`is_repository`] takes.
const REPOSITORY: &str = "a repository's URL without credentials in it";

/// A repository's location that git and gix both understand, with no password in it and nothing that reads as an option.
fn is_repository(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = |text: &str| text.split('/').next().unwrap_or("").to_owned();
    let user = authority(rest).rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    // A slash in a password ends the authority early: then what should be the port is none.
    let cut = rest.rsplit_once('@').is_some_and(|(before, _)| {
        let host = authority(before);
        let port = host.rsplit([']', '@']).next().and_then(|host| host.split_once(':'));
        port.is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let password = user || cut;
    !url.trim().is_empty() && !url.starts_with('-') && !url.contains(char::is_control) && !password
}

/// The rules of `git check-ref-format` for the part after `refs/heads/`, and no leading dash.
fn read_ref(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> Option<String> {
    fields.read(name, "a valid git reference", e, |value| value.as_str().filter(|text| is_ref_name(text)).map(str::to_owned))
}

fn is_ref_name(text: &str) -> bool {
    let component = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !text.starts_with('-')
        && text != "@"
        && !text.contains("..")
        && !text.contains("@{")
        && !text.ends_with('.')
        && !text.contains(|c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\'))
        && text.split('/').all(component)
}

/// A relative path of normal components only.
fn inner_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    (normal && path.components().next().is_some() && !text.contains('\0')).then(|| path.to_owned())
}

/// True if a component is `.git`, also as file systems that fold case would read it.
fn enters_git_dir(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().eq_ignore_ascii_case(".git"))
}

fn read_git(fields: &mut Fields<'_>, e: Errors<'_>) -> GitAccess {
    let Some(object) = fields.object("git", e) else { return GitAccess::default() };
    let mut g = Fields::new("git", object);
    let git = GitAccess {
        token_file: g.text("tokenFile", e).map(PathBuf::from),
        username: g.text("username", e),
        ssh_key_file: g.text("sshKeyFile", e).map(PathBuf::from),
        known_hosts_file: g.text("knownHostsFile", e).map(PathBuf::from),
        ca_bundle_file: g.text("caBundleFile", e).map(PathBuf::from),
        user_name: g.text("userName", e),
        user_email: g.text("userEmail", e),
    };
    g.finish(e);
    git
}

fn read_mcp_servers(prefix: &str, servers: &Map<String, Value>, e: Errors<'_>) -> BTreeMap<String, McpServer> {
    let mut read = BTreeMap::new();
    for (name, value) in servers {
        let path = format!("{prefix}.{name}");
        // Agents build tool names from it (mcp__NAME__tool), and TOML and JSON keys.
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            e.push(FieldError {
                path: path.clone(),
                got: Got::Unquoted,
                expected: "a server name of 1 to 64 letters, digits, `-` and `_`".into(),
                hint: None,
            });
        }
        let Some(object) = value.as_object() else {
            e.push(FieldError { path, got: Got::Quoted(quote(value)), expected: "an object".into(), hint: None });
            continue;
        };
        if let Some(server) = read_mcp_server(&path, object, e) {
            read.insert(name.clone(), server);
        }
    }
    read
}

fn read_mcp_server(path: &str, object: &Map<String, Value>, e: Errors<'_>) -> Option<McpServer> {
    let mut s = Fields::new(path, object);
    let kind = s.read("type", "`stdio`, `http` or `sse`", e, |value| match value.as_str()? {
        "stdio" => Some("stdio"),
        "http" | "streamable-http" | "streamableHttp" => Some("http"),
        "sse" => Some("sse"),
        _ => None,
    });
    let kind = kind.or_else(|| match (object.contains_key("command"), object.contains_key("url"), object.contains_key("type")) {
        (_, _, true) => None,
        (true, false, _) => Some("stdio"),
        (false, true, _) => Some("http"),
        _ => {
            e.push(FieldError {
                path: path.to_owned(),
                got: Got::Missing,
                expected: "either `command` or `url`".into(),
                hint: Some("`command` for a program, `url` for a server by HTTP".into()),
            });
            None
        }
    });
    let server = match kind {
        Some("stdio") => {
            let command = require(&mut s, "command", e);
            let args = read_words(&mut s, "args", e);
            let env = read_text_map(&mut s, "env", e);
            command.map(|command| McpServer::Stdio { command, args, env })
        }
        Some(kind) => {
            let url = require(&mut s, "url", e);
            if let Some(url) = &url
                && !is_http_url(url)
            {
                // Its query may hold a token.
                let expected = "a URL that begins with http:// or https://".into();
                e.push(FieldError { path: s.path("url"), got: Got::Unquoted, expected, hint: None });
            }
            let headers = read_text_map(&mut s, "headers", e);
            url.map(|url| if kind == "sse" { McpServer::Sse { url, headers } } else { McpServer::Http { url, headers } })
        }
        // The kind is wrong: unknown fields cannot be told from known ones.
        None => return None,
    };
    s.finish(e);
    server
}

fn require(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> Option<String> {
    if fields.value(name).is_none() {
        fields.missing(name, "a value", e);
    }
    fields.text(name, e)
}

fn read_limits(fields: &mut Fields<'_>, e: Errors<'_>) -> Limits {
    let default = Limits::default();
    let Some(object) = fields.object("limits", e) else { return default };
    let mut l = Fields::new("limits", object);
    let limits = Limits {
        timeout: read_span(&mut l, "timeout", e).filter(|span| span.limit().is_some()),
        silence_timeout: read_span(&mut l, "silenceTimeout", e).unwrap_or(default.silence_timeout),
        grace: read_span(&mut l, "grace", e).unwrap_or(default.grace),
        linger: read_span(&mut l, "linger", e).unwrap_or(default.linger),
        max_cost_usd: l.read("maxCostUsd", "an amount in US dollars above 0", e, |value| {
            let amount = match value {
                Value::String(text) => text.trim().parse().ok()?,
                other => other.as_f64()?,
            };
            (amount > 0.0 && amount.is_finite()).then_some(amount)
        }),
        max_turns: read_positive(&mut l, "maxTurns", e),
        max_output_tokens: read_positive(&mut l, "maxOutputTokens", e),
        max_retries: l.integer("maxRetries", "a number of retries", e).map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
    };
    l.finish(e);
    limits
}

fn read_positive(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> Option<u64> {
    let value = fields.integer(name, "a whole number above 0", e)?;
    if value == 0 {
        fields.error(name, &Value::from(0), "a whole number above 0", e);
    }
    (value > 0).then_some(value)
}

fn read_span(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> Option<Span> {
    fields.read(name, "a length of time such as `90s` or `30m`", e, |value| match value {
        Value::Number(number) => number.as_u64().map(Span::from_secs),
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

fn read_sinks(fields: &mut Fields<'_>, e: Errors<'_>) -> Sinks {
    let default = Sinks::default();
    let Some(object) = fields.object("sinks", e) else { return default };
    let mut s = Fields::new("sinks", object);
    let range = "a number of bytes from 128 to 4096";
    let budget = s.integer("terminationBudget", range, e);
    let in_range = |budget: &u64| (u64::from(MIN_TERMINATION_BUDGET)..=u64::from(MAX_TERMINATION_BUDGET)).contains(budget);
    if let Some(budget) = budget.filter(|budget| !in_range(budget)) {
        s.error("terminationBudget", &Value::from(budget), range, e);
    }
    let sinks = Sinks {
        termination_log: s.text("terminationLog", e).map_or(default.termination_log, PathBuf::from),
        termination_budget: budget.and_then(|budget| u32::try_from(budget).ok()).unwrap_or(default.termination_budget),
        result_file: s.text("resultFile", e).map(PathBuf::from),
        results_dir: s.text("resultsDir", e).map(PathBuf::from),
        events_file: s.text("eventsFile", e).map(PathBuf::from),
        marker: s.boolean("marker", e).unwrap_or(default.marker),
        outputs: read_each(&mut s, "outputs", e, |output, e| {
            let name = output.required("name", "a result key: 1 to 63 letters, digits, `.`, `_` and `-`", e, |value| {
                value.as_str().filter(|key| is_valid_key(key)).map(str::to_owned)
            });
            let path =
                output.required("path", "a relative path that stays inside the work tree", e, |value| value.as_str().and_then(inner_path));
            let default = output.read("default", "text", e, |value| value.as_str().map(str::to_owned));
            Some(DeclaredOutput { name: name?, path: path?, default })
        }),
    };
    s.finish(e);
    sinks
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
