//! Verdicts: what a check's finding means for the image, and what all verdicts mean for the run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{Check, Finding, Judged};
use super::evidence::Evidence;
use super::requirement::{Level, Requirement};

/// What became of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Kept.
    Pass,
    /// Broken.
    Fail,
    /// Broken or not testable, and only recommended.
    Warn,
    /// It says nothing about this image.
    NotApplicable,
    /// The image lacks what the check needs. Counts as broken.
    NotTestable,
    /// This engine cannot see it; the run is partial.
    NotObservable,
    /// The suite or the machine is at fault.
    Error,
    /// Broken, and listed in the baseline with a reason.
    KnownFail,
    /// Listed in the baseline, and not broken any more.
    Stale,
}

impl Verdict {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::NotApplicable => "not-applicable",
            Self::NotTestable => "not-testable",
            Self::NotObservable => "not-observable",
            Self::Error => "error",
            Self::KnownFail => "known-fail",
            Self::Stale => "stale",
        }
    }
}

/// What became of one requirement, with what is said about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// The requirement's id.
    pub id: String,
    /// What became of it.
    pub verdict: Verdict,
    /// What should have been seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was seen, or why nothing could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// The scenario in which it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// The baseline's reason, for what is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What all verdicts mean, with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// All that was asked is kept: 0.
    Conformant,
    /// Something is broken: 1.
    NotConformant,
    /// Something could not be tested by the suite's or the machine's fault: 3.
    CouldNotTest,
    /// The engine could not see everything, or nothing was tested: 4.
    Partial,
    /// The baseline lists what is not broken any more: 5.
    StaleBaseline,
}

impl Conclusion {
    /// The exit code of `check`. 2 is a wrong command line.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Conformant => 0,
            Self::NotConformant => 1,
            Self::CouldNotTest => 3,
            Self::Partial => 4,
            Self::StaleBaseline => 5,
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conformant => "conformant",
            Self::NotConformant => "not conformant",
            Self::CouldNotTest => "could not test",
            Self::Partial => "partial",
            Self::StaleBaseline => "stale baseline",
        }
    }

    /// What follows from verdicts. With `strict`, warnings are failures.
    #[must_use]
    pub fn of(judgements: &[Judgement], strict: bool) -> Self {
        let any = |wanted: &[Verdict]| judgements.iter().any(|judgement| wanted.contains(&judgement.verdict));
        if any(&[Verdict::Fail, Verdict::NotTestable]) || (strict && any(&[Verdict::Warn])) {
            Self::NotConformant
        } else if any(&[Verdict::Error]) {
            Self::CouldNotTest
        } else if any(&[Verdict::Stale]) {
            Self::StaleBaseline
        } else if any(&[Verdict::NotObservable]) || !any(&[Verdict::Pass, Verdict::Warn, Verdict::KnownFail]) {
            Self::Partial
        } else {
            Self::Conformant
        }
    }
}

/// Failures that are known, with the reason for each, by the requirement's id.
pub type Baseline = BTreeMap<String, String>;

/// Judges evidence by these checks.
#[must_use]
pub fn judge(evidence: &Evidence, checks: &[(&Requirement, &Check)], baseline: &Baseline) -> Vec<Judgement> {
    checks.iter().map(|(requirement, check)| with_baseline(judged(requirement, (check.judge)(evidence)), baseline)).collect()
}

/// A finding as a judgement.
fn judged(requirement: &Requirement, found: Judged) -> Judgement {
    let judgement = |verdict, actual: Option<String>| Judgement {
        id: requirement.id.clone(),
        verdict,
        expected: None,
        actual,
        scenario: None,
        reason: None,
    };
    match found {
        Ok(()) => judgement(Verdict::Pass, None),
        Err(Finding::Broken { expected, actual, scenario }) => {
            let verdict = match requirement.level {
                Level::Must | Level::MustNot => Verdict::Fail,
                Level::Should | Level::ShouldNot | Level::May => Verdict::Warn,
            };
            Judgement { expected: Some(expected), scenario, ..judgement(verdict, Some(actual)) }
        }
        Err(Finding::NotTestable(why)) if requirement.level.is_binding() => judgement(Verdict::NotTestable, Some(why)),
        // what is only recommended breaks nothing, untested or not
        Err(Finding::NotTestable(why)) => judgement(Verdict::Warn, Some(why)),
        Err(Finding::NotApplicable(why)) => judgement(Verdict::NotApplicable, Some(why)),
        Err(Finding::NotObservable(why)) => judgement(Verdict::NotObservable, Some(why)),
        Err(Finding::Error(why)) => judgement(Verdict::Error, Some(why)),
    }
}

/// A judgement in the light of what is known.
fn with_baseline(mut judgement: Judgement, baseline: &Baseline) -> Judgement {
    if let Some(reason) = baseline.get(&judgement.id) {
        match judgement.verdict {
            Verdict::Fail | Verdict::Warn | Verdict::NotTestable => judgement.verdict = Verdict::KnownFail,
            Verdict::Pass | Verdict::NotApplicable => judgement.verdict = Verdict::Stale,
            Verdict::NotObservable | Verdict::Error | Verdict::KnownFail | Verdict::Stale => return judgement,
        }
        judgement.reason = Some(reason.clone());
    }
    judgement
}
