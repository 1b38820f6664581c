//! What all platforms have in common, since all of them make pods: the container with its variables, volumes and security context; and the
//! manifest of a plain Pod.

use std::path::Path;

use super::request::{Request, Runner, SecretKey};
use super::yaml::{Node, object};

/// The user that the images of this project are made for.
pub(super) const USER: i64 = 61100;
/// Where the runner's volume is mounted.
pub(super) const RUNNER: &str = "/runner";
/// The agent's home; its image's own cannot be written where the root is read-only.
pub(super) const HOME: &str = "/home/agent";
/// What may be written for a while.
pub(super) const TMP: &str = "/tmp";
/// The owner may read, and the group that `fsGroup` names.
const SECRET_MODE: i64 = 0o440;

/// The documents: one Pod.
pub(super) fn documents(request: &Request) -> Vec<Node> {
    vec![object([("apiVersion", "v1".into()), ("kind", "Pod".into()), ("metadata", metadata(request)), ("spec", spec(request))])]
}

/// Name and namespace.
pub(super) fn metadata(request: &Request) -> Node {
    object([("name", request.name.as_str().into())]).with("namespace", request.namespace.as_deref().map(Node::from))
}

/// The pod's own specification.
pub(super) fn spec(request: &Request) -> Node {
    object([
        ("restartPolicy", "Never".into()),
        ("terminationGracePeriodSeconds", request.grace.into()),
        // The agent has no business with the cluster, and other services no business in its environment.
        ("automountServiceAccountToken", false.into()),
        ("enableServiceLinks", false.into()),
        ("securityContext", security_context()),
    ])
    .with("initContainers", install(request).map(|install| Node::List(vec![install])))
    .with("containers", Node::List(vec![container(request, "agent", Vec::new(), Some(0))]))
    .with("volumes", Node::List(volumes(request)))
}

/// The pod's security context.
pub(super) fn security_context() -> Node {
    object([
        ("runAsNonRoot", true.into()),
        ("runAsUser", USER.into()),
        ("runAsGroup", USER.into()),
        ("fsGroup", USER.into()),
        ("seccompProfile", object([("type", "RuntimeDefault".into())])),
    ])
}

/// A container's security context.
pub(super) fn container_security() -> Node {
    object([
        ("allowPrivilegeEscalation", false.into()),
        ("readOnlyRootFilesystem", true.into()),
        ("capabilities", object([("drop", ["ALL"].into_iter().collect())])),
    ])
}

/// The container that copies the runner into a volume, where it comes from there.
pub(super) fn install(request: &Request) -> Option<Node> {
    let Runner::Init(image) = &request.runner else { return None };
    Some(object([
        ("name", "runner".into()),
        ("image", image.as_str().into()),
        ("command", ["agent-runner", "install", "/runner/agent-runner"].into_iter().collect()),
        ("securityContext", container_security()),
        ("volumeMounts", Node::List(vec![object([("name", "runner".into()), ("mountPath", RUNNER.into())])])),
    ]))
}

/// What starts the runner.
pub(super) fn command(request: &Request) -> Node {
    match request.runner {
        Runner::Image => ["agent-runner"].into_iter().collect(),
        Runner::Init(_) | Runner::Volume(_) => ["/runner/agent-runner"].into_iter().collect(),
    }
}

/// The agent's container, with more variables than the task's. `others` is how many containers the platform adds to the pod, between which
/// and ours the kubelet shares its room for messages; absent where the platform itself says what a message may have.
pub(super) fn container(request: &Request, name: &str, more: Vec<(&str, String)>, others: Option<u32>) -> Node {
    let mut env = settings(request, more);
    if let Some(others) = others
        && !request.settings.iter().any(|(variable, _)| *variable == "AGENT_TERMINATION_BUDGET")
    {
        env.push(variable("AGENT_TERMINATION_BUDGET", &termination_budget(request, others).to_string()));
    }
    env.extend(secrets(request));
    object([
        ("name", name.into()),
        ("image", request.image.as_str().into()),
        ("command", command(request)),
        ("env", Node::List(env)),
        ("securityContext", container_security()),
        ("volumeMounts", Node::List(mounts(request))),
    ])
}

