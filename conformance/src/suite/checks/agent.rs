//! What the image's own agent is told, and what comes of what a model answers.

use super::read::{code, message, parameter, parameter_is, premise, reason, record, status, story};
use crate::suite::check::{Check, Finding, Judged, Seen};
use crate::suite::evidence::{AgentEvent, Evidence};
use crate::suite::fake::MCP;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "CFG-007", scenarios: &["model-task"], judge: endpoint },
    Check { id: "CFG-008", scenarios: &["model-task"], judge: model },
    Check { id: "CFG-009", scenarios: &["model-configured"], judge: instructions },
    Check { id: "CFG-010", scenarios: &["model-configured"], judge: repository_instructions },
    Check { id: "CFG-011", scenarios: &["model-configured"], judge: skill },
    Check { id: "CFG-012", scenarios: &["model-configured"], judge: sub_agent },
    Check { id: "CFG-013", scenarios: &["model-configured"], judge: mcp_stdio },
    Check { id: "CFG-014", scenarios: &["model-mcp-http"], judge: mcp_http },
    Check { id: "CFG-015", scenarios: &["model-prompt"], judge: prompt },
    Check { id: "RUN-016", scenarios: &["model-401"], judge: unauthorised },
    Check { id: "RUN-017", scenarios: &["model-429"], judge: rate_limit },
    Check { id: "RUN-018", scenarios: &["model-500"], judge: server_error },
    Check { id: "RUN-019", scenarios: &["model-refused"], judge: refused },
    Check { id: "RUN-020", scenarios: &["model-cut", "model-task"], judge: cut },
    Check { id: "RUN-021", scenarios: &["model-too-long"], judge: too_long },
    Check { id: "RUN-022", scenarios: &["model-signal"], judge: signal },
    Check { id: "STR-009", scenarios: &["model-task"], judge: bill },
    Check { id: "STR-010", scenarios: &["model-task"], judge: tool_commit },
];

/// The scenario, in which the model was asked.
fn asked<'a>(evidence: &'a Evidence, scenario: &str) -> Result<Seen<'a>, Finding> {
    let seen = evidence.run(scenario)?;
    if seen.facts.model.iter().any(|request| request.question) {
        return Ok(seen);
    }
    let requests = seen.facts.model.iter().map(|request| request.request.clone()).collect::<Vec<_>>().join(", ");
    Err(seen.broken("a question at AGENT_ENDPOINT", format!("{} requests ({requests}); {}", seen.facts.model.len(), story(&seen))))
}

fn endpoint(evidence: &Evidence) -> Judged {
    asked(evidence, "model-task").map(drop)
}

fn model(evidence: &Evidence) -> Judged {
    let seen = asked(evidence, "model-task")?;
    // A provider that is put before the model's name is the agent's own affair.
    let wanted = seen.known("model").rsplit('/').next().unwrap_or_default();
    if wanted.is_empty() {
        return Err(Finding::NotTestable(
            "the image does not say in the label `…agent.model.name` which model its agent could be told".into(),
        ));
    }
    let told: Vec<_> = seen.facts.model.iter().filter_map(|request| request.model.clone()).collect();
    seen.expect(told.iter().any(|model| model == wanted), format!("a question for the model `{wanted}`"), format!("for {told:?}"))
}

/// Some question held this.
fn told(evidence: &Evidence, scenario: &str, sentinel: &str, what: &str) -> Judged {
    let seen = asked(evidence, scenario)?;
    let told = seen.facts.model.iter().any(|request| request.sentinels.iter().any(|name| name == sentinel));
    seen.expect(told, format!("{what} in a question"), format!("in none of {}", seen.facts.model.len()))
}

fn instructions(evidence: &Evidence) -> Judged {
    told(evidence, "model-configured", "instructions", "the text of AGENT_INSTRUCTIONS")
}

fn repository_instructions(evidence: &Evidence) -> Judged {
    told(evidence, "model-configured", "repository", "the repository's own instruction file")
}

fn skill(evidence: &Evidence) -> Judged {
    told(evidence, "model-configured", "skill", "the skill's description")
}

fn sub_agent(evidence: &Evidence) -> Judged {
    told(evidence, "model-configured", "sub-agent", "the sub-agent's description")
}

