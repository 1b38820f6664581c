//! The real Claude Code CLI against every built-in scenario: its exit code, and its tokens against the bill.
//!
//! This is what shows that the scripted model is a model as far as the CLI can tell. Exit codes and behaviours here are
//! those of the CLI's version that `tests/agents/package.json` pins.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use agent_conformance::model::{Bill, Kind, Record, Scenario, ScriptedModel, State, builtin};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::claude::{Claude, Reported};
use support::desk::Ended;

const PATIENCE: Duration = Duration::from_secs(60);

/// Scenarios that never end by themselves; each has a test of its own below.
const ENDLESS: &[&str] = &["loop", "silence", "silence-mid-stream", "tool-sleep"];

/// What the CLI does with a scenario: its exit code, `result.api_error_status`, and how many questions it asks.
struct Wanted {
    scenario: &'static str,
    exit: i32,
    api_error: Option<u64>,
    questions: usize,
}

const fn wanted(scenario: &'static str, exit: i32, api_error: Option<u64>, questions: usize) -> Wanted {
    Wanted { scenario, exit, api_error, questions }
}

macro_rules! scenarios_that_end {
    ($($test:ident: $scenario:literal, $exit:literal, $api_error:expr, $questions:literal;)*) => {
        const WANTED: &[Wanted] = &[$(wanted($scenario, $exit, $api_error, $questions)),*];

        /// Exit code and tokens are right in …
        mod exit_code_and_tokens_are_right_in {
            $(#[test]
            fn $test() {
                super::play(super::the($scenario), super::as_the_scenario_needs($scenario));
            })*
        }
    };
}

// With one retry allowed (CLAUDE_CODE_MAX_RETRIES=1).
scenarios_that_end! {
    success: "success", 0, None, 2;
    text_only: "text-only", 0, None, 1;
    thinking: "thinking", 0, None, 2;
    tool_fails: "tool-fails", 0, None, 2;
    subagent: "subagent", 0, None, 3;
    mcp_call: "mcp-call", 0, None, 2;
    empty: "empty", 0, None, 2;
    max_tokens: "max-tokens", 1, None, 4;
    refusal: "refusal", 1, None, 1;
    context_too_long: "context-too-long", 1, Some(400), 1;
    quota: "quota", 1, Some(400), 1;
    http_400: "http-400", 1, Some(400), 1;
    http_401: "http-401", 1, Some(401), 2;
    http_403: "http-403", 1, Some(403), 1;
    http_404: "http-404", 1, Some(404), 2;
    http_429: "http-429", 1, Some(429), 2;
    http_429_retry_after: "http-429-retry-after", 1, Some(429), 2;
    http_429_retry_after_hour: "http-429-retry-after-hour", 1, Some(429), 1;
    http_500: "http-500", 1, Some(500), 2;
    http_503: "http-503", 1, Some(503), 2;
    http_529: "http-529", 1, Some(529), 2;
    flaky_429: "flaky-429", 0, None, 3;
    flaky_500: "flaky-500", 0, None, 3;
    late_401: "late-401", 1, Some(401), 3;
    late_500: "late-500", 1, Some(500), 3;
    slow: "slow", 0, None, 1;
    cut_before_headers: "cut-before-headers", 1, None, 2;
    cut_mid_stream: "cut-mid-stream", 1, None, 2;
    cut_late: "cut-late", 1, None, 3;
    overloaded_mid_stream: "overloaded-mid-stream", 1, None, 2;
}

fn start(scenario: &str) -> ScriptedModel {
    ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap()
}

/// The bill in the CLI's terms: its input excludes the cache.
fn billed(bill: &Bill) -> Reported {
    let tokens = bill.finished;
    Reported {
        input: tokens.input_tokens - tokens.cache_read_tokens - tokens.cache_write_tokens,
        cache_read: tokens.cache_read_tokens,
        cache_write: tokens.cache_write_tokens,
        output: tokens.output_tokens,
    }
}

fn is_question(record: &&Record) -> bool {
    record.is_question()
}

fn shown(model: &ScriptedModel) -> String {
    model.requests().iter().map(|record| format!("{record}\n")).collect()
}

