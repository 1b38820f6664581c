//! What is asked for: a task document and the wishes of the command line, checked against each other and against the platform.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use agent_sdk::task::Task;
use serde_json::Value;

use super::{Platform, places};
use crate::inputs::settings::{Kind, SETTINGS};
use crate::inputs::{InputError, InputErrors};
use crate::secrets::of_url;
use crate::workspace::WorkspaceError;
use crate::workspace::config::check_remote;
use crate::workspace::url::{RepoUrl, Transport, without_what_may_be_a_password};

/// Where agents work whose task names no directory of its own.
const WORKSPACE: &str = "/workspace/repo";
/// Kubernetes ends a pod this long after it has asked it to, where its platform lets nobody say otherwise.
const USUAL_GRACE: u64 = 30;
/// For what comes after the runner's own grace: the container engine, and a busy machine.
const AFTER_GRACE: u64 = 10;
/// The most that a variable may hold; Linux starts no program with a longer one than 128 KiB.
const LONGEST: usize = 100 * 1024;

/// How often a run is tried again where nobody says.
const RETRIES: u32 = 3;

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKey {
    /// The Secret.
    pub secret: String,
    /// The key in it.
    pub key: String,
}

/// Where the runner's binary comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// It is in the agent's image, on PATH.
    Image,
    /// An init container copies it from this image into a volume.
    Init(String),
    /// This image is mounted as a volume.
    Volume(String),
}

/// What the command line says.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    /// The task document.
    pub task: Value,
    /// The agent's image.
    pub image: String,
    /// Where the runner comes from.
    pub runner: Runner,
    /// The name of what is printed; absent means: from the working branch.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Variables with a Secret's value.
    pub variables: Vec<(String, SecretKey)>,
    /// Files with a Secret's value.
    pub files: Vec<(PathBuf, SecretKey)>,
    /// The file of the MCP servers, one of `files`, where the document must not hold them.
    pub mcp_servers_file: Option<PathBuf>,
    /// How often a run is tried again that may go better then; absent means: as often as is usual.
    pub retries: Option<u32>,
}

/// A checked request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The task.
    pub task: Task,
    /// The agent's image.
    pub image: String,
    /// Where the runner comes from.
    pub runner: Runner,
    /// The name of what is printed.
    pub name: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// The task as variables, in the order of the settings.
    pub settings: Vec<(&'static str, String)>,
    /// Variables with a Secret's value.
    pub variables: Vec<(String, SecretKey)>,
    /// Files with a Secret's value, by their directory: name and key.
    pub files: BTreeMap<PathBuf, Vec<(String, SecretKey)>>,
    /// The directory of the work tree.
    pub work_tree: PathBuf,
    /// Directories that a sink writes to, and that lie in no other volume.
    pub sink_directories: BTreeSet<PathBuf>,
    /// How often a run is tried again.
    pub retries: u32,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace: i64,
}

