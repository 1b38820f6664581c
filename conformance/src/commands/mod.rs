//! The commands of `agent-conformance`, a file each: thin wrappers over the suite.

mod badge;
mod certify;
mod check;
mod destination;
mod engines;
mod error;
mod explain;
mod gathering;
mod holding;
mod interrupt;
mod judging;
mod list;
mod output;
mod progress;
mod recheck;
mod reproduce;
mod selftest;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::CommandError;

use crate::suite::stop;

const EXIT_CODES: &str = "Exit codes:
  0  conformant: every requirement that was asked for is kept
  1  not conformant
  2  the command line or the baseline is wrong
  3  could not test: no such image, an engine that does not work, a fault of the suite
  4  partial: the engine cannot see everything, or nothing was tested
  5  the baseline lists something that is not broken any more";

/// Judges container images by the Agent Image Interface
#[derive(Debug, Parser)]
#[command(
    name = "agent-conformance",
    version,
    about = "Judges container images by the Agent Image Interface",
    long_about = "Judges container images by the Agent Image Interface.\n\n\
        The image is started in some twenty scenarios with the suite's own agent in place of the image's, and for the profile `agent` with \
        its own agent and a scripted model. No API key, no network and no daemon is needed. Each requirement of the specification is then \
        judged by what was seen.",
    after_help = EXIT_CODES
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge an image: start it in every scenario that its claims need, and say what is broken
    Check(Box<check::Arguments>),
    /// List the requirements
    List(list::Arguments),
    /// Say everything about a requirement: its sentence, why it matters, how to fix an image that breaks it
    Explain(explain::Arguments),
    /// Say what a check does with an image, and with `--run` do only that
    Reproduce(Box<reproduce::Arguments>),
    /// Say which engines work on this machine
    Engines(engines::Arguments),
    /// Judge evidence again that `check --evidence DIR` kept; no engine is needed
    Recheck(recheck::Arguments),
    /// Let the suite prove itself, on an implementation that can be broken in a hundred ways
    Selftest(selftest::Arguments),
    /// Say whether a certificate fits: its conclusion is derived again
    Verify(verify::Arguments),
    /// Make a badge from a certificate
    Badge(badge::Arguments),
}

/// Does what the command line says.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Reproduce(arguments) => reproduce::run(&arguments),
        Command::Engines(arguments) => engines::run(&arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Recheck(arguments) => recheck::run(&arguments),
        Command::Selftest(arguments) => selftest::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Badge(arguments) => badge::run(&arguments),
    };
    done.unwrap_or_else(|error: CommandError| {
        // Whatever failed then has failed for that.
        let error = stop::asked().map_or(error, CommandError::Interrupted);
        output::tell(&error.said());
        ExitCode::from(error.exit_code())
    })
}
