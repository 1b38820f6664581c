//! Every recorded run of the real OpenCode, its stream and the ledger beside it read line by line: verdict, usage and counts as one table
//! that people review, and the tokens held against what the model server billed.
//!
//! The recordings `ledger-*` are of runs with the runner's plugin, all others of runs without: there the stream is all there is.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use agent_sdk::agent::{Agent, Detail, LedgerEntry, ProcessEnd, Seen, StreamReader, StreamSummary};
use agent_sdk::agents::opencode::OpenCode;
use agent_sdk::event::Event;
use agent_sdk::usage::Usage;
use proptest::prelude::*;
use serde_json::Value;

const VERSION: &str = "opencode-1.18.33";

/// Recorded where the repository redirects the requests: what another server answered is on no bill.
const REDIRECTED: &str = "cfg-evil";

/// One recorded run.
struct Recording {
    name: String,
    stream: Vec<u8>,
    ledger: Option<Vec<u8>>,
    stderr: String,
    process: ProcessEnd,
    /// What the model server billed for whole answers; sub-agents and titles among them.
    billed: Usage,
    /// Part of it: the calls that offer no tools, titles above all.
    auxiliary: Usage,
    /// Whether the record of the bill is whole: of runs in a loop only the first requests were kept.
    has_whole_bill: bool,
}

fn recordings() -> Vec<Recording> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(VERSION);
    let mut names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".meta.json").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() > 60, "the recordings are missing from {}", dir.display());
    names.into_iter().map(|name| read_recording(&dir, name)).collect()
}

fn recording(name: &str) -> Recording {
    recordings().into_iter().find(|recording| recording.name == name).unwrap()
}

fn read_recording(dir: &Path, name: String) -> Recording {
    let meta: Value = serde_json::from_slice(&std::fs::read(dir.join(format!("{name}.meta.json"))).unwrap()).unwrap();
    let exit = meta["exit"].as_i64().unwrap_or(-9);
    let process = u8::try_from(exit).map_or_else(|_| ProcessEnd::Signaled(i32::try_from(-exit).unwrap()), ProcessEnd::Exited);
    let requests = meta["requests"].as_array().unwrap().iter().map(|request| request.as_str().unwrap());
    let bills =
        |wanted: fn(&str) -> bool| Usage::sum(&requests.clone().filter(|request| wanted(request)).filter_map(bill).collect::<Vec<_>>());
    Recording {
        stream: std::fs::read(dir.join(format!("{name}.jsonl"))).unwrap(),
        ledger: std::fs::read(dir.join(format!("{name}.ledger.jsonl"))).ok(),
        stderr: std::fs::read_to_string(dir.join(format!("{name}.stderr"))).unwrap_or_default(),
        process,
        billed: bills(|_| true),
        auxiliary: bills(|request| request.contains("tools=0 ")),
        has_whole_bill: meta["requests_total"] == requests.len(),
        name,
    }
}

/// "2 POST /v1/messages … -> 200 [1000, 50, 200, 30, 10]": input, output, cached, cache write, reasoning.
fn bill(request: &str) -> Option<Usage> {
    let counts: Vec<u64> = request.strip_suffix(']')?.rsplit_once('[')?.1.split(", ").map(|count| count.parse().unwrap()).collect();
    let &[input, output, read, write, reasoning] = &counts[..] else { panic!("{request}") };
    // Anthropic's input is without the cache, OpenAI's and Google's with it; Google's output is without the reasoning.
    let (cache, reasoned) = match request {
        request if request.contains("/v1/messages") => (read + write, 0),
        request if request.contains("enerateContent") => (0, reasoning),
        _ => (0, 0),
    };
    let usage = Usage { input_tokens: Some(input + cache), output_tokens: Some(output + reasoned), ..Usage::default() };
    Some(Usage { cache_read_tokens: Some(read), cache_write_tokens: Some(write), ..usage })
}

/// As the runner reads it: the ledger once more when the stream is over.
fn read(recording: &Recording, detail: Detail) -> (StreamSummary, Vec<Event>) {
    let mut reader = OpenCode.reader(detail);
    let mut events = Vec::new();
    read_lines(reader.as_mut(), &recording.stream, &mut events);
    read_ledger(reader.as_mut(), recording.ledger.as_deref().unwrap_or_default(), &mut events);
    (reader.summary().clone(), events)
}

fn read_lines(reader: &mut dyn StreamReader, stream: &[u8], events: &mut Vec<Event>) {
    stream.split(|byte| *byte == b'\n').for_each(|line| reader.read_line(line, &mut |event| events.push(event)));
}

fn read_ledger(reader: &mut dyn StreamReader, ledger: &[u8], events: &mut Vec<Event>) {
    for content in ledger.split(|byte| *byte == b'\n') {
        let entry = LedgerEntry { ledger: 0, file: Path::new("ledger.jsonl"), earlier: false, content };
        reader.read_ledger(&entry, &mut |event| events.push(event));
    }
}