impl Request {
    /// Checks a request.
    ///
    /// # Errors
    /// Everything that is wrong, each under the field or the flag that says it.
    pub fn new(platform: Platform, wishes: &Wishes) -> Result<Self, InputErrors> {
        let mut errors = Vec::new();
        let task = Task::from_value(&wishes.task)
            .map_err(|fields| {
                errors.extend(fields.iter().map(|field| InputError {
                    source: field.path.clone(),
                    problem: field.problem(),
                    hint: field.hint.clone(),
                }));
            })
            .ok();
        let name = wishes.name.clone().unwrap_or_else(|| name_of(&wishes.task));
        if !is_label(&name, LONGEST_NAME) {
            errors.push(wrong(
                "--name",
                "expected at most 52 lower-case letters, digits and dashes",
                "platforms add to it for what they start",
            ));
        }
        check_references(wishes, &mut errors);
        let Some(task) = task else { return Err(InputErrors::from(errors)) };
        check_urls(&task, &mut errors);
        check_secrets(&task, wishes, &mut errors);
        let grace = task.limits.grace.as_duration().as_secs() + AFTER_GRACE;
        check_platform(platform, &task, grace, &mut errors);
        if wishes.retries.is_some() && !matches!(platform, Platform::Job | Platform::Argo) {
            errors.push(wrong("--retries", "only a Job and Argo try again by themselves", "leave it out, or print one of these"));
        }
        if platform == Platform::Kelos {
            let token = wishes.files.iter().find(|(path, _)| Some(path) == task.git.token_file.as_ref());
            if token.is_some_and(|(_, key)| key.key != super::kelos::TOKEN_KEY) {
                let problem = format!("Kelos reads the key `{}` of a Workspace's Secret", super::kelos::TOKEN_KEY);
                errors.push(wrong("--secret-file", problem, "keep the token in a Secret under that key"));
            }
        }
        let mut settings = settings(&wishes.task);
        let relative = |dir: &Path| if dir.is_absolute() { dir.to_owned() } else { Path::new("/workspace").join(dir) };
        let work_tree = if task.workspace.dir == Path::new(".") { PathBuf::from(WORKSPACE) } else { relative(&task.workspace.dir) };
        places::check(platform, &task, &work_tree, wishes, &mut errors);
        let sink_directories = places::sink_directories(platform, &task, &work_tree, wishes);
        settings.retain(|(variable, _)| *variable != "AGENT_WORKSPACE_DIR");
        let at = settings.iter().position(|(variable, _)| order(variable) > order("AGENT_WORKSPACE_DIR")).unwrap_or(settings.len());
        settings.insert(at, ("AGENT_WORKSPACE_DIR", work_tree.display().to_string()));
        if let Some(path) = &wishes.mcp_servers_file {
            let at = settings.iter().position(|(variable, _)| order(variable) > order("AGENT_MCP_SERVERS_FILE")).unwrap_or(settings.len());
            settings.insert(at, ("AGENT_MCP_SERVERS_FILE", path.display().to_string()));
        }
        for (variable, text) in &settings {
            check_text(platform, variable, text, &mut errors);
        }
        let mut files: BTreeMap<PathBuf, Vec<(String, SecretKey)>> = BTreeMap::new();
        for (path, key) in &wishes.files {
            if let (Some(dir), Some(name)) = (path.parent(), path.file_name()) {
                files.entry(dir.to_owned()).or_default().push((name.to_string_lossy().into_owned(), key.clone()));
            }
        }
        if !errors.is_empty() {
            return Err(InputErrors::from(errors));
        }
        Ok(Self {
            task,
            image: wishes.image.clone(),
            runner: wishes.runner.clone(),
            name,
            namespace: wishes.namespace.clone(),
            settings,
            variables: wishes.variables.clone(),
            files,
            work_tree,
            sink_directories,
            retries: wishes.retries.unwrap_or(RETRIES),
            grace: i64::try_from(grace).unwrap_or(i64::MAX),
        })
    }
}

pub(super) fn wrong(source: &str, problem: impl Into<String>, hint: &str) -> InputError {
    InputError { source: source.to_owned(), problem: problem.into(), hint: Some(hint.to_owned()) }
}

fn order(variable: &str) -> usize {
    SETTINGS.iter().position(|setting| setting.variable == variable).unwrap_or(usize::MAX)
}

/// The fields of a document as the variables that say the same.
fn settings(document: &Value) -> Vec<(&'static str, String)> {
    let mut seen: Vec<&str> = Vec::new();
    let mut settings = Vec::new();
    for setting in SETTINGS {
        let value = document.pointer(&format!("/{}", setting.path.replace('.', "/"))).filter(|value| !value.is_null());
        // The second variable of a path names a file with the same.
        if seen.contains(&setting.path) {
            continue;
        }
        seen.push(setting.path);
        let text = match (setting.kind, value) {
            (_, None) => continue,
            (Kind::Text | Kind::Switch, Some(Value::String(text))) => text.clone(),
            (_, Some(other)) => other.to_string(),
        };
        settings.push((setting.variable, text));
    }
    settings
}

/// A name from the working branch.
fn name_of(document: &Value) -> String {
    let branch = document.pointer("/workspace/branch").and_then(Value::as_str).unwrap_or("agent-task");
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = branch.chars().map(plain).take(52).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "agent-task".to_owned() } else { name.to_owned() }
}

/// How long a name may be, with room for what a Job adds to it for its pods.
const LONGEST_NAME: usize = 52;
/// How long a label may be.
const LONGEST_LABEL: usize = 63;

/// A label of RFC 1123.
fn is_label(name: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= longest && name.bytes().all(plain) && !name.starts_with('-') && !name.ends_with('-')
}

