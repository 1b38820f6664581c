//! The real Claude Code CLI through the runner, ended by a signal or by a limit: in the middle of a question, and in the middle of a tool.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::Scenario;
use agent_tests::agent_run::AgentRun;
use agent_tests::cancelled;
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::matrix;
use agent_tests::runs::{Counted, Ended, PATIENCE, Started, nobody, wanted};
use agent_tests::sandbox::{Place, is_alive};
use nix::sys::signal::Signal;

/// A tool that does not end by TERM either: it only tells that it got it.
const DEAF: &str = r"
say() { exec 3<>/dev/tcp/{{host}}/{{port}}; printf 'POST {{path}}/mark/%s?pid=%s HTTP/1.1\r\nhost: {{host}}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n' $1 $$ >&3; read -r _ <&3; }
trap 'say told' TERM; say tool; while :; do sleep 1000 & wait; done";

/// The one answer that came whole is counted: its prompt exactly, of what was generated at least a part, since the CLI's stream
/// tells no more before its end. A CLI that takes a tool that was killed under it for an answer, asks once more and gets to a result of its
/// own within the grace, is counted by that result to the last token.
fn assert_first_answer_is_counted(run: &AgentRun, ended: &Ended) {
    if ended.message["usageComplete"] == true {
        assert_eq!(ended.tokens(), Counted::billed(run.model.bill().finished), "{}\n{ended}", run.requests());
        return;
    }
    let first = run.questions()[0].billed.clone().filter(|charge| charge.finished).expect("the first answer came whole");
    let (counted, billed) = (ended.tokens(), Counted::billed(first.tokens));
    assert_eq!(Counted { output: billed.output, ..counted }, billed, "{}\n{ended}", run.requests());
    assert!(counted.output.is_some_and(|output| output > 0), "{ended}");
}

fn signal_in_question(signal: Signal, scenario: &str) {
    for place in Place::all() {
        let Some(run) = AgentRun::of("claude", scenario) else { return };
        cancelled::in_question(&run.at(place), signal);
    }
}

fn signal_in_tool(place: Place, signal: Signal) {
    let Some(run) = AgentRun::of("claude", "tool-sleep").map(|run| run.at(place)) else { return };
    assert_first_answer_is_counted(&run, &cancelled::in_tool(&run, signal));
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
    saw("claude", Ability::PartialUsage, Support::Partly("prompts exactly, of what was generated a lower bound".into()));
    saw("claude", Ability::Signals, Support::Yes);
}

#[test]
fn sigint_while_a_tool_runs_ends_the_tool_too() {
    signal_in_tool(Place::Plain, Signal::SIGINT);
}

#[test]
fn older_versions_are_cancelled_too() {
    cancelled::with_older("claude", matrix::cell);
}

#[test]
fn a_second_sigterm_drops_what_is_left_of_the_grace() {
    let scenario = Scenario::builtin("tool-sleep").unwrap().with("command", DEAF).unwrap();
    // An end that waited for the grace would be a failure of the test by its patience.
    let Some(run) = AgentRun::playing("claude", scenario).map(|run| run.with("AGENT_GRACE", "1h")) else { return };
    let started = run.scene.start();
    let tool = cancelled::tool(&run);
    started.signal(Signal::SIGTERM);
    run.model.wait_for_mark("told", PATIENCE).unwrap();
    assert!(is_alive(tool));
    started.signal(Signal::SIGTERM);
    let ended = started.finish();
    cancelled::assert_cancelled(&run, &ended, Signal::SIGTERM);
    assert_first_answer_is_counted(&run, &ended);
    assert!(!is_alive(tool), "{ended}");
}

/// Runs into a limit.
fn limit(scenario: &str, variable: &str, value: &str, meanwhile: impl FnOnce(&AgentRun, &Started<'_>)) -> Option<(AgentRun, Ended)> {
    let run = AgentRun::of("claude", scenario)?.with(variable, value);
    let started = run.scene.start();
    meanwhile(&run, &started);
    let ended = started.finish();
    assert!(ended.tokens().is_within(Counted::billed(run.model.bill().total)), "{}\n{ended}", run.requests());
    Some((run, ended))
}

#[test]
fn the_limit_of_turns_ends_the_run_with_all_its_tokens() {
    let Some((run, ended)) = limit("loop", "AGENT_MAX_TURNS", "3", |_, _| ()) else { return };
    ended.assert(wanted("incomplete", "TurnLimit", 80, false));
    assert_eq!(run.questions().len(), 3, "{}", run.requests());
    assert_eq!(ended.tokens(), Counted::billed(run.model.bill().finished), "{ended}");
    assert_eq!(ended.parameter("turns"), Some("3"), "{ended}");
    saw("claude", Ability::TurnLimit, Support::Yes);
}

#[test]
fn the_limit_of_cost_ends_the_run_with_all_its_tokens() {
    let Some((run, ended)) = limit("loop", "AGENT_MAX_COST_USD", "0.01", |_, _| ()) else { return };
    ended.assert(wanted("incomplete", "CostLimit", 80, false));
    assert_eq!(ended.tokens(), Counted::billed(run.model.bill().finished), "{ended}");
    let cost: f64 = ended.parameter("cost-usd").unwrap().parse().unwrap();
    assert!(cost > 0.01, "{ended}");
}

#[test]
fn the_limit_of_generated_tokens_ends_the_run() {
    // An answer has some fifty, of which the stream says one or so when it begins.
    let Some((run, ended)) = limit("loop", "AGENT_MAX_OUTPUT_TOKENS", "120", |_, _| ()) else { return };
    ended.assert(wanted("incomplete", "TokenLimit", 80, false));
    assert_eq!(ended.message["origin"], "runner", "{ended}");
    assert!(ended.tokens().output.is_some_and(|output| output > 120), "{ended}");
    assert!(run.questions().len() < 60, "{}", run.requests());
}

#[test]
fn the_limit_of_time_ends_a_run_whose_tool_does_not_end() {
    let mut pid = None;
    let wait = |run: &AgentRun, _: &Started<'_>| pid = Some(cancelled::tool(run));
    // Longer than the CLI needs to its first tool call, even on a machine with much else to do.
    let Some((run, ended)) = limit("tool-sleep", "AGENT_TIMEOUT", "40s", wait) else { return };
    ended.assert(wanted("timed-out", "DeadlineExceeded", 124, true));
    assert_eq!(ended.message["origin"], "runner", "{ended}");
    assert_first_answer_is_counted(&run, &ended);
    assert!(!is_alive(pid.unwrap()), "{ended}");
}

#[test]
fn silence_ends_a_run_whose_model_never_answers() {
    for scenario in ["silence", "silence-mid-stream"] {
        let Some((_, ended)) = limit(scenario, "AGENT_SILENCE_TIMEOUT", "8s", |_, _| ()) else { return };
        ended.assert(wanted("timed-out", "SilenceTimeout", 124, true));
        assert_eq!(ended.message["origin"], "runner", "{ended}");
    }
}

#[test]
fn a_connection_that_is_refused_ends_by_the_limit_of_retries() {
    let Some(run) = AgentRun::of("claude", "text-only") else { return };
    run.with("AGENT_ENDPOINT", nobody()).scene.run().assert(wanted("failed", "NetworkFailed", 75, true));
}
