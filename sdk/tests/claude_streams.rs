//! Every recorded stream of the real Claude Code, read line by line: verdict, usage and counts as one table that people review,
//! and the tokens held against what the model server billed.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use agent_sdk::agent::{Agent, Detail, ProcessEnd, Seen, StreamSummary};
use agent_sdk::agents::claude::Claude;
use agent_sdk::event::Event;
use agent_sdk::usage::Usage;
use agent_sdk::verdict::Reason;
use proptest::prelude::*;
use serde_json::Value;

/// The first is the one of which everything was recorded; of the others, what they say otherwise.
const VERSIONS: &[&str] = &["claude-2.1.197", "claude-2.1.330"];

/// Recorded where the repository redirects the requests: what another server answered is on no bill.
const REDIRECTED: &[&str] = &["cfg-bare", "cfg-evil"];

/// One recorded run.
struct Recording {
    name: String,
    stream: Vec<u8>,
    stderr: String,
    process: ProcessEnd,
    /// [input, output, cache read, cache write] of each answer that the model server gave.
    bills: Vec<[u64; 4]>,
}

fn recordings() -> Vec<Recording> {
    VERSIONS.iter().flat_map(|version| recordings_of(version)).collect()
}

fn recordings_of(version: &str) -> Vec<Recording> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version);
    let mut names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".meta.json").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() > if version == VERSIONS[0] { 60 } else { 5 }, "the recordings are missing from {}", dir.display());
    let recordings = names.into_iter().map(|name| read_recording(&dir, name));
    let told_apart = |recording: Recording| match version {
        _ if version == VERSIONS[0] => recording,
        _ => Recording { name: format!("{version}/{}", recording.name), ..recording },
    };
    recordings.map(told_apart).collect()
}

fn read_recording(dir: &Path, name: String) -> Recording {
    let meta: Value = serde_json::from_slice(&std::fs::read(dir.join(format!("{name}.meta.json"))).unwrap()).unwrap();
    let exit = meta["exit"].as_i64().unwrap();
    let process = u8::try_from(exit).map_or_else(|_| ProcessEnd::Signaled(i32::try_from(-exit).unwrap()), ProcessEnd::Exited);
    let bills = meta["requests"].as_array().unwrap().iter().filter_map(|request| {
        // "2 POST /v1/messages … -> 200 [1000, 50, 200, 30, 10]": input, output, cached, cache write, reasoning
        let request = request.as_str().unwrap();
        let bill = request.strip_suffix(']')?.rsplit_once('[')?.1;
        let counts: Vec<u64> = bill.split(", ").map(|count| count.parse().unwrap()).collect();
        Some([counts[0], counts[1], counts[2], counts[3]])
    });
    Recording {
        stream: std::fs::read(dir.join(format!("{name}.jsonl"))).unwrap(),
        stderr: std::fs::read_to_string(dir.join(format!("{name}.stderr"))).unwrap_or_default(),
        process,
        bills: bills.collect(),
        name,
    }
}

fn read(stream: &[u8], detail: Detail) -> (StreamSummary, Vec<Event>) {
    let mut reader = Claude.reader(detail);
    let mut events = Vec::new();
    for line in stream.split(|byte| *byte == b'\n') {
        reader.read_line(line, &mut |event| events.push(event));
    }
    (reader.summary().clone(), events)
}

/// What the model server billed, by the project's definition: the prompt with its cache reads and writes.
fn billed(recording: &Recording) -> Usage {
    let mut usage = Usage {
        input_tokens: Some(0),
        output_tokens: Some(0),
        cache_read_tokens: Some(0),
        cache_write_tokens: Some(0),
        ..Usage::default()
    };
    for [input, output, read, write] in &recording.bills {
        usage = usage.plus(&Usage {
            input_tokens: Some(input + read + write),
            output_tokens: Some(*output),
            cache_read_tokens: Some(*read),
            cache_write_tokens: Some(*write),
            ..Usage::default()
        });
    }
    usage
}