/// The tokens that are held against the bill: what a provider's protocol cannot say is on no bill.
fn tokens_of(usage: &Usage) -> [u64; 3] {
    [usage.input_tokens, usage.cache_read_tokens, usage.output_tokens].map(Option::unwrap_or_default)
}

fn shown(usage: &Usage) -> String {
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    let cost = usage.cost_usd.map_or("-".to_owned(), |cost| format!("{cost:.6}"));
    format!(
        "in {} (read {}, written {}) out {} (reasoning {}) ${cost}",
        count(usage.input_tokens),
        count(usage.cache_read_tokens),
        count(usage.cache_write_tokens),
        count(usage.output_tokens),
        count(usage.reasoning_tokens)
    )
}

#[test]
fn every_recorded_run_gets_its_verdict() {
    let mut table = String::new();
    for recording in recordings() {
        let (summary, _) = read(&recording, Detail::Verdict);
        let finding = OpenCode.judge(&Seen { stream: &summary, process: recording.process, stderr_tail: &recording.stderr });
        writeln!(table, "{} ({:?})", recording.name, recording.process).unwrap();
        match finding {
            Some(finding) => writeln!(table, "  {} · {}", finding.reason.as_str(), finding.message).unwrap(),
            None => writeln!(table, "  left to the exit code").unwrap(),
        }
        writeln!(table, "  {}", shown(&summary.usage)).unwrap();
        let by_model: Vec<_> = summary.usage_by_model.keys().map(String::as_str).collect();
        writeln!(
            table,
            "  turns {} · retries {} · empty steps {} · ended {} · models {by_model:?} · unknown {} · malformed {}",
            summary.turns.map_or("-".to_owned(), |turns| turns.to_string()),
            summary.retries,
            summary.empty_steps,
            summary.end.is_some(),
            summary.unknown_lines,
            summary.malformed_lines
        )
        .unwrap();
    }
    insta::assert_snapshot!(table);
}

/// With the ledger everything is counted, whoever asked.
#[test]
fn a_run_with_a_ledger_used_exactly_what_was_billed() {
    let mut ended = 0;
    for recording in
        recordings().into_iter().filter(|recording| recording.ledger.is_some() && matches!(recording.process, ProcessEnd::Exited(_)))
    {
        let (summary, _) = read(&recording, Detail::Verdict);
        assert_eq!(tokens_of(&summary.usage), tokens_of(&recording.billed), "{}", recording.name);
        assert!(summary.end.is_some() && summary.agent_version.as_deref() == Some("1.18.33"), "{}", recording.name);
        ended += 1;
    }
    assert!(ended >= 3, "only {ended} runs ended");
}

/// Without it, what the main session alone was billed; titles and sub-agents are not in the stream.
#[test]
fn a_run_without_a_ledger_used_what_its_main_session_was_billed() {
    let mut ended = 0;
    let on_the_bill = |recording: &Recording| recording.process == ProcessEnd::Exited(0) && recording.name != REDIRECTED;
    for recording in recordings().into_iter().filter(|recording| recording.ledger.is_none() && on_the_bill(recording)) {
        let (summary, _) = read(&recording, Detail::Verdict);
        let (seen, billed, apart) = (tokens_of(&summary.usage), tokens_of(&recording.billed), tokens_of(&recording.auxiliary));
        let main = [0, 1, 2].map(|at| billed[at] - apart[at]);
        if ["subagent", "cfg"].contains(&recording.name.as_str()) {
            assert!(seen.iter().zip(main).all(|(seen, billed)| *seen <= billed), "{}", recording.name);
        } else {
            assert_eq!(seen, main, "{}", recording.name);
        }
        ended += 1;
    }
    assert!(ended > 20, "only {ended} runs ended");
}

/// Whatever instant a run is cut at, nothing is counted that was not billed until then.
#[test]
fn every_prefix_of_every_run_counts_at_most_what_was_billed() {
    for recording in recordings().into_iter().filter(|recording| recording.has_whole_bill && recording.name != REDIRECTED) {
        let billed = tokens_of(&recording.billed);
        let mut reader = OpenCode.reader(Detail::Verdict);
        for line in recording.stream.split(|byte| *byte == b'\n') {
            reader.read_line(line, &mut |_| ());
            assert!(tokens_of(&reader.summary().usage).iter().zip(billed).all(|(seen, billed)| *seen <= billed), "{}", recording.name);
        }
    }
}

#[test]
fn a_step_is_counted_once_whoever_tells_of_it_first() {
    let recording = recording("ledger-subagent");
    let (summary, _) = read(&recording, Detail::Verdict);
    let mut reader = OpenCode.reader(Detail::Verdict);
    read_ledger(reader.as_mut(), recording.ledger.as_deref().unwrap(), &mut Vec::new());
    read_lines(reader.as_mut(), &recording.stream, &mut Vec::new());
    assert_eq!(reader.summary().usage, summary.usage);
    assert_eq!(reader.summary().turns, summary.turns);
}

