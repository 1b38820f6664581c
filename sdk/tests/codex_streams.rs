//! Every recorded stream of the real Codex, read line by line: verdict, usage and counts as one table that people review, and the tokens
//! held against what the model server billed.
//!
//! Recordings named `…-rollouts` and `resumed-…` have the files beside them that Codex wrote beside its stream, of which only the lines
//! about tokens are kept.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use agent_sdk::agent::{Agent, Detail, LedgerEntry, ProcessEnd, Seen, StreamReader, StreamSummary};
use agent_sdk::agents::codex::Codex;
use agent_sdk::event::Event;
use agent_sdk::usage::Usage;
use proptest::prelude::*;
use serde_json::Value;

const VERSION: &str = "codex-0.169.0";

/// One recorded run.
struct Recording {
    name: String,
    stream: Vec<u8>,
    stderr: String,
    /// `None`: it was still running when the recording was ended.
    process: Option<ProcessEnd>,
    /// [input, output, cache read, cache write, reasoning] of each answer that the model server gave.
    bills: Vec<[u64; 5]>,
    /// Each rollout, and how many of its lines were there before the run.
    rollouts: Vec<(PathBuf, Vec<u8>, usize)>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(VERSION)
}

fn recordings() -> Vec<Recording> {
    let mut names: Vec<_> = std::fs::read_dir(directory())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".meta.json").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() > 60, "the recordings are missing from {}", directory().display());
    names.into_iter().map(read_recording).collect()
}

fn recording(name: &str) -> Recording {
    read_recording(name.to_owned())
}

fn read_recording(name: String) -> Recording {
    let dir = directory();
    let meta: Value = serde_json::from_slice(&std::fs::read(dir.join(format!("{name}.meta.json"))).unwrap()).unwrap();
    let ended = |exit: i64| u8::try_from(exit).map_or_else(|_| ProcessEnd::Signaled(i32::try_from(-exit).unwrap()), ProcessEnd::Exited);
    let bills = meta["requests"].as_array().unwrap().iter().filter_map(|request| {
        // "2 POST /v1/responses … -> 200 [1000, 50, 200, 30, 10]": input, output, cached, cache write, reasoning
        let request = request.as_str().unwrap();
        let bill = request.strip_suffix(']')?.rsplit_once('[')?.1;
        let counts: Vec<u64> = bill.split(", ").map(|count| count.parse().unwrap()).collect();
        counts.try_into().ok()
    });
    let rollouts = meta["rollouts"]["earlier_lines"].as_object().into_iter().flatten().map(|(file, earlier)| {
        let content = std::fs::read(dir.join(format!("{name}.{file}"))).unwrap();
        (PathBuf::from(file), content, usize::try_from(earlier.as_u64().unwrap()).unwrap())
    });
    Recording {
        stream: std::fs::read(dir.join(format!("{name}.jsonl"))).unwrap(),
        stderr: std::fs::read_to_string(dir.join(format!("{name}.stderr"))).unwrap_or_default(),
        process: meta["exit"].as_i64().map(ended),
        bills: bills.collect(),
        rollouts: rollouts.collect(),
        name,
    }
}

fn reader_of(recording: &Recording, detail: Detail) -> (Box<dyn StreamReader>, Vec<Event>) {
    let (mut reader, mut events) = (Codex.reader(detail), Vec::new());
    for line in recording.stream.split(|byte| *byte == b'\n') {
        reader.read_line(line, &mut |event| events.push(event));
    }
    for (file, content, earlier) in &recording.rollouts {
        for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let entry = LedgerEntry { ledger: 0, file, earlier: number < *earlier, content: line };
            reader.read_ledger(&entry, &mut |event| events.push(event));
        }
    }
    (reader, events)
}

fn read(recording: &Recording, detail: Detail) -> (StreamSummary, Vec<Event>) {
    let (reader, events) = reader_of(recording, detail);
    (reader.summary().clone(), events)
}

fn read_bytes(stream: &[u8], detail: Detail) -> (StreamSummary, Vec<Event>) {
    let (mut reader, mut events) = (Codex.reader(detail), Vec::new());
    for line in stream.split(|byte| *byte == b'\n') {
        reader.read_line(line, &mut |event| events.push(event));
    }
    (reader.summary().clone(), events)
}

