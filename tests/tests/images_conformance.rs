//! The project's images keep the Agent Image Interface: each is judged by the suite's own program, in podman, by every profile that it claims.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use agent_tests::containers::{image, root};
use agent_tests::probe;
use serde_json::Value;

/// What the suite says of an image: its exit code and its report. `None` where no containers can be made.
fn judged(name: &str) -> Option<(Option<i32>, Value)> {
    let image = image(name)?;
    probe::runner();
    let mut check = Command::new(probe::program("agent-conformance"));
    check.args(["check", "--engine", "podman", "--jobs", "2", "--timeout", "200s", "--report", "json=-"]).arg(image);
    let output = check.env("CONTAINERS_CONF", root().join("tests/containers.conf")).output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    Some((output.status.code(), report))
}

/// The ids with a verdict.
fn ids<'a>(report: &'a Value, verdict: &str) -> Vec<&'a str> {
    let judgements = report["results"].as_array().unwrap();
    judgements.iter().filter(|one| one["verdict"] == verdict).map(|one| one["id"].as_str().unwrap()).collect()
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