/// What the kubelet keeps of one message, given how many containers share it: those of the start are among them.
fn termination_budget(request: &Request, others: u32) -> u32 {
    let containers = 1 + u32::from(matches!(request.runner, Runner::Init(_))) + others;
    (12 * 1024 / containers).min(agent_sdk::task::MAX_TERMINATION_BUDGET)
}

/// The task as variables, and more.
pub(super) fn settings(request: &Request, more: Vec<(&str, String)>) -> Vec<Node> {
    let home = std::iter::once(("HOME", HOME.to_owned()));
    home.chain(request.settings.iter().cloned()).chain(more).map(|(name, value)| variable(name, &value)).collect()
}

/// The variables whose values are in Secrets.
pub(super) fn secrets(request: &Request) -> Vec<Node> {
    let reference = |key: &SecretKey| object([("name", key.secret.as_str().into()), ("key", key.key.as_str().into())]);
    let one = |(name, key): &(String, SecretKey)| {
        object([("name", name.as_str().into()), ("valueFrom", object([("secretKeyRef", reference(key))]))])
    };
    request.variables.iter().map(one).collect()
}

/// A variable.
pub(super) fn variable(name: &str, value: &str) -> Node {
    object([("name", name.into()), ("value", literal(value))])
}

/// A text of a variable or an argument that stays as it is: Kubernetes puts variables in place of `$(NAME)`, and one dollar in place of
/// two.
pub(super) fn literal(text: &str) -> Node {
    let is_replaced = text.contains("$(") || text.contains("$$");
    if is_replaced { text.replace('$', "$$").into() } else { text.into() }
}

/// Where the volumes are mounted.
pub(super) fn mounts(request: &Request) -> Vec<Node> {
    let mount = |name: &str, path: &str| object([("name", name.into()), ("mountPath", path.into())]);
    let mut mounts = Vec::new();
    if request.runner != Runner::Image {
        mounts.push(mount("runner", RUNNER).with("readOnly", Node::from(true)));
    }
    mounts.push(mount("workspace", &workspace_volume(&request.work_tree).display().to_string()));
    mounts.push(mount("home", HOME));
    mounts.push(mount("tmp", TMP));
    for (number, directory) in request.sink_directories.iter().enumerate() {
        mounts.push(mount(&numbered("sinks", number), &directory.display().to_string()));
    }
    for (number, directory) in request.files.keys().enumerate() {
        mounts.push(mount(&numbered("secrets", number), &directory.display().to_string()).with("readOnly", Node::from(true)));
    }
    mounts
}

/// The volumes.
pub(super) fn volumes(request: &Request) -> Vec<Node> {
    let empty = |name: &str| object([("name", name.into()), ("emptyDir", object([]))]);
    let mut volumes = match &request.runner {
        Runner::Image => Vec::new(),
        Runner::Init(_) => vec![empty("runner")],
        Runner::Volume(image) => {
            vec![object([
                ("name", "runner".into()),
                ("image", object([("reference", image.as_str().into()), ("pullPolicy", "IfNotPresent".into())])),
            ])]
        }
    };
    volumes.extend(["workspace", "home", "tmp"].map(empty));
    volumes.extend((0..request.sink_directories.len()).map(|number| empty(&numbered("sinks", number))));
    for (number, files) in request.files.values().enumerate() {
        let source = |(name, key): &(String, SecretKey)| {
            let item = object([("key", key.key.as_str().into()), ("path", name.as_str().into())]);
            object([("secret", object([("name", key.secret.as_str().into()), ("items", Node::List(vec![item]))]))])
        };
        // The kubelet writes such a volume anew when a Secret has changed: a token may be rotated.
        let projected = object([("defaultMode", SECRET_MODE.into()), ("sources", files.iter().map(source).collect())]);
        volumes.push(object([("name", numbered("secrets", number).into()), ("projected", projected)]));
    }
    volumes
}

/// The directory above the work tree is the volume: the runner puts the clone there whole or not at all.
pub(super) fn workspace_volume(work_tree: &Path) -> &Path {
    work_tree.parent().filter(|above| above.parent().is_some()).unwrap_or(work_tree)
}

/// The name of one of several volumes.
fn numbered(name: &str, number: usize) -> String {
    if number == 0 { name.to_owned() } else { format!("{name}-{}", number + 1) }
}
