//! `verify`: whether a certificate's conclusion follows from what stands in it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::certify;
use super::error::CommandError;
use super::output;
use crate::suite::report::text::{one_line, tame};

#[derive(Debug, Args)]
#[command(
    after_help = "It is not signed: this shows that a certificate is whole and right by its own words, not who wrote it. Sign the file, or judge\n\
        the image again, where that matters.\n\nExit codes: 0 it fits, 1 it does not, 2 there is no such file.\n\n\
        Example:\n  agent-conformance verify certificate.json --digest sha256:…"
)]
pub struct Arguments {
    /// The file that `check --certificate FILE` wrote
    #[arg(value_name = "CERTIFICATE")]
    certificate: PathBuf,
    /// The digest that the image has today; another one does not fit
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let (certificate, mut objections) = certify::read(&arguments.certificate)?;
    if let (Some(digest), Some(certificate)) = (&arguments.digest, &certificate)
        && *digest != certificate.image.digest
    {
        objections.push(tame(&format!("it is about {}, not about {digest}", certificate.image.digest)));
    }
    for objection in &objections {
        output::print(&format!("does not fit: {objection}\n"))?;
    }
    let Some(certificate) = certificate.filter(|_| objections.is_empty()) else { return Ok(ExitCode::from(1)) };
    let this = certify::this_suite()?;
    if certificate.suite.executable != this.executable {
        output::tell(&format!("note: it was given by another build of the suite ({})", one_line(&tame(&certificate.suite.version))));
    }
    let profiles: Vec<&str> = certificate.profiles.iter().map(|profile| profile.as_str()).collect();
    let image = one_line(&tame(&certificate.image.reference));
    let (digest, count) = (&certificate.image.digest, certificate.judgements.len());
    output::print(&format!(
        "fits: {image} ({digest}) keeps {} of interface {}; {count} judgements\n",
        profiles.join(" "),
        certificate.interface
    ))
}
