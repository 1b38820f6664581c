//! The real Claude Code CLI through the runner, in every scenario that ends by itself: how it ended, and what it cost.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::Scenario;
use agent_tests::agent_run::AgentRun;
use agent_tests::clis::{self, Cli};
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::matrix;
use agent_tests::runs::{Counted, KEY, Wanted, wanted};
use serde_json::json;

/// Scenarios that end only by a signal or a limit: `claude_signals` has them.
const ENDLESS: &[&str] = &["loop", "silence", "silence-mid-stream", "tool-sleep"];

// With one retry allowed (AGENT_MAX_RETRIES=1).
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
    http_429_retry_after_hour: "http-429-retry-after-hour", "failed", "RateLimited", 75, true;
    http_500: "http-500", "failed", "ServerError", 75, true;
    http_503: "http-503", "failed", "ServerError", 75, true;
    http_529: "http-529", "failed", "Overloaded", 75, true;
    late_401: "late-401", "failed", "AuthenticationFailed", 77, false;
    late_500: "late-500", "failed", "ServerError", 75, true;
    cut_before_headers: "cut-before-headers", "failed", "NetworkFailed", 75, true;
    cut_mid_stream: "cut-mid-stream", "failed", "NetworkFailed", 75, true;
    cut_late: "cut-late", "failed", "NetworkFailed", 75, true;
    // The CLI says of it what it says of a cut, word for word: that the connection was lost. There is nothing else to read it from.
    overloaded_mid_stream: "overloaded-mid-stream", "failed", "NetworkFailed", 75, true;
}

/// Answers break off in these.
const BROKEN_OFF: &[&str] = &["cut-before-headers", "cut-late", "cut-mid-stream", "overloaded-mid-stream"];

/// Plays a scenario to its end, with the newest version.
fn play(scenario: &str, wanted: Wanted<'_>) {
    let Some(cli) = clis::newest("claude") else { return };
    let run = play_with(&cli, scenario, wanted);
    saw("claude", Ability::Reasons, Support::Yes);
    saw("claude", Ability::Usage, Support::Yes);
    if scenario == "subagent" {
        saw("claude", Ability::SubAgentUsage, Support::Yes);
    }
    if scenario == "http-429" {
        assert_eq!(run.questions().len(), 2, "{}", run.requests());
        saw("claude", Ability::RetryLimit, Support::Yes);
    }
}

fn play_with(cli: &Cli, scenario: &str, wanted: Wanted<'_>) -> AgentRun {
    let run = matrix::cell(cli, scenario);
    let ended = run.scene.run();
    ended.assert(wanted);
    let (bill, tokens) = (run.model.bill(), ended.tokens());
    if BROKEN_OFF.contains(&scenario) {
        // Older versions count only the answers that they got whole; newer ones sometimes also what they were told of one that broke off.
        let (least, most) = (Counted::billed(bill.finished), Counted::billed(bill.total));
        assert!(least.is_within(tokens) && tokens.is_within(most), "{}\n{ended}", run.requests());
    } else {
        assert_eq!(tokens, Counted::billed(bill.finished), "{}\n{ended}", run.requests());
    }
    assert_eq!(ended.message["usageComplete"], true, "{ended}");
    assert_eq!((&ended.message["phase"], &ended.message["origin"]), (&"agent".into(), &"agent".into()), "{ended}");
    matrix::assert_repository(&run, &ended, scenario, true);
    run
}

/// Every scenario, with every other version that is pinned: two at a time, since a run waits more than it works.
#[test]
fn older_versions_end_the_same() {
    matrix::with_older("claude", TRIED, |cli, scenario, wanted| {
        play_with(cli, scenario, wanted);
    });
}

#[test]
fn every_built_in_scenario_is_tried() {
    matrix::assert_all_are_tried(TRIED, ENDLESS);
}