fn check_references(wishes: &Wishes, errors: &mut Vec<InputError>) {
    let is_image = |image: &str| !image.is_empty() && !image.contains(|c: char| c.is_whitespace() || c.is_control());
    if !is_image(&wishes.image) {
        errors.push(wrong("--image", "expected an image's reference", "for instance registry.example/claude:1"));
    }
    if let Runner::Init(image) | Runner::Volume(image) = &wishes.runner
        && !is_image(image)
    {
        errors.push(wrong("--runner-image", "expected an image's reference", "the image that the runner's binary comes from"));
    }
    if wishes.namespace.as_deref().is_some_and(|namespace| !is_label(namespace, LONGEST_LABEL)) {
        errors.push(wrong(
            "--namespace",
            "expected at most 63 lower-case letters, digits and dashes",
            "as `kubectl get namespaces` lists them",
        ));
    }
    for (variable, key) in &wishes.variables {
        let is_name = variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !variable.is_empty();
        if !is_name || SETTINGS.iter().any(|setting| setting.variable == variable) {
            errors.push(wrong(
                "--secret",
                format!("`{variable}` is no variable for a secret"),
                "for instance ANTHROPIC_API_KEY=anthropic/api-key",
            ));
        }
        check_key("--secret", key, errors);
    }
    for (path, key) in &wishes.files {
        let has_place = path.is_absolute() && path.file_name().is_some() && path.parent().is_some_and(|dir| dir != Path::new("/"));
        if !has_place {
            errors.push(wrong(
                "--secret-file",
                format!("`{}` is no path of a file in a directory", path.display()),
                "for instance /run/secrets/git/token",
            ));
        }
        check_key("--secret-file", key, errors);
    }
    let paths: Vec<&Path> = wishes.files.iter().map(|(path, _)| path.as_path()).collect();
    let repeated: BTreeSet<&Path> =
        paths.iter().enumerate().filter(|(at, path)| paths[..*at].contains(path)).map(|(_, path)| *path).collect();
    for path in repeated {
        errors.push(wrong("--secret-file", format!("`{}` is given twice", path.display()), "one Secret and one key for each file"));
    }
}

fn check_key(flag: &str, key: &SecretKey, errors: &mut Vec<InputError>) {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        !name.is_empty() && name.len() <= 253 && name.bytes().all(plain)
    };
    if !is_name(&key.secret) || !is_name(&key.key) {
        errors.push(wrong(flag, format!("`{}/{}` is no SECRET/KEY", key.secret, key.key), "letters, digits, `-`, `_` and `.`"));
    }
}

/// That the runner will take the URLs, in its own words.
fn check_urls(task: &Task, errors: &mut Vec<InputError>) {
    let repo = task.workspace.repo.iter().map(|url| ("workspace.repo".to_owned(), url, RepoUrl::parse(url)));
    let remotes = task.workspace.remotes.iter().map(|(name, url)| (format!("workspace.remotes.{name}"), url, check_remote(name, url)));
    for (field, given, parsed) in repo.chain(remotes) {
        let error = match parsed {
            Ok(url) if is_forgotten_scheme(given, &url) => WorkspaceError::InvalidUrl {
                url: without_what_may_be_a_password(given),
                problem: "without a scheme it is a path, and one that does not begin with `/`".to_owned(),
            },
            Ok(_) => continue,
            Err(error) => error,
        };
        errors.push(wrong(&field, error.to_string(), error.hint()));
    }
}

/// `github.com/acme/app`, or `https:/github.com/acme/app`. A path of the container has to be whole here: nobody knows where it would begin.
fn is_forgotten_scheme(given: &str, url: &RepoUrl) -> bool {
    match url.transport() {
        Transport::Local(_) => !given.starts_with('/') && !given.starts_with("file:"),
        Transport::Ssh { .. } => ["http", "https"].contains(&url.host()),
        Transport::Http | Transport::Git => false,
    }
}

