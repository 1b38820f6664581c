//! The real Codex CLI through the runner, ended by a signal or by a limit: in the middle of a question, and in the middle of a tool.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::Scenario;
use agent_tests::agent_run::AgentRun;
use agent_tests::cancelled;
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::matrix;
use agent_tests::runs::{Counted, Ended, nobody, wanted};
use agent_tests::sandbox::{Place, is_alive};
use nix::sys::signal::Signal;
use serde_json::json;

fn signal_in_question(signal: Signal, scenario: &str) {
    for place in Place::all() {
        let Some(run) = AgentRun::of("codex", scenario) else { return };
        cancelled::in_question(&run.at(place), signal);
    }
}

fn signal_in_tool(place: Place, signal: Signal) {
    let Some(run) = AgentRun::of("codex", "tool-sleep").map(|run| run.at(place)) else { return };
    let ended = cancelled::in_tool(&run, signal);
    // The answer that came whole is counted to the last token: the CLI has written it beside its stream.
    assert_eq!(ended.tokens(), Counted::billed(run.model.bill().finished), "{}\n{ended}", run.requests());
}

#[test]
fn sigterm_while_the_model_is_asked_cancels_the_run() {
    signal_in_question(Signal::SIGTERM, "silence");
}

#[test]
fn sigterm_in_the_middle_of_an_answer_cancels_the_run() {
    signal_in_question(Signal::SIGTERM, "silence-mid-stream");
}

#[test]
fn sigint_while_the_model_is_asked_cancels_the_run_with_its_own_code() {
    signal_in_question(Signal::SIGINT, "silence");
}

#[test]
fn sigterm_while_a_tool_runs_ends_the_tool_too() {
    for place in Place::all() {
        signal_in_tool(place, Signal::SIGTERM);
    }
    saw("codex", Ability::Signals, Support::Yes);
    saw("codex", Ability::PartialUsage, Support::Yes);
}

#[test]
fn sigint_while_a_tool_runs_ends_the_tool_too() {
    signal_in_tool(Place::Plain, Signal::SIGINT);
}

#[test]
fn older_versions_are_cancelled_too() {
    cancelled::with_older("codex", matrix::cell);
}

/// Runs into a limit.
fn limit(scenario: &str, variable: &str, value: &str) -> Option<(AgentRun, Ended)> {
    let run = AgentRun::of("codex", scenario)?.with(variable, value);
    let ended = run.scene.run();
    assert!(ended.tokens().is_within(Counted::billed(run.model.bill().total)), "{}\n{ended}", run.requests());
    Some((run, ended))
}

#[test]
fn the_limit_of_turns_ends_the_run() {
    let Some((_, ended)) = limit("loop", "AGENT_MAX_TURNS", "3") else { return };
    ended.assert(wanted("incomplete", "TurnLimit", 80, false));
    assert_eq!(ended.message["origin"], "runner", "{ended}");
    assert!(ended.parameter("turns").unwrap().parse::<u64>().unwrap() > 3, "{ended}");
    saw("codex", Ability::TurnLimit, Support::Partly("the CLI has none: the runner counts, and stops it a little later".into()));
}

#[test]
fn the_limit_of_generated_tokens_ends_the_run() {
    let Some((_, ended)) = limit("loop", "AGENT_MAX_OUTPUT_TOKENS", "60") else { return };
    ended.assert(wanted("incomplete", "TokenLimit", 80, false));
    assert!(ended.tokens().output.is_some_and(|output| output > 60), "{ended}");
}

/// The CLI does not know what it costs, but the task does.
#[test]
fn the_limit_of_cost_ends_the_run_where_the_task_names_prices() {
    let Some(run) = AgentRun::of("codex", "loop") else { return };
    let run = run.with("AGENT_PRICES", r#"{"*": {"input": 0, "output": 1000}}"#).with("AGENT_MAX_COST_USD", "0.06");
    let ended = run.scene.run();
    ended.assert(wanted("incomplete", "CostLimit", 80, false));
    let (output, cost) = (ended.tokens().output.unwrap(), ended.parameter("cost-usd").unwrap());
    assert!(output > 60 && (cost.parse::<f64>().unwrap() * 1000.0).round() as u64 == output, "{ended}");
    assert!(!ended.stderr.contains("has no effect"), "{ended}");
}

#[test]
fn the_limit_of_time_ends_a_run_whose_tool_does_not_end() {
    // A command that takes longer than the model wants to wait for it runs on beside the conversation: here it wants to wait long.
    let command = Scenario::builtin("tool-sleep").unwrap().parameters["command"].clone();
    let usage = json!({"input": 1000, "output": 50});
    let scenario = json!({"name": "wait", "turns": [
        {"reply": {"content": [{"tool": {"name": "exec_command", "input": {"cmd": command, "yield_time_ms": 30_000}}}], "usage": usage}},
        {"reply": {"content": [{"text": "It is still running."}], "usage": usage}},
    ]});
    let Some(run) = AgentRun::playing("codex", Scenario::from_json(&scenario.to_string()).unwrap()) else { return };
    // Longer than the CLI needs to its first tool call, even on a machine with much else to do, and shorter than it waits for that.
    let run = run.with("AGENT_TIMEOUT", "28s").with("AGENT_MODEL", "gpt-5.5");
    let started = run.scene.start();
    let pid = cancelled::tool(&run);
    let ended = started.finish();
    ended.assert(wanted("timed-out", "DeadlineExceeded", 124, true));
    assert_eq!(ended.message["origin"], "runner", "{ended}");
    assert!(Counted::billed(run.questions()[0].billed.clone().unwrap().tokens).is_within(ended.tokens()), "{}\n{ended}", run.requests());
    assert!(!is_alive(pid), "{ended}");
}

#[test]
fn silence_ends_a_run_whose_model_never_answers() {
    for scenario in ["silence", "silence-mid-stream"] {
        let Some((_, ended)) = limit(scenario, "AGENT_SILENCE_TIMEOUT", "20s") else { return };
        ended.assert(wanted("timed-out", "SilenceTimeout", 124, true));
        assert_eq!(ended.message["origin"], "runner", "{ended}");
    }
}

/// It waits that hour in silence. Why it waits stands in its stream, and then in the message.
#[test]
fn a_rate_limit_of_an_hour_ends_by_the_limit_of_time_and_says_what_it_waits_for() {
    let Some((run, ended)) = limit("http-429-retry-after-hour", "AGENT_SILENCE_TIMEOUT", "20s") else { return };
    assert_eq!(run.questions().len(), 1, "{}", run.requests());
    ended.assert(wanted("failed", "RateLimited", 75, true));
    assert_eq!(ended.message["origin"], "runner", "{ended}");
    assert!(ended.message["message"].as_str().unwrap().contains("printed nothing for 20s"), "{ended}");
}

/// By itself it would try for ever.
#[test]
fn a_connection_that_is_refused_ends_by_the_limit_of_retries() {
    let Some(run) = AgentRun::of("codex", "text-only").map(|run| run.with("AGENT_ENDPOINT", nobody())) else { return };
    let ended = run.scene.run();
    ended.assert(wanted("failed", "NetworkFailed", 75, true));
    assert!(ended.message["message"].as_str().unwrap().contains("onnection failed"), "{ended}");
    saw("codex", Ability::RetryLimit, Support::Yes);
}
