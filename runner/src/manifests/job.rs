//! A Kubernetes Job: its policy tells failures that a second try may mend from those that it cannot, by the runner's exit codes
//! (<https://kubernetes.io/docs/tasks/job/pod-failure-policy/>).

use agent_sdk::verdict::ExitCodes;

use super::pod;
use super::request::Request;
use super::yaml::{Node, object};

/// The documents: one Job.
pub(super) fn documents(request: &Request) -> Vec<Node> {
    let spec = object([
        ("backoffLimit", i64::from(request.retries).into()),
        ("podFailurePolicy", failure_policy("agent")),
        ("template", object([("spec", pod::spec(request))])),
    ]);
    vec![object([("apiVersion", "batch/v1".into()), ("kind", "Job".into()), ("metadata", pod::metadata(request)), ("spec", spec)])]
}

/// The policy, from the one table of reasons. It looks at the container of that name.
pub(super) fn failure_policy(container: &str) -> Node {
    let codes = ExitCodes::by_retry();
    let on = |codes: &[u8]| {
        let values = codes.iter().map(|code| i64::from(*code)).collect();
        object([("containerName", container.into()), ("operator", "In".into()), ("values", values)])
    };
    let rules = [
        // Wrong input, wrong credentials: nothing to gain from a second try.
        object([("action", "FailJob".into()), ("onExitCodes", on(&codes.for_good))]),
        // Evicted, preempted: again, without counting.
        object([("action", "Ignore".into()), ("onPodConditions", Node::List(vec![object([("type", "DisruptionTarget".into())])]))]),
        // Rate limit, overload, network, out of time.
        object([("action", "Count".into()), ("onExitCodes", on(&codes.again))]),
    ];
    object([("rules", rules.into_iter().collect())])
}
