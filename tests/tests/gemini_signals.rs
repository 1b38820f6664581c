//! The real Gemini CLI through the runner, ended by a signal or by a limit: in the middle of a question, in the middle of a tool, and while it
//! repeats in silence what fails.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::{Kind, Record, Scenario, ScriptedModel};
use agent_tests::agent_run::AgentRun;
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::runs::{Counted, Ended, PATIENCE, Wanted, wanted};
use agent_tests::sandbox::{Place, is_alive};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

const CANCELLED: Wanted<'_> = wanted("cancelled", "Cancelled", 143, true);
const INTERRUPTED: Wanted<'_> = wanted("cancelled", "Cancelled", 130, true);

fn run(scenario: &str) -> Option<AgentRun> {
    AgentRun::of("gemini", scenario).map(|run| run.with("AGENT_MODEL", "gemini-2.5-pro"))
}

/// Waits until the tool runs; its process id, in its own namespace.
fn tool(model: &ScriptedModel) -> Pid {
    let records = model.wait_for_mark("tool", PATIENCE).unwrap();
    let mark = records.iter().find(|record| matches!(&record.kind, Kind::Mark(mark) if mark == "tool")).unwrap();
    Pid::from_raw(mark.path.split_once("?pid=").unwrap().1.parse().unwrap())
}

fn counted(tokens: agent_conformance::model::Tokens) -> Counted {
    Counted { cache_write: None, ..Counted::billed(tokens) }
}

fn assert_ended_by_signal(run: &AgentRun, ended: &Ended, wanted: Wanted<'_>, signal: Signal) {
    ended.assert(wanted);
    assert_eq!(ended.message["signal"], signal as i32, "{ended}");
    assert_eq!(ended.message["origin"], "signal", "{ended}");
    // What came whole is counted to the last token, from the session's file; of what did not, nothing.
    let tokens = Counted { cache_write: None, ..ended.tokens() };
    let bill = counted(run.model.bill().finished);
    assert!(tokens == bill || (bill.input == Some(0) && tokens == Counted::default()), "{}\n{ended}", run.requests());
    let commit = run.scene.git(&["rev-parse", "HEAD"]);
    assert_eq!((ended.parameter("branch"), ended.parameter("commit")), (Some("work"), Some(commit.as_str())), "{ended}");
}

fn ask_and_signal(place: Place, signal: Signal, scenario: &str, wanted: Wanted<'_>) {
    let Some(mut run) = run(scenario) else { return };
    run.scene = run.scene.at(place);
    let started = run.scene.start();
    run.model.wait_for_question(PATIENCE).unwrap();
    started.signal(signal);
    assert_ended_by_signal(&run, &started.finish(), wanted, signal);
}

fn run_tool_and_signal(place: Place, signal: Signal, wanted: Wanted<'_>) {
    let Some(mut run) = run("tool-sleep") else { return };
    run.scene = run.scene.at(place);
    let started = run.scene.start();
    let tool = tool(&run.model);
    started.signal(signal);
    let ended = started.finish();
    assert_ended_by_signal(&run, &ended, wanted, signal);
    assert!(ended.tokens().output.is_some_and(|output| output > 0), "{ended}");
    // In a namespace the number is another one; there as here nobody with the run's environment is left.
    assert!(place != Place::Plain || !is_alive(tool), "{ended}");
}

#[test]
fn sigterm_while_the_model_is_asked_cancels_the_run() {
    Place::all().into_iter().for_each(|place| ask_and_signal(place, Signal::SIGTERM, "silence", CANCELLED));
}

#[test]
fn sigterm_in_the_middle_of_an_answer_cancels_the_run() {
    ask_and_signal(Place::Plain, Signal::SIGTERM, "silence-mid-stream", CANCELLED);
}

#[test]
fn sigint_while_the_model_is_asked_cancels_the_run_with_its_own_code() {
    ask_and_signal(Place::Plain, Signal::SIGINT, "silence", INTERRUPTED);
}

#[test]
fn sigterm_while_a_tool_runs_ends_the_tool_too() {
    Place::all().into_iter().for_each(|place| run_tool_and_signal(place, Signal::SIGTERM, CANCELLED));
    saw("gemini", Ability::PartialUsage, Support::Yes);
    saw("gemini", Ability::Signals, Support::Yes);
}

#[test]
fn sigint_while_a_tool_runs_ends_the_tool_too() {
    run_tool_and_signal(Place::Plain, Signal::SIGINT, INTERRUPTED);
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
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = run.with("AGENT_ENDPOINT", format!("http://{closed}")).with("AGENT_MAX_RETRIES", "9").with("AGENT_TIMEOUT", "30s");
    run.scene.run().assert(wanted("failed", "NetworkFailed", 75, true));
}