fn play(wanted: &Wanted, change: impl FnOnce(Claude) -> Claude) -> Option<(ScriptedModel, Claude, Ended)> {
    let model = start(wanted.scenario);
    let claude = change(Claude::new(&model.base_url())?);
    let ended = claude.run(|_| {});
    let seen = shown(&model);
    let scenario = wanted.scenario;
    assert_eq!(ended.status.code(), Some(wanted.exit), "{scenario}: {:#}\n{seen}", ended.result());
    assert_eq!(ended.result()["api_error_status"].as_u64(), wanted.api_error, "{scenario}: {:#}\n{seen}", ended.result());
    let records = model.requests();
    assert_eq!(records.iter().filter(is_question).count(), wanted.questions, "{scenario}:\n{seen}");
    assert!(records.iter().all(|record| record.kind != Kind::Unknown), "{scenario}:\n{seen}");
    assert_eq!(Reported::of(&ended), billed(&model.bill()), "{scenario}: its tokens are not the bill's\n{seen}");
    Some((model, claude, ended))
}

#[test]
fn every_built_in_scenario_is_tried() {
    let mut tried: Vec<&str> = WANTED.iter().map(|wanted| wanted.scenario).chain(ENDLESS.iter().copied()).collect();
    let mut all: Vec<&str> = builtin::names().collect();
    tried.sort_unstable();
    all.sort_unstable();
    assert_eq!(tried, all);
}

/// What a scenario needs beside the model, to be what its name says.
fn as_the_scenario_needs(scenario: &str) -> impl FnOnce(Claude) -> Claude {
    let config = serde_json::json!({"mcpServers": {"probe": {"command": env!("CARGO_BIN_EXE_echo-mcp")}}});
    let has_server = scenario == "mcp-call";
    move |claude| {
        if has_server { claude.argument("--mcp-config").argument(&config.to_string()) } else { claude }
    }
}

fn the(scenario: &str) -> &'static Wanted {
    WANTED.iter().find(|wanted| wanted.scenario == scenario).unwrap()
}

/// Sends the signal and, once the CLI has gone, checks its exit code.
fn signalled(claude: &Claude, signal: Signal, wait: impl FnOnce()) -> Ended {
    claude.run(|pid| {
        wait();
        kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
    })
}

#[test]
fn the_commit_that_the_scenario_asks_for_is_made() {
    let Some((model, claude, ended)) = play(the("success"), |claude| claude) else {
        return;
    };
    assert_eq!(claude.desk.git(&["log", "-1", "--format=%s by %an"]), "scripted change by Scripted Model");
    assert_eq!(ended.result()["result"], "Done: the change is committed.");
    let records = model.requests();
    assert_eq!(records[0].kind, Kind::Probe);
    assert!(records[1].saw_key("sk-of-the-test"));
    assert_eq!(records[1].credentials[0].carrier, "x-api-key");
    assert!(records[2].mentions("scripted change"), "the tool's output is in the next question");
}

#[test]
fn a_command_of_the_tests_own_runs_in_the_tool() {
    let scenario = Scenario::builtin("success").unwrap().with("command", "echo $((6 * 7)) > answer").unwrap();
    let model = ScriptedModel::start(scenario).unwrap();
    let Some(claude) = Claude::new(&model.base_url()) else {
        return;
    };
    assert!(claude.run(|_| {}).status.success());
    assert_eq!(std::fs::read_to_string(claude.desk.repository().join("answer")).unwrap(), "42\n");
}

#[test]
fn an_mcp_tool_is_offered_called_and_answered() {
    let Some((model, ..)) = play(the("mcp-call"), as_the_scenario_needs("mcp-call")) else {
        return;
    };
    let questions: Vec<Record> = model.requests().into_iter().filter(|record| record.is_question()).collect();
    assert!(questions[0].tools.contains(&"mcp__probe__echo".into()), "{:?}", questions[0].tools);
    assert!(questions[1].mentions("echo: hello from the scripted model"));
}

#[test]
fn a_sub_agents_tokens_are_in_the_cli_s_total_and_on_the_bill() {
    let Some((model, ..)) = play(the("subagent"), |claude| claude) else {
        return;
    };
    let records = model.requests();
    let sub: Vec<&Record> = records.iter().filter(|record| matches!(record.kind, Kind::Subagent(_))).collect();
    assert_eq!(sub.len(), 1);
    assert!(sub[0].billed.as_ref().unwrap().tokens.output_tokens > 0);
}

