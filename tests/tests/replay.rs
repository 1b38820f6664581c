//! `agent-runner replay` on every recorded stream of every agent: what a person who replays it is shown, as one table an agent that people
//! review.
//!
//! That the tokens are those that were billed is held where the streams are read: in the tests of `sdk`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_tests::probe;
use serde_json::Value;

/// The streams of a folder of recordings, in the order of their names. What an agent writes beside its stream is none.
fn streams(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut streams: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "jsonl") && meta(path).is_file()).collect();
    streams.sort();
    streams
}

fn meta(stream: &Path) -> PathBuf {
    stream.with_extension("meta.json")
}

/// The exit code as a shell tells it: 128 and the signal where one ended it. One that was still running was killed.
fn exit_code(stream: &Path) -> i64 {
    let meta: Value = serde_json::from_slice(&std::fs::read(meta(stream)).unwrap()).unwrap();
    match meta["exit"].as_i64() {
        Some(exit) if exit < 0 => 128 - exit,
        Some(exit) => exit,
        None => 137,
    }
}

fn replayed(agent: &str, stream: &Path) -> Value {
    let (code, stderr) = (exit_code(stream).to_string(), stream.with_extension("stderr"));
    let mut replay = Command::new(probe::runner());
    replay.args(["replay", "--type", agent, "--exit-code", &code]);
    if stderr.is_file() {
        replay.arg("--stderr").arg(stderr);
    }
    let output = replay.arg(stream).output().unwrap();
    assert!(output.status.success(), "{}: {}", stream.display(), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn table(agent: &str, folder: &str) -> String {
    let mut table = String::new();
    let streams = streams(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/tests/fixtures").join(folder));
    assert!(!streams.is_empty(), "no recordings in {folder}");
    for stream in streams {
        let outcome = replayed(agent, &stream);
        let of = |key: &str| outcome[key].as_str().unwrap_or("-").to_owned();
        let tokens = |key: &str| outcome["usage"][key].as_u64().map_or("-".to_owned(), |count| count.to_string());
        let name = stream.file_stem().unwrap().display();
        writeln!(table, "{name}: {} · {} · {}", of("status"), of("reason"), outcome["exitCode"]).unwrap();
        writeln!(table, "  in {} out {} · {}", tokens("inputTokens"), tokens("outputTokens"), of("message").escape_debug()).unwrap();
    }
    table
}

macro_rules! replays {
    ($($test:ident: $agent:literal, $folder:literal;)*) => {
        $(#[test]
        fn $test() {
            insta::assert_snapshot!(stringify!($test), table($agent, $folder));
        })*
    };
}

replays! {
    claude_2_1_330: "claude", "claude-2.1.330";
    claude_2_1_197: "claude", "claude-2.1.197";
    codex_0_169_0: "codex", "codex-0.169.0";
    cursor: "cursor", "cursor";
    gemini_0_61_0: "gemini", "gemini-0.61.0";
    gemini_0_55_1: "gemini", "gemini-0.55.1";
    kodelet: "kodelet", "kodelet";
    opencode_1_18_33: "opencode", "opencode-1.18.33";
}
