//! The runner keeps the Agent Image Interface: judged by the suite, on every engine that works here, with the stream of every agent, and
//! with a real CLI and a scripted model in the loop. The images, with all of the CLIs, are judged in `images_conformance.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use agent_conformance::suite::engine::choose::{self, Choice};
use agent_conformance::suite::verdict::{Judgement, Verdict};
use agent_tests::clis;
use agent_tests::judged::{checked, config, judge, on_host, program, root};
use agent_tests::probe;
use agent_tests::skip::skip;

/// The ids with a verdict, after it is shown that none is broken and none is the suite's own fault.
fn all_good(judgements: &BTreeMap<String, Judgement>, verdict: Verdict) -> BTreeSet<&str> {
    let bad: Vec<_> =
        judgements.values().filter(|one| matches!(one.verdict, Verdict::Fail | Verdict::NotTestable | Verdict::Error)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    judgements.values().filter(|one| one.verdict == verdict).map(|one| one.id.as_str()).collect()
}

/// All scenarios with the suite's own agent.
fn without_model(name: &str) -> bool {
    !name.starts_with("model-")
}

/// What only can be seen where the engine isolates, or looks at files.
const UNSEEN_ON_HOST: [&str; 8] = ["CFG-004", "CFG-005", "CFG-006", "IMG-006", "IMG-011", "IMG-014", "RUN-009", "SEC-006"];

#[test]
fn with_the_interfaces_own_stream_on_every_engine() {
    // Everything but what only a real agent can keep.
    let config = config("native", "native", &[("agent.model", "anthropic"), ("profiles", "image core workspace kubernetes hardened")]);
    let on_host = judge(&*on_host(config.clone(), &[]), without_model);
    assert_eq!(all_good(&on_host, Verdict::NotObservable), UNSEEN_ON_HOST.into());
    assert!(all_good(&on_host, Verdict::Pass).len() > 90, "{on_host:#?}");

    let dir = tempfile::tempdir().unwrap();
    let root_dir = dir.path().join("root");
    root(&root_dir);
    let mut config = config;
    config.env.push("AGENT_PROGRAM=/usr/local/bin/agent".into());
    std::fs::write(dir.path().join("root.config.json"), serde_json::json!({ "config": config }).to_string()).unwrap();
    let mut verdicts = Vec::new();
    for name in ["namespace", "runc"] {
        let choice = Choice { engine: Some(name.to_owned()), program: program(), ..Choice::default() };
        match choose::open(&format!("rootfs:{}", root_dir.display()), &choice) {
            Ok(engine) => verdicts.push((name, seen_whole(judge(&*engine, without_model)))),
            Err(error) => skip(&error.to_string()),
        }
    }
    if let Some(image) = imported(&root_dir, &config) {
        let file = dir.path().join("certificate.json");
        let (code, report) =
            checked(&image, &["--engine", "podman", "--jobs", "2", "--timeout", "180s", "--certificate", file.to_str().unwrap()], &[]);
        let _ = Command::new("podman").args(["rmi", "--force", &image]).output();
        assert_eq!(code, Some(0), "{report:#}");
        certified(&file, &report);
        verdicts.push(("podman", serde_json::from_value::<Vec<Judgement>>(report["results"].clone()).unwrap()));
    }
    for pair in verdicts.windows(2) {
        assert_eq!(of_each(&pair[0].1), of_each(&pair[1].1), "{} and {} do not agree", pair[0].0, pair[1].0);
    }
    if let Some((name, all)) = verdicts.first() {
        let mut seen = of_each(all);
        seen.retain(|id, _| !UNSEEN_ON_HOST.contains(id));
        let on_host: Vec<_> = on_host.into_values().filter(|one| one.verdict != Verdict::NotObservable).collect();
        assert_eq!(of_each(&on_host), seen, "the host and {name} do not agree on what both see");
    }
}

/// The verdict of each requirement.
fn of_each(judgements: &[Judgement]) -> BTreeMap<&str, Verdict> {
    judgements.iter().map(|one| (one.id.as_str(), one.verdict)).collect()
}

/// The certificate of a real run fits, is of this image alone, and becomes a badge; one that says what the run did not say does not fit.
fn certified(file: &Path, report: &serde_json::Value) {
    let suite = |arguments: &[&str]| {
        let output = Command::new(probe::program("agent-conformance")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let path = file.to_str().unwrap();
    let digest = report["image"]["digest"].as_str().unwrap();
    let (code, said) = suite(&["verify", path, "--digest", digest]);
    assert!(code == Some(0) && said.starts_with("fits: ") && said.contains(digest), "{said}");
    assert_eq!(suite(&["verify", path, "--digest", &digest.replace(':', ":0")]).0, Some(1));
    let (code, badge) = suite(&["badge", path]);
    assert!(code == Some(0) && badge.contains("1.0 image core workspace kubernetes hardened"), "{badge}");
    let text = std::fs::read_to_string(file).unwrap();
    let certificate: serde_json::Value = serde_json::from_str(&text).unwrap();
    let judged: BTreeMap<String, Verdict> = serde_json::from_value(certificate["judgements"].clone()).unwrap();
    let results: Vec<Judgement> = serde_json::from_value(report["results"].clone()).unwrap();
    assert_eq!(judged, results.into_iter().map(|one| (one.id, one.verdict)).collect(), "it says what the run said");
    let mut forged = certificate;
    forged["judgements"]["RUN-001"] = "fail".into();
    std::fs::write(file, forged.to_string()).unwrap();
    assert_eq!((suite(&["verify", path]).0, suite(&["badge", path]).0), (Some(1), Some(1)));
}

/// The verdicts of an engine that sees everything: none is broken, almost all pass.
fn seen_whole(judged: BTreeMap<String, Judgement>) -> Vec<Judgement> {
    assert_eq!(all_good(&judged, Verdict::NotObservable), BTreeSet::new());
    assert!(all_good(&judged, Verdict::Pass).len() > 100, "{judged:#?}");
    judged.into_values().collect()
}

/// The root file system as an image of podman's, if podman works here.
fn imported(root: &std::path::Path, config: &agent_conformance::suite::subject::ImageConfig) -> Option<String> {
    if let Err(why) = agent_conformance::suite::engine::podman::usable() {
        skip(&format!("podman does not work here, so the runner was not judged in it: {why}"));
        return None;
    }
    let name = format!("localhost/agent-tests-conformance-{}:latest", std::process::id());
    let tar = tempfile::NamedTempFile::new().unwrap();
    assert!(Command::new("tar").arg("-C").arg(root).arg("-cf").arg(tar.path()).arg(".").status().unwrap().success());
    let mut import = Command::new("podman");
    import.args(["import", "--quiet", "--change"]).arg(format!("ENTRYPOINT {}", serde_json::to_string(&config.entrypoint).unwrap()));
    for variable in &config.env {
        import.arg("--change").arg(format!("ENV {variable}"));
    }
    for (label, value) in &config.labels {
        import.arg("--change").arg(format!("LABEL {label}=\"{value}\""));
    }
    let output = import.arg("--change").arg(format!("USER {}", config.user)).arg(tar.path()).arg(&name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(name)
}

/// The scenarios in which the format of the stream has a say.
const OF_THE_STREAM: [&str; 12] = [
    "happy",
    "stream-odd",
    "stream-failed",
    "stream-cut",
    "usage-untold",
    "usage-priced",
    "events-log",
    "agent-exits",
    "agent-dies",
    "lingering",
    "claims",
    "secret-echo",
];

#[test]
fn with_the_stream_of_every_agent() {
    // Those that have an image are judged there, by everything.
    for (agent, stream, has_image) in [
        ("claude", "claude", true),
        ("codex", "codex", true),
        ("gemini", "gemini", true),
        ("opencode", "opencode", true),
        ("cursor", "cursor", false),
        ("kodelet", "kodelet", false),
        ("command", "none", false),
    ] {
        // Cursor's CLI speaks to its own service only.
        let more: &[_] = if agent == "cursor" { &[("agent.model", "other")] } else { &[("agent.model", "anthropic")] };
        let wanted = |name: &str| if has_image { OF_THE_STREAM.contains(&name) } else { without_model(name) };
        let judged = judge(&*on_host(config(agent, stream, more), &[]), wanted);
        let unseen = UNSEEN_ON_HOST.into_iter().filter(|id| judged.contains_key(*id)).collect();
        assert_eq!(all_good(&judged, Verdict::NotObservable), unseen, "{agent}");
        let passed = all_good(&judged, Verdict::Pass).len();
        assert!(passed > if has_image { 40 } else { 85 }, "{agent}: {passed} of {judged:#?}");
    }
}

/// The real CLI, unchanged, with the scripted model in the loop. Those of the other agents are judged in their images, at the same
/// versions.
#[test]
fn with_the_real_claude_code_and_a_model() {
    let Some(cli) = clis::newest("claude") else { return };
    let config = config("claude", "claude", &[("agent.model", "anthropic"), ("agent.model.name", "claude-sonnet-5")]);
    let judged = judge(&*on_host(config, &[format!("AGENT_PROGRAM={}", cli.program.display())]), |name| name.starts_with("model-"));
    let passed = all_good(&judged, Verdict::Pass);
    let wanted = judged.keys().map(String::as_str).filter(|id| !id.starts_with("IMG-"));
    assert_eq!(wanted.filter(|id| !passed.contains(id)).collect::<Vec<_>>(), Vec::<&str>::new(), "{judged:#?}");
    assert_eq!(judged.keys().filter(|id| !id.starts_with("IMG-")).count(), 18, "the profile `agent` has 18 requirements");
}
