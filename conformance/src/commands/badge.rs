//! `badge`: what an image may show on its page, from a certificate.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::certify;
use super::error::CommandError;
use super::output;
use crate::suite::badge;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  agent-conformance badge certificate.json --svg badge.svg --endpoint badge.json")]
pub struct Arguments {
    /// The file that `check --certificate FILE` wrote
    #[arg(value_name = "CERTIFICATE")]
    certificate: PathBuf,
    /// Write an SVG image; without any option it goes to stdout
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the JSON that shields.io/badges/endpoint-badge reads
    #[arg(long, value_name = "FILE")]
    endpoint: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let (certificate, objections) = certify::read(&arguments.certificate)?;
    let Some(certificate) = certificate.filter(|_| objections.is_empty()) else {
        output::tell(&format!("no badge: the certificate does not fit: {}", objections.join("; ")));
        return Ok(ExitCode::from(1));
    };
    let svg = badge::svg(&certificate);
    match (&arguments.svg, &arguments.endpoint) {
        (None, None) => return output::print(&svg),
        (Some(path), _) => output::write_file(path, &svg)?,
        (None, Some(_)) => {}
    }
    if let Some(path) = &arguments.endpoint {
        output::write_file(path, &badge::endpoint(&certificate))?;
    }
    Ok(ExitCode::SUCCESS)
}
