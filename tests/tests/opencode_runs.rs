//! The real OpenCode CLI through the runner, in every scenario that ends by itself or by a limit: how it ended, and what it cost.
//!
//! OpenCode repeats for more than a minute, with no setting for it; here it is stopped when it repeats a second time (AGENT_MAX_RETRIES=1),
//! which its ledger tells.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_tests::agent_run::AgentRun;
use agent_tests::clis::{self, Cli};
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::matrix;
use agent_tests::runs::{Counted, KEY, Wanted, wanted};

const MODEL: &str = "anthropic/claude-sonnet-4-5";
/// Scenarios that end only by a signal or another limit: `opencode_signals` has them.
const ENDLESS: &[&str] = &["loop", "silence", "silence-mid-stream", "tool-sleep", "http-429-retry-after-hour"];

agent_tests::scenarios! {
    success: "success", "succeeded", "Completed", 0, false;
    text_only: "text-only", "succeeded", "Completed", 0, false;
    thinking: "thinking", "succeeded", "Completed", 0, false;
    tool_fails: "tool-fails", "succeeded", "Completed", 0, false;
    subagent: "subagent", "succeeded", "Completed", 0, false;
    mcp_call: "mcp-call", "succeeded", "Completed", 0, false;
    slow: "slow", "succeeded", "Completed", 0, false;
    flaky_429: "flaky-429", "succeeded", "Completed", 0, false;
    flaky_500: "flaky-500", "succeeded", "Completed", 0, false;
    empty: "empty", "incomplete", "Stalled", 75, true;
    max_tokens: "max-tokens", "incomplete", "OutputLimit", 80, false;
    context_too_long: "context-too-long", "incomplete", "ContextWindowExceeded", 80, false;
    refusal: "refusal", "failed", "Refused", 81, false;
    quota: "quota", "failed", "QuotaExceeded", 69, false;
    http_400: "http-400", "failed", "RequestRejected", 1, false;
    http_401: "http-401", "failed", "AuthenticationFailed", 77, false;
    http_403: "http-403", "failed", "PermissionDenied", 77, false;
    http_404: "http-404", "failed", "ModelNotFound", 78, false;
    http_429: "http-429", "failed", "RateLimited", 75, true;
    http_429_retry_after: "http-429-retry-after", "failed", "RateLimited", 75, true;
    http_500: "http-500", "failed", "ServerError", 75, true;
    http_503: "http-503", "failed", "ServerError", 75, true;
    http_529: "http-529", "failed", "Overloaded", 75, true;
    late_401: "late-401", "failed", "AuthenticationFailed", 77, false;
    late_500: "late-500", "failed", "ServerError", 75, true;
    cut_before_headers: "cut-before-headers", "failed", "NetworkFailed", 75, true;
    cut_mid_stream: "cut-mid-stream", "failed", "NetworkFailed", 75, true;
    cut_late: "cut-late", "failed", "NetworkFailed", 75, true;
    overloaded_mid_stream: "overloaded-mid-stream", "failed", "Overloaded", 75, true;
}

/// Plays a scenario to its end, with the newest version.
fn play(scenario: &str, wanted: Wanted<'_>) {
    let Some(cli) = clis::newest("opencode") else { return };
    play_with(&cli, scenario, wanted);
    saw("opencode", Ability::Reasons, Support::Yes);
    saw("opencode", Ability::Usage, Support::Yes);
    match scenario {
        "subagent" => saw("opencode", Ability::SubAgentUsage, Support::Yes),
        "http-429" => saw("opencode", Ability::RetryLimit, Support::Yes),
        _ => {}
    }
}

/// The tokens are those of the answers that the CLI got whole: it counts no others.
fn play_with(cli: &Cli, scenario: &str, wanted: Wanted<'_>) {
    let mut run = matrix::cell(cli, scenario).with("AGENT_MODEL", MODEL);
    if scenario.starts_with("flaky") {
        run = run.with("AGENT_MAX_RETRIES", "3");
    }
    let ended = run.scene.run();
    ended.assert(wanted);
    let (counted, billed) = (ended.tokens(), Counted::billed(run.model.bill().finished));
    // Of a run that never got a whole answer nothing is known, and nothing was billed.
    let nothing = Counted { input: Some(0), cache_read: Some(0), cache_write: Some(0), output: Some(0) };
    if ended.message["origin"] == "agent" {
        assert!(counted == billed || (counted == Counted::default() && billed == nothing), "{} {}\n{ended}", cli.version, run.requests());
    } else {
        assert!(counted.is_within(billed), "{} {}\n{ended}", cli.version, run.requests());
    }
    matrix::assert_repository(&run, &ended, scenario, true);
}

