//! The agents that are built in.

mod answer;
pub mod claude;
pub mod codex;
pub mod command;
pub mod cursor;
mod endpoint;
pub mod gemini;
pub mod kodelet;
mod later;
mod limits;
mod lines;
pub mod manifest;
pub mod native;
pub mod opencode;
mod plugins;
mod reasons;
mod recent;
mod scan;

use crate::agent::Agent;

/// Every built-in agent.
#[must_use]
pub fn all() -> Vec<Box<dyn Agent>> {
    vec![
        Box::new(claude::Claude),
        Box::new(codex::Codex),
        Box::new(cursor::Cursor),
        Box::new(gemini::Gemini),
        Box::new(kodelet::Kodelet),
        Box::new(opencode::OpenCode),
        Box::new(native::Native),
        Box::new(command::Command),
    ]
}

/// The built-in agent of a name.
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Agent>> {
    all().into_iter().find(|agent| agent.name() == name)
}
