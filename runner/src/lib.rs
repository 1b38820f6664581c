//! agent-runner: PID 1 for one task of one coding agent.

pub mod configure;
pub mod sinks;
pub mod stream;
pub mod workspace;
pub mod inputs;
pub mod cli;
pub mod run;
pub mod secrets;
