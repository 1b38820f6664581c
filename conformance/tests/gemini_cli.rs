//! The real Gemini CLI against the built-in scenarios: its exit code, and its tokens against the bill.
//!
//! Exit codes and behaviours here are those of the newest version that `tests/agents/package.json` pins, with one attempt
//! a request (`general.maxAttempts` 1) and a model of its own, since the call that chooses one repeats itself for a minute on errors.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use agent_conformance::model::{Bill, Kind, Record, Scenario, ScriptedModel, State};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::desk::Ended;
use support::gemini::{Gemini, Reported, answer};

const PATIENCE: Duration = Duration::from_secs(60);

macro_rules! scenarios_that_end {
    ($($test:ident: $scenario:literal, $exit:literal, $questions:literal;)*) => {
        /// Exit code and tokens are right in …
        mod exit_code_and_tokens_are_right_in {
            $(#[test]
            fn $test() {
                super::play($scenario, $exit, $questions);
            })*
        }
    };
}

// The CLI's exit code is 0, its own, or the HTTP status's lower eight bits.
scenarios_that_end! {
    success: "success", 0, 2;
    text_only: "text-only", 0, 1;
    thinking: "thinking", 0, 2;
    tool_fails: "tool-fails", 0, 2;
    // A sub-agent that answers with text is asked once more to call `complete_task`.
    subagent: "subagent", 0, 4;
    mcp_call: "mcp-call", 0, 2;
    empty: "empty", 0, 1;
    max_tokens: "max-tokens", 0, 1;
    refusal: "refusal", 0, 1;
    context_too_long: "context-too-long", 144, 1;
    quota: "quota", 173, 1;
    http_401: "http-401", 145, 1;
    http_403: "http-403", 147, 1;
    http_404: "http-404", 1, 1;
    http_429: "http-429", 173, 1;
    http_429_retry_after_hour: "http-429-retry-after-hour", 173, 1;
    http_500: "http-500", 244, 1;
    http_503: "http-503", 247, 1;
    late_401: "late-401", 145, 2;
    slow: "slow", 0, 1;
    cut_before_headers: "cut-before-headers", 1, 1;
    cut_mid_stream: "cut-mid-stream", 1, 1;
    cut_late: "cut-late", 1, 2;
    // Its SDK passes over an error event in mid-stream, so that the stream just ends: `result.status` says `error`, the exit code 0.
    overloaded_mid_stream: "overloaded-mid-stream", 0, 1;
}

fn start(scenario: &str) -> ScriptedModel {
    ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap()
}

fn billed(bill: &Bill) -> Reported {
    let tokens = bill.finished;
    Reported { input: tokens.input_tokens, cache_read: tokens.cache_read_tokens, output: tokens.output_tokens }
}

fn shown(model: &ScriptedModel) -> String {
    model.requests().iter().map(|record| format!("{record}\n")).collect()
}

fn play(scenario: &str, exit: i32, questions: usize) -> Option<(ScriptedModel, Gemini, Ended)> {
    let model = start(scenario);
    let gemini = Gemini::new(&model.base_url())?.argument("--model=gemini-2.5-pro");
    if scenario == "mcp-call" {
        gemini.configure(json!({"mcpServers": {"probe": {"command": env!("CARGO_BIN_EXE_echo-mcp")}}}));
    }
    let ended = gemini.run(|_| {});
    let seen = shown(&model);
    assert_eq!(ended.status.code(), Some(exit), "{scenario}: {:#}\n{seen}{}", ended.result(), ended.stderr);
    let records = model.requests();
    assert_eq!(records.iter().filter(|record| record.is_question()).count(), questions, "{scenario}:\n{seen}");
    assert!(records.iter().all(|record| record.kind != Kind::Unknown), "{scenario}:\n{seen}");
    if scenario != "overloaded-mid-stream" {
        assert_eq!(Reported::of(&ended), billed(&model.bill()), "{scenario}: its tokens are not the bill's\n{seen}");
    }
    Some((model, gemini, ended))
}

#[test]
fn the_commit_is_made_and_the_call_that_chooses_the_model_is_billed() {
    let model = start("success");
    let Some(gemini) = Gemini::new(&model.base_url()) else { return };
    let ended = gemini.run(|_| {});
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(gemini.desk.git(&["log", "-1", "--format=%s by %an"]), "scripted change by Scripted Model");
    assert_eq!(answer(&ended), "Done: the change is committed.");
    let records = model.requests();
    let kinds: Vec<&Kind> = records.iter().map(|record| &record.kind).collect();
    assert_eq!(kinds, [&Kind::Auxiliary, &Kind::Main, &Kind::Main], "{}", shown(&model));
    assert!(records.iter().all(|record| record.saw_key("sk-of-the-test")));
    assert_eq!(records[1].credentials[0].carrier, "x-goog-api-key");
    assert!(records[2].mentions("scripted change"), "the tool's output is in the next question");
    assert_eq!(Reported::of(&ended), billed(&model.bill()));
    assert_eq!(model.bill().by_model.len(), 2);
}

#[test]
fn a_signal_can_be_sent_exactly_while_the_model_is_asked() {
    let model = start("silence-mid-stream");
    let Some(gemini) = Gemini::new(&model.base_url()) else { return };
    gemini.argument("--model=gemini-2.5-pro").run(|pid| {
        let is_there = |record: &Record| record.is_question() && record.billed.is_some();
        model.wait_for(|records| records.iter().any(is_there), PATIENCE).unwrap();
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).unwrap();
    });
    let is_left = |records: &[Record]| records.iter().filter(|record| record.is_question()).all(|record| record.state == State::Left);
    model.wait_for(is_left, PATIENCE).unwrap();
    assert_eq!((model.bill().answers, model.bill().unfinished), (1, 1));
}

#[test]
fn a_prompt_of_a_mebibyte_arrives_whole() {
    let model = start("text-only");
    let Some(gemini) = Gemini::new(&model.base_url()) else { return };
    let prompt: String = (0..).map(|line| format!("line {line} ü\n")).take(90_000).collect();
    assert!(prompt.len() > 1 << 20);
    let ended = gemini.argument("--model=gemini-2.5-pro").prompt(prompt.clone()).run(|_| {});
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let question = model.requests().into_iter().find(Record::is_question).unwrap();
    assert!(question.mentions(prompt.trim_end()), "the prompt is not whole in the request");
}
