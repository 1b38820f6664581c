//! The message that stands while the run goes on.
//!
//! It is written so that it is true if nothing more is ever written: whoever reads it after the container has ended reads that the run was
//! killed, in which phase, and what was known by then. So SIGKILL, an eviction or the kernel's memory killer at any instant lose nothing
//! but the end.

use crate::outcome::Outcome;
use crate::results::Results;
use crate::usage::Usage;
use crate::verdict::{Origin, Phase, Reason};

/// What is known while the run goes on.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The runner's version.
    pub runner_version: &'a str,
    /// The phase that the run is in.
    pub phase: Phase,
    /// The agent's name, once it is known.
    pub agent: Option<&'a str>,
    /// Facts and claims so far.
    pub results: &'a Results,
    /// What the run consumed so far.
    pub usage: &'a Usage,
}

/// The outcome as it is if the runner never writes another: failed, killed, exit code 137.
#[must_use]
pub fn interim(progress: &Progress<'_>) -> Outcome {
    let message = format!("the run ended without a last word in phase `{}`", progress.phase.as_str());
    let mut outcome = Outcome::new(progress.runner_version, progress.phase, Origin::Signal, Reason::Killed, message);
    outcome.agent = progress.agent.map(str::to_owned);
    outcome.results = progress.results.clone();
    outcome.usage = *progress.usage;
    outcome
}
