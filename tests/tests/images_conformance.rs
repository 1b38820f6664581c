//! The project's images keep the Agent Image Interface: each is judged by the suite's own program, in podman, by every profile that it
//! claims.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_tests::containers::image;
use agent_tests::judged::{checked, ids};
use serde_json::Value;

/// What the suite says of an image. `None` where no containers can be made.
fn judged(name: &str) -> Option<(Option<i32>, Value)> {
    Some(checked(&image(name)?, &["--engine", "podman", "--jobs", "2", "--timeout", "200s"], &[]))
}

/// Conformant, with at least so many requirements passed.
fn conformant(name: &str, passed: usize) {
    let Some((code, report)) = judged(name) else { return };
    assert_eq!(code, Some(0), "{name}: {:?} {:?}", ids(&report, "fail"), ids(&report, "error"));
    assert!(ids(&report, "pass").len() >= passed, "{name}: {report:#}");
}

#[test]
fn claude() {
    conformant("claude", 123);
}

#[test]
fn codex() {
    conformant("codex", 123);
}

#[test]
fn gemini() {
    conformant("gemini", 123);
}

#[test]
fn opencode() {
    // Its stream has no end of its own.
    conformant("opencode", 121);
}

#[test]
fn an_agent_by_manifest() {
    conformant("images/example-custom", 100);
}

#[test]
fn an_agent_in_rust() {
    conformant("images/example-rust", 95);
}

#[test]
fn the_base_lacks_an_agent_and_nothing_else() {
    let Some((code, report)) = judged("base") else { return };
    assert_eq!((code, ids(&report, "fail")), (Some(1), vec!["IMG-006"]), "{report:#}");
}
