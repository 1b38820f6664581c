//! A check: the one thing to observe of a requirement, as a function from evidence.

use super::evidence::{Evidence, Run};

/// The check of a requirement.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The requirement's id.
    pub id: &'static str,
    /// The scenarios whose evidence it reads; none for what is static.
    pub scenarios: &'static [&'static str],
    /// Whether the requirement is kept. `Ok` is a pass.
    pub judge: fn(&Evidence) -> Result<(), Finding>,
}

/// Why a check does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The requirement is broken.
    Broken {
        /// What should have been seen.
        expected: String,
        /// What was seen.
        actual: String,
        /// In which scenario; absent for what is static.
        scenario: Option<String>,
    },
    /// The image lacks what the check needs: its own fault.
    NotTestable(String),
    /// The requirement says nothing about this image.
    NotApplicable(String),
    /// The engine cannot see it.
    NotObservable(String),
    /// The suite or the machine is at fault.
    Error(String),
}

/// What a check returns.
pub type Judged = Result<(), Finding>;

/// A requirement that is broken as the image lies there.
pub fn broken(expected: impl Into<String>, actual: impl Into<String>) -> Finding {
    Finding::Broken { expected: expected.into(), actual: actual.into(), scenario: None }
}

impl Evidence {
    /// The evidence of a scenario, or why there is none that could be judged.
    pub fn run(&self, scenario: &str) -> Result<Seen<'_>, Finding> {
        let Some((name, run)) = self.runs.get_key_value(scenario) else {
            return Err(Finding::Error(format!("the scenario `{scenario}` was not run")));
        };
        if let Some(fault) = &run.facts.fault {
            return Err(Finding::Error(format!("scenario `{scenario}`: {fault}")));
        }
        if let Some(ability) = run.facts.missing.first() {
            return Err(Finding::NotObservable(format!("the engine `{}` cannot {}", self.about.engine, ability.about())));
        }
        if let Some(why) = &run.facts.inapplicable {
            return Err(Finding::NotApplicable(why.clone()));
        }
        if let Some(lacking) = &run.facts.prerequisite {
            return Err(Finding::NotTestable(format!("scenario `{scenario}`: {lacking}")));
        }
        Ok(Seen { name, run })
    }
}

/// The evidence of one scenario, with its name for what is said of it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The scenario.
    pub name: &'a str,
    /// What was seen.
    pub run: &'a Run,
}

impl Seen<'_> {
    /// The requirement is broken in this scenario.
    pub fn broken(&self, expected: impl Into<String>, actual: impl Into<String>) -> Finding {
        Finding::Broken { expected: expected.into(), actual: actual.into(), scenario: Some(self.name.to_owned()) }
    }

    /// Broken unless this holds.
    pub fn expect(&self, holds: bool, expected: impl Into<String>, actual: impl Into<String>) -> Judged {
        if holds { Ok(()) } else { Err(self.broken(expected, actual)) }
    }
}

impl std::ops::Deref for Seen<'_> {
    type Target = Run;

    fn deref(&self) -> &Run {
        self.run
    }
}
