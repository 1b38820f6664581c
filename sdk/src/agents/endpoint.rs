//! Endpoints with the API's version at their end, which whoever speaks to them adds once more.

use crate::agent::PlanError;
use crate::task::Task;

/// The version of the Anthropic and OpenAI APIs, as it stands in a URL.
pub(super) const V1: &[&str] = &["/v1"];
/// Those of Google's API, and so of whoever speaks all of them.
pub(super) const V1_AND_BETA: &[&str] = &["/v1beta", "/v1"];

/// What is wrong with an endpoint to which `who` adds one of these versions: `Claude adds itself`, `is added for Codex`.
pub(super) fn versioned(task: &Task, versions: &[&str], who: &str) -> Option<PlanError> {
    let endpoint = task.agent.endpoint.as_deref()?;
    let version = versions.iter().find(|version| endpoint.ends_with(*version))?;
    Some(PlanError {
        field: "agent.endpoint".into(),
        problem: format!("ends in `{version}`, which {who}"),
        hint: format!("leave `{version}` out"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_at_the_end_is_refused_and_one_elsewhere_is_not() {
        let check = |endpoint: &str, versions: &[&str]| {
            let task = Task::from_value(&json!({"agent": {"type": "x", "endpoint": endpoint}, "prompt": "x"})).unwrap();
            versioned(&task, versions, "X adds itself").map(|error| error.to_string())
        };
        assert_eq!(check("http://x/v1/", V1).unwrap(), "`agent.endpoint`: ends in `/v1`, which X adds itself");
        assert_eq!(check("http://x/v1beta", V1), None);
        assert_eq!(check("http://x/v1beta", V1_AND_BETA).unwrap(), "`agent.endpoint`: ends in `/v1beta`, which X adds itself");
        for endpoint in ["http://x", "http://x/v1/openai", "http://x/llmv1"] {
            assert_eq!(check(endpoint, V1_AND_BETA), None, "{endpoint}");
        }
    }
}
