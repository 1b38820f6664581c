//! Every recorded stream of the real Gemini CLI, read line by line: verdict, usage and counts as one table that people review, and the
//! tokens held against what the model server billed.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use agent_sdk::agent::{Agent, Detail, LedgerEntry, ProcessEnd, Seen, StreamSummary};
use agent_sdk::agents::gemini::Gemini;
use agent_sdk::event::Event;
use agent_sdk::usage::Usage;
use agent_sdk::verdict::Reason;
use proptest::prelude::*;
use serde_json::Value;

const VERSIONS: &[(&str, usize)] = &[("gemini-0.61.0", 80), ("gemini-0.55.1", 3)];

/// One recorded run.
struct Recording {
    name: String,
    stream: Vec<u8>,
    stderr: String,
    process: ProcessEnd,
    /// [prompt, said, cache read, cache write, reasoning] of each answer that the model server gave: on this wire the prompt includes the
    /// cache, and what was said excludes the reasoning.
    bills: Vec<[u64; 5]>,
}

fn recordings() -> Vec<Recording> {
    let mut all = Vec::new();
    for (version, least) in VERSIONS {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version);
        let mut names: Vec<_> = std::fs::read_dir(&dir)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".meta.json").map(str::to_owned))
            .collect();
        names.sort();
        assert!(names.len() >= *least, "recordings are missing from {}", dir.display());
        all.extend(names.into_iter().map(|name| read_recording(&dir, version, &name)));
    }
    all
}

fn read_recording(dir: &Path, version: &str, name: &str) -> Recording {
    let meta: Value = serde_json::from_slice(&std::fs::read(dir.join(format!("{name}.meta.json"))).unwrap()).unwrap();
    let exit = meta["exit"].as_i64().unwrap();
    let process = u8::try_from(exit).map_or_else(|_| ProcessEnd::Signaled(i32::try_from(-exit).unwrap()), ProcessEnd::Exited);
    let bills = meta["requests"].as_array().unwrap().iter().filter_map(|request| {
        // "2 POST /v1beta/models/… -> 200 [1000, 50, 200, 30, 10]"
        let bill = request.as_str().unwrap().strip_suffix(']')?.rsplit_once('[')?.1;
        let counts: Vec<u64> = bill.split(", ").map(|count| count.parse().unwrap()).collect();
        Some(counts.try_into().unwrap())
    });
    Recording {
        stream: std::fs::read(dir.join(format!("{name}.jsonl"))).unwrap(),
        stderr: std::fs::read_to_string(dir.join(format!("{name}.stderr"))).unwrap_or_default(),
        process,
        bills: bills.collect(),
        name: format!("{version}/{name}"),
    }
}

fn recording(name: &str) -> Recording {
    recordings().into_iter().find(|recording| recording.name == format!("gemini-0.61.0/{name}")).unwrap()
}

fn read(stream: &[u8], detail: Detail) -> (StreamSummary, Vec<Event>) {
    let mut reader = Gemini.reader(detail);
    let mut events = Vec::new();
    for line in stream.split(|byte| *byte == b'\n') {
        reader.read_line(line, &mut |event| events.push(event));
    }
    (reader.summary().clone(), events)
}

/// What the model server billed, by the project's definition.
fn billed(recording: &Recording) -> Usage {
    let none =
        Usage { input_tokens: Some(0), output_tokens: Some(0), cache_read_tokens: Some(0), reasoning_tokens: Some(0), ..Usage::default() };
    recording.bills.iter().fold(none, |sum, [prompt, said, read, _, reasoning]| {
        sum.plus(&Usage {
            input_tokens: Some(*prompt),
            output_tokens: Some(said + reasoning),
            cache_read_tokens: Some(*read),
            reasoning_tokens: Some(*reasoning),
            ..Usage::default()
        })
    })
}

fn tokens(usage: &Usage) -> String {
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    format!(
        "in {} (read {}) out {} (reasoning {})",
        count(usage.input_tokens),
        count(usage.cache_read_tokens),
        count(usage.output_tokens),
        count(usage.reasoning_tokens)
    )
}

