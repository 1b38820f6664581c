//! The agents that are built in.

pub mod command;
pub mod native;

pub mod claude;

use crate::agent::Agent;

/// Every built-in agent.
#[must_use]
pub fn all() -> Vec<Box<dyn Agent>> {
    vec![Box::new(claude::Claude)]
}

/// The built-in agent of a name.
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Agent>> {
    all().into_iter().find(|agent| agent.name() == name)
}