/// Nothing secret is ever printed: neither what a document holds of it, nor is a file named that nobody puts there.
fn check_secrets(task: &Task, wishes: &Wishes, errors: &mut Vec<InputError>) {
    use agent_sdk::task::McpServer;
    let hint = "leave `mcpServers` out of the document, put it into a Secret, and mount that: \
                --secret-file /run/secrets/mcp/servers.json=SECRET/KEY --mcp-servers-file /run/secrets/mcp/servers.json";
    for (name, server) in &task.mcp_servers {
        let (field, values) = match server {
            McpServer::Stdio { env, .. } => ("env", env),
            McpServer::Http { headers, .. } | McpServer::Sse { headers, .. } => ("headers", headers),
        };
        for key in values.keys() {
            errors.push(wrong(&format!("mcpServers.{name}.{field}.{key}"), "may be a secret, which no manifest holds", hint));
        }
    }
    let urls =
        [("agent.endpoint".to_owned(), task.agent.endpoint.as_deref()), ("workspace.repo".to_owned(), task.workspace.repo.as_deref())];
    let remotes = task.workspace.remotes.iter().map(|(name, url)| (format!("workspace.remotes.{name}"), Some(url.as_str())));
    let servers = task.mcp_servers.iter().map(|(name, server)| match server {
        McpServer::Stdio { .. } => (String::new(), None),
        McpServer::Http { url, .. } | McpServer::Sse { url, .. } => (format!("mcpServers.{name}.url"), Some(url.as_str())),
    });
    for (field, _) in urls.into_iter().chain(remotes).chain(servers).filter(|(_, url)| url.is_some_and(has_userinfo)) {
        errors.push(wrong(
            &field,
            "holds a user or a password, which no manifest holds",
            "give the credentials by --secret or --secret-file",
        ));
    }
    if wishes.mcp_servers_file.is_some() && !task.mcp_servers.is_empty() {
        errors.push(wrong("--mcp-servers-file", "given beside `mcpServers` in the document, which sets the same", "keep one of them"));
    }
    let files = [
        ("git.tokenFile", &task.git.token_file),
        ("git.sshKeyFile", &task.git.ssh_key_file),
        ("--mcp-servers-file", &wishes.mcp_servers_file),
    ];
    for (field, path) in files {
        if let Some(path) = path
            && !wishes.files.iter().any(|(mounted, _)| mounted == path)
        {
            let hint = format!("--secret-file {}=SECRET/KEY", path.display());
            errors.push(wrong(field, format!("`{}` is put there by nothing", path.display()), &hint));
        }
    }
}

/// Whether a URL of HTTP holds a user, which may be a token, or a password.
fn has_userinfo(url: &str) -> bool {
    let is_http = |scheme: &str| ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http));
    url.split_once("://").is_some_and(|(scheme, _)| is_http(scheme)) && !of_url(url).is_empty()
}

fn check_platform(platform: Platform, task: &Task, grace: u64, errors: &mut Vec<InputError>) {
    if matches!(platform, Platform::Tekton | Platform::Kelos) && grace > USUAL_GRACE {
        let problem = format!("is longer than {} seconds, and this platform gives its pods {USUAL_GRACE}", USUAL_GRACE - AFTER_GRACE);
        errors.push(wrong("limits.grace", problem, "shorten it"));
    }
    // <https://github.com/argoproj/argo-workflows/blob/main/workflow/validate/validate.go>, `paramOrArtifactNameRegex`.
    let of_argo = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if platform == Platform::Argo {
        for (index, output) in task.sinks.outputs.iter().enumerate().filter(|(_, output)| !of_argo(&output.name)) {
            let problem = format!("`{}` cannot be the name of a parameter of Argo", output.name);
            errors.push(wrong(&format!("sinks.outputs[{index}].name"), problem, "letters, digits, `-` and `_`"));
        }
    }
    if platform == Platform::Kelos {
        super::kelos::check(task, errors);
    } else if task.prompt.is_none() {
        errors.push(wrong("prompt", "expected what the agent is to do, got nothing", "put it into the task document"));
    }
}

fn check_text(platform: Platform, variable: &str, text: &str, errors: &mut Vec<InputError>) {
    let path = SETTINGS.iter().find(|setting| setting.variable == variable).map_or(variable, |setting| setting.path);
    if text.len() > LONGEST {
        let hint = "print the manifest with a short one, then put it into a ConfigMap, mount that, and name the file there instead: AGENT_PROMPT_FILE, AGENT_INSTRUCTIONS_FILE";
        errors.push(wrong(path, format!("is longer than the {LONGEST} bytes that a variable may hold"), hint));
    }
    if platform == Platform::Argo && text.contains("{{") {
        errors.push(wrong(path, "holds `{{`, which Argo takes for a parameter of its own", "say it in other words"));
    }
    let replaced = ["params", "workspaces", "results", "context", "steps", "tasks"];
    if platform == Platform::Tekton && replaced.iter().any(|word| text.contains(&format!("$({word}"))) {
        errors.push(wrong(path, "holds `$(…)` as Tekton writes its own parameters", "say it in other words"));
    }
}
