//! Reports: one value, and a file for each format that it is written in.
//!
//! Whatever comes from the image is made harmless once, when the value is made: canaries out ([`redact`]), then bounded and without control
//! characters ([`text`]). Each format adds the escapes of its own syntax, and each says "all is well" exactly when the exit code is 0.
//!
//! | module | who reads it |
//! |---|---|
//! | [`human`] | a person at a terminal |
//! | [`json`] | programs; `conformance/report.schema.json` describes it |
//! | [`tap`] | TAP consumers |
//! | [`junit`] | CI servers |
//! | [`markdown`] | a pull request, a job summary |
//! | [`html`] | a person, later |
//! | [`github`] | a GitHub workflow, as annotations |

pub mod github;
pub mod html;
pub mod human;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod redact;
pub mod tap;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evidence::About;
use super::profile::Profile;
use super::requirement::{self, Level};
use super::selection::{Selection, Wanted};
use super::verdict::{Conclusion, Judgement, Verdict};
use redact::Redactor;
use text::{shell_word, tame};

/// The version of the value's form; another one where a field goes or changes its meaning.
pub const REPORT_VERSION: u32 = 1;

/// The interface version that this suite judges by.
pub const INTERFACE: &str = "1.0";

/// All that is said of a run of the suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    /// The version of this form.
    pub report_version: u32,
    /// The interface version that the image was judged by.
    pub interface: String,
    /// The suite's version.
    pub suite_version: String,
    /// The engine that the image was looked at and started with.
    pub engine: String,
    /// The image.
    pub image: Image,
    /// What was asked for.
    pub asked: Asked,
    /// What all results mean.
    pub conclusion: Conclusion,
    /// The exit code that follows.
    pub exit_code: u8,
    /// The conclusion as a sentence.
    pub summary: String,
    /// How many requirements came to each verdict; verdicts that nothing came to are left out.
    pub counts: BTreeMap<Verdict, usize>,
    /// What became of each requirement, in the order of the specification.
    pub results: Vec<Row>,
    /// Requirements of the judged profiles that no check can test, with the reason.
    pub excluded: Vec<Excluded>,
    /// What a reader should know beside.
    pub notes: Vec<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// An image by its names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// What the user called it.
    pub reference: String,
    /// Its digest, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The name of its agent, as its label has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The profiles that it claims.
    pub claims: BTreeSet<Profile>,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// The profiles that were judged, with those that they include.
    pub profiles: BTreeSet<Profile>,
    /// Ids, slugs and areas that it was limited to; none means no limit.
    pub only: Vec<String>,
    /// Whether a broken SHOULD counts as a failure.
    pub strict: bool,
}

/// What became of a requirement, with its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Row {
    /// The requirement's id.
    pub id: String,
    /// The same in words.
    pub slug: String,
    /// Its keyword, which alone is its severity.
    pub level: Level,
    /// Its profile.
    pub profile: Profile,
    /// Its section in the specification.
    pub section: String,
    /// The sentence.
    pub text: String,
    /// What goes wrong for somebody when it is broken.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// How an image author mends it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
    /// What became of it.
    pub verdict: Verdict,
    /// What should have been seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was seen, or why nothing could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// The scenario in which it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// The baseline's reason, for what is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The command that shows it again.
    pub reproduce: String,
}

/// A requirement that no check can test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Excluded {
    /// The requirement's id.
    pub id: String,
    /// Why it is not tested.
    pub reason: String,
}

/// How a result is to be taken, whatever the format calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It speaks against the image, or the suite, or the baseline: the exit code is not 0.
    Bad,
    /// It should be looked at, and does not change the exit code.
    Warning,
    /// It is known and listed.
    Known,
    /// It was not tested.
    Untested,
    /// It is as it should be.
    Good,
}

impl Row {
    /// How this result is to be taken.
    #[must_use]
    pub fn weight(&self, strict: bool) -> Weight {
        match self.verdict {
            Verdict::Fail | Verdict::NotTestable | Verdict::Error | Verdict::Stale => Weight::Bad,
            Verdict::Warn if strict => Weight::Bad,
            Verdict::Warn => Weight::Warning,
            Verdict::KnownFail => Weight::Known,
            Verdict::NotApplicable | Verdict::NotObservable => Weight::Untested,
            Verdict::Pass => Weight::Good,
        }
    }
}

impl Report {
    /// Makes the report of judgements on what evidence is about.
    #[must_use]
    pub fn new(about: &About, wanted: &Wanted, selection: &Selection, judgements: &[Judgement], strict: bool, duration: Duration) -> Self {
        let redactor = Redactor::new(&about.canaries);
        let clean = |text: &str| tame(&redactor.redact(text));
        let subject = &about.subject;
        let reference = clean(&subject.reference);
        let row = |judgement: &Judgement| {
            let row = requirement::find(&judgement.id)?;
            let optional = |text: &Option<String>| text.as_deref().map(clean);
            let (why, fix) = match judgement.verdict {
                // What to do about these lies with others than the image's author.
                Verdict::Error => ("", ""),
                Verdict::Stale => ("", "It is not broken any more: take it off the baseline."),
                _ => (row.why.as_str(), row.fix.as_str()),
            };
            Some(Row {
                id: row.id.clone(),
                slug: row.slug.clone(),
                level: row.level,
                profile: row.profile,
                section: row.section.clone(),
                text: row.text.clone(),
                why: why.to_owned(),
                fix: fix.to_owned(),
                verdict: judgement.verdict,
                expected: optional(&judgement.expected),
                actual: optional(&judgement.actual),
                scenario: optional(&judgement.scenario),
                reason: optional(&judgement.reason),
                reproduce: format!("agent-conformance reproduce {} {}", row.id, shell_word(&reference)),
            })
        };
        let results: Vec<Row> = judgements.iter().filter_map(row).collect();
        let mut counts = BTreeMap::new();
        for row in &results {
            *counts.entry(row.verdict).or_default() += 1;
        }
        let conclusion = Conclusion::of(judgements, strict);
        let mut report = Self {
            report_version: REPORT_VERSION,
            interface: INTERFACE.to_owned(),
            suite_version: about.suite_version.clone(),
            engine: clean(&about.engine),
            image: Image {
                digest: subject.digest.as_deref().map(clean),
                agent: subject.label("agent").map(clean),
                claims: subject.claimed(),
                reference,
            },
            asked: Asked { profiles: selection.profiles.clone(), only: wanted.only.iter().map(|name| clean(name)).collect(), strict },
            conclusion,
            exit_code: conclusion.exit_code(),
            summary: String::new(),
            counts,
            results,
            excluded: selection.excluded.iter().map(|row| Excluded { id: row.id.clone(), reason: row.excluded.clone() }).collect(),
            notes: selection.notes.clone(),
            duration_ms: duration.as_millis().try_into().unwrap_or(u64::MAX),
        };
        report.summary = report.summed_up();
        report
    }

