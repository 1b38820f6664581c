//! Messages that are told apart by a number, for tests in which one process writes them and another judges what it finds.

use agent_sdk::outcome::Outcome;
use agent_sdk::results::{Results, key};
use agent_sdk::termination::{Progress, TerminationMessage, fit, interim};
use agent_sdk::usage::Usage;
use agent_sdk::verdict::Phase;

/// The outcome of a writer at a step. Its length goes up and down from step to step, from some 300 bytes to more than any budget.
#[must_use]
pub fn outcome(writer: u64, step: u64) -> Outcome {
    let mut results = Results::default();
    results.set_fact(key::TURNS, step);
    results.set_fact(key::SESSION_ID, writer.to_string());
    let usage = Usage { input_tokens: Some(step), ..Usage::default() };
    let progress = Progress { runner_version: "0.1.0", phase: Phase::Agent, agent: Some("claude"), results: &results, usage: &usage };
    let mut outcome = interim(&progress);
    // Multiplied by an odd number and cut: neighbours differ much, and nothing repeats soon.
    let length = (step.wrapping_add(writer).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51) as usize;
    outcome.answer = Some("é\"\n".repeat(length / 4));
    outcome
}

/// Its message.
#[must_use]
pub fn message(writer: u64, step: u64) -> String {
    fit(&outcome(writer, step), 4096, None)
}

/// Which step of which writer stands in a file.
///
/// # Panics
/// If what stands there is not exactly one message that a writer wrote, apart from white space behind it.
#[must_use]
pub fn judge(bytes: &[u8]) -> (u64, u64) {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    let parsed = TerminationMessage::parse(bytes).unwrap_or_else(|error| panic!("{error} in {} bytes: {text}", bytes.len()));
    let number = |key: &str| parsed.parameters[key].parse::<u64>().expect("a number");
    let (writer, step) = (number(key::SESSION_ID), number(key::TURNS));
    assert_eq!(text.trim_end_matches(' '), message(writer, step));
    (writer, step)
}
