//! The report as JUnit XML (`junit.xsd`), in the form that Jenkins' xUnit plugin gives a schema for; a test suite for each area, and one
//! for the conclusion, so that a reader is green exactly when the exit code is 0.
//!
//! There is no word for a warning in it: what is only recommended passes, and its case says what was seen.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::text::one_line;
use super::{Report, Row, Weight};
use crate::suite::verdict::{Conclusion, Verdict};

/// Elements and attributes; every value is escaped.
const TEMPLATE: &str = include_str!("junit.xml.jinja");

/// A test suite of the file.
#[derive(Debug, Default, Serialize)]
struct Suite {
    name: String,
    failures: usize,
    errors: usize,
    skipped: usize,
    time: String,
    properties: std::collections::BTreeMap<&'static str, String>,
    cases: Vec<Case>,
}

/// A test case of it.
#[derive(Debug, Serialize)]
struct Case {
    name: String,
    /// The element within the case; empty for what passed.
    outcome: &'static str,
    verdict: &'static str,
    message: String,
    detail: String,
}

/// The report as JUnit XML.
///
/// # Errors
/// Those of the template engine.
pub fn render(report: &Report) -> Result<String, minijinja::Error> {
    let mut suites: Vec<Suite> = Vec::new();
    for row in &report.results {
        let area = row.id.split('-').next().unwrap_or_default();
        if suites.last().is_none_or(|suite| suite.name != area) {
            suites.push(Suite { name: area.to_owned(), time: seconds(0), ..Suite::default() });
        }
        if let Some(suite) = suites.last_mut() {
            suite.add(case(row, report.asked.strict));
        }
    }
    suites.push(conclusion(report));
    let sum = |count: fn(&Suite) -> usize| suites.iter().map(count).sum::<usize>();
    let context = minijinja::context! {
        tests => sum(|suite| suite.cases.len()),
        failures => sum(|suite| suite.failures),
        errors => sum(|suite| suite.errors),
        time => seconds(report.duration_ms),
        suites => Serde(&suites),
    };
    let mut environment = Environment::new();
    // The escapes of HTML are numeric or among XML's five.
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.render_str(TEMPLATE, context)
}

impl Suite {
    fn add(&mut self, case: Case) {
        match case.outcome {
            "failure" => self.failures += 1,
            "error" => self.errors += 1,
            "skipped" => self.skipped += 1,
            _ => {}
        }
        self.cases.push(case);
    }
}

fn case(row: &Row, strict: bool) -> Case {
    let outcome = match (row.weight(strict), row.verdict) {
        (Weight::Bad, Verdict::Error) => "error",
        (Weight::Bad, _) => "failure",
        (Weight::Known | Weight::Untested, _) => "skipped",
        (Weight::Warning | Weight::Good, _) => "",
    };
    let said = row.reason.as_deref().or(row.actual.as_deref()).unwrap_or_default();
    let message = match row.verdict {
        Verdict::Fail | Verdict::Warn => row.text.clone(),
        _ => one_line(said),
    };
    let parts = [
        ("", row.text.as_str()),
        ("expected: ", row.expected.as_deref().unwrap_or_default()),
        ("actual: ", row.actual.as_deref().unwrap_or_default()),
        ("scenario: ", row.scenario.as_deref().unwrap_or_default()),
        ("known: ", row.reason.as_deref().unwrap_or_default()),
        ("why it matters: ", &row.why),
        ("how to fix it: ", &row.fix),
        ("see it again: ", &row.reproduce),
    ];
    let parts = parts.into_iter().filter(|(_, said)| !said.is_empty()).map(|(label, said)| format!("{label}{said}"));
    let detail = if row.verdict == Verdict::Pass { String::new() } else { parts.collect::<Vec<_>>().join("\n") };
    Case { name: format!("{} {}", row.id, row.slug), outcome, verdict: row.verdict.as_str(), message, detail }
}

/// The suite of one case that holds what follows from all.
fn conclusion(report: &Report) -> Suite {
    let properties = [
        ("image", one_line(&report.image.reference)),
        ("digest", report.image.digest.clone().unwrap_or_default()),
        ("engine", one_line(&report.engine)),
        ("interface", report.interface.clone()),
        ("suite", report.suite_version.clone()),
    ];
    let mut suite =
        Suite { name: "conclusion".into(), time: seconds(report.duration_ms), properties: properties.into(), ..Suite::default() };
    let outcome = match report.conclusion {
        Conclusion::Conformant => "",
        Conclusion::CouldNotTest => "error",
        Conclusion::NotConformant | Conclusion::Partial | Conclusion::StaleBaseline => "failure",
    };
    let (message, detail) = (report.summary.clone(), report.notes.join("\n"));
    suite.add(Case { name: "conclusion".into(), outcome, verdict: report.conclusion.as_str(), message, detail });
    suite
}

/// Milliseconds as seconds with three decimals.
fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}
