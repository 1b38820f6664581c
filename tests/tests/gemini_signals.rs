//! The real Gemini CLI through the runner, ended by a signal or by a limit: in the middle of a question, in the middle of a tool, and while
//! it repeats in silence what fails.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::{Record, Scenario};
use agent_tests::agent_run::AgentRun;
use agent_tests::cancelled;
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::matrix;
use agent_tests::runs::{Counted, Ended, Wanted, nobody, wanted};
use agent_tests::sandbox::Place;
use nix::sys::signal::Signal;

fn run(scenario: &str) -> Option<AgentRun> {
    AgentRun::of("gemini", scenario).map(|run| run.with("AGENT_MODEL", "gemini-2.5-pro"))
}

fn counted(tokens: agent_conformance::model::Tokens) -> Counted {
    Counted { cache_write: None, ..Counted::billed(tokens) }
}

/// What came whole is counted to the last token, from the session's file; of what did not, nothing.
fn assert_what_came_whole_is_counted(run: &AgentRun, ended: &Ended) {
    let tokens = Counted { cache_write: None, ..ended.tokens() };
    let bill = counted(run.model.bill().finished);
    assert!(tokens == bill || (bill.input == Some(0) && tokens == Counted::default()), "{}\n{ended}", run.requests());
}

fn signal_in_question(place: Place, signal: Signal, scenario: &str) {
    let Some(run) = run(scenario).map(|run| run.at(place)) else { return };
    assert_what_came_whole_is_counted(&run, &cancelled::in_question(&run, signal));
}

fn signal_in_tool(place: Place, signal: Signal) {
    let Some(run) = run("tool-sleep").map(|run| run.at(place)) else { return };
    let ended = cancelled::in_tool(&run, signal);
    assert_what_came_whole_is_counted(&run, &ended);
    assert!(ended.tokens().output.is_some_and(|output| output > 0), "{ended}");
}

#[test]
fn sigterm_while_the_model_is_asked_cancels_the_run() {
    Place::all().into_iter().for_each(|place| signal_in_question(place, Signal::SIGTERM, "silence"));
}

#[test]
fn sigterm_in_the_middle_of_an_answer_cancels_the_run() {
    signal_in_question(Place::Plain, Signal::SIGTERM, "silence-mid-stream");
}

#[test]
fn sigint_while_the_model_is_asked_cancels_the_run_with_its_own_code() {
    signal_in_question(Place::Plain, Signal::SIGINT, "silence");
}

#[test]
fn sigterm_while_a_tool_runs_ends_the_tool_too() {
    Place::all().into_iter().for_each(|place| signal_in_tool(place, Signal::SIGTERM));
    saw("gemini", Ability::PartialUsage, Support::Yes);
    saw("gemini", Ability::Signals, Support::Yes);
}

#[test]
fn sigint_while_a_tool_runs_ends_the_tool_too() {
    signal_in_tool(Place::Plain, Signal::SIGINT);
}

#[test]
fn older_versions_are_cancelled_too() {
    cancelled::with_older("gemini", |cli, scenario| matrix::cell(cli, scenario).with("AGENT_MODEL", "gemini-2.5-pro"));
}

#[test]
fn the_limit_of_turns_ends_the_run_with_all_its_tokens() {
    let Some(run) = run("loop").map(|run| run.with("AGENT_MAX_TURNS", "3")) else { return };
    let ended = run.scene.run();
    ended.assert(wanted("incomplete", "TurnLimit", 80, false));
    assert_eq!(run.questions().len(), 3, "{}", run.requests());
    assert_eq!(ended.tokens(), counted(run.model.bill().finished), "{ended}");
    saw("gemini", Ability::TurnLimit, Support::Yes);
}

/// Gemini finds the loop itself, and says that all went well.
#[test]
fn a_loop_is_no_success() {
    let Some(run) = run("loop") else { return };
    let ended = run.scene.run();
    ended.assert(wanted("incomplete", "Stalled", 75, true));
    assert!(ended.tokens().is_within(counted(run.model.bill().total)), "{}\n{ended}", run.requests());
}

/// Ends by a limit of the runner; the reason is the last one that was given, wherever it was.
fn endless(run: &AgentRun, wanted: Wanted<'_>) {
    let ended = run.scene.run();
    ended.assert(wanted);
    assert_eq!(ended.message["origin"], "runner", "{ended}");
    assert!(ended.tokens().is_within(counted(run.model.bill().total)), "{}\n{ended}", run.requests());
}

#[test]
fn a_model_that_never_answers_ends_by_the_limit_of_silence() {
    for scenario in ["silence", "silence-mid-stream"] {
        let Some(run) = run(scenario).map(|run| run.with("AGENT_SILENCE_TIMEOUT", "12s")) else { return };
        endless(&run, wanted("timed-out", "SilenceTimeout", 124, true));
    }
}

/// A delay that the service asks for is waited for without a word in the stream: what failed is in the telemetry file.
#[test]
fn rate_limits_without_end_are_the_reason_when_time_is_up() {
    let fault = serde_json::json!({"status": {"code": 429, "retry-after": 1}});
    let scenario = serde_json::json!({"name": "limited", "turns": [{"forever": true, "fault": fault}]});
    let Some(run) = AgentRun::playing("gemini", Scenario::from_json(&scenario.to_string()).unwrap()) else { return };
    let run = run.with("AGENT_MODEL", "gemini-2.5-pro").with("AGENT_MAX_RETRIES", "9").with("AGENT_TIMEOUT", "30s");
    let ended = run.scene.run();
    ended.assert(wanted("failed", "RateLimited", 75, true));
    assert!(run.model.requests().iter().filter(|record| Record::is_question(record)).count() > 2, "{}", run.requests());
}

#[test]
fn refused_connections_are_the_reason_when_time_is_up() {
    let Some(run) = run("text-only") else { return };
    let run = run.with("AGENT_ENDPOINT", nobody()).with("AGENT_MAX_RETRIES", "9").with("AGENT_TIMEOUT", "30s");
    run.scene.run().assert(wanted("failed", "NetworkFailed", 75, true));
}