#[test]
fn an_unfinished_answer_is_on_the_bill_and_not_in_the_cli_s_total() {
    for scenario in ["cut-mid-stream", "cut-late", "overloaded-mid-stream"] {
        let Some((model, _, ended)) = play(the(scenario), |claude| claude) else {
            return;
        };
        let bill = model.bill();
        assert!(bill.unfinished > 0, "{}", shown(&model));
        let reported = Reported::of(&ended);
        let reported_input = reported.input + reported.cache_read + reported.cache_write;
        assert!(bill.total.input_tokens > reported_input, "{scenario}: {}", shown(&model));
    }
}

#[test]
fn a_loop_is_ended_by_the_turn_limit() {
    let endless = wanted("loop", 1, None, 3);
    let Some((_, _, ended)) = play(&endless, |claude| claude.argument("--max-turns").argument("3")) else {
        return;
    };
    assert_eq!(ended.result()["subtype"], "error_max_turns");
}

#[test]
fn silence_is_ended_by_the_cli_s_own_timeout() {
    let silent = wanted("silence", 1, None, 2);
    play(&silent, |claude| claude.variable("API_TIMEOUT_MS", "5000"));
}

#[test]
fn a_signal_can_be_sent_exactly_while_the_model_is_asked() {
    for (scenario, is_billed) in [("silence", false), ("silence-mid-stream", true)] {
        let model = start(scenario);
        let Some(claude) = Claude::new(&model.base_url()) else {
            return;
        };
        let ended = signalled(&claude, Signal::SIGTERM, || {
            let is_there = |record: &Record| record.is_question() && record.billed.is_some() == is_billed;
            model.wait_for(|records| records.iter().any(is_there), PATIENCE).unwrap();
        });
        assert_eq!(ended.status.code(), Some(143));
        let is_left = |records: &[Record]| records.iter().filter(is_question).all(|record| record.state == State::Left);
        model.wait_for(is_left, PATIENCE).unwrap();
        let bill = model.bill();
        assert_eq!((bill.answers, bill.unfinished), (usize::from(is_billed), usize::from(is_billed)));
    }
}

#[test]
fn a_signal_can_be_sent_exactly_while_a_tool_runs() {
    let model = start("tool-sleep");
    let Some(claude) = Claude::new(&model.base_url()) else {
        return;
    };
    let mut tool = None;
    let ended = signalled(&claude, Signal::SIGTERM, || {
        let records = model.wait_for_mark("tool", PATIENCE).unwrap();
        let mark = records.iter().find(|record| matches!(record.kind, Kind::Mark(_))).unwrap();
        tool = mark.path.split_once("?pid=").map(|(_, pid)| Pid::from_raw(pid.parse().unwrap()));
    });
    assert_eq!(ended.status.code(), Some(143));
    assert_eq!(model.requests().iter().filter(is_question).count(), 1);
    // Tried: the CLI leaves the tool's shell alive. If this version has not, there is nothing to kill.
    let _ = kill(tool.expect("the mark names the process"), Signal::SIGKILL);
}

#[test]
fn a_prompt_of_a_mebibyte_arrives_whole() {
    let model = start("text-only");
    let Some(claude) = Claude::new(&model.base_url()) else {
        return;
    };
    let prompt: String = (0..).map(|line| format!("line {line} ü\n")).take(90_000).collect();
    assert!(prompt.len() > 1 << 20);
    let claude = claude.prompt(prompt.clone());
    assert!(claude.run(|_| {}).status.success());
    let question = model.requests().into_iter().find(Record::is_question).unwrap();
    assert!(question.mentions(prompt.trim_end()), "the prompt is not whole in the request");
}

#[test]
fn a_resumed_session_plays_its_run_s_script_from_the_start() {
    let model = start("success");
    let Some(first) = Claude::new(&model.base_url()) else {
        return;
    };
    let ended = first.run(|_| {});
    let session = ended.result()["session_id"].as_str().unwrap().to_owned();
    let change = |claude: Claude| {
        claude.variable("ANTHROPIC_BASE_URL", &model.run_url("tool-fails", "second")).argument("--resume").argument(&session)
    };
    let second = change(first);
    let ended = second.run(|_| {});
    assert_eq!(ended.result()["result"], "The command failed.", "{}", shown(&model));
    let rounds: Vec<usize> = model.requests_of("second").iter().filter(is_question).map(|record| record.round).collect();
    assert_eq!(rounds, [0, 1]);
    assert_eq!(Reported::of(&ended), billed(&model.bill_of("second")));
}
