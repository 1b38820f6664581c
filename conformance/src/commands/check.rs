//! `check`: an image is looked at, started in every scenario that its checks need, and judged.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::certify;
use super::engines::ImageArguments;
use super::error::CommandError;
use super::gathering::{self, GatheringArguments};
use super::interrupt;
use super::judging::JudgingArguments;
use crate::suite::evidence::store;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agent-conformance check ghcr.io/acme/agent:1
  agent-conformance check --profile core --only TERM --evidence seen ghcr.io/acme/agent:1
  agent-conformance check --report junit=report.xml,html=report.html ghcr.io/acme/agent:1

Report formats: text, json, tap, junit, markdown, html, github.")]
pub struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    /// Keep what was seen in this directory; `recheck` judges it again
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// Write a certificate, if the whole run is without fault
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    gathering: GatheringArguments,
    #[command(flatten)]
    judging: JudgingArguments,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    interrupt::watch();
    let judging = arguments.judging.resolve()?;
    let begin = Instant::now();
    let engine = arguments.image.open()?;
    let subject = engine.inspect()?;
    let selection = judging.wanted.of(&subject.claimed());
    let evidence = gathering::gather(&arguments.gathering, &*engine, &subject, &selection.scenarios())?;
    if let Some(directory) = &arguments.evidence {
        store::write(&evidence, directory)?;
    }
    let report = judging.conclude(&evidence, &selection, begin.elapsed())?;
    if let Some(path) = &arguments.certificate {
        certify::certify(&report, path)?;
    }
    Ok(ExitCode::from(report.exit_code))
}
