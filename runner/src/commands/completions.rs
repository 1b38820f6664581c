//! `agent-runner completions SHELL`.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, CompletionArgs};

/// Runs the command.
#[must_use]
pub fn run(args: &CompletionArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "agent-runner", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}