/// What the model server billed. The first recordings' server sent no cache writes, though it noted them.
fn billed(recording: &Recording) -> (u64, u64, u64, u64) {
    let sum = |at: usize| recording.bills.iter().map(|bill| bill[at]).sum();
    (sum(0), sum(2), sum(1), sum(4))
}

fn used(usage: &Usage) -> (u64, u64, u64, u64) {
    let count = |count: Option<u64>| count.unwrap_or(0);
    (count(usage.input_tokens), count(usage.cache_read_tokens), count(usage.output_tokens), count(usage.reasoning_tokens))
}

fn tokens(usage: &Usage) -> String {
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    format!(
        "in {} (read {}, written {}) out {} (reasoning {})",
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
        let process = recording.process.unwrap_or(ProcessEnd::Signaled(9));
        let finding = Codex.judge(&Seen { stream: &summary, process, stderr_tail: &recording.stderr });
        writeln!(table, "{} ({:?})", recording.name, recording.process).unwrap();
        match finding {
            Some(finding) => writeln!(table, "  {} · {}", finding.reason.as_str(), finding.message).unwrap(),
            None => writeln!(table, "  left to the exit code").unwrap(),
        }
        writeln!(table, "  {}", tokens(&summary.usage)).unwrap();
        let by_model: Vec<_> = summary.usage_by_model.keys().map(String::as_str).collect();
        writeln!(
            table,
            "  turns {} · retries {} · tool open {} · models {by_model:?} · unknown {} · malformed {}",
            summary.turns.map_or("-".to_owned(), |turns| turns.to_string()),
            summary.retries,
            summary.tool_open,
            summary.unknown_lines,
            summary.malformed_lines
        )
        .unwrap();
    }
    insta::assert_snapshot!(table);
}

#[test]
fn nothing_in_the_recordings_is_unknown() {
    for recording in recordings() {
        let (summary, _) = read(&recording, Detail::Full);
        assert_eq!((summary.unknown_lines, summary.malformed_lines), (0, 0), "{}", recording.name);
    }
}

#[test]
fn a_turn_that_was_completed_used_exactly_what_was_billed() {
    let mut completed = 0;
    for recording in recordings() {
        let (summary, events) = read(&recording, Detail::Verdict);
        // A thread that is resumed without its rollout has its earlier turns in its total, too; nobody can tell.
        let is_completed =
            events.iter().any(|event| matches!(event, Event::Ended { detail: Some(detail), .. } if detail == "turn.completed"));
        if is_completed && recording.name != "res2" {
            completed += 1;
            assert_eq!(used(&summary.usage), billed(&recording), "{}", recording.name);
        }
    }
    assert!(completed > 25, "only {completed} turns were completed");
}

#[test]
fn a_turn_that_failed_used_what_its_rollout_says() {
    let late = recording("late401-rollouts");
    assert!(!late.bills.is_empty());
    let (with, _) = read(&late, Detail::Verdict);
    assert_eq!(used(&with.usage), billed(&late));
    assert_eq!((with.turns, with.model.as_deref(), with.agent_version.as_deref()), (Some(1), Some("gpt-5.5"), Some("0.169.0")));
    let (without, _) = read_bytes(&late.stream, Detail::Verdict);
    assert!(without.usage.is_empty(), "the stream of a turn that failed says no tokens");
}

#[test]
fn a_resumed_thread_s_earlier_tokens_are_not_this_run_s() {
    let second = recording("resumed-second");
    let (summary, _) = read(&second, Detail::Verdict);
    assert_eq!((used(&summary.usage), summary.turns), (billed(&second), Some(2)));
    let (without, _) = read_bytes(&second.stream, Detail::Verdict);
    assert_eq!(without.usage.input_tokens, Some(2 * summary.usage.input_tokens.unwrap()), "the stream tells the thread's total");
}

#[test]
fn a_sub_agent_s_tokens_are_counted_though_the_stream_has_them_not() {
    let recording = recording("subagent-rollouts");
    let (summary, _) = read(&recording, Detail::Verdict);
    assert_eq!(used(&summary.usage), billed(&recording));
    let (without, _) = read_bytes(&recording.stream, Detail::Verdict);
    assert!(without.usage.input_tokens < summary.usage.input_tokens);
    assert_eq!(used(&summary.usage_by_model["gpt-6.1-sol"]), billed(&recording));
}

