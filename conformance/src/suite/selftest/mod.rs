//! The suite's proof of itself: that what is good passes, and that each check fails on what is broken in just that way.
//!
//! | module | what is shown |
//! |---|---|
//! | [`altered`] | good evidence, changed in one way, is found broken in exactly the requirements that it should be |
//! | [`mod@reference`] | the second implementation passes everything |
//! | [`mutants`] | each mutant of it is found broken in exactly the requirements that it should be, and had really landed |
//! | [`null`] | an image that does nothing breaks every requirement that can be broken, and is nobody else's fault |
//! | [`hostile`] | images that want to harm the suite do not |
//! | [`run`] | all of it, in order |
//! | [`kills`] | the matrix of requirements and what kills them, as a document |

pub mod altered;
pub mod good;
pub mod hostile;
pub mod kills;
pub mod mutants;
pub mod null;
pub mod reference;
pub mod run;

use std::collections::BTreeSet;

use super::check::{Check, Finding};
use super::checks;
use super::evidence::Evidence;
use super::profile::Profile;
use super::requirement;

/// What checks found in evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Requirements that are broken, or that the image makes untestable.
    pub killed: BTreeSet<String>,
    /// Requirements that the engine cannot see.
    pub unseen: BTreeSet<String>,
    /// What was the suite's or the machine's fault.
    pub faults: Vec<String>,
    /// What was found, for people: a line each.
    pub said: Vec<String>,
}

/// Asks the checks in scope.
#[must_use]
pub fn find(evidence: &Evidence, in_scope: impl Fn(&Check) -> bool) -> Found {
    let mut found = Found::default();
    for check in checks::all().filter(|check| in_scope(check)) {
        match (check.judge)(evidence) {
            Ok(()) | Err(Finding::NotApplicable(_)) => {}
            Err(Finding::Broken { expected, actual, scenario }) => {
                found.said.push(format!(
                    "{} in {}: expected {expected}; seen: {actual}",
                    check.id,
                    scenario.as_deref().unwrap_or("the image")
                ));
                found.killed.insert(check.id.to_owned());
            }
            Err(Finding::NotTestable(why)) => {
                found.said.push(format!("{}: not testable: {why}", check.id));
                found.killed.insert(check.id.to_owned());
            }
            Err(Finding::NotObservable(_)) => drop(found.unseen.insert(check.id.to_owned())),
            Err(Finding::Error(why)) => found.faults.push(format!("{}: {why}", check.id)),
        }
    }
    found
}

/// Whether the second implementation is judged by a check: by all but those of an image's own agent, since it has none.
#[must_use]
pub fn in_scope(check: &Check) -> bool {
    requirement::find(check.id).is_some_and(|row| row.profile != Profile::Agent)
}

/// The scenarios that those checks read.
#[must_use]
pub fn scenarios() -> BTreeSet<&'static str> {
    checks::all().filter(|check| in_scope(check)).flat_map(|check| check.scenarios).copied().collect()
}

/// Whether all that a check reads is among these scenarios.
#[must_use]
pub fn reads_only(check: &Check, scenarios: &BTreeSet<&str>) -> bool {
    !check.scenarios.is_empty() && check.scenarios.iter().all(|scenario| scenarios.contains(scenario))
}

/// One thing that was to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What, for instance `mutant grace`.
    pub name: String,
    /// Whether it was.
    pub shown: Shown,
}

/// Whether something was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It was.
    Yes,
    /// The machine or the engine lacks what is needed.
    Skipped(String),
    /// It was not: why.
    No(String),
}

/// How a set of requirements differs from what it should be, if it does.
#[must_use]
pub fn difference(expected: &BTreeSet<String>, found: &Found) -> Option<String> {
    if let Some(fault) = found.faults.first() {
        return Some(format!("a fault of the suite: {fault}"));
    }
    let list = |ids: Vec<&String>| ids.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let survived = list(expected.difference(&found.killed).collect());
    let more = list(found.killed.difference(expected).collect());
    let why: Vec<&str> =
        found.said.iter().filter(|line| !expected.iter().any(|id| line.starts_with(id.as_str()))).map(String::as_str).collect();
    match (survived.is_empty(), more.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("not found broken: {survived}")),
        (true, false) => Some(format!("found broken, too: {more} ({})", why.join(" | "))),
        (false, false) => Some(format!("not found broken: {survived}; but: {more} ({})", why.join(" | "))),
    }
}