fn tokens(usage: &Usage) -> String {
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    let cost = usage.cost_usd.map_or("-".to_owned(), |cost| format!("{cost:.6}"));
    format!(
        "in {} (read {}, written {}) out {} ${cost}",
        count(usage.input_tokens),
        count(usage.cache_read_tokens),
        count(usage.cache_write_tokens),
        count(usage.output_tokens)
    )
}

#[test]
fn every_recorded_run_gets_its_verdict() {
    let mut table = String::new();
    for recording in recordings() {
        let (summary, _) = read(&recording.stream, Detail::Verdict);
        let finding = Claude.judge(&Seen { stream: &summary, process: recording.process, stderr_tail: &recording.stderr });
        writeln!(table, "{} ({:?})", recording.name, recording.process).unwrap();
        match finding {
            Some(finding) => writeln!(table, "  {} · {}", finding.reason.as_str(), finding.message).unwrap(),
            None => writeln!(table, "  left to the exit code").unwrap(),
        }
        writeln!(table, "  {}", tokens(&summary.usage)).unwrap();
        let by_model: Vec<_> = summary.usage_by_model.keys().map(String::as_str).collect();
        writeln!(
            table,
            "  turns {} · retries {} · empty steps {} · tool open {} · models {by_model:?} · unknown {} · malformed {}",
            summary.turns.map_or("-".to_owned(), |turns| turns.to_string()),
            summary.retries,
            summary.empty_steps,
            summary.tool_open,
            summary.unknown_lines,
            summary.malformed_lines
        )
        .unwrap();
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_run_that_ended_used_exactly_what_was_billed() {
    let mut ended = 0;
    for recording in recordings() {
        let (summary, _) = read(&recording.stream, Detail::Verdict);
        if summary.end.is_none() || REDIRECTED.contains(&recording.name.as_str()) {
            continue;
        }
        ended += 1;
        let seen = Usage { cost_usd: None, cost_source: None, ..summary.usage };
        assert_eq!(seen, billed(&recording), "{}", recording.name);
        assert!(summary.usage.cost_usd.is_some(), "{}", recording.name);
    }
    assert!(ended > 40, "only {ended} runs ended");
}

#[test]
fn a_run_that_was_killed_used_at_most_what_was_billed_and_its_prompts_in_full() {
    let mut with_usage = 0;
    for recording in recordings() {
        let (summary, _) = read(&recording.stream, Detail::Verdict);
        if summary.end.is_some() {
            continue;
        }
        let bill = billed(&recording);
        assert_eq!(summary.usage.input_tokens.unwrap_or(0), bill.input_tokens.unwrap(), "{}", recording.name);
        assert_eq!(summary.usage.cache_read_tokens.unwrap_or(0), bill.cache_read_tokens.unwrap(), "{}", recording.name);
        assert_eq!(summary.usage.cache_write_tokens.unwrap_or(0), bill.cache_write_tokens.unwrap(), "{}", recording.name);
        assert!(summary.usage.output_tokens.unwrap_or(0) <= bill.output_tokens.unwrap(), "{}", recording.name);
        with_usage += usize::from(!summary.usage.is_empty());
    }
    assert!(with_usage >= 5, "only {with_usage} killed runs had usage");
}

/// Whatever instant a run is cut at, nothing is counted that was not billed until then.
#[test]
fn every_prefix_of_every_run_counts_at_most_what_was_billed() {
    for recording in recordings().into_iter().filter(|recording| !REDIRECTED.contains(&recording.name.as_str())) {
        let bill = billed(&recording);
        let mut reader = Claude.reader(Detail::Verdict);
        for line in recording.stream.split(|byte| *byte == b'\n') {
            reader.read_line(line, &mut |_| ());
            let usage = reader.summary().usage;
            assert!(usage.input_tokens.unwrap_or(0) <= bill.input_tokens.unwrap(), "{}", recording.name);
            assert!(usage.output_tokens.unwrap_or(0) <= bill.output_tokens.unwrap(), "{}", recording.name);
        }
    }
}

#[test]
fn the_models_make_the_total_at_each_line() {
    for recording in recordings() {
        let mut reader = Claude.reader(Detail::Verdict);
        for line in recording.stream.split(|byte| *byte == b'\n') {
            reader.read_line(line, &mut |_| ());
            let summary = reader.summary();
            let sum = Usage::sum(summary.usage_by_model.values());
            let tokens = |usage: &Usage| (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens);
            assert!(summary.usage_by_model.is_empty() || tokens(&sum) == tokens(&summary.usage), "{}: {summary:?}", recording.name);
        }
    }
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
    for name in ["success", "thinking", "subagent", "err401-max2", "refusal", "cfg-flags", "toolfail", "badmcp"] {
        let recording = recordings().into_iter().find(|recording| recording.name == name).unwrap();
        let (_, events) = read(&recording.stream, Detail::Full);
        let lines: Vec<_> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        insta::assert_snapshot!(format!("events_{name}"), lines.join("\n"));
    }
}

/// One line per kind of line, each with a field that is of no promised type.
#[test]
fn a_field_of_another_type_costs_that_field_only() {
    let line = br#"{"type":"assistant","message":{"id":"m1","model":7,"content":"hi","usage":{"input_tokens":5,"cache_read_input_tokens":"x","output_tokens":2.0}},"parent_tool_use_id":{}}"#;
    let (summary, _) = read(line, Detail::Verdict);
    assert_eq!((summary.usage.input_tokens, summary.usage.output_tokens), (Some(5), Some(2)));
    assert_eq!(summary.answer.as_deref(), Some("hi"));
    assert_eq!(summary.malformed_lines, 0);
}

/// Whatever stands beside a message's usage.
#[test]
fn odd_neighbours_cost_no_usage() {
    let deep =
        |depth: usize| format!(r#"[{{"type":"tool_use","id":"t","name":"Bash","input":{}{}}}]"#, "[".repeat(depth), "]".repeat(depth));
    let mut contents = vec![deep(120), deep(125), deep(100_000)];
    contents.extend(
        [
            "null",
            "7",
            "{}",
            r#"["text",7,null,[],{"type":"text","text":"hi"}]"#,
            r#"[{"type":"text","type":"text","text":"a","text":"b"}]"#,
            r#"[{"type":"tool_result","content":[7,"x",{"text":"y"}]}]"#,
        ]
        .map(str::to_owned),
    );
    for content in contents {
        let usage = r#"{"input_tokens":5,"output_tokens":2}"#;
        let line = format!(
            r#"{{"type":"assistant","message":{{"id":"m1","id":"m2","model":"x","content":{content},"usage":{usage}}},"parent_tool_use_id":null}}"#
        );
        for line in [line.replacen(r#""id":"m1","#, "", 1), line] {
            for detail in [Detail::Verdict, Detail::Full] {
                let (summary, _) = read(line.as_bytes(), detail);
                let head = &line[..line.len().min(200)];
                assert_eq!(
                    (summary.usage.input_tokens, summary.turns, summary.malformed_lines),
                    (Some(5), Some(1), 0),
                    "{detail:?} {head}"
                );
            }
        }
    }
    // No usage here, but nothing that is malformed either.
    for line in [
        r#"{"type":"assistant","message":"words"}"#,
        r#"{"type":"assistant","message":["a"]}"#,
        r#"{"type":"assistant","message":{"id":"m","usage":"none"}}"#,
        r#"{"type":"system","subtype":"task_updated","patch":"completed"}"#,
        r#"{"type":"system","subtype":"init","mcp_servers":["a",{"name":"b","status":"failed"}]}"#,
        r#"{"type":"stream_event","event":"ping"}"#,
    ] {
        assert_eq!(read(line.as_bytes(), Detail::Full).0.malformed_lines, 0, "{line}");
    }
    let end = r#"{"type":"result","subtype":"success","usage":7,"modelUsage":{"a":{"outputTokens":3},"b":"none"},"model_usage_since_last_result":[]}"#;
    let (summary, _) = read(end.as_bytes(), Detail::Verdict);
    assert_eq!((summary.usage.output_tokens, summary.end.is_some(), summary.malformed_lines), (Some(3), true, 0));
}

#[test]
fn a_message_in_several_events_is_counted_once() {
    let event = |output: u64, text: &str| {
        format!(
            r#"{{"type":"assistant","message":{{"id":"m1","model":"x","content":[{{"type":"text","text":"{text}"}}],"usage":{{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":{output}}}}},"parent_tool_use_id":null}}"#
        )
    };
    let stream = [event(1, "a"), event(1, "b"), event(7, "c")].join("\n");
    let (summary, _) = read(stream.as_bytes(), Detail::Verdict);
    assert_eq!(summary.usage.input_tokens, Some(15));
    assert_eq!(summary.usage.output_tokens, Some(7));
    assert_eq!(summary.turns, Some(1));
}

/// With `--include-partial-messages` even a run that is killed before its result has its generated tokens.
#[test]
fn partial_messages_make_the_live_output_exact() {
    let recording = recordings().into_iter().find(|recording| recording.name == "partial").unwrap();
    let cut = recording.stream.windows(15).position(|bytes| bytes == br#""type":"result""#).unwrap();
    let (summary, _) = read(&recording.stream[..cut - 1], Detail::Verdict);
    assert!(summary.end.is_none());
    assert_eq!(Usage { ..summary.usage }, billed(&recording));
    assert_eq!(summary.turns, Some(1));
}

/// JavaScript prints half a surrogate pair when it cuts a text in an emoji, and a tool may print bytes that are no UTF-8.
#[test]
fn text_that_json_may_not_hold_does_not_cost_the_line() {
    for text in [&br"half \ud83d"[..], br"\udc00 tail", br"whole \ud83d\ude00 \\ud83d", b"bytes \xff\xfe"] {
        let mut line = br#"{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":""#.to_vec();
        line.extend_from_slice(text);
        line.extend_from_slice(br#"","total_cost_usd":1,"usage":{"input_tokens":3,"output_tokens":4}}"#);
        let (summary, _) = read(&line, Detail::Verdict);
        assert_eq!(summary.malformed_lines, 0, "{}", text.escape_ascii());
        assert_eq!(summary.usage.output_tokens, Some(4), "{}", text.escape_ascii());
        assert!(summary.end.unwrap().succeeded);
    }
}

#[test]
fn a_tool_call_is_open_until_it_is_answered() {
    let recording = recordings().into_iter().find(|recording| recording.name == "success").unwrap();
    let mut reader = Claude.reader(Detail::Verdict);
    let mut open = BTreeMap::new();
    for (number, line) in recording.stream.split(|byte| *byte == b'\n').enumerate() {
        reader.read_line(line, &mut |_| ());
        open.insert(number, reader.summary().tool_open);
    }
    // init, the call, its answer, the last text, the result
    assert_eq!(open.into_values().take(5).collect::<Vec<_>>(), [false, true, false, false, false]);
}

#[test]
fn lines_that_are_no_json_are_counted_and_kept_in_part() {
    let (summary, events) = read(b"Warning: something\n{\"type\":\"user\",\"mess\n\n[1]\n{\"type\":\"novelty\"}\n{}\n", Detail::Verdict);
    assert_eq!((summary.malformed_lines, summary.unknown_lines), (3, 2));
    assert!(events.contains(&Event::Malformed { head: "Warning: something".into() }));
    assert!(events.contains(&Event::Unknown { kind: "novelty".into() }));
}

/// Some gateways tell no tokens: one that works is not going round in circles.
#[test]
fn only_steps_that_do_nothing_are_empty() {
    let step = |id: u32, block: &str| {
        format!(
            r#"{{"type":"assistant","message":{{"id":"m{id}","model":"x","content":[{block}],"usage":{{"input_tokens":0,"output_tokens":0}}}},"parent_tool_use_id":null}}"#
        )
    };
    let call = r#"{"type":"tool_use","id":"t","name":"Bash","input":{}}"#;
    let (nothing, text) = (r#"{"type":"text","text":""}"#, r#"{"type":"text","text":"Next."}"#);
    let mut stream = vec![step(0, nothing), step(1, "")];
    let empty_steps = |stream: &[String]| read(stream.join("\n").as_bytes(), Detail::Verdict).0.empty_steps;
    assert_eq!(empty_steps(&stream), 2);
    // One line per block.
    stream.extend((2..40).flat_map(|id| [step(id, nothing), step(id, if id % 2 == 0 { call } else { text })]));
    assert_eq!(empty_steps(&stream), 0);
    stream.push(step(40, ""));
    assert_eq!(empty_steps(&stream), 1);
}

#[test]
fn goes_on_after_a_result_that_was_not_the_last() {
    let recording = recordings().into_iter().find(|recording| recording.name == "textonly").unwrap();
    let mut stream = recording.stream.clone();
    stream.extend_from_slice(br#"{"type":"assistant","message":{"id":"later","model":"x","content":[],"usage":{"input_tokens":10,"output_tokens":1}},"parent_tool_use_id":null}"#);
    let (before, _) = read(&recording.stream, Detail::Verdict);
    let (after, _) = read(&stream, Detail::Verdict);
    assert!(before.end.is_some() && after.end.is_none());
    assert_eq!(after.usage.input_tokens.unwrap(), before.usage.input_tokens.unwrap() + 10);
}

/// It prints a result, waits for what runs in the background, and asks the model again.
#[test]
fn a_result_with_tasks_in_the_background_is_no_end() {
    let recording = recordings().into_iter().find(|recording| recording.name == "claude-2.1.330/background").unwrap();
    let lines: Vec<_> = recording.stream.split_inclusive(|byte| *byte == b'\n').collect();
    let until = |what: &[u8]| lines.iter().position(|line| line.windows(what.len()).any(|part| part == what)).unwrap() + 1;
    let after = |lines: &[&[u8]]| {
        let (summary, _) = read(&lines.concat(), Detail::Verdict);
        let judged = |process| Claude.judge(&Seen { stream: &summary, process, stderr_tail: "" }).map(|finding| finding.reason);
        let ways = [ProcessEnd::Exited(0), ProcessEnd::Exited(143), ProcessEnd::Signaled(9)].map(judged);
        (summary.end.is_some(), summary.held_end.is_some(), ways)
    };
    // The program leaves by itself when it no longer waits.
    let [done, killed, cut] = [Reason::Completed, Reason::Killed, Reason::TruncatedStream].map(Some);
    let result = until(b"\"total_cost_usd\"");
    assert_eq!(after(&lines[..result]), (false, true, [done, killed, killed]));
    let of_a_subagent = br#"{"type":"assistant","message":{"id":"sub","model":"x","content":[]},"parent_tool_use_id":"t"}"#;
    assert_eq!(after(&[&lines[..result], &[of_a_subagent]].concat()), (false, true, [done, killed, killed]));
    // Older versions end what runs in the background, and then themselves.
    let ended = until(b"\"tasks\":[]");
    assert_eq!(after(&lines[..ended]), (true, false, [done; 3]));
    assert_eq!(after(&lines[..=ended]), (false, false, [cut, killed, killed]));
    assert_eq!(after(&lines), (true, false, [done; 3]));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)) {
        for detail in [Detail::Verdict, Detail::Full] {
            read(&lines.join(&b'\n'), detail);
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
                for detail in [Detail::Verdict, Detail::Full] {
                    let (summary, _) = read(bytes, detail);
                    prop_assert!(summary.malformed_lines <= bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1);
                }
            }
            Ok(())
        })?;
    }
}
