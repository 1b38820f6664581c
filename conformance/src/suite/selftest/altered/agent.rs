//! What the image's own agent is told, and what comes of what a model answers. The good evidence of it is of a real agent: the second
//! implementation has none.

use super::{Alteration, forget, message, records, run};
use crate::suite::check::Check;
use crate::suite::evidence::{AgentEvent, Ended, Evidence};
use crate::suite::fake::MCP;
use crate::suite::profile::Profile;
use crate::suite::requirement;

/// Whether a check is one of an image's own agent.
#[must_use]
pub fn in_scope(check: &Check) -> bool {
    requirement::find(check.id).is_some_and(|row| row.profile == Profile::Agent)
}

pub(super) const ALTERATIONS: &[Alteration] = &[
    Alteration {
        name: "endpoint",
        about: "the model was never asked",
        alter: |evidence| run(evidence, "model-task").facts.model.clear(),
        kills: &["CFG-007", "CFG-008", "RUN-020", "STR-009", "STR-010"],
    },
    Alteration {
        name: "endpoint.probe",
        about: "the endpoint was asked for something, and never a question",
        alter: |evidence| run(evidence, "model-task").facts.model.iter_mut().for_each(|request| request.question = false),
        kills: &["CFG-007", "CFG-008", "RUN-020", "STR-009", "STR-010"],
    },
    Alteration {
        name: "model",
        about: "another model was asked for",
        alter: |evidence| run(evidence, "model-task").facts.model.iter_mut().for_each(|request| request.model = Some("another".into())),
        kills: &["CFG-008"],
    },
    Alteration {
        name: "model.unsaid",
        about: "the image does not say which model its agent takes",
        alter: |evidence| drop(run(evidence, "model-task").facts.known.remove("model")),
        kills: &["CFG-008"],
    },
    Alteration {
        name: "instructions",
        about: "the model was not told the instructions",
        alter: |evidence| untold(evidence, "model-configured", "instructions"),
        kills: &["CFG-009"],
    },
    Alteration {
        name: "repository-instructions",
        about: "the model was not told the repository's own instructions",
        alter: |evidence| untold(evidence, "model-configured", "repository"),
        kills: &["CFG-010"],
    },
    Alteration {
        name: "skill",
        about: "the model was offered no skill",
        alter: |evidence| untold(evidence, "model-configured", "skill"),
        kills: &["CFG-011"],
    },
    Alteration {
        name: "sub-agent",
        about: "the model was offered no sub-agent",
        alter: |evidence| untold(evidence, "model-configured", "sub-agent"),
        kills: &["CFG-012"],
    },
    Alteration {
        name: "mcp-stdio",
        about: "the MCP server was started, and its tool never called",
        alter: |evidence| {
            forget(evidence, "model-configured", MCP, |event| matches!(event, AgentEvent::Mark { name } if name == "tools/call"))
        },
        kills: &["CFG-013"],
    },
    Alteration {
        name: "mcp-stdio.none",
        about: "the MCP server was never started",
        alter: |evidence| forget(evidence, "model-configured", MCP, |_| true),
        kills: &["CFG-013"],
    },
    Alteration {
        name: "mcp-stdio.environment",
        about: "the MCP server was started without its environment",
        alter: |evidence| {
            records(evidence, "model-configured", MCP, |event| {
                if let AgentEvent::Started { env, .. } = event {
                    env.remove("CONFORMANCE_MCP");
                }
            });
        },
        kills: &["CFG-013"],
    },
    Alteration {
        name: "mcp-http",
        about: "the tool of the MCP server was listed, and never called",
        alter: |evidence| run(evidence, "model-mcp-http").facts.mcp.retain(|request| request.method != "tools/call"),
        kills: &["CFG-014"],
    },
    Alteration {
        name: "mcp-http.header",
        about: "the MCP server was asked without its header",
        alter: |evidence| run(evidence, "model-mcp-http").facts.mcp.iter_mut().for_each(|request| request.header = None),
        kills: &["CFG-014"],
    },
    Alteration {
        name: "prompt-whole-at-model",
        about: "a long prompt did not come whole",
        alter: |evidence| untold(evidence, "model-prompt", "prompt"),
        kills: &["CFG-015"],
    },
    Alteration {
        name: "model-unauthorised",
        about: "an endpoint that answers 401 has another reason",
        alter: |evidence| reason(evidence, "model-401", "AgentFailed"),
        kills: &["RUN-016"],
    },
    Alteration {
        name: "model-unauthorised.code",
        about: "it ends with the agent's own code",
        alter: |evidence| ended(evidence, "model-401", 1),
        kills: &["RUN-016"],
    },
    Alteration {
        name: "model-rate-limit",
        about: "an endpoint that answers 429 has another reason",
        alter: |evidence| reason(evidence, "model-429", "ServerError"),
        kills: &["RUN-017"],
    },
    Alteration {
        name: "model-rate-limit.code",
        about: "it ends with the agent's own code",
        alter: |evidence| ended(evidence, "model-429", 1),
        kills: &["RUN-017"],
    },
    Alteration {
        name: "model-server-error",
        about: "an endpoint that answers 500 ends with the agent's own code",
        alter: |evidence| ended(evidence, "model-500", 1),
        kills: &["RUN-018"],
    },
    Alteration {
        name: "model-refused-connection",
        about: "an endpoint where nothing listens has another reason",
        alter: |evidence| reason(evidence, "model-refused", "ServerError"),
        kills: &["RUN-019"],
    },
    Alteration {
        name: "model-refused-connection.code",
        about: "it ends with the agent's own code",
        alter: |evidence| ended(evidence, "model-refused", 1),
        kills: &["RUN-019"],
    },
    Alteration {
        name: "model-cut-stream",
        about: "an answer that was cut is a success",
        alter: |evidence| message(evidence, "model-cut", |message| message["status"] = "succeeded".into()),
        kills: &["RUN-020"],
    },
    Alteration {
        name: "model-context-window",
        about: "a prompt that is too long has another reason",
        alter: |evidence| reason(evidence, "model-too-long", "RequestRejected"),
        kills: &["RUN-021"],
    },
    Alteration {
        name: "model-signal",
        about: "SIGTERM while the model was asked is a failure",
        alter: |evidence| message(evidence, "model-signal", |message| message["status"] = "failed".into()),
        kills: &["RUN-022"],
    },
    Alteration {
        name: "model-signal.code",
        about: "SIGTERM while the model was asked ends with 0",
        alter: |evidence| ended(evidence, "model-signal", 0),
        kills: &["RUN-022"],
    },
    Alteration {
        name: "bill",
        about: "one output token more than the model billed",
        alter: |evidence| count(evidence, "output-tokens", 1),
        kills: &["STR-009"],
    },
    Alteration {
        name: "bill.cache",
        about: "one token less from the cache than the model billed",
        alter: |evidence| count(evidence, "cache-read-tokens", -1),
        kills: &["STR-009"],
    },
    Alteration {
        name: "bill.untold",
        about: "no input tokens",
        alter: |evidence| message(evidence, "model-task", |message| message["parameters"]["input-tokens"] = serde_json::Value::Null),
        kills: &["STR-009"],
    },
    Alteration {
        name: "bill.fails",
        about: "the task that the model did ends with 1",
        alter: |evidence| ended(evidence, "model-task", 1),
        kills: &["STR-009"],
    },
    Alteration {
        name: "tool-commit",
        about: "the commit before the tool's is the one that is reported",
        alter: |evidence| {
            let tip = run(evidence, "model-task").facts.known.get("tip").cloned();
            message(evidence, "model-task", |message| message["parameters"]["commit"] = tip.into());
        },
        kills: &["STR-010"],
    },
    Alteration {
        name: "tool-commit.none",
        about: "the tool made no commit",
        alter: |evidence| {
            let facts = &mut run(evidence, "model-task").facts;
            let tip = facts.known.get("tip").cloned();
            facts.head.iter_mut().for_each(|head| head.commit.clone_from(&tip));
        },
        kills: &["STR-010"],
    },
];

/// A sentinel stood in no question.
fn untold(evidence: &mut Evidence, scenario: &str, sentinel: &str) {
    let requests = &mut run(evidence, scenario).facts.model;
    requests.iter_mut().for_each(|request| request.sentinels.retain(|name| name != sentinel));
}

fn reason(evidence: &mut Evidence, scenario: &str, reason: &str) {
    message(evidence, scenario, |message| message["reason"] = reason.into());
}

fn ended(evidence: &mut Evidence, scenario: &str, code: u8) {
    run(evidence, scenario).facts.ended = Ended::Code(code);
}

/// A count of `model-task` that is off by so much.
fn count(evidence: &mut Evidence, name: &str, off: i64) {
    message(evidence, "model-task", |message| {
        let told = message["parameters"][name].as_str().and_then(|told| told.parse::<i64>().ok()).unwrap_or_default();
        message["parameters"][name] = (told + off).to_string().into();
    });
}
