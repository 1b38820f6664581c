//! What a person sees with `--log pretty` of every agent's recorded streams: what it says, which tools it calls, what it spends.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::SystemTime;

use agent_runner::stream::follow::{Follower, Log};
use agent_runner::stream::mask::Secrets;
use agent_runner::stream::pretty::Pretty;
use agent_sdk::agent::Detail;

/// Recordings of an agent, each as a person sees it. The clock stands still.
fn shown(agent: &str, folder: &str, names: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/tests/fixtures").join(folder);
    let show = |name: &&str| {
        let stream = std::fs::read(folder.join(name).with_extension("jsonl")).unwrap();
        let reader = agent_sdk::agents::by_name(agent).unwrap().reader(Detail::Full);
        let log = Log::Pretty(Pretty::new(false, SystemTime::UNIX_EPOCH));
        let mut follower = Follower::new(reader, log, &Secrets::new());
        let mut out = Vec::new();
        follower.push(&stream, SystemTime::UNIX_EPOCH, &mut out);
        follower.finish(SystemTime::UNIX_EPOCH, &mut out);
        let text = String::from_utf8(out).unwrap();
        // No text of an agent's passes for a line of ours or for a marker block.
        assert!(text.lines().all(|line| !line.starts_with('{') && !line.starts_with("---")), "{agent} {name}:\n{text}");
        format!("=== {name}\n{text}\n")
    };
    names.iter().map(show).collect()
}

#[test]
fn claude() {
    insta::assert_snapshot!(shown("claude", "claude-2.1.330", &["success", "subagent", "mcp", "err401-max1", "refusal", "maxtokens"]));
}

#[test]
fn codex() {
    insta::assert_snapshot!(shown("codex", "codex-0.169.0", &["success", "cfg", "toolfail", "subagent-rollouts", "err403"]));
}

#[test]
fn opencode() {
    insta::assert_snapshot!(shown("opencode", "opencode-1.18.33", &["success", "toolfail", "refusal", "err403"]));
}

#[test]
fn gemini() {
    insta::assert_snapshot!(shown("gemini", "gemini-0.61.0", &["success", "subagent", "toolfail", "err403", "refusal", "cut"]));
}

#[test]
fn cursor() {
    insta::assert_snapshot!(shown("cursor", "cursor", &["success", "tools", "new-events", "bad-key", "error-result", "cut"]));
}

#[test]
fn kodelet() {
    insta::assert_snapshot!(shown("kodelet", "kodelet", &["success", "tools", "cut"]));
}
