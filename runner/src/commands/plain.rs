//! The commands that need no second process.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// EX_USAGE of `sysexits.h`.
const USAGE: u8 = 64;

/// Runs the command.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stdout or stderr is no reason to fail otherwise.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Capture(args) => super::capture::run(args),
        Command::Emit(args) => super::emit::run(&args),
        Command::Replay(args) => super::replay::run(&args),
        Command::Manifest(args) => super::manifest::run(&args),
        Command::Install(args) => super::install::run(&args),
        Command::Doctor(args) => super::doctor::run(args),
        Command::Schema(args) => super::schema::run(&args),
        Command::Version(args) => super::version::run(&args),
        Command::Completions(args) => super::completions::run(&args),
        Command::GitCredential(args) => super::git_credential::run(&args),
        Command::DemoAgent => super::demo_agent::run(),
        // `needs_init` sends these elsewhere; `--help` of theirs ends in the parser.
        Command::Run(_) | Command::Setup(_) | Command::Clone(_) | Command::Exec(_) | Command::Demo(_) | Command::KubeOpenCode(_) => {
            ExitCode::from(USAGE)
        }
    }
}
