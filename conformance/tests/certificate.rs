//! Certificates: who gets one, and what `verify` and `badge` make of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/reported.rs"]
mod reported;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use agent_conformance::suite::certificate::{Certificate, CertifyingSuite, NoCertificate};
use agent_conformance::suite::profile::Profile;
use agent_conformance::suite::report::Report;
use agent_conformance::suite::requirement::{self, Verify};
use agent_conformance::suite::verdict::{Judgement, Verdict};
use reported::{about, judgement, report};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A whole run of an image that claims `image core`, with these verdicts in place of passes.
fn run(others: &[(&str, Verdict)]) -> Report {
    let profiles = BTreeSet::from([Profile::Image, Profile::Core]);
    let rows = requirement::all().iter().filter(|row| profiles.contains(&row.profile) && row.verify != Verify::Excluded);
    let judgements: Vec<Judgement> = rows
        .map(|row| {
            let verdict = others.iter().find(|(id, _)| *id == row.id).map_or(Verdict::Pass, |(_, verdict)| *verdict);
            judgement(&row.id, verdict, "said")
        })
        .collect();
    report(&about("ghcr.io/acme/agent:1.2"), &judgements, false)
}

fn suite() -> CertifyingSuite {
    let requirements: String = Sha256::digest(requirement::SOURCE).iter().map(|byte| format!("{byte:02x}")).collect();
    CertifyingSuite {
        version: "0.1.0".into(),
        executable: format!("sha256:{}", "e".repeat(64)),
        requirements: format!("sha256:{requirements}"),
    }
}

fn certificate(report: &Report) -> Result<Certificate, NoCertificate> {
    Certificate::of(report, suite(), "2026-11-21T17:00:00Z".into())
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agent-conformance")).args(arguments).output().unwrap()
}

/// What somebody makes of a certificate.
type Change = fn(&mut Value);

