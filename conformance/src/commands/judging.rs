//! What `check` and `recheck` have in common: which requirements are judged, by which baseline, and which reports are made of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::destination::Destination;
use super::error::CommandError;
use super::output::{self, Color};
use crate::suite::baseline;
use crate::suite::evidence::Evidence;
use crate::suite::profile::Profile;
use crate::suite::report::redact::Redactor;
use crate::suite::report::{Format, Report, check_for_secrets, human};
use crate::suite::requirement::Requirement;
use crate::suite::selection::{Selection, Wanted};
use crate::suite::verdict::Baseline;

/// Which requirements are judged, and what is said of it.
#[derive(Debug, Args)]
pub struct JudgingArguments {
    /// Judge by this profile, claimed or not, instead of by those that the image claims; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    profile: Vec<Profile>,
    /// Judge only this requirement, by id (`STR-003`) or slug, or this area (`STR`); may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Take a broken SHOULD for a failure
    #[arg(long)]
    strict: bool,
    /// Failures that are known: a TOML file, each entry `[[known]]` with `id` and `reason`
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write a report to a file, or to stdout as `FORMAT=-`; may be repeated or separated by commas
    #[arg(long, value_name = "FORMAT=FILE", value_delimiter = ',')]
    report: Vec<Destination>,
    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

/// The same, looked up.
#[derive(Debug)]
pub struct Judging<'a> {
    arguments: &'a JudgingArguments,
    /// The requirements that are wanted.
    pub wanted: Wanted,
    baseline: Baseline,
}

impl JudgingArguments {
    /// Only this requirement, whether the image claims its profile or not.
    pub fn only_this(row: &Requirement) -> Self {
        Self {
            profile: vec![row.profile],
            only: vec![row.id.clone()],
            strict: false,
            baseline: None,
            report: Vec::new(),
            color: Color::default(),
        }
    }

    /// Looks names up and reads the baseline, before anything is started.
    pub fn resolve(&self) -> Result<Judging<'_>, CommandError> {
        let wanted = Wanted::new(self.profile.iter().copied(), self.only.clone())?;
        if self.report.iter().filter(|destination| destination.file.is_none() && destination.format != Format::Human).count() > 1 {
            let problem = "only one report can go to stdout".to_owned();
            return Err(CommandError::Usage { problem, hint: "give the others a file: `--report junit=report.xml`" });
        }
        let baseline = match &self.baseline {
            None => Baseline::new(),
            Some(path) => {
                baseline::parse(&output::read_given(path)?).map_err(|source| CommandError::Baseline { path: path.clone(), source })?
            }
        };
        Ok(Judging { arguments: self, wanted, baseline })
    }
}

impl Judging<'_> {
    /// Judges evidence and writes the reports.
    pub fn conclude(&self, evidence: &Evidence, selection: &Selection, duration: Duration) -> Result<Report, CommandError> {
        let report = self.report(evidence, selection, duration);
        let redactor = Redactor::new(&evidence.about.canaries);
        // All are made before one is written: a report that fails must not leave others that look like the whole.
        let mut made = Vec::new();
        for destination in &self.arguments.report {
            made.push((destination, destination.format.render(&report, &redactor)?));
        }
        let for_a_person = human::render(&report, self.arguments.color.look());
        let for_a_person = check_for_secrets(for_a_person, Format::Human, &redactor)?;
        for (destination, text) in &made {
            match &destination.file {
                Some(path) => output::write_file(path, text)?,
                None => {
                    output::print(text)?;
                }
            }
        }
        // What a program reads from stdout must be alone there.
        if made.iter().all(|(destination, _)| destination.file.is_some()) {
            output::print(&for_a_person)?;
        } else if report.exit_code != 0 {
            output::tell(&report.summary);
        }
        Ok(report)
    }

    fn report(&self, evidence: &Evidence, selection: &Selection, duration: Duration) -> Report {
        let judgements = selection.judge(evidence, &self.baseline);
        let mut report = Report::new(&evidence.about, &self.wanted, selection, &judgements, self.arguments.strict, duration);
        let unjudged: Vec<&str> =
            self.baseline.keys().map(String::as_str).filter(|id| !judgements.iter().any(|judged| judged.id == *id)).collect();
        if !unjudged.is_empty() {
            report.notes.push(format!("the baseline also lists {}, which this run did not judge", unjudged.join(" ")));
        }
        report
    }
}
