//! The real Codex CLI through the runner, in every scenario that ends by itself: how it ended, and what it cost.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::{Kind, Scenario};
use agent_tests::agent_run::AgentRun;
use agent_tests::clis::{self, Cli};
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::matrix;
use agent_tests::runs::{Counted, KEY, Origin, PRICES, Wanted, wanted};

/// A model that every version knows.
const MODEL: &str = "gpt-5.5";
/// A model that can start sub-agents.
const TEAM_MODEL: &str = "gpt-6.1-sol";

/// Scenarios that end only by a signal or a limit: `codex_signals` has them.
const ENDLESS: &[&str] = &["http-429-retry-after-hour", "loop", "silence", "silence-mid-stream", "tool-sleep"];

// With one retry allowed (AGENT_MAX_RETRIES=1).
agent_tests::scenarios! {
    success: "success", "succeeded", "Completed", 0, false;
    text_only: "text-only", "succeeded", "Completed", 0, false;
    thinking: "thinking", "succeeded", "Completed", 0, false;
    tool_fails: "tool-fails", "succeeded", "Completed", 0, false;
    mcp_call: "mcp-call", "succeeded", "Completed", 0, false;
    slow: "slow", "succeeded", "Completed", 0, false;
    flaky_500: "flaky-500", "succeeded", "Completed", 0, false;
    empty: "empty", "incomplete", "Stalled", 75, true;
    max_tokens: "max-tokens", "incomplete", "OutputLimit", 80, false;
    context_too_long: "context-too-long", "incomplete", "ContextWindowExceeded", 80, false;
    // The CLI drops the refusal and says of it what it says of an empty answer. There is nothing else to read it from.
    refusal: "refusal", "incomplete", "Stalled", 75, true;
    quota: "quota", "failed", "QuotaExceeded", 69, false;
    http_400: "http-400", "failed", "RequestRejected", 1, false;
    http_401: "http-401", "failed", "AuthenticationFailed", 77, false;
    http_403: "http-403", "failed", "PermissionDenied", 77, false;
    http_404: "http-404", "failed", "ModelNotFound", 78, false;
    // Without a `retry-after` it does not try again.
    http_429: "http-429", "failed", "RateLimited", 75, true;
    flaky_429: "flaky-429", "failed", "RateLimited", 75, true;
    http_429_retry_after: "http-429-retry-after", "failed", "RateLimited", 75, true;
    http_500: "http-500", "failed", "ServerError", 75, true;
    http_503: "http-503", "failed", "Overloaded", 75, true;
    http_529: "http-529", "failed", "Overloaded", 75, true;
    late_401: "late-401", "failed", "AuthenticationFailed", 77, false;
    late_500: "late-500", "failed", "ServerError", 75, true;
    cut_before_headers: "cut-before-headers", "failed", "NetworkFailed", 75, true;
    cut_mid_stream: "cut-mid-stream", "failed", "NetworkFailed", 75, true;
    cut_late: "cut-late", "failed", "NetworkFailed", 75, true;
    overloaded_mid_stream: "overloaded-mid-stream", "failed", "Overloaded", 75, true;
}

