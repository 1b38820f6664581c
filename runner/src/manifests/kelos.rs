//! Kelos: a Task, and the Workspace that its controller clones for it (<https://github.com/kelos-dev/kelos>).
//!
//! The prompt, the model, the branch and the repository are said in Kelos' own fields; the rest are variables in `podOverrides`. Its image
//! starts the runner at `/kelos_entrypoint.sh`.

use agent_sdk::task::Task;

use super::request::{Request, Runner};
use super::yaml::{Node, object};
use super::{job, pod};
use crate::dialects::kelos::{AGENTS, BUDGET};
use crate::inputs::InputError;

/// The name of the agent's container in the pods that it makes.
const CONTAINER: &str = "kelos-agent";
/// The settings that are fields of the Task or of the Workspace.
const SAID_BY_KELOS: &[&str] = &[
    "AGENT_TYPE",
    "AGENT_PROMPT",
    "AGENT_MODEL",
    "AGENT_EFFORT",
    "AGENT_REPO",
    "AGENT_REF",
    "AGENT_BRANCH",
    "AGENT_WORKSPACE_DIR",
    "AGENT_TOKEN_FILE",
];

/// Those of them that it says only where there is a Workspace.
const OF_A_WORKSPACE: &[&str] = &["AGENT_WORKSPACE_DIR", "AGENT_TOKEN_FILE"];

/// Kelos' volume for the work tree, and ours where it has none.
const THEIRS: &str = "workspace";
const OURS: &str = "work";

/// The key in which Kelos expects the token in a Workspace's Secret.
pub(super) const TOKEN_KEY: &str = "GITHUB_TOKEN";

/// What Kelos cannot be told.
pub(super) fn check(task: &Task, errors: &mut Vec<InputError>) {
    let mut refuse = |field: &str, problem: &str, hint: &str| {
        errors.push(InputError { source: field.to_owned(), problem: problem.to_owned(), hint: Some(hint.to_owned()) });
    };
    if kelos_name(&task.agent.kind).is_none() {
        refuse("agent.type", "is no type of Kelos", "set AGENT_TYPE in the image, and one of Kelos' types here");
    }
    if task.prompt.is_none() {
        refuse("prompt", "expected what the agent is to do, got nothing", "put it into the task document");
    }
    let workspace = &task.workspace;
    let default = agent_sdk::task::Workspace::default();
    let own = "Kelos clones by itself, and has no field for it";
    let fields = [
        ("workspace.depth", workspace.depth != default.depth),
        ("workspace.filter", workspace.filter.is_some()),
        ("workspace.submodules", workspace.submodules),
        ("workspace.lfs", workspace.lfs),
        ("workspace.remotes", !workspace.remotes.is_empty()),
        ("workspace.dir", workspace.dir != default.dir),
    ];
    for (field, _) in fields.iter().filter(|(_, is_set)| *is_set) {
        refuse(field, own, "leave it out");
    }
    if workspace.repo.as_deref().is_some_and(|repo| !["https://", "http://", "git://", "git@"].iter().any(|start| repo.starts_with(start)))
    {
        refuse("workspace.repo", "Kelos takes https, http, git and git@ only", "write it as https://host/path");
    }
}

fn kelos_name(agent: &str) -> Option<&'static str> {
    AGENTS.iter().find(|(_, ours)| *ours == agent).map(|(theirs, _)| *theirs)
}

/// The documents: a Workspace if there is a repository, and a Task.
pub(super) fn documents(request: &Request) -> Vec<Node> {
    let head =
        |kind: &str| object([("apiVersion", "kelos.dev/v1alpha2".into()), ("kind", kind.into()), ("metadata", pod::metadata(request))]);
    let workspace = request.task.workspace.repo.as_deref().map(|repo| {
        let spec = object([("repo", repo.into())]).with("ref", request.task.workspace.reference.as_deref().map(Node::from));
        head("Workspace").with("spec", spec.with("secretRef", token_secret(request).map(|name| object([("name", name.into())]))))
    });
    let text = |value: &Option<String>| value.as_deref().map(Node::from);
    let task = &request.task;
    let kind = kelos_name(&task.agent.kind).unwrap_or_default();
    let spec = object([("type", kind.into())])
        // It becomes the container's argument as it is.
        .with("prompt", task.prompt.as_deref().map(pod::literal))
        // The key comes by a variable of the container, as on every other platform.
        .with("credentials", object([("type", "none".into())]))
        .with("model", text(&task.agent.model))
        .with("effort", text(&task.agent.effort))
        .with("image", Node::from(request.image.as_str()))
        .with("workspaceRef", workspace.as_ref().map(|_| object([("name", request.name.as_str().into())])))
        .with("branch", text(&task.workspace.branch))
        .with("podFailurePolicy", job::failure_policy(CONTAINER))
        .with("podOverrides", overrides(request));
    workspace.into_iter().chain([head("Task").with("spec", spec)]).collect()
}

/// The Secret with the token of the task.
fn token_secret(request: &Request) -> Option<&str> {
    let path = request.task.git.token_file.as_deref()?;
    let files = request.files.get(path.parent()?)?;
    let name = path.file_name()?.to_str()?;
    files.iter().find(|(file, _)| file == name).map(|(_, key)| key.secret.as_str())
}

fn overrides(request: &Request) -> Node {
    let mut own = request.clone();
    // Without a repository it mounts neither work tree nor token, and sets no group: then these are ours.
    let is_theirs = request.task.workspace.repo.is_some();
    own.settings.retain(|(variable, _)| !SAID_BY_KELOS.contains(variable) || (!is_theirs && OF_A_WORKSPACE.contains(variable)));
    if let Some(path) = request.task.git.token_file.as_ref().filter(|_| is_theirs)
        && let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(std::ffi::OsStr::to_str))
    {
        if let Some(files) = own.files.get_mut(directory) {
            files.retain(|(file, _)| file != name);
        }
        own.files.retain(|_, files| !files.is_empty());
    }
    own.runner = Runner::Image;
    let without_theirs =
        |nodes: Vec<Node>| -> Vec<Node> { nodes.into_iter().filter(|node| !(is_theirs && is_named(node, THEIRS))).map(renamed).collect() };
    let is_said = own.settings.iter().any(|(variable, _)| *variable == "AGENT_TERMINATION_BUDGET");
    let budget = (!is_said).then(|| ("AGENT_TERMINATION_BUDGET", BUDGET.to_string()));
    let env = pod::settings(&own, budget.into_iter().collect()).into_iter().chain(pod::secrets(&own));
    // Only root could read the Secrets' files.
    let group = (!is_theirs).then(|| object([("fsGroup", pod::USER.into())]));
    object([
        ("env", Node::List(env.collect())),
        ("volumes", Node::List(without_theirs(pod::volumes(&own)))),
        ("volumeMounts", Node::List(without_theirs(pod::mounts(&own)))),
    ])
    .with("podSecurityContext", group)
    .with("containerSecurityContext", pod::container_security())
}

/// A volume, or its mount, by a name that Kelos does not keep for its own.
fn renamed(node: Node) -> Node {
    if !is_named(&node, THEIRS) {
        return node;
    }
    let Node::Object(fields) = node else { return node };
    Node::Object(fields.into_iter().map(|(field, value)| if field == "name" { (field, OURS.into()) } else { (field, value) }).collect())
}

fn is_named(node: &Node, name: &str) -> bool {
    matches!(node, Node::Object(fields) if fields.iter().any(|(field, value)| field == "name" && *value == Node::from(name)))
}
