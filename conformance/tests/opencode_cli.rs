//! The real OpenCode CLI against the built-in scenarios, over OpenAI's Chat Completions: its exit code, and its tokens against the bill.
//!
//! This is what shows that the scripted model is a model of that protocol as far as a CLI can tell. What the CLI repeats for more than a
//! minute, with no way to say otherwise, is not played here; nor is a prompt that is too long, after which it asks for a summary, gets
//! one since that offers no tools, and goes round so for ever.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use agent_conformance::model::{Kind, Record, Scenario, ScriptedModel};
use support::desk::Ended;
use support::opencode::{OpenCode, Reported};

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

scenarios_that_end! {
    thinking: "thinking", 0, 2;
    tool_fails: "tool-fails", 0, 2;
    empty: "empty", 0, 1;
    max_tokens: "max-tokens", 0, 1;
    refusal: "refusal", 1, 1;
    http_401: "http-401", 1, 1;
    http_404: "http-404", 1, 1;
}

/// Plays a scenario; what it reports is the bill.
fn play(scenario: &str, exit: i32, questions: usize) -> Option<(ScriptedModel, OpenCode, Ended)> {
    let model = ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap();
    let mut opencode = OpenCode::new(&model.base_url())?;
    if scenario == "mcp-call" {
        opencode = opencode.mcp_server("probe", env!("CARGO_BIN_EXE_echo-mcp"));
    }
    let ended = opencode.run("Please do it.");
    let records = model.requests();
    let seen: String = records.iter().map(|record| format!("{record}\n")).collect();
    assert_eq!(ended.status.code(), Some(exit), "{scenario}: {ended:#?}\n{seen}");
    assert_eq!(records.iter().filter(|record| record.is_question()).count(), questions, "{scenario}:\n{seen}");
    assert!(records.iter().all(|record| record.kind == Kind::Main), "{scenario}:\n{seen}");
    let tokens = model.bill().finished;
    let billed = Reported {
        input: tokens.input_tokens - tokens.cache_read_tokens,
        cache_read: tokens.cache_read_tokens,
        output: tokens.output_tokens - tokens.reasoning_tokens,
        reasoning: tokens.reasoning_tokens,
    };
    assert_eq!(Reported::of(&ended), billed, "{scenario}: its tokens are not the bill's\n{seen}");
    Some((model, opencode, ended))
}

#[test]
fn the_commit_that_the_scenario_asks_for_is_made() {
    let Some((model, opencode, _)) = play("success", 0, 2) else { return };
    assert_eq!(opencode.desk.git(&["log", "-1", "--format=%s by %an"]), "scripted change by Scripted Model");
    let records = model.requests();
    assert!(records[0].saw_key("sk-of-the-test"));
    assert_eq!(records[0].path, "/v1/chat/completions");
    assert_eq!(records[0].model.as_deref(), Some("gpt-x"));
    assert!(records[1].mentions("scripted change"), "the tool's output is in the next question");
}

#[test]
fn an_mcp_tool_is_offered_called_and_answered() {
    let Some((model, ..)) = play("mcp-call", 0, 2) else { return };
    let questions: Vec<Record> = model.requests();
    assert!(questions[0].tools.contains(&"probe_echo".into()), "{:?}", questions[0].tools);
    assert!(questions[1].mentions("echo: hello from the scripted model"));
}

#[test]
fn reasoning_is_shown_as_such_and_goes_back_to_the_model() {
    let Some((model, ..)) = play("thinking", 0, 2) else { return };
    assert!(model.requests()[1].mentions("What has changed here?"));
}