/// Every scenario with every other version that is pinned: two at a time, since a run also waits.
#[test]
fn older_versions_end_the_same() {
    matrix::with_older("opencode", TRIED, play_with);
}

#[test]
fn every_built_in_scenario_is_tried() {
    matrix::assert_all_are_tried(TRIED, ENDLESS);
}

#[test]
fn the_commit_of_the_tool_call_is_in_the_message_with_exactly_what_was_billed() {
    let Some(run) = AgentRun::of("opencode", "success").map(|run| run.with("AGENT_MODEL", MODEL)) else { return };
    // What it cost is by the CLI's own list.
    let run = run.without_shortcuts("opencode");
    let ended = run.scene.run();
    ended.assert(wanted("succeeded", "Completed", 0, false));
    // Two answers: 1000 + 200 read + 30 written, and 1200.
    let exactly = Counted { input: Some(2430), cache_read: Some(200), cache_write: Some(30), output: Some(110) };
    assert_eq!((ended.tokens(), exactly), (exactly, Counted::billed(run.model.bill().finished)), "{ended}");
    assert_eq!(ended.message["usageComplete"], true, "{ended}");
    assert_eq!(ended.parameter("cost-usd"), Some("0.0084225"), "{ended}");
    assert_eq!((ended.parameter("model"), ended.parameter("turns")), (Some(MODEL), Some("2")), "{ended}");
    assert_eq!(ended.parameter("agent-version"), Some(clis::versions("opencode")[0].as_str()), "{ended}");
    // Its plugin says so, as the session is idle only after the last byte of the stream.
    assert_eq!(ended.stderr.matches("nothing more is to be done").count(), 1, "{ended}");
    // No title was asked for: every request is on the account.
    assert_eq!(run.model.requests().len(), 2, "{}", run.requests());
    // The model was asked with the key, and only it knows it.
    assert!(run.questions().iter().all(|question| question.saw_key(KEY)), "{}", run.requests());
    let whole = std::fs::read_to_string(run.scene.path("result.json")).unwrap();
    let told = [ended.stdout.join("\n"), ended.stderr.clone(), ended.message.to_string(), whole];
    assert!(told.iter().all(|text| !text.contains(KEY)));
    // Nothing was installed: an image is what its builder made it, and a start does not wait for a registry.
    let installed = ["home/.npm", "home/.config/opencode/node_modules", "home/.config/opencode/package.json"];
    assert!(installed.iter().all(|path| !run.scene.path(path).exists()), "{installed:?}");
    // What only this run needed is gone with it, the library of some megabytes that it unpacks too.
    let left: Vec<_> = std::fs::read_dir(run.scene.path("tmp")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(
        left.iter().all(|name| !name.to_string_lossy().starts_with("agent-runner") && !name.to_string_lossy().ends_with(".so")),
        "{left:?}"
    );
    saw("opencode", Ability::Task, Support::Yes);
    saw("opencode", Ability::Endpoint, Support::Yes);
    saw("opencode", Ability::Cost, Support::Yes);
}

/// Each of its providers' wires.
fn play_over(model: &str, key: &str, scenario: &str) {
    let Some(run) = AgentRun::of("opencode", scenario) else { return };
    let mut run = run.without_shortcuts("opencode").with("AGENT_MODEL", model);
    run.scene = run.scene.without("ANTHROPIC_API_KEY").with(key, KEY);
    let ended = run.scene.run();
    ended.assert(wanted("succeeded", "Completed", 0, false));
    let billed = Counted::billed(run.model.bill().finished);
    assert_eq!(ended.tokens(), billed, "{}\n{ended}", run.requests());
    let questions = run.questions();
    assert!(!questions.is_empty() && questions.iter().all(|question| question.saw_key(KEY)), "{}", run.requests());
    assert_eq!(ended.parameter("model"), Some(model), "{ended}");
}

#[test]
fn openai_s_responses_are_counted_as_billed() {
    play_over("openai/gpt-5.1", "OPENAI_API_KEY", "success");
}

#[test]
fn google_s_answers_are_counted_as_billed() {
    play_over("google/gemini-2.5-pro", "GEMINI_API_KEY", "success");
}

#[test]
fn a_gateway_s_model_that_nobody_knows_is_asked_over_chat_completions_with_the_one_key() {
    play_over("gateway/model-of-tomorrow", "OPENCODE_API_KEY", "success");
}

#[test]
fn the_one_key_is_the_key_of_the_provider_that_the_model_names() {
    play_over(MODEL, "OPENCODE_API_KEY", "subagent");
}
