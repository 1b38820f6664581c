//! Tekton: a Task that declares its results, and a TaskRun of it (<https://tekton.dev/docs/pipelines/tasks/>).
//!
//! An init container is Tekton's own affair: the runner is installed by a first step.

use agent_sdk::results::key;

use super::pod;
use super::request::Request;
use super::yaml::{Node, object};

/// What every run of a task in a repository has to say, beside what the task declares.
const RESULTS: &[(&str, &str)] = &[
    ("status", "what became of the task"),
    ("reason", "why it ended"),
    (key::BRANCH, "the working branch"),
    (key::COMMIT, "its tip"),
    (key::PUSHED, "whether the remote has it"),
    (key::INPUT_TOKENS, "all prompt tokens"),
    (key::OUTPUT_TOKENS, "all generated tokens"),
    (key::COST_USD, "in US dollars"),
];
/// For the image to be pulled and the pod to be placed, beside the task's own time.
const AROUND: u64 = 10 * 60;

/// The documents: a Task, and a TaskRun.
pub(super) fn documents(request: &Request) -> Vec<Node> {
    let head = |kind: &str| object([("apiVersion", "tekton.dev/v1".into()), ("kind", kind.into()), ("metadata", pod::metadata(request))]);
    // The budget of the message is Tekton's, which has entries of its own in it.
    let steps = pod::install(request).into_iter().chain([pod::container(request, "agent", Vec::new(), None)]);
    let task = object([("results", results(request)), ("steps", steps.collect()), ("volumes", Node::List(pod::volumes(request)))]);
    // Tekton would end each run after an hour; nothing means never.
    let timeout = request.task.limits.timeout.map_or(0, |limit| limit.as_duration().as_secs() + request.grace.unsigned_abs() + AROUND);
    let run = object([
        ("taskRef", object([("name", request.name.as_str().into())])),
        ("timeout", format!("{timeout}s").into()),
        (
            "podTemplate",
            object([
                ("automountServiceAccountToken", false.into()),
                ("enableServiceLinks", false.into()),
                ("securityContext", pod::security_context()),
            ]),
        ),
    ]);
    vec![head("Task").with("spec", task), head("TaskRun").with("spec", run)]
}

fn results(request: &Request) -> Node {
    let known = RESULTS.iter().map(|(name, what)| object([("name", (*name).into()), ("description", (*what).into())]));
    let declared = request.task.sinks.outputs.iter().map(|output| output.name.as_str());
    let declared = declared.filter(|name| !RESULTS.iter().any(|(known, _)| known == name)).map(|name| object([("name", name.into())]));
    Node::List(known.chain(declared).collect())
}
