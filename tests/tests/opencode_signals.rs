//! The real OpenCode CLI through the runner, ended by a signal or by a limit: in the middle of a question, and in the middle of a tool.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::Scenario;
use agent_tests::agent_run::AgentRun;
use agent_tests::cancelled;
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::matrix;
use agent_tests::runs::{Ended, Started, Wanted, nobody, wait_until, wanted};
use agent_tests::sandbox::is_alive;
use nix::sys::signal::Signal;
use serde_json::json;

const MODEL: &str = "anthropic/claude-sonnet-4-5";

fn run_of(scenario: &str) -> Option<AgentRun> {
    Some(AgentRun::of("opencode", scenario)?.with("AGENT_MODEL", MODEL))
}

fn signal_in_question(signal: Signal, scenario: &str) {
    let Some(run) = run_of(scenario) else { return };
    cancelled::in_question(&run, signal);
}

fn signal_in_tool(signal: Signal) {
    let Some(run) = run_of("tool-sleep") else { return };
    cancelled::in_tool(&run, signal);
}

#[test]
fn sigterm_while_the_model_is_asked_cancels_the_run() {
    signal_in_question(Signal::SIGTERM, "silence");
}

#[test]
fn sigint_in_the_middle_of_an_answer_cancels_the_run_with_its_own_code() {
    signal_in_question(Signal::SIGINT, "silence-mid-stream");
}

#[test]
fn sigterm_while_a_tool_runs_ends_the_tool_too() {
    signal_in_tool(Signal::SIGTERM);
    saw("opencode", Ability::Signals, Support::Yes);
    saw("opencode", Ability::PartialUsage, Support::Partly("without the answer whose tools are running".into()));
}

#[test]
fn sigint_while_a_tool_runs_ends_the_tool_too() {
    signal_in_tool(Signal::SIGINT);
}

#[test]
fn older_versions_are_cancelled_too() {
    cancelled::with_older("opencode", |cli, scenario| matrix::cell(cli, scenario).with("AGENT_MODEL", MODEL));
}

/// Runs into a limit.
fn limit(
    mut run: AgentRun,
    variable: &str,
    value: &str,
    wanted: Wanted<'_>,
    meanwhile: impl FnOnce(&AgentRun, &Started<'_>),
) -> (AgentRun, Ended) {
    run = run.with(variable, value);
    let started = run.scene.start();
    meanwhile(&run, &started);
    let ended = started.finish();
    ended.assert(wanted);
    assert_eq!(ended.message["origin"], "runner", "{ended}");
    run.assert_within_the_bill(&ended);
    (run, ended)
}

#[test]
fn the_limit_of_turns_ends_a_loop() {
    let Some(run) = run_of("loop") else { return };
    let (_, ended) = limit(run, "AGENT_MAX_TURNS", "3", wanted("incomplete", "TurnLimit", 80, false), |_, _| ());
    assert!(ended.tokens().input.is_some_and(|input| input > 0), "{ended}");
    saw("opencode", Ability::TurnLimit, Support::Yes);
}

#[test]
fn the_limit_of_cost_ends_a_loop() {
    let Some(run) = run_of("loop") else { return };
    let (_, ended) = limit(run, "AGENT_MAX_COST_USD", "0.01", wanted("incomplete", "CostLimit", 80, false), |_, _| ());
    assert!(ended.parameter("cost-usd").unwrap().parse::<f64>().unwrap() > 0.01, "{ended}");
}

/// It would wait for that hour in silence; what the ledger said before is the reason.
#[test]
fn a_rate_limit_of_an_hour_ends_by_the_limit_of_silence_and_is_a_rate_limit() {
    let Some(run) = run_of("http-429-retry-after-hour") else { return };
    let wait = |run: &AgentRun, _: &Started<'_>| {
        wait_until("the refusal", || run.model.requests().iter().any(|record| record.status == Some(429)));
    };
    limit(run, "AGENT_SILENCE_TIMEOUT", "30s", wanted("failed", "RateLimited", 75, true), wait);
}

#[test]
fn a_connection_that_is_refused_ends_by_the_limit_of_retries() {
    let Some(run) = run_of("text-only").map(|run| run.with("AGENT_ENDPOINT", nobody())) else { return };
    limit(run, "AGENT_MAX_RETRIES", "1", wanted("failed", "NetworkFailed", 75, true), |_, _| ());
}

#[test]
fn silence_ends_a_run_whose_model_never_answers() {
    let Some(run) = run_of("silence") else { return };
    limit(run, "AGENT_SILENCE_TIMEOUT", "30s", wanted("timed-out", "SilenceTimeout", 124, true), |_, _| ());
}

#[test]
fn the_limit_of_time_ends_a_run_whose_tool_does_not_end() {
    let Some(run) = run_of("tool-sleep") else { return };
    let mut pid = None;
    // Longer than the CLI, which computes for five seconds by itself, needs to its first tool call on a machine with six of its kind: 40 s were
    // not enough.
    let wait = |run: &AgentRun, _: &Started<'_>| pid = Some(cancelled::tool(run));
    let (_, ended) = limit(run, "AGENT_TIMEOUT", "90s", wanted("timed-out", "DeadlineExceeded", 124, true), wait);
    assert!(!is_alive(pid.unwrap()), "{ended}");
}

/// By itself it would ask for ever: it takes what is cut there for a step without an end.
#[test]
fn answers_that_are_cut_before_their_first_block_end_by_the_limit_of_retries() {
    let reply = json!({"content": [{"text": "Never."}], "usage": {"input": 10, "output": 5}});
    let turn = json!({"reply": reply, "forever": true, "delivery": {"interrupt": {"at": "headers", "by": "cut"}}});
    let scenario = Scenario::from_json(&json!({"name": "cut-at-once", "turns": [turn]}).to_string()).unwrap();
    let Some(run) = AgentRun::playing("opencode", scenario).map(|run| run.with("AGENT_MODEL", MODEL)) else { return };
    limit(run, "AGENT_MAX_RETRIES", "1", wanted("failed", "NetworkFailed", 75, true), |_, _| ());
}
