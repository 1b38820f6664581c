//! The program `agent-conformance`, as people and CI systems use it: what it says, where, and with which exit code.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/reported.rs"]
mod reported;

use std::path::Path;
use std::process::{Command, Output};

use agent_conformance::suite::evidence::{Evidence, store};
use agent_conformance::suite::report::Report;
use agent_conformance::suite::requirement;
use reported::about;

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agent-conformance")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

/// Exit code, stdout, stderr.
fn said(arguments: &[&str]) -> (i32, String, String) {
    let output = command(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Evidence of an image that was looked at and never started.
fn evidence(dir: &Path) -> String {
    let evidence = Evidence { about: about("ghcr.io/acme/agent:1.2"), ..Evidence::default() };
    store::write(&evidence, &dir.join("seen")).unwrap();
    dir.join("seen").to_str().unwrap().to_owned()
}

#[test]
fn a_name_that_is_none_is_a_usage_error_that_names_near_ones() {
    let dir = tempfile::tempdir().unwrap();
    let seen = evidence(dir.path());
    let (code, out, err) = said(&["recheck", &seen, "--only", "interface-labels"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(
        err,
        "error: there is no requirement, slug or area `interface-labels`\n\nhint: did you mean `interface-label` or \
         `interface-version-form`? `agent-conformance list` has them all\n"
    );
    for arguments in [
        vec!["explain", "IMG-999"],
        vec!["list", "nothing-like-it"],
        vec!["recheck", &seen, "--profile", "imgae"],
        vec!["recheck", &seen, "--report", "xml=-"],
        vec!["recheck", &seen, "--report", "json"],
        vec!["recheck", &seen, "--report", "json="],
        vec!["recheck", &seen, "--report", "json=-,tap=-"],
        vec!["recheck", &seen, "--baseline", "/nowhere.toml"],
        vec!["recheck"],
        vec!["explain"],
        vec!["no-such-command"],
    ] {
        let (code, out, err) = said(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.starts_with("error: "), "{arguments:?}: {err}");
    }
    let (_, _, err) = said(&["recheck", &seen, "--profile", "imgae"]);
    assert!(err.contains("there are image, core, workspace, kubernetes, hardened, agent"), "{err}");
}

#[test]
fn a_baseline_that_is_wrong_is_a_usage_error_that_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, baseline) = (evidence(dir.path()), dir.path().join("known.toml"));
    for (text, wanted) in [
        ("[[known]]\nid = 'IMG-0001'\nreason = 'x'", "did you mean `IMG-001`"),
        ("[[known]]\nid = 'IMG-001'", "the entry `IMG-001` gives no reason"),
        ("known", "it is no baseline"),
    ] {
        std::fs::write(&baseline, text).unwrap();
        let (code, out, err) = said(&["recheck", &seen, "--baseline", baseline.to_str().unwrap()]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(wanted) && err.contains("known.toml"), "{err}");
    }
}

#[test]
fn what_cannot_be_read_as_evidence_could_not_be_tested() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = said(&["recheck", dir.path().to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.starts_with("error: cannot read `") && err.contains("about.json") && err.trim_end().lines().count() == 1, "{err}");
    std::fs::write(dir.path().join("about.json"), "{}").unwrap();
    assert_eq!(said(&["recheck", dir.path().to_str().unwrap()]).0, 3);
}

#[test]
fn scenarios_that_were_not_run_are_no_fault_of_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = said(&["recheck", &evidence(dir.path()), "--only", "TERM"]);
    assert_eq!(code, 3, "{out}{err}");
    assert!(out.contains("could not test "), "{out}");
}

#[test]
fn when_nothing_is_selected_it_is_said_and_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let seen = evidence(dir.path());
    let hardened = requirement::all().iter().find(|row| row.profile.as_str() == "hardened").unwrap();
    let (code, out, _) = said(&["recheck", &seen, "--only", &hardened.id]);
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("the image does not claim the profile `hardened`") && out.contains("nothing was tested"), "{out}");
    let (code, out, _) = said(&["recheck", &seen, "--only", &hardened.id, "--profile", "image"]);
    assert_eq!(code, 4, "{out}");
}

#[test]
fn reports_go_to_their_files_and_stdout_holds_what_a_program_reads_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, out) = (evidence(dir.path()), dir.path().join("out"));
    let file = |format: &str| format!("{format}={}", out.join(format).display());
    let formats = ["text", "tap", "junit", "markdown", "html", "github"].map(file);
    let reports = formats.join(",");
    let (code, stdout, stderr) = said(&["recheck", &seen, "--report", &reports, "--report", "json=-"]);
    let report: Report = serde_json::from_str(&stdout).unwrap();
    assert_eq!(i32::from(report.exit_code), code, "{stderr}");
    assert_eq!(stderr.trim_end(), report.summary);
    for format in ["text", "tap", "junit", "markdown", "html", "github"] {
        let text = std::fs::read_to_string(out.join(format)).unwrap();
        assert!(text.len() > 100, "{format}: {text}");
    }
    let left: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 6, "{left:?}");
}

#[test]
fn a_report_is_written_in_place_of_a_link_and_never_through_it() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, target, link) = (evidence(dir.path()), dir.path().join("target"), dir.path().join("report.json"));
    std::fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    said(&["recheck", &seen, "--report", &format!("json={}", link.display())]);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_of_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let seen = evidence(dir.path());
    let (code, _, err) = said(&["recheck", &seen, "--report", &format!("json={seen}/about.json/x")]);
    assert_eq!(code, 3, "{err}");
    assert!(err.starts_with("error: cannot write `"), "{err}");
}

#[test]
fn every_requirement_is_listed_and_explained() {
    let (code, out, _) = said(&["list"]);
    assert_eq!((code, out.lines().count()), (0, requirement::all().len()));
    let (code, json, _) = said(&["list", "--json"]);
    let rows: Vec<requirement::Requirement> = serde_json::from_str(&json).unwrap();
    assert_eq!((code, rows.as_slice()), (0, requirement::all()));
    for row in requirement::all() {
        let (code, out, _) = said(&["explain", &row.slug]);
        assert_eq!(code, 0, "{}", row.id);
        let flat = out.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [&row.id, &row.text, &row.why, &row.fix] {
            assert!(flat.contains(&part.split_whitespace().collect::<Vec<_>>().join(" ")), "{}: {out}", row.id);
        }
    }
}

#[test]
fn a_list_is_limited_by_profile_and_by_area() {
    let (_, out, _) = said(&["list", "--profile", "image"]);
    let wanted = requirement::all().iter().filter(|row| row.profile.as_str() == "image").count();
    assert_eq!(out.lines().count(), wanted);
    let (_, out, _) = said(&["list", "--profile", "kubernetes", "term"]);
    assert!(out.lines().count() > 0 && out.lines().all(|line| line.starts_with("TERM-")), "{out}");
}

#[test]
fn help_teaches_commands_and_exit_codes() {
    let (code, out, _) = said(&["--help"]);
    assert_eq!(code, 0);
    for wanted in ["explain", "recheck", "verify", "badge", "Exit codes:", "5  the baseline"] {
        assert!(out.contains(wanted), "{wanted}: {out}");
    }
    for name in ["list", "explain", "recheck", "verify", "badge"] {
        let (code, out, _) = said(&[name, "--help"]);
        assert!(code == 0 && out.contains("Example:\n  agent-conformance "), "{name}: {out}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_agent-conformance"))
        .args(["list", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