    /// How many results have one of these verdicts.
    #[must_use]
    pub fn count(&self, verdicts: &[Verdict]) -> usize {
        verdicts.iter().filter_map(|verdict| self.counts.get(verdict)).sum()
    }

    /// The conclusion as a sentence.
    fn summed_up(&self) -> String {
        let broken = self.count(&[Verdict::Fail, Verdict::NotTestable]);
        let warned = self.count(&[Verdict::Warn]);
        let tested = self.count(&[Verdict::Pass, Verdict::Fail, Verdict::Warn, Verdict::NotTestable, Verdict::KnownFail, Verdict::Stale]);
        let known = self.count(&[Verdict::KnownFail]);
        let requirements = |count: usize| format!("{count} requirement{}", if count == 1 { "" } else { "s" });
        match self.conclusion {
            Conclusion::Conformant => {
                let asides = [(known, "known to be broken"), (warned, "recommended and not kept")];
                let asides: String =
                    asides.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect();
                let limit = if self.asked.only.is_empty() { "" } else { " that were asked for" };
                format!("conformant: {} tested{limit}{asides}", requirements(tested))
            }
            Conclusion::NotConformant => {
                let strict = if self.asked.strict { warned } else { 0 };
                format!("not conformant: {} of {} broken", broken + strict, requirements(tested))
            }
            Conclusion::CouldNotTest => {
                format!("could not test {}, by the suite's or the machine's fault", requirements(self.count(&[Verdict::Error])))
            }
            Conclusion::Partial if self.count(&[Verdict::NotObservable]) > 0 => {
                let unseen = requirements(self.count(&[Verdict::NotObservable]));
                format!("partial: {} tested; the engine `{}` cannot see {unseen}", requirements(tested), self.engine)
            }
            Conclusion::Partial => "partial: nothing was tested".to_owned(),
            Conclusion::StaleBaseline => {
                format!("stale baseline: it lists {} that {} not broken", requirements(self.count(&[Verdict::Stale])), {
                    if self.count(&[Verdict::Stale]) == 1 { "is" } else { "are" }
                })
            }
        }
    }
}

/// A form in which a report can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// For a person, without colours.
    Human,
    /// For programs.
    Json,
    /// The Test Anything Protocol.
    Tap,
    /// XML for CI servers.
    Junit,
    /// For a pull request or a job summary.
    Markdown,
    /// One file for a browser.
    Html,
    /// Annotations of a GitHub workflow.
    Github,
}

/// No report has this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no report format `{0}`; there are {list}", list = Format::ALL.map(Format::as_str).join(", "))]
pub struct UnknownFormat(pub String);

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A secret would have stood in it. Nothing is written then.
    #[error("the canary `{name}` stands in the {format} report, which was not written; this is a fault of the suite", format = format.as_str())]
    Secret {
        /// The format.
        format: Format,
        /// The canary's name.
        name: String,
    },
    /// The format's own library failed.
    #[error("the {format} report could not be made: {why}", format = format.as_str())]
    Failed {
        /// The format.
        format: Format,
        /// What it said.
        why: String,
    },
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Human, Self::Json, Self::Tap, Self::Junit, Self::Markdown, Self::Html, Self::Github];

    /// Its name on command lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "text",
            Self::Json => "json",
            Self::Tap => "tap",
            Self::Junit => "junit",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Github => "github",
        }
    }

    /// The report in this format.
    ///
    /// # Errors
    /// A canary stands in it, or the format's library failed.
    pub fn render(self, report: &Report, redactor: &Redactor) -> Result<String, ReportError> {
        let made: Result<String, String> = match self {
            Self::Human => Ok(human::render(report, human::Look::PLAIN)),
            Self::Json => json::render(report).map_err(|error| error.to_string()),
            Self::Tap => Ok(tap::render(report)),
            Self::Junit => junit::render(report).map_err(|error| error.to_string()),
            Self::Markdown => Ok(markdown::render(report)),
            Self::Html => html::render(report).map_err(|error| error.to_string()),
            Self::Github => Ok(github::render(report)),
        };
        let text = made.map_err(|why| ReportError::Failed { format: self, why })?;
        check_for_secrets(text, self, redactor)
    }
}

/// The finished text, unless a canary stands in it.
///
/// # Errors
/// One does.
pub fn check_for_secrets(text: String, format: Format, redactor: &Redactor) -> Result<String, ReportError> {
    match redactor.find(&text) {
        Some(name) => Err(ReportError::Secret { format, name: name.to_owned() }),
        None => Ok(text),
    }
}

impl std::str::FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}
