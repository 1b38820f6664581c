//! The real Codex CLI against every built-in scenario: its exit code, how often it asks, and its tokens against the bill.
//!
//! Exit codes and behaviours here are those of the CLI's newest version that `tests/agents/package.json` pins.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use agent_conformance::model::{Bill, Kind, Record, Scenario, ScriptedModel, State, builtin};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::codex::{Codex, Reported, answer};
use support::desk::Ended;

const PATIENCE: Duration = Duration::from_secs(60);
/// A model whose tools are offered one by one, as functions.
const PLAIN: &str = "gpt-5.5";
/// A model whose one tool runs JavaScript, and which can start sub-agents.
const CODE: &str = "gpt-6.1-sol";

/// Scenarios that never end by themselves; each has a test of its own below.
const ENDLESS: &[&str] = &["http-429-retry-after-hour", "loop", "silence", "silence-mid-stream", "tool-sleep"];

/// What the CLI does with a scenario: its exit code, and how many questions it asks.
struct Wanted {
    scenario: &'static str,
    exit: i32,
    questions: usize,
}

macro_rules! scenarios_that_end {
    ($($test:ident: $scenario:literal, $exit:literal, $questions:literal;)*) => {
        const WANTED: &[Wanted] = &[$(Wanted { scenario: $scenario, exit: $exit, questions: $questions }),*];

        /// Exit code, questions and tokens are right in …
        mod exit_code_and_tokens_are_right_in {
            $(#[test]
            fn $test() {
                super::play($scenario, super::PLAIN);
            })*
        }
    };
}

// With one retry of a request, and one of a stream.
scenarios_that_end! {
    success: "success", 0, 2;
    text_only: "text-only", 0, 1;
    thinking: "thinking", 0, 2;
    tool_fails: "tool-fails", 0, 2;
    empty: "empty", 0, 1;
    max_tokens: "max-tokens", 1, 1;
    refusal: "refusal", 0, 1;
    context_too_long: "context-too-long", 1, 1;
    quota: "quota", 1, 1;
    http_400: "http-400", 1, 1;
    http_401: "http-401", 1, 2;
    http_403: "http-403", 1, 2;
    http_404: "http-404", 1, 1;
    http_429: "http-429", 1, 1;
    http_429_retry_after: "http-429-retry-after", 1, 2;
    http_500: "http-500", 1, 4;
    http_503: "http-503", 1, 2;
    http_529: "http-529", 1, 4;
    flaky_429: "flaky-429", 1, 1;
    flaky_500: "flaky-500", 0, 3;
    late_401: "late-401", 1, 3;
    late_500: "late-500", 1, 5;
    slow: "slow", 0, 1;
    cut_before_headers: "cut-before-headers", 1, 4;
    cut_mid_stream: "cut-mid-stream", 1, 2;
    cut_late: "cut-late", 1, 3;
    overloaded_mid_stream: "overloaded-mid-stream", 1, 1;
}

/// Scenarios that need the newer model, or a configuration of their own.
const APART: &[&str] = &["mcp-call", "subagent"];

#[test]
fn every_built_in_scenario_is_tried() {
    let ending = WANTED.iter().map(|wanted| wanted.scenario);
    let mut tried: Vec<&str> = ending.chain(ENDLESS.iter().copied()).chain(APART.iter().copied()).collect();
    let mut all: Vec<&str> = builtin::names().collect();
    tried.sort_unstable();
    all.sort_unstable();
    assert_eq!(tried, all);
}

fn start(scenario: &str) -> ScriptedModel {
    ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap()
}

/// The bill in the CLI's terms, which on this wire are ours.
fn billed(bill: &Bill) -> Reported {
    let tokens = bill.finished;
    Reported {
        input: tokens.input_tokens,
        cache_read: tokens.cache_read_tokens,
        cache_write: tokens.cache_write_tokens,
        output: tokens.output_tokens,
        reasoning: tokens.reasoning_tokens,
    }
}

fn is_question(record: &&Record) -> bool {
    record.is_question()
}

