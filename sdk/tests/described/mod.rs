//! Streams of agents that cannot be run here: made after their documentation and what others recorded, with the sources beside each.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use agent_sdk::agent::{Agent, Detail, ProcessEnd, Seen, StreamSummary};
use agent_sdk::event::Event;
use agent_sdk::usage::Usage;
use serde_json::Value;

/// One described run.
pub struct Description {
    pub name: String,
    pub stream: Vec<u8>,
    pub stderr: String,
    pub process: ProcessEnd,
}

/// All of an agent, by name; each says where it comes from.
pub fn all(agent: &str) -> Vec<Description> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(agent);
    let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter_map(|name| name.strip_suffix(".meta.json").map(str::to_owned)).collect();
    names.sort();
    let read = |name: String| {
        let meta: Value = serde_json::from_slice(&std::fs::read(dir.join(format!("{name}.meta.json"))).unwrap()).unwrap();
        assert!(meta["sources"].as_array().is_some_and(|sources| !sources.is_empty()), "{name} does not say where it comes from");
        let exit = meta["exit"].as_i64().unwrap();
        Description {
            stream: std::fs::read(dir.join(format!("{name}.jsonl"))).unwrap(),
            stderr: std::fs::read_to_string(dir.join(format!("{name}.stderr"))).unwrap_or_default(),
            process: u8::try_from(exit).map_or_else(|_| ProcessEnd::Signaled(i32::try_from(-exit).unwrap()), ProcessEnd::Exited),
            name,
        }
    };
    names.into_iter().map(read).collect()
}

/// Reads a stream to its end.
pub fn read(agent: &dyn Agent, stream: &[u8], detail: Detail) -> (StreamSummary, Vec<Event>) {
    let mut reader = agent.reader(detail);
    let mut events = Vec::new();
    stream.split(|byte| *byte == b'\n').for_each(|line| reader.read_line(line, &mut |event| events.push(event)));
    (reader.summary().clone(), events)
}

/// Verdict, usage and counts of each, as people review them.
pub fn table(agent: &dyn Agent) -> String {
    let mut table = String::new();
    for run in all(agent.name()) {
        let (summary, _) = read(agent, &run.stream, Detail::Verdict);
        let finding = agent.judge(&Seen { stream: &summary, process: run.process, stderr_tail: &run.stderr });
        writeln!(table, "{} ({:?})", run.name, run.process).unwrap();
        match finding {
            Some(finding) => writeln!(table, "  {} · {}", finding.reason.as_str(), finding.message).unwrap(),
            None => writeln!(table, "  left to the exit code").unwrap(),
        }
        writeln!(table, "  {} · answer {:?}", tokens(&summary.usage), summary.answer).unwrap();
        let turns = summary.turns.map_or("-".to_owned(), |turns| turns.to_string());
        let (open, unknown, malformed) = (summary.tool_open, summary.unknown_lines, summary.malformed_lines);
        writeln!(table, "  turns {turns} · tool open {open} · unknown {unknown} · malformed {malformed}").unwrap();
    }
    table
}

fn tokens(usage: &Usage) -> String {
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    let (read, written) = (count(usage.cache_read_tokens), count(usage.cache_write_tokens));
    format!("in {} (read {read}, written {written}) out {}", count(usage.input_tokens), count(usage.output_tokens))
}

/// The events of one, a line each.
pub fn events(agent: &dyn Agent, name: &str) -> String {
    let run = all(agent.name()).into_iter().find(|run| run.name == name).unwrap();
    let (_, events) = read(agent, &run.stream, Detail::Full);
    events.iter().map(|event| format!("{}\n", serde_json::to_string(event).unwrap())).collect()
}

/// A reader that gets any part of any stream, or no stream at all, goes on without harm, and both details come to the same.
pub fn assert_robust(agent: &dyn Agent) {
    for run in all(agent.name()) {
        for end in 0..run.stream.len() {
            let (verdict, _) = read(agent, &run.stream[..end], Detail::Verdict);
            let (full, _) = read(agent, &run.stream[..end], Detail::Full);
            assert_eq!(verdict, full, "{} {end}", run.name);
        }
    }
    for noise in
        [&b"null"[..], b"[]", b"{}", b"{\"type\":7}", b"\xff\xfe", b"\"text\"", b"{\"type\":\"tool_call\",\"subtype\":\"completed\"}"]
    {
        let (summary, events) = read(agent, noise, Detail::Full);
        assert_eq!((events.len(), summary.unknown_lines + summary.malformed_lines), (1, 1), "{:?}", String::from_utf8_lossy(noise));
    }
}