fn mcp_stdio(evidence: &Evidence) -> Judged {
    let seen = asked(evidence, "model-configured")?;
    let given = record(&seen, MCP, |event| match event {
        AgentEvent::Started { env, .. } => Some(env.get("CONFORMANCE_MCP").cloned()),
        _ => None,
    });
    let Some(given) = given else { return Err(seen.broken("the MCP server is started", format!("it was not; {}", story(&seen)))) };
    seen.expect(
        given.as_deref() == Some(seen.known("given")),
        "its environment is what the task says",
        format!("CONFORMANCE_MCP={given:?}"),
    )?;
    let called = record(&seen, MCP, |event| matches!(event, AgentEvent::Mark { name } if name == "tools/call").then_some(()));
    seen.expect(called.is_some(), "its tool is called", format!("it was not; {}", story(&seen)))
}

fn mcp_http(evidence: &Evidence) -> Judged {
    let seen = asked(evidence, "model-mcp-http")?;
    let call = seen.facts.mcp.iter().find(|request| request.method == "tools/call");
    let methods: Vec<_> = seen.facts.mcp.iter().map(|request| request.method.as_str()).collect();
    let Some(call) = call else {
        return Err(seen.broken("the tool is called", format!("the server was asked {methods:?}; {}", story(&seen))));
    };
    seen.expect(call.header.as_deref() == Some(seen.known("given")), "with the header that the task gives", format!("{:?}", call.header))
}

fn prompt(evidence: &Evidence) -> Judged {
    told(evidence, "model-prompt", "prompt", "the whole prompt")
}

fn unauthorised(evidence: &Evidence) -> Judged {
    let seen = asked(evidence, "model-401")?;
    code(&seen, 77)?;
    reason(&seen, "AuthenticationFailed")
}

fn rate_limit(evidence: &Evidence) -> Judged {
    let seen = asked(evidence, "model-429")?;
    code(&seen, 75)?;
    reason(&seen, "RateLimited")
}

fn server_error(evidence: &Evidence) -> Judged {
    code(&asked(evidence, "model-500")?, 75)
}

fn refused(evidence: &Evidence) -> Judged {
    let seen = evidence.run("model-refused")?;
    code(&seen, 75)?;
    reason(&seen, "NetworkFailed")
}

fn cut(evidence: &Evidence) -> Judged {
    let seen = asked(evidence, "model-cut")?;
    premise(asked(evidence, "model-task"), "the agent does not ask the model even where all is well")?;
    let status = super::read::field(&seen, "status")?;
    seen.expect(status != "succeeded", "another status than `succeeded`", format!("`{status}`; {}", story(&seen)))
}

fn too_long(evidence: &Evidence) -> Judged {
    reason(&asked(evidence, "model-too-long")?, "ContextWindowExceeded")
}

fn signal(evidence: &Evidence) -> Judged {
    let seen = asked(evidence, "model-signal")?;
    code(&seen, 143)?;
    status(&seen, "cancelled")
}

fn bill(evidence: &Evidence) -> Judged {
    let seen = asked(evidence, "model-task")?;
    code(&seen, 0)?;
    message(&seen)?;
    let Some(bill) = seen.facts.bill else { return Err(Finding::Error("the model server kept no bill".into())) };
    parameter_is(&seen, "input-tokens", &bill.input_tokens.to_string())?;
    parameter_is(&seen, "output-tokens", &bill.output_tokens.to_string())?;
    let parts = [
        ("cache-read-tokens", bill.cache_read_tokens),
        ("cache-write-tokens", bill.cache_write_tokens),
        ("reasoning-tokens", bill.reasoning_tokens),
    ];
    // Not every protocol tells of every part; what is told has to be right.
    parts.into_iter().try_for_each(|(name, count)| match parameter(&seen, name)? {
        None => Ok(()),
        Some(_) => parameter_is(&seen, name, &count.to_string()),
    })
}

fn tool_commit(evidence: &Evidence) -> Judged {
    let seen = asked(evidence, "model-task")?;
    let head = seen.facts.head.as_ref().and_then(|head| head.commit.clone());
    let Some(head) = head else { return Err(seen.broken("a workspace with a commit", story(&seen))) };
    seen.expect(head != seen.known("tip"), "a new commit in the workspace", format!("HEAD is still {head}; {}", story(&seen)))?;
    parameter_is(&seen, "commit", &head)
}
