//! The real CLIs that `images/agents/` describes by manifests, through the runner: how their runs end, and what they cost.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_tests::agent_run::AgentRun;
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::runs::{Counted, KEY, Wanted, wait_until, wanted};
use nix::sys::signal::Signal;

macro_rules! scenarios {
    ($agent:ident: $($test:ident: $scenario:literal, $status:literal, $reason:literal, $code:literal, $retry:literal;)*) => {
        /// Status, reason, exit code, retry and tokens are right in …
        mod $agent {
            $(#[test]
            fn $test() {
                super::play(stringify!($agent), $scenario, super::wanted($status, $reason, $code, $retry));
            })*
        }
    };
}

// With one retry allowed (AGENT_MAX_RETRIES=1).
scenarios! {
    qwen:
    success: "success", "succeeded", "Completed", 0, false;
    text_only: "text-only", "succeeded", "Completed", 0, false;
    tool_fails: "tool-fails", "succeeded", "Completed", 0, false;
    context_too_long: "context-too-long", "incomplete", "ContextWindowExceeded", 80, false;
    http_400: "http-400", "failed", "RequestRejected", 1, false;
    http_401: "http-401", "failed", "AuthenticationFailed", 77, false;
    http_403: "http-403", "failed", "PermissionDenied", 77, false;
    http_404: "http-404", "failed", "ModelNotFound", 78, false;
    late_401: "late-401", "failed", "AuthenticationFailed", 77, false;
    http_500: "http-500", "failed", "ServerError", 75, true;
}

scenarios! {
    copilot:
    success: "success", "succeeded", "Completed", 0, false;
    text_only: "text-only", "succeeded", "Completed", 0, false;
    tool_fails: "tool-fails", "succeeded", "Completed", 0, false;
    context_too_long: "context-too-long", "incomplete", "ContextWindowExceeded", 80, false;
    quota: "quota", "failed", "QuotaExceeded", 69, false;
    http_400: "http-400", "failed", "RequestRejected", 1, false;
    http_401: "http-401", "failed", "AuthenticationFailed", 77, false;
    http_403: "http-403", "failed", "PermissionDenied", 77, false;
    http_404: "http-404", "failed", "ModelNotFound", 78, false;
    http_429: "http-429", "failed", "RateLimited", 75, true;
    http_500: "http-500", "failed", "ServerError", 75, true;
    late_401: "late-401", "failed", "AuthenticationFailed", 77, false;
}

/// A run on the protocol that both speak.
fn start(agent: &str, scenario: &str) -> Option<AgentRun> {
    // Copilot wants a model to be named, and to be told that there is no GitHub.
    Some(AgentRun::of(agent, scenario)?.with("AGENT_MODEL", "scripted").with("COPILOT_OFFLINE", "true"))
}

/// Plays a scenario to its end. The tokens are those of the answers that the CLI got whole; one that reports none of a run without any
/// answer may leave them out.
fn play(agent: &str, scenario: &str, wanted: Wanted<'_>) {
    let Some(run) = start(agent, scenario) else { return };
    let ended = run.scene.run();
    ended.assert(wanted);
    let billed = Counted::billed(run.model.bill().finished);
    let told = ended.tokens();
    assert_eq!(
        (told.input.unwrap_or(0), told.output.unwrap_or(0)),
        (billed.input.unwrap(), billed.output.unwrap()),
        "{}\n{ended}",
        run.requests()
    );
    assert_eq!(told.cache_read.unwrap_or(0), billed.cache_read.unwrap(), "{ended}");
    let is_committed = ["success", "late-401"].contains(&scenario);
    let commit = run.scene.git(&["rev-parse", "HEAD"]);
    assert_eq!(ended.parameter("commit"), Some(commit.as_str()), "{ended}");
    assert_eq!(ended.parameter("commits"), Some(if is_committed { "1" } else { "0" }), "{ended}");
    assert_eq!(ended.parameter("branch"), Some("work"), "{ended}");
    assert!(ended.parameter("session-id").is_some() && ended.parameter("model") == Some("scripted"), "{ended}");
    // The model was asked with the key, and nobody else was told it.
    assert!(run.questions().iter().all(|question| question.saw_key(KEY)), "{}", run.requests());
    let whole = std::fs::read_to_string(run.scene.path("result.json")).unwrap();
    let all = [ended.stdout.join("\n"), ended.stderr.clone(), ended.message.to_string(), whole];
    assert!(all.iter().all(|text| !text.contains(KEY)));
    saw(agent, if scenario == "success" { Ability::Task } else { Ability::Usage }, Support::Yes);
    if wanted.status != "succeeded" {
        saw(agent, Ability::Reasons, Support::Partly("authentication, permission, model, context, quota, rate and server errors".into()));
    }
}

/// What was answered before the end is counted, and nobody is left.
fn is_cancelled_with_its_tokens(agent: &str) {
    let Some(run) = start(agent, "tool-sleep") else { return };
    let started = run.scene.start();
    let mark = run.scene.workspace().join("sleeping");
    wait_until("the tool", || {
        mark.exists() || run.questions().len() == 1 && run.scene.left().iter().any(|process| process.contains("sleep "))
    });
    started.signal(Signal::SIGTERM);
    let ended = started.finish();
    ended.assert(wanted("cancelled", "Cancelled", 143, true));
    assert!(ended.tokens().is_within(Counted::billed(run.model.bill().total)), "{ended}");
    assert!(ended.tokens().input > Some(0), "{ended}");
    saw(agent, Ability::Signals, Support::Yes);
    saw(agent, Ability::PartialUsage, Support::Yes);
}

#[test]
fn qwen_is_cancelled_with_its_tokens() {
    is_cancelled_with_its_tokens("qwen");
}

#[test]
fn copilot_is_cancelled_with_its_tokens() {
    is_cancelled_with_its_tokens("copilot");
}