fn shown(model: &ScriptedModel) -> String {
    model.requests().iter().map(|record| format!("{record}\n")).collect()
}

fn play(scenario: &str, asked: &str) -> Option<(ScriptedModel, Codex, Ended)> {
    let wanted = WANTED.iter().find(|wanted| wanted.scenario == scenario).unwrap();
    let model = start(scenario);
    let codex = Codex::new(&model.base_url())?.model(asked);
    let ended = codex.run(|_| {});
    let seen = format!("{}{:#?}\n{}", shown(&model), ended.events, ended.stderr);
    assert_eq!(ended.status.code(), Some(wanted.exit), "{seen}");
    let records = model.requests();
    assert_eq!(records.iter().filter(is_question).count(), wanted.questions, "{seen}");
    assert!(records.iter().all(|record| record.kind != Kind::Unknown && record.note.is_none()), "{seen}");
    match Reported::of(&ended) {
        Some(reported) => assert_eq!(reported, billed(&model.bill()), "its tokens are not the bill's: {seen}"),
        None => assert_eq!(ended.last()["type"], "turn.failed", "{seen}"),
    }
    Some((model, codex, ended))
}

#[test]
fn the_commit_that_the_scenario_asks_for_is_made_in_either_kind_of_tool() {
    for asked in [PLAIN, CODE] {
        let Some((model, codex, ended)) = play("success", asked) else {
            return;
        };
        assert_eq!(codex.desk.git(&["log", "-1", "--format=%s by %an"]), "scripted change by Scripted Model", "{asked}");
        assert_eq!(answer(&ended), "Done: the change is committed.");
        let records = model.requests();
        assert!(records[0].saw_key("sk-of-the-test"));
        assert_eq!(records[0].credentials[0].carrier, "authorization");
        assert!(records[1].mentions("scripted change"), "{asked}: the tool's output is in the next question");
    }
}

#[test]
fn an_mcp_tool_is_found_called_and_answered_in_either_kind_of_tool() {
    for asked in [PLAIN, CODE] {
        let model = start("mcp-call");
        let Some(codex) = Codex::new(&model.base_url()) else {
            return;
        };
        codex.configure(&model.base_url(), &format!("[mcp_servers.probe]\ncommand = \"{}\"", env!("CARGO_BIN_EXE_echo-mcp")));
        let ended = codex.model(asked).run(|_| {});
        let seen = format!("{asked}: {}{:#?}", shown(&model), ended.events);
        assert!(ended.status.success(), "{seen}");
        let records = model.requests();
        assert!(records.iter().all(|record| record.note.is_none()), "{seen}");
        assert!(records.last().unwrap().mentions("echo: hello from the scripted model"), "{seen}");
        assert_eq!(Reported::of(&ended), Some(billed(&model.bill())), "{seen}");
    }
}

#[test]
fn a_sub_agent_is_asked_and_billed() {
    let model = start("subagent");
    let Some(codex) = Codex::new(&model.base_url()) else {
        return;
    };
    let ended = codex.model(CODE).run(|_| {});
    let seen = format!("{}{:#?}", shown(&model), ended.events);
    assert!(ended.status.success(), "{seen}");
    let records = model.requests();
    let asked: Vec<&Record> = records.iter().filter(|record| matches!(record.kind, Kind::Subagent(_))).collect();
    assert_eq!(asked.len(), 1, "{seen}");
    assert!(asked[0].billed.as_ref().unwrap().tokens.output_tokens > 0);
}

#[test]
fn an_unfinished_answer_has_told_no_price() {
    for scenario in ["cut-mid-stream", "cut-late", "overloaded-mid-stream"] {
        let Some((model, ..)) = play(scenario, PLAIN) else {
            return;
        };
        assert_eq!(model.bill().unfinished, 0, "{}", shown(&model));
    }
}

/// Sends the signal when the model's ledger is as it is to be, and waits for the end.
fn killed(codex: &Codex, wait: impl FnOnce()) -> Ended {
    codex.run(|pid| {
        wait();
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    })
}

