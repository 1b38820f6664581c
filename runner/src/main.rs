//! The binary: a runner with the built-in agents, and no other.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_runner::main_with(&[])
}
