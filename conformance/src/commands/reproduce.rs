//! `reproduce`: what a check does with an image, step by step; and only that, with what was seen kept.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::engines::ImageArguments;
use super::error::CommandError;
use super::gathering::{self, GatheringArguments};
use super::holding;
use super::judging::JudgingArguments;
use super::{interrupt, output};
use crate::suite::checks;
use crate::suite::evidence::{Evidence, store};
use crate::suite::report::redact::Redactor;
use crate::suite::report::text::{shell_word, tame};
use crate::suite::requirement::{self, Requirement};
use crate::suite::scenario::{self, Act, Scenario};
use crate::suite::selection::UnknownRequirement;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agent-conformance reproduce TERM-001 ghcr.io/acme/agent:1
  agent-conformance reproduce TERM-001 ghcr.io/acme/agent:1 --run --evidence seen
  agent-conformance reproduce TERM-001 ghcr.io/acme/agent:1 --hold")]
pub struct Arguments {
    /// Id or slug of the requirement
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    image: ImageArguments,
    /// Do it: run the check's scenarios, keep what was seen, and judge it
    #[arg(long)]
    run: bool,
    /// Set the scenarios' files and servers, print the engine's own commands to be pasted into a shell, and hold it all until Ctrl-C
    #[arg(long, conflicts_with = "run")]
    hold: bool,
    /// Where what was seen is kept
    #[arg(long, value_name = "DIR", default_value = "agent-conformance-evidence")]
    evidence: PathBuf,
    #[command(flatten)]
    gathering: GatheringArguments,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    interrupt::watch();
    let row = requirement::find(&arguments.id).ok_or_else(|| unknown(&arguments.id))?;
    let scenarios = checks::of(&row.id).map(|check| check.scenarios).unwrap_or_default();
    output::print(&described(row, scenarios))?;
    if arguments.hold {
        holding::hold(&*arguments.image.open()?, scenarios)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.run {
        let again = format!("agent-conformance reproduce {} {}", row.id, shell_word(&tame(&arguments.image.image)));
        let by_hand =
            if scenarios.is_empty() { String::new() } else { format!("\nor by hand, with the engine's own commands:\n  {again} --hold\n") };
        return output::print(&format!("\nDo it with:\n  {again} --run\n{by_hand}"));
    }
    let judging = JudgingArguments::only_this(row);
    let judging = judging.resolve()?;
    let begin = Instant::now();
    let engine = arguments.image.open()?;
    let subject = engine.inspect()?;
    let selection = judging.wanted.of(&subject.claimed());
    let evidence = gathering::gather(&arguments.gathering, &*engine, &subject, &scenarios.iter().copied().collect())?;
    store::write(&evidence, &arguments.evidence)?;
    output::print(&format!("{}\n", seen(&evidence, &arguments.evidence)))?;
    let report = judging.conclude(&evidence, &selection, begin.elapsed())?;
    Ok(ExitCode::from(report.exit_code))
}

/// A usage error for what is no requirement, or more than one.
fn unknown(name: &str) -> CommandError {
    match crate::suite::selection::rows_named(name) {
        Ok(_) => UnknownRequirement { name: name.to_owned(), near: Vec::new() }.into(),
        Err(unknown) => unknown.into(),
    }
}

/// What the check does.
fn described(row: &Requirement, scenarios: &[&str]) -> String {
    let mut text = format!("{} {}\n  {}\n", row.id, row.slug, row.text);
    if scenarios.is_empty() {
        text += "\nThe image is looked at and not started.\n";
    }
    for scenario in scenarios.iter().filter_map(|name| scenario::find(name)) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\nScenario {}: {}", scenario.name, scenario.about);
        for (act, number) in acts(scenario).into_iter().zip(1..) {
            let _ = writeln!(text, "  {number}. {act}");
        }
    }
    text
}

/// What is done with the image, in order.
fn acts(scenario: &Scenario) -> Vec<String> {
    let act = |act: &Act| match act {
        Act::AwaitMark(mark) => format!("wait until a program of the suite reaches `{mark}`"),
        Act::AwaitGit => "wait until the git server is asked".to_owned(),
        Act::AwaitModel => "wait until the model is asked".to_owned(),
        Act::Send(signal) => format!("send {signal} to PID 1"),
        Act::Kill => "kill all processes at once".to_owned(),
    };
    let begin = std::iter::once("start the image with the scenario's variables and files".to_owned());
    begin.chain(scenario.course.iter().map(act)).chain(["wait for its end".to_owned()]).collect()
}

/// How each scenario was set up and how it ended, and where the rest lies.
fn seen(evidence: &Evidence, directory: &std::path::Path) -> String {
    let redactor = Redactor::new(&evidence.about.canaries);
    let mut text = String::new();
    for (name, run) in &evidence.runs {
        let _ = writeln!(text, "\nScenario {name} on engine {}, with these variables:", evidence.about.engine);
        for (variable, value) in &run.facts.env {
            let _ = writeln!(text, "  {variable}={}", shell_word(&tame(&redactor.redact(value))));
        }
        let _ = writeln!(text, "{}; what was seen: {}", run.facts.ended, directory.join(name).display());
    }
    text
}