/// What it waits for in the background takes longer than it may live on after its last word.
#[test]
fn a_run_goes_on_after_a_result_while_a_command_runs_in_the_background() {
    let scenario = json!({"name": "background", "turns": [
        {"reply": {"content": [{"tool": {"name": "Bash", "input": {"command": "sleep 12", "description": "wait", "run_in_background": true}}}], "usage": {"input": 1000, "output": 50}}},
        {"reply": {"content": [{"text": "I wait for the command."}], "usage": {"input": 1100, "output": 20}}},
        {"reply": {"content": [{"shell": "git -c user.name=a -c user.email=a@example.invalid commit --allow-empty -m later"}], "usage": {"input": 1150, "output": 40}}},
        {"reply": {"content": [{"text": "Done: the change is committed."}], "usage": {"input": 1200, "output": 60}}},
    ]});
    let Some(run) = AgentRun::playing("claude", Scenario::from_json(&scenario.to_string()).unwrap()) else { return };
    let run = run.with("AGENT_LINGER", "10s");
    let ended = run.scene.run();
    ended.assert(wanted("succeeded", "Completed", 0, false));
    assert_eq!(run.scene.git(&["log", "-1", "--format=%s"]), "later");
    assert_eq!(ended.tokens(), Counted::billed(run.model.bill().finished), "{}\n{ended}", run.requests());
}

/// A server that it starts to try something, and leaves: Claude waits for it for ever, and a run that is done would be done again.
#[test]
fn a_command_in_the_background_that_never_ends_makes_no_failure_of_a_run_that_is_done() {
    let scenario = json!({"name": "server", "turns": [
        {"reply": {"content": [{"tool": {"name": "Bash", "input": {"command": "sleep 600", "description": "serve", "run_in_background": true}}}], "usage": {"input": 1000, "output": 50}}},
        {"reply": {"content": [{"text": "Done: it is served."}], "usage": {"input": 1100, "output": 20}}},
    ]});
    let Some(run) = AgentRun::playing("claude", Scenario::from_json(&scenario.to_string()).unwrap()) else { return };
    let run = run.with("AGENT_SILENCE_TIMEOUT", "20s");
    let ended = run.scene.run();
    ended.assert(wanted("succeeded", "Completed", 0, false));
    assert_eq!(ended.tokens(), Counted::billed(run.model.bill().finished), "{}\n{ended}", run.requests());
    assert!(ended.stderr.contains("waited for tasks of its own in the background"), "{ended}");
}

#[test]
fn the_commit_of_the_tool_call_is_in_the_message_with_exactly_what_was_billed() {
    let Some(run) = AgentRun::of("claude", "success") else { return };
    let base = run.scene.origin.source.rev("main");
    let ended = run.scene.run();
    ended.assert(wanted("succeeded", "Completed", 0, false));

    let scene = &run.scene;
    assert_eq!(scene.git(&["log", "-1", "--format=%s by %an"]), "scripted change by Scripted Model");
    assert_eq!(scene.git(&["branch", "--show-current"]), "work");
    let commit = scene.git(&["rev-parse", "HEAD"]);
    assert_ne!(commit, base);
    let said = ["branch", "commit", "base-branch", "base-commit", "commits", "files-changed", "insertions", "dirty", "pushed"];
    let said = said.map(|key| ended.parameter(key).unwrap_or("absent"));
    assert_eq!(said, ["work", &commit, "main", &base, "1", "1", "1", "false", "false"], "{ended}");
    // Two answers: 1000 + 200 read + 30 written, and 1200.
    let exactly = Counted { input: Some(2430), cache_read: Some(200), cache_write: Some(30), output: Some(110) };
    assert_eq!((ended.tokens(), exactly), (exactly, Counted::billed(run.model.bill().finished)), "{ended}");

    let cost: f64 = ended.parameter("cost-usd").unwrap().parse().unwrap();
    assert!(cost > 0.0 && ended.parameter("cost-source") == Some("agent"), "{ended}");

    // The whole outcome says the same, and its digest is the message's.
    let whole = std::fs::read(scene.path("result.json")).unwrap();
    let whole: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(whole["usage"]["inputTokens"], 2430, "{whole:#}");
    // The model was asked with the key, and only it knows it.
    assert!(run.questions().iter().all(|question| question.saw_key(KEY)), "{}", run.requests());
    let told = [ended.stdout.join("\n"), ended.stderr.clone(), ended.message.to_string(), whole.to_string()];
    assert!(told.iter().all(|text| !text.contains(KEY)));
    // What only this run needed is gone with it.
    let private = std::fs::read_dir(scene.path("tmp")).unwrap().flatten();
    let private: Vec<_> =
        private.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with("agent-runner")).collect();
    assert!(private.is_empty(), "{private:?}");
    saw("claude", Ability::Task, Support::Yes);
    saw("claude", Ability::Endpoint, Support::Yes);
    saw("claude", Ability::Cost, Support::Yes);
}
