//! The real Gemini CLI through the runner, in every scenario that ends by itself: how it ended, and what it cost.
//!
//! Most name a model: without one Gemini first asks a small one which to take, and repeats that for a minute where the service fails.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::{Bill, Kind, Scenario};
use agent_tests::agent_run::AgentRun;
use agent_tests::clis::{self, Cli};
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::matrix;
use agent_tests::runs::{Counted, Ended, KEY, PRICES, Wanted, wanted};

/// Scenarios that end only by a signal or a limit: `gemini_signals` has them.
const ENDLESS: &[&str] = &["loop", "silence", "silence-mid-stream", "tool-sleep"];

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
    http_400: "http-400", "failed", "RequestRejected", 144, false;
    http_401: "http-401", "failed", "AuthenticationFailed", 77, false;
    http_403: "http-403", "failed", "PermissionDenied", 77, false;
    http_404: "http-404", "failed", "ModelNotFound", 78, false;
    http_429: "http-429", "failed", "RateLimited", 75, true;
    http_429_retry_after: "http-429-retry-after", "failed", "RateLimited", 75, true;
    http_429_retry_after_hour: "http-429-retry-after-hour", "failed", "RateLimited", 75, true;
    http_500: "http-500", "failed", "ServerError", 75, true;
    http_503: "http-503", "failed", "Overloaded", 75, true;
    http_529: "http-529", "failed", "Overloaded", 75, true;
    late_401: "late-401", "failed", "AuthenticationFailed", 77, false;
    late_500: "late-500", "failed", "ServerError", 75, true;
    cut_before_headers: "cut-before-headers", "failed", "NetworkFailed", 75, true;
    cut_mid_stream: "cut-mid-stream", "failed", "NetworkFailed", 75, true;
    cut_late: "cut-late", "failed", "NetworkFailed", 75, true;
    // Its SDK passes over the error event, so that the answer just ends.
    overloaded_mid_stream: "overloaded-mid-stream", "incomplete", "TruncatedStream", 75, true;
}

/// Answers break off in these.
const BROKEN_OFF: &[&str] = &["cut-before-headers", "cut-late", "cut-mid-stream", "overloaded-mid-stream"];
/// These fail a few times and then do not.
const FLAKY: &[&str] = &["flaky-429", "flaky-500"];

/// The bill as a message can say it: nobody tells Gemini what was written to the cache.
fn counted(bill: agent_conformance::model::Tokens) -> Counted {
    Counted { cache_write: None, ..Counted::billed(bill) }
}

/// Plays a scenario to its end, with the newest version.
fn play(scenario: &str, wanted: Wanted<'_>) {
    let Some(cli) = clis::newest("gemini") else { return };
    play_with(&cli, scenario, wanted);
    saw("gemini", Ability::Reasons, Support::Yes);
    saw("gemini", Ability::Usage, Support::Yes);
    if scenario == "subagent" {
        saw("gemini", Ability::SubAgentUsage, Support::Yes);
    }
}

fn play_with(cli: &Cli, scenario: &str, wanted: Wanted<'_>) -> AgentRun {
    let mut run = matrix::cell(cli, scenario).with("AGENT_MODEL", "gemini-2.5-pro");
    // It waits five seconds and more before it tries again.
    run = run.with("AGENT_MAX_RETRIES", if FLAKY.contains(&scenario) { "3" } else { "0" });
    // More than one model, and the CLI says of none what it costs.
    let is_priced = scenario == "subagent";
    if is_priced {
        run = run.with("AGENT_PRICES", PRICES);
    }
    let ended = run.scene.run();
    ended.assert(wanted);
    assert_tokens(&run, &ended, &run.model.bill(), BROKEN_OFF.contains(&scenario));
    let cost = is_priced.then(|| ended.tokens().cost());
    assert_eq!(ended.parameter("cost-usd"), cost.as_deref(), "{ended}");
    assert_eq!((&ended.message["phase"], &ended.message["origin"]), (&"agent".into(), &"agent".into()), "{ended}");
    matrix::assert_repository(&run, &ended, scenario, true);
    run
}

fn assert_tokens(run: &AgentRun, ended: &Ended, bill: &Bill, is_broken_off: bool) {
    let tokens = ended.tokens();
    if is_broken_off {
        // Of an answer that broke off it counts what it was told, or nothing.
        let (least, most) = (counted(bill.finished), counted(bill.total));
        assert!(least.is_within(tokens) && tokens.is_within(most), "{}\n{ended}", run.requests());
    } else {
        assert_eq!(tokens, counted(bill.finished), "{}\n{ended}", run.requests());
    }
    assert_eq!(ended.message["usageComplete"], true, "{ended}");
}

