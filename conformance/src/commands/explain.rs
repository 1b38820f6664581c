//! `explain`: everything that is known of a requirement, so that one read leads from a failing check to a fix.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::error::CommandError;
use super::output::{self, Color};
use crate::suite::checks;
use crate::suite::report::text::paragraph;
use crate::suite::requirement::{Requirement, Verify};
use crate::suite::selection::rows_named;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  agent-conformance explain IMG-004")]
pub struct Arguments {
    /// Id, slug, or an area for all of its requirements
    #[arg(value_name = "ID", required = true)]
    names: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let rows = arguments.names.iter().map(|name| rows_named(name)).collect::<Result<Vec<_>, _>>()?.concat();
    let width = Color::Never.look().width;
    let texts: Vec<String> = rows.into_iter().map(|row| explained(row, width)).collect();
    output::print(&texts.join("\n"))
}

/// A requirement as people read it.
fn explained(row: &Requirement, width: usize) -> String {
    let mut text = format!("{}  {}\n", row.id, row.slug);
    let place =
        format!("{}, profile {}, section {} of the specification, since version {}", row.level, row.profile, row.section, row.since);
    let (how, scenarios) = how_tested(row);
    let see = format!("agent-conformance reproduce {} --run IMAGE", row.id);
    let sections = [
        ("", place.as_str()),
        ("", &row.text),
        ("Why it matters", &row.why),
        ("How to fix it", &row.fix),
        ("How it is tested", &how),
        ("Why it is not tested", &row.excluded),
        ("Scenarios", &scenarios),
        ("See it", if row.verify == Verify::Excluded { "" } else { &see }),
    ];
    for (title, said) in sections.into_iter().filter(|(_, said)| !said.is_empty()) {
        // Writing to a string cannot fail.
        let _ = match title {
            "" => writeln!(text, "\n{}", paragraph(said, width, "  ")),
            _ => writeln!(text, "\n{title}:\n{}", paragraph(said, width, "  ")),
        };
    }
    text
}

/// How it is tested, and in which scenarios.
fn how_tested(row: &Requirement) -> (String, String) {
    let how = match row.verify {
        Verify::Static => "By the image as it lies there; it is not started.",
        Verify::Dynamic => "The image is started with the suite's own agent in place of the image's.",
        Verify::Model => "The image is started with its own agent, and a scripted model instead of a real one.",
        Verify::Excluded => "",
    };
    let scenarios = checks::of(&row.id).map(|check| check.scenarios.join(", ")).unwrap_or_default();
    (how.to_owned(), scenarios)
}
