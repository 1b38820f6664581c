//! agent-runner: PID 1 for one task of one coding agent.

pub mod agents;
pub mod cli;
pub mod commands;
pub mod configure;
pub mod dialects;
mod entry;
pub mod files;
pub mod init;
pub mod inputs;
pub mod log;
pub mod manifests;
pub mod process;
pub mod run;
pub mod secrets;
pub mod sinks;
pub mod stream;
pub mod workspace;

pub use entry::main_with;

/// This runner's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
