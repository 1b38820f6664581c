//! The report as TAP 14 (<https://testanything.org/tap-version-14-specification.html>): a test point for each requirement and a last one
//! for the conclusion, so that a consumer is green exactly when the exit code is 0.
//!
//! What is broken and need not be kept, or is known, is a `TODO`; what was not tested is a `SKIP`.

use std::fmt::Write as _;

use super::text::one_line;
use super::{Report, Row, Weight};

/// The report as TAP 14.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = format!("TAP version 14\n1..{}\n", report.results.len() + 1);
    // Writing to a string cannot fail.
    for (row, number) in report.results.iter().zip(1..) {
        let (status, directive) = point(row, report.asked.strict);
        let _ = writeln!(out, "{status} {number} - {} {}{directive}", row.id, described(&row.slug));
        diagnostics(&mut out, row);
    }
    let status = if report.exit_code == 0 { "ok" } else { "not ok" };
    let _ = writeln!(out, "{status} {} - {}", report.results.len() + 1, described(&one_line(&report.summary)));
    for note in &report.notes {
        let _ = writeln!(out, "# {}", one_line(note));
    }
    out
}

/// Status and directive of a test point.
fn point(row: &Row, strict: bool) -> (&'static str, String) {
    let why = |text: &Option<String>| one_line(text.as_deref().unwrap_or_default());
    match row.weight(strict) {
        Weight::Good => ("ok", String::new()),
        Weight::Bad => ("not ok", String::new()),
        Weight::Warning => ("not ok", format!(" # TODO recommended, not required ({})", row.level)),
        Weight::Known => ("not ok", format!(" # TODO known: {}", why(&row.reason))),
        Weight::Untested => ("ok", format!(" # SKIP {}: {}", row.verdict.as_str(), why(&row.actual))),
    }
}

/// A description, in which `#` would begin a directive.
fn described(text: &str) -> String {
    text.replace('\\', "\\\\").replace('#', "\\#")
}

/// The YAML block below a test point. Each value is a JSON string, which is YAML too and stays on its line.
fn diagnostics(out: &mut String, row: &Row) {
    if row.weight(true) == Weight::Good {
        return;
    }
    let level = row.level.as_str();
    let always = [("verdict", row.verdict.as_str()), ("level", level), ("requirement", &row.text)];
    let optional = [
        ("scenario", row.scenario.as_deref()),
        ("expected", row.expected.as_deref()),
        ("actual", row.actual.as_deref()),
        ("reason", row.reason.as_deref()),
        ("why", Some(row.why.as_str())),
        ("fix", Some(row.fix.as_str())),
        ("reproduce", Some(row.reproduce.as_str())),
    ];
    let optional = optional.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)));
    out.push_str("  ---\n");
    for (key, value) in always.into_iter().chain(optional) {
        let _ = writeln!(out, "  {key}: {}", serde_json::Value::from(value));
    }
    out.push_str("  ...\n");
}
