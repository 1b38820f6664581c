//! Argo Workflows: a WorkflowTemplate of one step, with the results as output parameters
//! (<https://argo-workflows.readthedocs.io/en/latest/fields/#template>).

use agent_sdk::results::key;
use agent_sdk::verdict::ExitCodes;

use super::pod;
use super::request::Request;
use super::yaml::{Node, object};

/// Where results are left for Argo to read.
pub(super) const RESULTS: &str = "/results";
/// What Argo adds to each pod: the containers `init` and `wait`.
const ADDED: u32 = 2;
/// What every run of a task in a repository has to say, beside what the task declares.
const OUTPUTS: &[&str] = &["status", "reason", key::BRANCH, key::COMMIT, key::PUSHED, key::INPUT_TOKENS, key::OUTPUT_TOKENS, key::COST_USD];

/// The documents: one WorkflowTemplate.
///
/// All of it is in the template: another workflow's `templateRef` takes that, and nothing of what stands around it.
pub(super) fn documents(request: &Request) -> Vec<Node> {
    let spec = object([("entrypoint", "agent".into()), ("templates", Node::List(vec![template(request)]))]);
    let head = [("apiVersion", "argoproj.io/v1alpha1".into()), ("kind", "WorkflowTemplate".into())];
    vec![object(head).with("metadata", pod::metadata(request)).with("spec", spec)]
}

fn template(request: &Request) -> Node {
    let codes: Vec<String> = ExitCodes::by_retry().again.iter().map(u8::to_string).collect();
    let again = format!("asInt(lastRetry.exitCode) in [{}]", codes.join(", "));
    // Only what the template sets is a place that the runner writes to.
    let more = vec![("AGENT_RESULTS_DIR", RESULTS.to_owned())];
    let Node::Object(container) = pod::container(request, "agent", more, Some(ADDED)) else { return object([]) };
    let mut container: Vec<(String, Node)> = container.into_iter().filter(|(name, _)| name != "name").collect();
    for (name, value) in &mut container {
        if let (true, Node::List(mounts)) = (name == "volumeMounts", value) {
            mounts.push(object([("name", "results".into()), ("mountPath", RESULTS.into())]));
        }
    }
    let patch = format!(r#"{{"terminationGracePeriodSeconds":{},"enableServiceLinks":false}}"#, request.grace);
    object([
        ("name", "agent".into()),
        (
            "retryStrategy",
            object([("limit", request.retries.to_string().into()), ("retryPolicy", "Always".into()), ("expression", again.into())]),
        ),
        ("securityContext", pod::security_context()),
        ("podSpecPatch", patch.into()),
    ])
    .with("initContainers", pod::install(request).map(|install| Node::List(vec![install])))
    .with("container", Node::Object(container))
    .with("outputs", object([("parameters", outputs(request))]))
    .with("volumes", volumes(request))
}

fn outputs(request: &Request) -> Node {
    let declared = request.task.sinks.outputs.iter().map(|output| output.name.as_str()).filter(|name| !OUTPUTS.contains(name));
    let one = |name: &str| {
        // A run that failed before it knew has no such file; the reason then says why.
        let from = object([("path", format!("{RESULTS}/{name}").into()), ("default", "".into())]);
        object([("name", name.into()), ("valueFrom", from)])
    };
    OUTPUTS.iter().copied().chain(declared).map(one).collect()
}

fn volumes(request: &Request) -> Node {
    let results = object([("name", "results".into()), ("emptyDir", object([]))]);
    Node::List(pod::volumes(request).into_iter().chain([results]).collect())
}