#[test]
fn what_never_ends_is_asked_until_it_is_killed() {
    for (scenario, questions) in [("silence", 1), ("silence-mid-stream", 1), ("http-429-retry-after-hour", 1), ("loop", 3)] {
        let model = start(scenario);
        let Some(codex) = Codex::new(&model.base_url()) else {
            return;
        };
        let ended = killed(&codex, || {
            let enough = |records: &[Record]| records.iter().filter(is_question).count() >= questions;
            model.wait_for(enough, PATIENCE).unwrap();
        });
        assert_eq!(ended.status.code(), None, "{scenario}: {:#?}", ended.events);
        if scenario.starts_with("silence") {
            let is_left = |records: &[Record]| records.iter().filter(is_question).all(|record| record.state == State::Left);
            model.wait_for(is_left, PATIENCE).unwrap();
        }
    }
}

#[test]
fn a_signal_can_be_sent_exactly_while_a_tool_runs() {
    let model = start("tool-sleep");
    let Some(codex) = Codex::new(&model.base_url()) else {
        return;
    };
    let mut tool = None;
    let ended = killed(&codex, || {
        let records = model.wait_for_mark("tool", PATIENCE).unwrap();
        let mark = records.iter().find(|record| matches!(record.kind, Kind::Mark(_))).unwrap();
        tool = mark.path.split_once("?pid=").map(|(_, pid)| Pid::from_raw(pid.parse().unwrap()));
    });
    assert_eq!(ended.status.code(), None);
    assert_eq!(model.requests().iter().filter(is_question).count(), 1);
    // Tried: the CLI leaves the tool's shell alive. If this version has not, there is nothing to kill.
    let _ = kill(tool.expect("the mark names the process"), Signal::SIGKILL);
}

#[test]
fn a_prompt_of_a_mebibyte_arrives_whole() {
    let model = start("text-only");
    let Some(codex) = Codex::new(&model.base_url()) else {
        return;
    };
    // More than 1,048,576 characters it refuses.
    let prompt: String = (0..).map(|line| format!("line {line} ü\n")).take(80_000).collect();
    assert!(prompt.len() > 1 << 20 && prompt.chars().count() <= 1 << 20);
    let codex = codex.prompt(prompt.clone());
    let ended = codex.run(|_| {});
    assert!(ended.status.success(), "{}{:#?}{}", shown(&model), ended.events, ended.stderr);
    let question = model.requests().into_iter().find(Record::is_question).unwrap();
    assert!(question.mentions(prompt.trim_end()), "the prompt is not whole in the request");
}

#[test]
fn the_built_in_provider_goes_on_without_a_websocket_at_once() {
    let model = start("text-only");
    let Some(codex) = Codex::new(&model.base_url()) else {
        return;
    };
    let base_url = format!("openai_base_url=\"{}/v1\"", model.base_url());
    let codex = codex.argument("-c").argument("model_provider=\"openai\"").argument("-c").argument(&base_url);
    let ended = codex.run(|_| {});
    let kinds: Vec<Kind> = model.requests().into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [Kind::Probe, Kind::Main], "{}{:#?}", shown(&model), ended.events);
    assert!(ended.status.success());
}

#[test]
fn a_resumed_session_plays_its_run_s_script_from_the_start_and_reports_the_thread_s_tokens() {
    let model = start("success");
    let Some(first) = Codex::new(&model.base_url()) else {
        return;
    };
    let ended = first.run(|_| {});
    let thread = ended.events[0]["thread_id"].as_str().unwrap().to_owned();
    first.configure(&model.run_url("tool-fails", "second"), "");
    let second = first.argument("resume").argument(&thread).argument("-");
    let ended = second.run(|_| {});
    assert_eq!(answer(&ended), "The command failed.", "{}", shown(&model));
    let rounds: Vec<usize> = model.requests_of("second").iter().filter(is_question).map(|record| record.round).collect();
    assert_eq!(rounds, [0, 1]);
    assert_eq!(Reported::of(&ended), Some(billed(&model.bill())), "both runs' tokens");
}
