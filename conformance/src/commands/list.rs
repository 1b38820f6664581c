//! `list`: the requirements, one a line.

use std::process::ExitCode;

use clap::Args;

use super::error::CommandError;
use super::output;
use crate::suite::profile::Profile;
use crate::suite::requirement::{self, Requirement, Verify};
use crate::suite::selection::rows_named;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  agent-conformance list --profile kubernetes")]
pub struct Arguments {
    /// Only requirements of this profile and those that it includes; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    profile: Vec<Profile>,
    /// Ids, slugs or areas; all without any
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// As a JSON array, with everything that is known of each
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let mut rows: Vec<&Requirement> = requirement::all().iter().collect();
    if !arguments.names.is_empty() {
        let named = arguments.names.iter().map(|name| rows_named(name)).collect::<Result<Vec<_>, _>>()?.concat();
        rows.retain(|row| named.iter().any(|named| named.id == row.id));
    }
    if !arguments.profile.is_empty() {
        rows.retain(|row| arguments.profile.iter().any(|profile| profile.with_included().contains(&row.profile)));
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(&rows).map_err(|error| CommandError::Stdout(error.into()))?;
        return output::print(&(json + "\n"));
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let excluded = if row.verify == Verify::Excluded { " (not tested)" } else { "" };
            format!("{:<9}{:<11}{:<12}{}{excluded}\n", row.id, row.level.as_str(), row.profile.as_str(), row.slug)
        })
        .collect();
    output::print(&lines.concat())
}