#[test]
fn both_details_come_to_the_same_summary() {
    for recording in recordings() {
        let (verdict, _) = read(&recording, Detail::Verdict);
        let (full, _) = read(&recording, Detail::Full);
        assert_eq!(verdict, full, "{}", recording.name);
    }
}

#[test]
fn events_of_the_runs_that_show_each_kind() {
    for name in ["success", "toolfail", "err401", "refusal", "ledger-subagent", "ledger-cut-before-headers"] {
        let (_, events) = read(&recording(name), Detail::Full);
        let lines: Vec<_> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        insta::assert_snapshot!(format!("events_{name}"), lines.join("\n"));
    }
}

#[test]
fn a_field_of_another_type_costs_that_field_only() {
    let line = br#"{"type":"step_finish","sessionID":7,"part":{"id":"p","reason":[],"tokens":{"input":5,"output":"x","reasoning":2.0,"cache":{"read":null}}}}"#;
    let mut reader = OpenCode.reader(Detail::Verdict);
    reader.read_line(line, &mut |_| ());
    let summary = reader.summary();
    assert_eq!((summary.usage.input_tokens, summary.usage.output_tokens, summary.usage.cache_read_tokens), (Some(5), Some(2), None));
    assert_eq!(summary.malformed_lines, 0);
}

/// Some gateways tell no tokens: one that works is not going round in circles.
#[test]
fn only_steps_that_do_nothing_are_empty() {
    let finish = |id: u32, reason: &str| {
        format!(
            r#"{{"type":"step_finish","sessionID":"s","part":{{"id":"p{id}","messageID":"m{id}","type":"step-finish","reason":"{reason}","cost":0,"tokens":{{"input":0,"output":0}}}}}}"#
        )
    };
    let call = r#"{"type":"tool_use","sessionID":"s","part":{"tool":"bash","state":{}}}"#.to_owned();
    let text = r#"{"type":"text","sessionID":"s","part":{"text":"Next."}}"#.to_owned();
    let empty_steps = |lines: &[String]| {
        let mut reader = OpenCode.reader(Detail::Verdict);
        read_lines(reader.as_mut(), lines.join("\n").as_bytes(), &mut Vec::new());
        reader.summary().empty_steps
    };
    let lines: Vec<_> = (0..30).flat_map(|id| [call.clone(), finish(id, "tool-calls")]).collect();
    assert_eq!(empty_steps(&lines), 0);
    // The library's word for why an answer was over is not always known.
    let lines: Vec<_> = (0..30).flat_map(|id| [text.clone(), finish(id, "unknown")]).collect();
    assert_eq!(empty_steps(&lines), 1);
    let lines: Vec<_> = (0..30).map(|id| finish(id, "unknown")).collect();
    assert_eq!(empty_steps(&lines), 30);
}

#[test]
fn lines_that_are_no_json_are_counted_and_kept_in_part() {
    let mut reader = OpenCode.reader(Detail::Verdict);
    let mut events = Vec::new();
    read_lines(reader.as_mut(), b"Warning: something\n{\"type\":\"text\",\"pa\n\n[1]\n{\"type\":\"novelty\"}\n{}\n", &mut events);
    assert_eq!((reader.summary().malformed_lines, reader.summary().unknown_lines), (3, 2));
    assert!(events.contains(&Event::Malformed { head: "Warning: something".into() }));
    assert!(events.contains(&Event::Unknown { kind: "novelty".into() }));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)) {
        for detail in [Detail::Verdict, Detail::Full] {
            let mut reader = OpenCode.reader(detail);
            read_lines(reader.as_mut(), &lines.join(&b'\n'), &mut Vec::new());
            read_ledger(reader.as_mut(), &lines.join(&b'\n'), &mut Vec::new());
        }
    }

    /// Real lines, cut and with bytes changed: nearer to what goes wrong than noise is.
    #[test]
    fn no_damage_makes_it_panic(which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        thread_local!(static LINES: Vec<Vec<u8>> = recordings().iter().flat_map(|recording| {
            let both = [recording.stream.clone(), recording.ledger.clone().unwrap_or_default()].concat();
            both.split(|byte| *byte == b'\n').filter(|line| (1..20_000).contains(&line.len())).map(<[u8]>::to_vec).collect::<Vec<_>>()
        }).collect());
        LINES.with(|lines| {
            let line = which.get(lines);
            let mut damaged = line.clone();
            *at.get_mut(&mut damaged) = byte;
            for bytes in [&line[..cut.index(line.len())], &damaged] {
                for detail in [Detail::Verdict, Detail::Full] {
                    let mut reader = OpenCode.reader(detail);
                    read_lines(reader.as_mut(), bytes, &mut Vec::new());
                    read_ledger(reader.as_mut(), bytes, &mut Vec::new());
                    prop_assert!(reader.summary().malformed_lines <= bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1);
                }
            }
            Ok(())
        })?;
    }
}
