//! Scenarios: what the suite does with an image to see how it behaves. They make evidence and decide nothing.
//!
//! | file | subject |
//! |---|---|
//! | [`stage`] | what a scenario prepares: scripts, files, variables, servers |
//! | `course` | starting the image, what happens while it runs, and gathering what is left |
//! | [`mod@gather`] | all wanted scenarios, some at once |
//! | `core`, `streams`, `ends`, `workspace`, `platforms`, `agent` | the scenarios themselves |

mod agent;
mod core;
mod course;
pub mod ends;
pub mod gather;
mod platforms;
pub mod stage;
pub mod streams;
mod workspace;

use std::time::Duration;

use nix::sys::signal::Signal;

pub use gather::{GatherOptions, Progress, gather, set};
pub use stage::Stage;

use super::evidence::Ability;

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name, in evidence and reports.
    pub name: &'static str,
    /// What is done, in a half sentence.
    pub about: &'static str,
    /// What the engine must be able to do, beside starting the image.
    pub needs: &'static [Ability],
    /// Sets the stage.
    pub prepare: fn(&mut Stage) -> Result<(), Unfit>,
    /// What is done while the image runs.
    pub course: &'static [Act],
}

/// Something that is done while the image runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Wait until a program of the suite has reached this place of its script.
    AwaitMark(&'static str),
    /// Wait until the git server was asked.
    AwaitGit,
    /// Wait until the model was asked.
    AwaitModel,
    /// Send a signal to PID 1.
    Send(Signal),
    /// Kill everything at once.
    Kill,
}

/// Why a scenario cannot be played with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It says nothing about this image.
    Inapplicable(String),
    /// The image lacks something.
    Prerequisite(String),
    /// The suite or the machine is at fault.
    Fault(String),
}

impl From<std::io::Error> for Unfit {
    fn from(error: std::io::Error) -> Self {
        Self::Fault(error.to_string())
    }
}

impl Scenario {
    /// How long it is waited for, where the user gives each scenario `patience`: never less than the image itself is given.
    #[must_use]
    pub fn patience(&self, patience: Duration) -> Duration {
        let is_own_agents = agent::SCENARIOS.iter().any(|scenario| scenario.name == self.name);
        if is_own_agents { patience.max(agent::PATIENCE) } else { patience }
    }
}

/// All scenarios, in the order in which they are run.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [core::SCENARIOS, streams::SCENARIOS, ends::SCENARIOS, workspace::SCENARIOS, platforms::SCENARIOS, agent::SCENARIOS]
        .into_iter()
        .flatten()
}

/// The scenario of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|scenario| scenario.name == name)
}
