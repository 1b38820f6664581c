//! `recheck`: evidence that was kept is judged again, without an engine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::CommandError;
use super::judging::JudgingArguments;
use crate::suite::evidence::store;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  agent-conformance check --evidence seen ghcr.io/acme/agent:1\n  agent-conformance recheck seen --report html=report.html"
)]
pub struct Arguments {
    /// The directory that `check --evidence` wrote
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    judging: JudgingArguments,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let judging = arguments.judging.resolve()?;
    let evidence = store::read(&arguments.directory)?;
    let selection = judging.wanted.of(&evidence.about.subject.claimed());
    let taken = evidence.runs.values().map(|run| run.facts.duration_ms).sum();
    let report = judging.conclude(&evidence, &selection, Duration::from_millis(taken))?;
    Ok(ExitCode::from(report.exit_code))
}
