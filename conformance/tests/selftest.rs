//! The suite's proof of itself, as far as it takes no container: each change of good evidence is found, and nothing else; every check can
//! fail.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_conformance::suite::checks;
use agent_conformance::suite::evidence::Evidence;
use agent_conformance::suite::requirement::{self, Verify};
use agent_conformance::suite::selftest::altered::Alteration;
use agent_conformance::suite::selftest::{altered, difference, find, good, in_scope, kills, mutants};

/// Evidence of the second implementation.
fn good_evidence() -> Evidence {
    good::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/evidence-good")).unwrap()
}

/// Evidence of a real agent.
fn agents_evidence() -> Evidence {
    good::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/evidence-agent")).unwrap()
}

/// All alterations.
fn all() -> impl Iterator<Item = &'static Alteration> {
    altered::all().chain(altered::of_agents())
}

/// The second implementation: `tests/run` builds all programs first.
fn refimpl() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_agent-conformance")).with_file_name("refimpl")
}

#[test]
fn good_evidence_is_found_good() {
    assert_eq!(difference(&BTreeSet::new(), &find(&good_evidence(), in_scope)), None);
    assert_eq!(difference(&BTreeSet::new(), &find(&agents_evidence(), altered::agent::in_scope)), None);
}

#[test]
fn each_alteration_of_good_evidence_kills_exactly_what_it_should() {
    let (good, agents) = (good_evidence(), agents_evidence());
    let found = altered::all().map(|alteration| (alteration, alteration.found(&good)));
    let of_agents = altered::of_agents().map(|alteration| (alteration, alteration.found_by(&agents, altered::agent::in_scope)));
    let wrong: Vec<String> = found
        .chain(of_agents)
        .filter_map(|(alteration, found)| {
            let kills: BTreeSet<String> = alteration.kills.iter().map(|id| (*id).to_owned()).collect();
            Some(format!("{}: {}", alteration.name, difference(&kills, &found)?))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The requirement that an alteration or a mutant is named after.
fn named(name: &str) -> &requirement::Requirement {
    let slug = name.split('.').next().unwrap();
    requirement::find(slug).unwrap_or_else(|| panic!("`{name}` is named after no requirement"))
}

#[test]
fn every_check_has_been_seen_to_fail_by_an_alteration_of_its_own_name() {
    let names: BTreeSet<&str> = all().map(|alteration| alteration.name).collect();
    assert_eq!(names.len(), all().count(), "each name stands once");
    for alteration in all() {
        let row = named(alteration.name);
        assert!(alteration.kills.contains(&row.id.as_str()), "`{}` does not kill {}", alteration.name, row.id);
    }
    let proven: BTreeSet<&str> = all().map(|alteration| named(alteration.name).id.as_str()).collect();
    let wanted = checks::all().map(|check| check.id);
    let unproven: Vec<&str> = wanted.filter(|id| !proven.contains(id)).collect();
    assert!(unproven.is_empty(), "no alteration for {unproven:?}");
}

#[test]
fn every_binding_requirement_that_runs_show_has_a_mutant_of_its_own_name() {
    let mutants = mutants::list(&refimpl()).unwrap();
    for mutant in &mutants {
        let row = named(&mutant.name);
        assert!(mutant.kills.contains(&row.id), "`{}` does not kill {}", mutant.name, row.id);
        assert!(mutant.kills.iter().all(|id| checks::of(id).is_some()), "`{}` kills what has no check", mutant.name);
    }
    let proven: BTreeSet<&str> = mutants.iter().map(|mutant| named(&mutant.name).id.as_str()).collect();
    let wanted = requirement::all().iter().filter(|row| row.verify == Verify::Dynamic && row.level.is_binding());
    let unproven: Vec<&str> = wanted.map(|row| row.id.as_str()).filter(|id| !proven.contains(id)).collect();
    assert!(unproven.is_empty(), "no mutant for {unproven:?}");
}

#[test]
fn the_matrix_in_the_tree_is_the_one_that_is_tested() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("KILLS.md");
    let document = kills::document(all(), &mutants::list(&refimpl()).unwrap());
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), document, "`make generate` writes {}", path.display());
}

/// Everything: the second implementation and all of its mutants as images, the null image, the hostile ones.
#[test]
fn the_suite_proves_itself_with_images() {
    let output = Command::new(env!("CARGO_BIN_EXE_agent-conformance")).arg("selftest").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let missing: Vec<&str> = said.lines().filter(|line| !line.starts_with("shown ")).collect();
    match output.status.code() {
        Some(0) => assert_eq!(missing, Vec::<&str>::new()),
        Some(4) => skip::skip(&format!("the selftest could not show all here: {}", missing.join("; "))),
        other => panic!("{other:?}: {}", missing.join("\n")),
    }
}
