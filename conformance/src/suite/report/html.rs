//! The report as one HTML file: no script, nothing from elsewhere, every value escaped. Radio buttons filter it by style alone.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use super::{Report, Row, Weight};

/// The page; every value in it is escaped.
const TEMPLATE: &str = include_str!("report.html.jinja");

/// A result, with how it is to be shown.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// The class that the filters know.
    group: &'static str,
    /// Whether it is unfolded.
    open: bool,
    /// The sentence, in pieces: text and code by turns.
    sentence: Vec<&'a str>,
    /// How it is mended, likewise.
    mend: Vec<&'a str>,
    /// Why it matters, likewise.
    matters: Vec<&'a str>,
    #[serde(flatten)]
    row: &'a Row,
}

/// The report as HTML.
///
/// # Errors
/// Those of the template engine.
pub fn render(report: &Report) -> Result<String, minijinja::Error> {
    let rows: Vec<Shown<'_>> = report.results.iter().map(|row| shown(row, report.asked.strict)).collect();
    let groups: Vec<(&str, &str, usize)> = [("bad", "broken"), ("look", "to look at"), ("untested", "not tested"), ("good", "kept")]
        .into_iter()
        .map(|(group, label)| (group, label, rows.iter().filter(|row| row.group == group).count()))
        .collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let seconds = format!("{}.{}", report.duration_ms / 1000, report.duration_ms % 1000 / 100);
    let context = context! {
        report => Serde(report),
        rows => Serde(&rows),
        groups => Serde(&groups),
        seconds,
        conformant => report.exit_code == 0,
        summary => Serde(pieces(&report.summary)),
    };
    environment.render_str(TEMPLATE, context)
}

fn shown(row: &Row, strict: bool) -> Shown<'_> {
    let group = match row.weight(strict) {
        Weight::Bad => "bad",
        Weight::Warning | Weight::Known => "look",
        Weight::Untested => "untested",
        Weight::Good => "good",
    };
    Shown { group, open: group == "bad", sentence: pieces(&row.text), mend: pieces(&row.fix), matters: pieces(&row.why), row }
}

/// The specification's sentences have code between backticks.
fn pieces(text: &str) -> Vec<&str> {
    text.split('`').collect()
}
