//! `selftest`: the suite proves itself, with the second implementation and its mutants.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::error::CommandError;
use super::{interrupt, output};
use crate::suite::evidence::Evidence;
use crate::suite::selftest::run::{self, Plan};
use crate::suite::selftest::{Proof, Shown, good};
use crate::suite::stop;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes:
  0  everything was shown
  1  something was not
  2  the command line is wrong, or nothing has such a name
  3  nothing could be shown: the second implementation or the engine is not there
  4  what this machine cannot do was skipped; the rest was shown

Example:
  agent-conformance selftest --only 'mutant grace'")]
pub struct Arguments {
    /// The second implementation [default: `refimpl` beside this program]
    #[arg(long, value_name = "PROGRAM")]
    refimpl: Option<PathBuf>,
    /// Show only what has this in its name; may be given several times
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
    /// How many containers run at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// Start each mutant in every scenario, not only in those in which what it breaks is seen
    #[arg(long)]
    all_scenarios: bool,
    /// Alter this evidence instead of what the second implementation leaves
    #[arg(long, value_name = "DIR")]
    good: Option<PathBuf>,
    /// Keep what the second implementation leaves as good evidence
    #[arg(long, value_name = "DIR")]
    keep_good: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    interrupt::watch();
    let own = |source| CommandError::File { what: "find", path: "agent-conformance".into(), source, given: false };
    let program = std::env::current_exe().map_err(own)?;
    let plan = Plan {
        refimpl: arguments.refimpl.clone().unwrap_or_else(|| program.with_file_name("refimpl")),
        program,
        good: arguments.good.as_deref().map(good::read).transpose()?,
        at_once: arguments.jobs,
        all_scenarios: arguments.all_scenarios,
        only: arguments.only.clone(),
    };
    let begun = Instant::now();
    // What is given up is shown to be nothing.
    let tell = |proof: &Proof| {
        if stop::asked().is_none() {
            output::tell(&line(proof))
        }
    };
    let outcome = run::run(&plan, &tell)?;
    if let Some(signal) = stop::asked() {
        return Err(CommandError::Interrupted(signal));
    }
    if let Some(dir) = &arguments.keep_good {
        keep(outcome.evidence.as_ref(), &outcome.proofs, dir)?;
    }
    let count = |is: fn(&Shown) -> bool| outcome.proofs.iter().filter(|proof| is(&proof.shown)).count();
    let (shown, skipped, failed) = (
        count(|shown| *shown == Shown::Yes),
        count(|shown| matches!(shown, Shown::Skipped(_))),
        count(|shown| matches!(shown, Shown::No(_))),
    );
    if let Some(note) = &outcome.note {
        output::tell(&format!("note: {note}"));
    }
    let seconds = begun.elapsed().as_secs();
    output::print(&format!("{shown} shown, {failed} not shown, {skipped} skipped; engine `{}`, {seconds} s\n", outcome.engine))?;
    Ok(ExitCode::from(match (failed, skipped) {
        (0, 0) => 0,
        (0, _) => 4,
        _ => 1,
    }))
}

fn line(proof: &Proof) -> String {
    match &proof.shown {
        Shown::Yes => format!("shown      {}", proof.name),
        Shown::Skipped(why) => format!("SKIPPED    {}: {why}", proof.name),
        Shown::No(why) => format!("NOT SHOWN  {}: {why}", proof.name),
    }
}

/// Keeps good evidence, if it is good.
fn keep(evidence: Option<&Evidence>, proofs: &[Proof], dir: &std::path::Path) -> Result<(), CommandError> {
    let is_good = proofs.iter().any(|proof| proof.name == "second implementation" && proof.shown == Shown::Yes);
    match evidence.filter(|_| is_good) {
        Some(evidence) => Ok(good::write(evidence, dir)?),
        None => Err(CommandError::Usage {
            problem: "there is no good evidence to be kept".to_owned(),
            hint: "the second implementation has to pass, and to be among what is shown",
        }),
    }
}
