//! `engines`: which engines work on this machine; and the choice of one for an image.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::error::CommandError;
use super::output;
use crate::suite::engine::choose::{self, Choice};
use crate::suite::engine::{Engine, EngineError, Program};
use crate::suite::evidence::Ability;

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
    /// runc, without a container engine; needs root
    Runc,
    /// Namespaces that this program makes itself; needs root
    Namespace,
    /// A command on the host, not isolated
    Exec,
    /// Only look at the image
    Static,
}

impl EngineName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
            Self::Runc => "runc",
            Self::Namespace => "namespace",
            Self::Exec => "exec",
            Self::Static => "static",
        }
    }
}

/// The image, and the engine for it.
#[derive(Debug, Args)]
pub struct ImageArguments {
    /// The image: as podman or docker knows it, or oci:DIR, oci-archive:FILE, docker-archive:FILE, rootfs:DIR, exec:COMMAND
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The engine that starts it; without, the best that works of those that `engines` lists and that can start such an image
    #[arg(long, value_name = "NAME")]
    engine: Option<EngineName>,
    /// The image configuration (JSON) for `rootfs:` and `exec:`; without, DIR.config.json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ImageArguments {
    /// The engine that was chosen, or the best that works, with the image.
    pub fn open(&self) -> Result<Box<dyn Engine>, CommandError> {
        let engine = self.engine.map(|name| name.as_str().to_owned());
        let choice = Choice { engine, config: self.config.clone(), program: Program::default() };
        match choose::open(&self.image, &choice) {
            Err(EngineError::Unusable { engine, why }) if self.engine.is_none() => Err(CommandError::NoEngine(format!("{engine}: {why}"))),
            opened => Ok(opened?),
        }
    }
}

pub fn run(_arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let known = choose::engines(&Program::default());
    let mut text = String::new();
    for engine in &known {
        let about = if engine.about.trim().is_empty() { String::new() } else { format!(": {}", engine.about.trim()) };
        let works = if engine.usable { "works" } else { "does not work here" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<10}{works}{about}", engine.name);
    }
    output::print(&text)?;
    // some are always there, and isolate nothing or start nothing
    let works = known.iter().any(|engine| engine.usable && engine.abilities.contains(&Ability::PidNamespace));
    Ok(ExitCode::from(if works { 0 } else { 3 }))
}