/// Every scenario with every other version that is pinned: two at a time, since a run waits more than it works.
#[test]
fn older_versions_end_the_same() {
    matrix::with_older("gemini", TRIED, |cli, scenario, wanted| {
        // It says the same of an answer that just ends as of one that is empty.
        let as_empty = cli.version == "0.51.0" && scenario == "overloaded-mid-stream";
        play_with(cli, scenario, if as_empty { Wanted { reason: "Stalled", ..wanted } } else { wanted });
    });
}

#[test]
fn every_built_in_scenario_is_tried() {
    matrix::assert_all_are_tried(TRIED, ENDLESS);
}

#[test]
fn one_retry_is_made_and_no_more() {
    let Some(run) = AgentRun::of("gemini", "http-503").map(|run| run.with("AGENT_MODEL", "gemini-2.5-pro")) else { return };
    run.scene.run().assert(wanted("failed", "Overloaded", 75, true));
    assert_eq!(run.questions().len(), 2, "{}", run.requests());
    saw("gemini", Ability::RetryLimit, Support::Yes);
}

#[test]
fn a_key_that_nobody_knows_is_a_failed_authentication() {
    let fault = serde_json::json!({"status": {"code": 400, "message": "API key not valid. Please pass a valid API key."}});
    let scenario = serde_json::json!({"name": "key", "turns": [{"forever": true, "fault": fault}]});
    let Some(run) = AgentRun::playing("gemini", Scenario::from_json(&scenario.to_string()).unwrap()) else { return };
    run.with("AGENT_MODEL", "gemini-2.5-pro").scene.run().assert(wanted("failed", "AuthenticationFailed", 77, false));
}

/// Here no model is named, so that the call that chooses one is on the bill too.
#[test]
fn the_commit_of_the_tool_call_is_in_the_message_with_exactly_what_was_billed() {
    let Some(run) = AgentRun::of("gemini", "success") else { return };
    let base = run.scene.origin.source.rev("main");
    let ended = run.scene.run();
    ended.assert(wanted("succeeded", "Completed", 0, false));
    let scene = &run.scene;
    assert_eq!(scene.git(&["log", "-1", "--format=%s by %an"]), "scripted change by Scripted Model");
    let commit = scene.git(&["rev-parse", "HEAD"]);
    let said = ["branch", "commit", "base-branch", "base-commit", "commits", "files-changed", "insertions", "dirty", "pushed"];
    let said = said.map(|key| ended.parameter(key).unwrap_or("absent"));
    assert_eq!(said, ["work", &commit, "main", &base, "1", "1", "1", "false", "false"], "{ended}");
    // 7/3 for the choice of the model, then two answers: 1000 + 200 read + 30 written, and 1200.
    let exactly = Counted { input: Some(2437), cache_read: Some(200), cache_write: None, output: Some(113) };
    assert_eq!((ended.tokens(), exactly), (exactly, counted(run.model.bill().finished)), "{}\n{ended}", run.requests());
    assert_eq!(ended.parameter("reasoning-tokens"), Some("10"), "{ended}");
    let kinds: Vec<Kind> = run.model.requests().into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [Kind::Auxiliary, Kind::Main, Kind::Main], "{}", run.requests());
    assert_eq!(ended.parameter("model"), run.questions()[0].model.as_deref(), "{ended}");
    // The model was asked with the key, and only it knows it.
    assert!(run.model.requests().iter().all(|question| question.saw_key(KEY)), "{}", run.requests());
    let whole = std::fs::read_to_string(scene.path("result.json")).unwrap();
    let told = [ended.stdout.join("\n"), ended.stderr.clone(), ended.message.to_string(), whole];
    assert!(told.iter().all(|text| !text.contains(KEY)));
    // What only this run needed is gone with it.
    let private = std::fs::read_dir(scene.path("tmp")).unwrap().flatten();
    let private: Vec<_> =
        private.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with("agent-runner")).collect();
    assert!(private.is_empty(), "{private:?}");
    saw("gemini", Ability::Task, Support::Yes);
    saw("gemini", Ability::Endpoint, Support::Yes);
    saw("gemini", Ability::Cost, Support::No("Gemini CLI does not say what it cost".into()));
}