/// The certificate as a file, with something else in it.
fn written(dir: &Path, change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::to_value(certificate(&run(&[])).unwrap()).unwrap();
    change(&mut value);
    let path = dir.join("certificate.json");
    std::fs::write(&path, value.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_whole_run_without_fault_has_a_certificate_and_it_fits() {
    let certificate = certificate(&run(&[("IMG-010", Verdict::Warn), ("IMG-011", Verdict::NotApplicable)])).unwrap();
    assert_eq!(certificate.verify(&suite().requirements), Vec::<String>::new());
    assert_eq!(certificate.profiles, BTreeSet::from([Profile::Image, Profile::Core]));
}

#[test]
fn what_was_asked_for_beyond_the_claims_is_not_certified() {
    let profiles = BTreeSet::from([Profile::Image, Profile::Core, Profile::Kubernetes]);
    let rows = requirement::all().iter().filter(|row| profiles.contains(&row.profile) && row.verify != Verify::Excluded);
    let judgements: Vec<Judgement> = rows.map(|row| judgement(&row.id, Verdict::Pass, "said")).collect();
    let mut more = report(&about("ghcr.io/acme/agent:1.2"), &judgements, false);
    more.asked.profiles.insert(Profile::Kubernetes);
    let certificate = certificate(&more).unwrap();
    assert_eq!(certificate.verify(&suite().requirements), Vec::<String>::new());
}

#[test]
fn a_run_with_a_fault_or_a_gap_has_none() {
    for verdict in [Verdict::Fail, Verdict::NotTestable, Verdict::NotObservable, Verdict::Error, Verdict::Stale] {
        let refused = certificate(&run(&[("IMG-004", verdict)]));
        assert!(matches!(refused, Err(NoCertificate::NotConformant(_))), "{verdict:?}: {refused:?}");
    }
    assert_eq!(certificate(&run(&[("IMG-004", Verdict::KnownFail)])), Err(NoCertificate::Excused("IMG-004".into())));
    let mut limited = run(&[]);
    limited.asked.only.push("IMG".into());
    assert_eq!(certificate(&limited), Err(NoCertificate::Limited));
    let mut more = run(&[]);
    more.image.claims.insert(Profile::Hardened);
    assert_eq!(certificate(&more), Err(NoCertificate::NotAllClaims("hardened".into())));
    let mut nothing = run(&[]);
    nothing.image.claims.clear();
    assert_eq!(certificate(&nothing), Err(NoCertificate::NoClaims));
    let mut nameless = run(&[]);
    nameless.image.digest = None;
    assert_eq!(certificate(&nameless), Err(NoCertificate::NoDigest("podman".into())));
}

#[test]
fn verify_says_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let fits = command(&["verify", &written(dir.path(), |_| {})]);
    assert_eq!(fits.status.code(), Some(0), "{fits:?}");
    assert!(String::from_utf8_lossy(&fits.stdout).starts_with("fits: ghcr.io/acme/agent:1.2 (sha256:5555"), "{fits:?}");
    let changes: [(&str, Change); 11] = [
        ("is no digest of an image", |value| value["image"]["digest"] = json!("latest")),
        ("it does not judge IMG-004", |value| drop(value["judgements"].as_object_mut().unwrap().remove("IMG-004"))),
        ("it judges WS-001", |value| value["judgements"]["WS-001"] = json!("pass")),
        ("IMG-004 came to fail", |value| value["judgements"]["IMG-004"] = json!("fail")),
        ("what follows is `partial`", |value| {
            for verdict in value["judgements"].as_object_mut().unwrap().values_mut() {
                *verdict = json!("not-applicable");
            }
        }),
        ("it concludes `partial`", |value| value["conclusion"] = json!("partial")),
        ("it does not judge WS-0", |value| value["profiles"] = json!(["image", "core", "workspace"])),
        ("judged by other requirements", |value| value["suite"]["requirements"] = json!("sha256:0")),
        ("it is about interface 2.0", |value| value["interface"] = json!("2.0")),
        ("is no time", |value| value["issued"] = json!("yesterday")),
        ("it is no certificate: unknown field", |value| value["signed"] = json!("yes\u{1b}[31m")),
    ];
    for (wanted, change) in changes {
        let said = command(&["verify", &written(dir.path(), change)]);
        let text = String::from_utf8(said.stdout.clone()).unwrap();
        assert_eq!(said.status.code(), Some(1), "{wanted}: {said:?}");
        assert!(text.lines().any(|line| line.starts_with("does not fit: ") && line.contains(wanted)), "{wanted}: {text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let badge = command(&["badge", dir.path().join("certificate.json").to_str().unwrap()]);
        assert_eq!((badge.status.code(), badge.stdout.as_slice()), (Some(1), b"".as_slice()), "{wanted}");
    }
    let other = command(&["verify", &written(dir.path(), |_| {}), "--digest", "sha256:0"]);
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    assert_eq!(command(&["verify", "/nowhere.json"]).status.code(), Some(2));
}

#[test]
fn a_badge_names_interface_and_profiles() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), |_| {});
    let shown = String::from_utf8(command(&["badge", &file]).stdout).unwrap();
    let document = roxmltree::Document::parse(&shown).unwrap();
    let title = document.descendants().find(|node| node.tag_name().name() == "title").and_then(|node| node.text());
    assert_eq!(title, Some("agent image interface: 1.0 image core"));
    let (svg, endpoint) = (dir.path().join("out/badge.svg"), dir.path().join("out/badge.json"));
    let done = command(&["badge", &file, "--svg", svg.to_str().unwrap(), "--endpoint", endpoint.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(std::fs::read_to_string(svg).unwrap(), shown);
    let endpoint: Value = serde_json::from_str(&std::fs::read_to_string(endpoint).unwrap()).unwrap();
    assert_eq!(
        endpoint,
        json!({"schemaVersion": 1, "label": "agent image interface", "message": "1.0 image core", "color": "brightgreen"})
    );
}