/// Whatever instant a run is cut at, nothing is counted that was not billed until then.
#[test]
fn every_prefix_of_every_run_counts_at_most_what_was_billed() {
    for recording in recordings().into_iter().filter(|recording| !["res2", "resumed-second"].contains(&recording.name.as_str())) {
        let bill = billed(&recording);
        let mut reader = Codex.reader(Detail::Verdict);
        for line in recording.stream.split(|byte| *byte == b'\n') {
            reader.read_line(line, &mut |_| ());
            let used = used(&reader.summary().usage);
            assert!(used.0 <= bill.0 && used.2 <= bill.2, "{}", recording.name);
        }
    }
}

#[test]
fn both_details_come_to_the_same_summary() {
    for recording in recordings() {
        assert_eq!(read(&recording, Detail::Verdict).0, read(&recording, Detail::Full).0, "{}", recording.name);
    }
}

#[test]
fn events_of_the_runs_that_show_each_kind() {
    for name in [
        "success",
        "pretext",
        "toolfail",
        "err401",
        "unreachable",
        "refusal",
        "maxtokens",
        "cfg",
        "success-unknownmodel",
        "subagent-rollouts",
    ] {
        let (_, events) = read(&recording(name), Detail::Full);
        let lines: Vec<_> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        insta::assert_snapshot!(format!("events_{name}"), lines.join("\n"));
    }
}

#[test]
fn a_tool_call_is_open_until_it_is_answered() {
    let recording = recording("success");
    let mut reader = Codex.reader(Detail::Verdict);
    let open: Vec<bool> = recording
        .stream
        .split(|byte| *byte == b'\n')
        .map(|line| {
            reader.read_line(line, &mut |_| ());
            reader.summary().tool_open
        })
        .collect();
    // thread, turn, the call, its answer, the last text
    assert_eq!(open[..5], [false, false, true, false, false]);
}

#[test]
fn a_field_of_another_type_costs_that_field_only() {
    let (summary, _) = read_bytes(
        br#"{"type":"item.completed","item":{"id":7,"type":"agent_message","text":"hi"}}
{"type":"turn.completed","usage":{"input_tokens":5,"cached_input_tokens":"x","output_tokens":2}}"#,
        Detail::Verdict,
    );
    assert_eq!((summary.usage.input_tokens, summary.usage.cache_read_tokens, summary.usage.output_tokens), (Some(5), None, Some(2)));
    assert_eq!((summary.answer.as_deref(), summary.malformed_lines), (Some("hi"), 0));
}

#[test]
fn lines_that_are_no_json_are_counted_and_kept_in_part() {
    let stream = b"Warning: something\n{\"type\":\"item.completed\",\"item\":{\"id\":\"item_1\",\"type\":\"command_execution\",\"comm\n\n[1]\n{\"type\":\"novelty\"}\n{}\n";
    let (summary, events) = read_bytes(stream, Detail::Verdict);
    assert_eq!((summary.malformed_lines, summary.unknown_lines), (3, 2));
    assert!(events.contains(&Event::Malformed { head: "Warning: something".into() }));
    assert!(events.contains(&Event::Unknown { kind: "novelty".into() }));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)) {
        for detail in [Detail::Verdict, Detail::Full] {
            read_bytes(&lines.join(&b'\n'), detail);
        }
    }

    /// Real lines, cut and with bytes changed: nearer to what goes wrong than noise is.
    #[test]
    fn no_damage_makes_it_panic(which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        thread_local!(static LINES: Vec<Vec<u8>> = recordings().iter().flat_map(|recording| {
            let rollouts = recording.rollouts.iter().map(|(_, content, _)| content);
            let lines = rollouts.chain([&recording.stream]).flat_map(|bytes| bytes.split(|byte| *byte == b'\n'));
            lines.filter(|line| (1..20_000).contains(&line.len())).map(<[u8]>::to_vec).collect::<Vec<_>>()
        }).collect());
        LINES.with(|lines| {
            let line = which.get(lines);
            let mut damaged = line.clone();
            *at.get_mut(&mut damaged) = byte;
            for bytes in [&line[..cut.index(line.len())], &damaged] {
                for detail in [Detail::Verdict, Detail::Full] {
                    let mut reader = Codex.reader(detail);
                    reader.read_line(bytes, &mut |_| ());
                    reader.read_ledger(&LedgerEntry { ledger: 0, file: Path::new("r"), earlier: false, content: bytes }, &mut |_| ());
                }
            }
        });
    }
}