#[test]
fn every_recorded_run_gets_its_verdict() {
    let mut table = String::new();
    for recording in recordings() {
        let (summary, _) = read(&recording.stream, Detail::Verdict);
        let finding = Gemini.judge(&Seen { stream: &summary, process: recording.process, stderr_tail: &recording.stderr });
        writeln!(table, "{} ({:?})", recording.name, recording.process).unwrap();
        match finding {
            Some(finding) => writeln!(table, "  {} · {}", finding.reason.as_str(), finding.message.replace('\n', "⏎")).unwrap(),
            None => writeln!(table, "  left to the exit code").unwrap(),
        }
        writeln!(table, "  {}", tokens(&summary.usage)).unwrap();
        let by_model: Vec<_> = summary.usage_by_model.keys().map(String::as_str).collect();
        writeln!(
            table,
            "  turns {} · model {} of {by_model:?} · tool open {} · unknown {} · malformed {}",
            summary.turns.map_or("-".to_owned(), |turns| turns.to_string()),
            summary.model.as_deref().unwrap_or("-"),
            summary.tool_open,
            summary.unknown_lines,
            summary.malformed_lines
        )
        .unwrap();
        if let Some(answer) = &summary.answer {
            writeln!(table, "  said {answer:?}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_run_that_ended_used_exactly_what_was_billed() {
    let mut ended = 0;
    for recording in recordings() {
        let (summary, _) = read(&recording.stream, Detail::Verdict);
        // What another server answered is on no bill: there the repository had redirected the requests.
        if summary.end.is_none() || recording.name.ends_with("/cfg-evil") {
            continue;
        }
        ended += 1;
        // The loop was found in the middle of an answer, which the agent then no longer listened to.
        if recording.name.ends_with("/loop20") {
            assert!(summary.usage.input_tokens < billed(&recording).input_tokens);
            continue;
        }
        assert_eq!(summary.usage, billed(&recording), "{}", recording.name);
        assert_eq!(Usage::sum(summary.usage_by_model.values()).input_tokens.unwrap_or(0), summary.usage.input_tokens.unwrap());
    }
    assert!(ended > 40, "only {ended} runs ended");
}

#[test]
fn a_run_that_was_killed_says_nothing_of_usage() {
    let killed: Vec<_> = recordings()
        .into_iter()
        .map(|recording| read(&recording.stream, Detail::Verdict).0)
        .filter(|summary| summary.end.is_none())
        .collect();
    assert!(killed.len() > 15 && killed.iter().all(|summary| summary.usage.is_empty()));
}

#[test]
fn both_details_come_to_the_same_summary() {
    for recording in recordings() {
        let (verdict, _) = read(&recording.stream, Detail::Verdict);
        let (full, _) = read(&recording.stream, Detail::Full);
        assert_eq!(verdict, full, "{}", recording.name);
    }
}

#[test]
fn events_of_the_runs_that_show_each_kind() {
    for name in ["success", "pretext", "subagent", "toolfail", "refusal", "loop20", "err401"] {
        let (_, events) = read(&recording(name).stream, Detail::Full);
        let lines: Vec<_> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        insta::assert_snapshot!(format!("gemini_events_{name}"), lines.join("\n"));
    }
}

#[test]
fn a_tool_call_is_open_until_it_is_answered() {
    let mut reader = Gemini.reader(Detail::Verdict);
    let mut open = Vec::new();
    for line in recording("success").stream.split(|byte| *byte == b'\n').take(5) {
        reader.read_line(line, &mut |_| ());
        open.push(reader.summary().tool_open);
    }
    // init, the prompt, the call, its answer, the first of the text
    assert_eq!(open, [false, false, true, false, false]);
}

#[test]
fn lines_that_are_no_json_are_counted_and_kept_in_part() {
    let (summary, events) = read(b"Warning: something\n{\"type\":\"message\",\"cont\n\n[1]\n{\"type\":\"novelty\"}\n{}\n", Detail::Verdict);
    assert_eq!((summary.malformed_lines, summary.unknown_lines), (3, 2));
    assert!(events.contains(&Event::Malformed { head: "Warning: something".into() }));
    assert!(events.contains(&Event::Unknown { kind: "novelty".into() }));
}

#[test]
fn a_field_of_another_type_costs_that_field_only() {
    let line =
        br#"{"type":"result","status":"success","error":7,"stats":{"total_tokens":"x","input_tokens":5,"output_tokens":2,"models":[]}}"#;
    let (summary, _) = read(&[SAID, line].concat(), Detail::Verdict);
    assert_eq!((summary.usage.input_tokens, summary.usage.output_tokens, summary.usage.reasoning_tokens), (Some(5), Some(2), None));
    assert!(summary.end.unwrap().succeeded);
}

/// A line of an answer.
const SAID: &[u8] = b"{\"type\":\"message\",\"role\":\"assistant\",\"content\":\"Done.\",\"delta\":true}\n";

fn judged(stream: &[u8], code: u8) -> (Reason, String) {
    let (summary, _) = read(stream, Detail::Verdict);
    let finding = Gemini.judge(&Seen { stream: &summary, process: ProcessEnd::Exited(code), stderr_tail: "" }).unwrap();
    (finding.reason, finding.message)
}

#[test]
fn a_run_in_which_the_model_said_nothing_did_not_succeed() {
    let blocked = recording("hookblock");
    assert_eq!(judged(&blocked.stream, 0), (Reason::Stalled, "Agent execution blocked: no prompts today".into()));
    let (reason, message) = judged(&recording("overflow").stream, 0);
    assert!(reason == Reason::Stalled && message.contains("no text, and no tool was called"), "{message}");
    let end = br#"{"type":"result","status":"success"}"#;
    let call = b"{\"type\":\"tool_use\",\"tool_id\":\"1\"}\n{\"type\":\"tool_result\",\"tool_id\":\"1\"}\n";
    for stream in [[SAID, end].concat(), [call.as_slice(), end].concat()] {
        assert_eq!(judged(&stream, 0).0, Reason::Completed);
    }
}

#[test]
fn a_limit_of_turns_that_is_told_as_an_error_is_no_success() {
    assert_eq!(judged(&recording("hookturns").stream, 0), (Reason::TurnLimit, "Maximum session turns exceeded".into()));
}

#[test]
fn where_the_end_tells_nothing_that_is_known_the_exit_code_counts() {
    let end = br#"{"type":"result","status":"error","error":{"type":"FatalInputError","message":"odd"}}"#;
    for (code, reason) in [(42, Reason::InvalidTask), (52, Reason::ConfigurationFailed), (1, Reason::AgentFailed), (0, Reason::AgentFailed)]
    {
        assert_eq!(judged(end, code), (reason, "odd".into()));
    }
    let known = br#"{"type":"result","status":"error","error":{"message":"API key not valid"}}"#;
    assert_eq!(judged(known, 42).0, Reason::AuthenticationFailed);
}

/// Lines of a session's file and of the telemetry file, as 0.61.0 writes them.
struct Ledgers(Box<dyn agent_sdk::agent::StreamReader>);

impl Ledgers {
    fn session(&mut self, earlier: bool, line: &str) {
        self.0.read_ledger(&LedgerEntry { ledger: 0, file: Path::new("p/chats/s.jsonl"), earlier, content: line.as_bytes() }, &mut |_| ());
    }

    fn telemetry(&mut self, attributes: &str) {
        let record = format!("{{\n  \"hrTime\": [1, 2],\n  \"attributes\": {attributes},\n  \"_body\": \"x\"\n}}");
        for line in record.lines() {
            let entry = LedgerEntry { ledger: 1, file: Path::new("telemetry.log"), earlier: false, content: line.as_bytes() };
            self.0.read_ledger(&entry, &mut |_| ());
        }
    }

    fn counts(&self) -> (Option<u64>, Option<u64>) {
        (self.0.summary().usage.input_tokens, self.0.summary().usage.output_tokens)
    }
}

fn answer(id: &str, said: u64) -> String {
    format!(
        r#"{{"id":"{id}","type":"gemini","content":"","tokens":{{"input":1230,"output":{said},"cached":200,"thoughts":10,"tool":0,"total":1280}},"model":"gemini-x"}}"#
    )
}

#[test]
fn a_session_s_file_tells_the_tokens_of_each_answer_once() {
    let mut run = Ledgers(Gemini.reader(Detail::Verdict));
    run.session(true, &answer("of-the-run-before", 40));
    assert_eq!(run.counts(), (None, None));
    run.session(false, &answer("of-the-run-before", 40));
    run.session(false, r#"{"$set":{"lastUpdated":"2026-11-21T13:21:30.306Z"}}"#);
    run.session(false, &answer("a", 40));
    run.session(false, &answer("a", 40));
    run.session(false, &answer("b", 60));
    assert_eq!(run.counts(), (Some(2460), Some(120)));
    // Calls that choose the model are in no session.
    run.telemetry(
        r#"{"event.name":"gemini_cli.api_response","role":"utility_router","model":"lite","input_token_count":7,"output_token_count":3}"#,
    );
    run.telemetry(
        r#"{"event.name":"gemini_cli.api_response","role":"main","model":"gemini-x","input_token_count":1230,"output_token_count":40}"#,
    );
    assert_eq!(run.counts(), (Some(2467), Some(123)));
    assert_eq!(run.0.summary().model.as_deref(), Some("gemini-x"));
    // The end has all of it, and what is read after it changes nothing.
    run.0.read_line(br#"{"type":"result","status":"success","stats":{"total_tokens":9,"input_tokens":5,"output_tokens":3,"models":{"m":{"total_tokens":9,"input_tokens":5,"output_tokens":3}}}}"#, &mut |_| ());
    run.session(false, &answer("c", 40));
    assert_eq!(run.counts(), (Some(5), Some(4)));
    assert_eq!(run.0.summary().usage_by_model.len(), 1);
}

#[test]
fn failures_that_the_stream_does_not_tell_are_in_the_telemetry() {
    let mut run = Ledgers(Gemini.reader(Detail::Verdict));
    let error = r#"{"event.name":"gemini_cli.api_error","role":"main","status_code":503,"error":"{\"error\":{\"code\":503,\"message\":\"The model is overloaded.\"}}"}"#;
    run.telemetry(error);
    assert_eq!(run.0.summary().retries, 0);
    run.telemetry(error);
    run.telemetry(r#"{"event.name":"gemini_cli.api_error","role":"main","error":"exception TypeError: fetch failed sending request"}"#);
    let summary = run.0.summary();
    assert_eq!((summary.retries, summary.last_error.as_ref().unwrap().reason), (2, Some(Reason::NetworkFailed)));
    let finding = Gemini.judge(&Seen { stream: summary, process: ProcessEnd::Exited(0), stderr_tail: "" }).unwrap();
    assert_eq!(finding.reason, Reason::NetworkFailed);
    run.telemetry(r#"{"event.name":"gemini_cli.api_response","role":"main","finish_reasons":["stop"]}"#);
    assert_eq!(run.0.summary().retries, 0);
}

#[test]
fn an_answer_that_the_output_limit_cut_is_known_from_the_telemetry_however_late_it_comes() {
    let mut run = Ledgers(Gemini.reader(Detail::Verdict));
    run.0.read_line(SAID, &mut |_| ());
    run.0.read_line(br#"{"type":"result","status":"success","stats":{}}"#, &mut |_| ());
    let finish = |word: &str| format!(r#"{{"event.name":"gemini_cli.api_response","role":"main","finish_reasons":["stop","{word}"]}}"#);
    run.telemetry(&finish("length"));
    assert_eq!(run.0.summary().end.as_ref().unwrap().reason, Some(Reason::OutputLimit));
    // That was an answer before the last one.
    run.telemetry(&finish("stop"));
    assert!(run.0.summary().end.as_ref().unwrap().succeeded);
}

#[test]
fn an_error_that_the_stream_calls_unknown_is_on_stderr() {
    let end =
        br#"{"type":"result","status":"error","error":{"type":"unknown","message":"[API Error: An unknown error occurred.]"},"stats":{}}"#;
    let (summary, _) = read(end, Detail::Verdict);
    let said = "Error when talking to Gemini API Full report available at: /tmp/gemini-client-error-x.json ";
    for (told, reason) in [
        ("RetryableQuotaError: Resource has been exhausted.\n  cause: {\n    code: 429,\n", Reason::RateLimited),
        ("RetryableQuotaError: The model is overloaded.\n    at f (file:///x.js:1:2)\n  status: 503\n}\n", Reason::Overloaded),
        ("TypeError: terminated\n    at f\n", Reason::NetworkFailed),
        ("Error: exception TypeError: fetch failed sending request\n", Reason::NetworkFailed),
    ] {
        let stderr = format!("YOLO mode is enabled.\n{said}{told}");
        let finding = Gemini.judge(&Seen { stream: &summary, process: ProcessEnd::Exited(1), stderr_tail: &stderr }).unwrap();
        assert_eq!((finding.reason, finding.message.as_str()), (reason, told.lines().next().unwrap()));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)) {
        for detail in [Detail::Verdict, Detail::Full] {
            let mut reader = Gemini.reader(detail);
            for (number, line) in lines.iter().enumerate() {
                reader.read_line(line, &mut |_| ());
                reader.read_ledger(&LedgerEntry { ledger: number % 2, file: Path::new("x"), earlier: false, content: line }, &mut |_| ());
            }
        }
    }

    /// Real lines, cut and with bytes changed: nearer to what goes wrong than noise is.
    #[test]
    fn no_damage_makes_it_panic(which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        thread_local!(static LINES: Vec<Vec<u8>> = recordings().iter().flat_map(|recording| recording.stream.split(|byte| *byte == b'\n').filter(|line| (1..20_000).contains(&line.len())).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect());
        LINES.with(|lines| {
            let line = which.get(lines);
            let mut damaged = line.clone();
            *at.get_mut(&mut damaged) = byte;
            for bytes in [&line[..cut.index(line.len())], &damaged] {
                let (summary, _) = read(bytes, Detail::Full);
                prop_assert!(summary.malformed_lines <= bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1);
            }
            Ok(())
        })?;
    }
}
