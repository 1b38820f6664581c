//! `engines`: which engines work on this machine; and the choice of one for an image.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::error::CommandError;
use super::output;
use crate::suite::engine::docker::{self, Docker};
use crate::suite::engine::podman::{self, Podman};
use crate::suite::engine::{Engine, EngineError};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  agent-conformance engines")]
pub struct Arguments {}

/// An engine that can be chosen, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// podman, as it is installed here
    Podman,
    /// docker, with the daemon that its client finds
    Docker,
}

impl EngineName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }

    fn usable(self) -> Result<String, String> {
        match self {
            Self::Podman => podman::usable(),
            Self::Docker => docker::usable(),
        }
    }

    fn open(self, reference: &str) -> Result<Box<dyn Engine>, EngineError> {
        Ok(match self {
            Self::Podman => Box::new(Podman::new(reference)?),
            Self::Docker => Box::new(Docker::new(reference)?),
        })
    }
}

/// The engine that was chosen, or the best that works, for an image.
pub fn open(chosen: Option<EngineName>, reference: &str) -> Result<Box<dyn Engine>, CommandError> {
    if let Some(name) = chosen {
        return Ok(name.open(reference)?);
    }
    let mut reasons = Vec::new();
    for name in EngineName::value_variants() {
        match name.usable() {
            Ok(_) => return Ok(name.open(reference)?),
            Err(why) => reasons.push(format!("{}: {}", name.as_str(), why.trim())),
        }
    }
    Err(CommandError::NoEngine(reasons.join("; ")))
}

pub fn run(_arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let mut text = String::new();
    let mut works = false;
    for name in EngineName::value_variants() {
        // Writing to a string cannot fail.
        let _ = match name.usable() {
            Ok(about) => {
                works = true;
                writeln!(text, "{:<10}works: {}", name.as_str(), about.trim())
            }
            Err(why) => writeln!(text, "{:<10}does not work here: {}", name.as_str(), why.trim()),
        };
    }
    output::print(&text)?;
    Ok(ExitCode::from(if works { 0 } else { 3 }))
}