/// Where an older version says less than the newest: 0.148.0 shows of an account without money its status only.
const LESS_SAID: &[(&str, Wanted<'static>)] = &[("quota", wanted("failed", "RateLimited", 75, true))];
/// Of an answer that was too long the older versions count nothing.
const LESS_COUNTED: &str = "max-tokens";

/// Plays a scenario to its end, with the newest version.
fn play(scenario: &str, wanted: Wanted<'_>) {
    if let Some(cli) = clis::newest("codex") {
        play_with(&cli, scenario, wanted, false);
    }
}

fn play_with(cli: &Cli, scenario: &str, wanted: Wanted<'_>, is_older: bool) {
    let run = matrix::cell(cli, scenario).with("AGENT_MODEL", MODEL);
    let ended = run.scene.run();
    let less = LESS_SAID.iter().find(|(name, less)| is_older && *name == scenario && ended.message["reason"] == less.reason);
    ended.assert(less.map_or(wanted, |(_, less)| *less));
    // What broke off has told no price on this wire; and where there was no answer the CLI mostly tells no tokens.
    let bill = run.model.bill();
    let (tokens, billed) = (ended.tokens(), Counted::billed(bill.finished));
    let may_be_silent = bill.answers == 0 || (is_older && scenario == LESS_COUNTED);
    let is_right = tokens == billed || (may_be_silent && tokens == Counted::default());
    assert!(is_right, "{tokens:?}, not {billed:?}: {} {}\n{ended}", cli.version, run.requests());
    assert_eq!((&ended.message["phase"], &ended.message["origin"]), (&"agent".into(), &"agent".into()), "{ended}");
    matrix::assert_repository(&run, &ended, scenario, scenario != "flaky-429");
}

/// Every scenario, with every other version that is pinned: two at a time, since a run waits more than it works.
#[test]
fn older_versions_end_the_same() {
    matrix::with_older("codex", TRIED, |cli, scenario, wanted| play_with(cli, scenario, wanted, true));
    saw("codex", Ability::Reasons, Support::Partly("a refusal looks like an empty answer".into()));
    saw("codex", Ability::Usage, Support::Yes);
}

#[test]
fn every_built_in_scenario_is_tried() {
    matrix::assert_all_are_tried(TRIED, &[ENDLESS, &["subagent"]].concat());
}

#[test]
fn the_commit_of_the_tool_call_is_in_the_message_with_exactly_what_was_billed() {
    let Some(run) = AgentRun::of("codex", "success") else { return };
    let base = run.scene.origin.source.rev("main");
    let ended = run.scene.run();
    ended.assert(wanted("succeeded", "Completed", 0, false));
    assert_eq!(run.scene.git(&["log", "-1", "--format=%s by %an"]), "scripted change by Scripted Model");
    let commit = run.scene.git(&["rev-parse", "HEAD"]);
    assert_ne!(commit, base);
    let said = ["branch", "commit", "base-branch", "base-commit", "commits", "files-changed", "insertions", "dirty", "pushed"];
    let said = said.map(|key| ended.parameter(key).unwrap_or("absent"));
    assert_eq!(said, ["work", &commit, "main", &base, "1", "1", "1", "false", "false"], "{ended}");
    let counted = ["input-tokens", "cache-read-tokens", "cache-write-tokens", "output-tokens", "reasoning-tokens", "turns"];
    let counted = counted.map(|key| ended.parameter(key).unwrap_or("absent"));
    assert_eq!(counted, ["2430", "200", "30", "110", "10", "2"], "{ended}");
    assert_eq!(ended.parameter("agent-version"), Some(clis::versions("codex")[0].as_str()), "{ended}");
    assert!(run.questions().iter().all(|question| question.saw_key(KEY)), "{}", run.requests());
    saw("codex", Ability::Task, Support::Yes);
    saw("codex", Ability::Endpoint, Support::Yes);
    saw("codex", Ability::Cost, Support::No("the CLI tells no prices".into()));
}

/// And what they cost is the task's word, since the CLI has none.
#[test]
fn the_tokens_of_sub_agents_are_counted_and_priced() {
    for cli in clis::newest("codex").into_iter().chain(clis::older("codex")) {
        let run = matrix::cell(&cli, "subagent").with("AGENT_MODEL", TEAM_MODEL).with("AGENT_PRICES", PRICES);
        let ended = run.scene.run();
        ended.assert(wanted("succeeded", "Completed", 0, false));
        assert!(run.model.requests().iter().any(|record| matches!(record.kind, Kind::Subagent(_))), "{} {}", cli.version, run.requests());
        let billed = Counted::billed(run.model.bill().finished);
        assert_eq!(ended.tokens(), billed, "{} {}\n{ended}", cli.version, run.requests());
        let cost = ["cost-usd", "cost-source"].map(|key| ended.parameter(key).unwrap_or("absent"));
        assert_eq!(cost, [billed.cost().as_str(), "price-table"], "{} {}\n{ended}", cli.version, run.requests());
    }
    saw("codex", Ability::SubAgentUsage, Support::Yes);
}

#[test]
fn a_resumed_session_counts_its_own_tokens_only() {
    for cli in clis::newest("codex").into_iter().chain(clis::older("codex")) {
        let run = AgentRun::with_cli(&cli, &Origin::start(), Scenario::builtin("success").unwrap()).with("AGENT_MODEL", MODEL);
        let first = run.scene.run();
        first.assert(wanted("succeeded", "Completed", 0, false));
        let session = first.parameter("session-id").expect("it has a session").to_owned();
        let once = Counted::billed(run.model.bill().finished);
        let run = run.with("AGENT_RESUME", session.clone());
        let run = AgentRun { scene: run.scene, ..run };
        let second = run.scene.run();
        second.assert(wanted("succeeded", "Completed", 0, false));
        assert_eq!(second.parameter("session-id"), Some(session.as_str()), "{second}");
        let both = run.model.bill().finished;
        assert_eq!(second.tokens().input.map(|input| input + once.input.unwrap()), Some(both.input_tokens), "{}\n{second}", cli.version);
        assert!(run.questions().last().unwrap().mentions("Done: the change is committed."), "the first run's conversation goes on");
    }
    saw("codex", Ability::Resume, Support::Yes);
}
