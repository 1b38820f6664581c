//! The report for a person: what is broken, what that means for somebody, and what to do about it. Everything that is said by colour is
//! said by a word too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::text::{one_line as in_one, paragraph as wrap};
use super::{Report, Row, Weight};
use crate::suite::verdict::{Conclusion, Verdict};

/// How it is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// With colours.
    pub color: bool,
    /// Columns for prose.
    pub width: usize,
}

impl Look {
    /// Without colours, as wide as a file may be.
    pub const PLAIN: Self = Self { color: false, width: 100 };

    fn paint(self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Columns before the details of a result.
const INDENT: &str = "      ";

/// The report as text.
#[must_use]
pub fn render(report: &Report, look: Look) -> String {
    let mut out = String::new();
    head(&mut out, report, look);
    let common = common_causes(report);
    for weight in [Weight::Bad, Weight::Warning, Weight::Known] {
        for row in report.results.iter().filter(|row| row.weight(report.asked.strict) == weight) {
            if !cause(row).is_some_and(|cause| common.contains_key(&cause)) {
                result(&mut out, row, look);
            }
        }
    }
    for ((verdict, cause), ids) in &common {
        let style = verdict_style(false, true);
        let _ = writeln!(out, "\n{}  {} requirements, by one cause", look.paint(style.bold(), verdict.as_str()), ids.len());
        quote(&mut out, look, "cause", Some(cause));
        paragraph(&mut out, look, INDENT, &ids.join(" "));
    }
    untested(&mut out, report, look);
    table(&mut out, report);
    for note in &report.notes {
        paragraph(&mut out, look, "note: ", note);
    }
    let style = verdict_style(report.conclusion == Conclusion::Conformant, report.conclusion == Conclusion::NotConformant);
    let seconds = report.duration_ms as f64 / 1000.0;
    let _ = writeln!(out, "\n{} ({seconds:.1} s)", look.paint(style.bold(), &report.summary));
    out
}

fn head(out: &mut String, report: &Report, look: Look) {
    let image = &report.image;
    let digest = image.digest.as_deref().map(|digest| format!(" ({digest})")).unwrap_or_default();
    let _ = writeln!(out, "{}{digest}", look.paint(BOLD, &in_one(&image.reference)));
    let claims: Vec<&str> = image.claims.iter().map(|profile| profile.as_str()).collect();
    let claims = if claims.is_empty() { "claims no profile".to_owned() } else { format!("claims {}", claims.join(" ")) };
    let judged: Vec<&str> = report.asked.profiles.iter().map(|profile| profile.as_str()).collect();
    let agent = image.agent.as_deref().map(|agent| format!("agent {}, ", in_one(agent))).unwrap_or_default();
    let _ = writeln!(out, "{agent}{claims}; judged by {} of Agent Image Interface {}", judged.join(" "), report.interface);
    let only = if report.asked.only.is_empty() { String::new() } else { format!(", only {}", report.asked.only.join(" ")) };
    let strict = if report.asked.strict { ", strict" } else { "" };
    let _ = writeln!(out, "agent-conformance {}, engine {}{only}{strict}", report.suite_version, in_one(&report.engine));
}

/// Why nothing could be seen of a requirement, without the scenario's name.
fn cause(row: &Row) -> Option<(Verdict, &str)> {
    let said = row.actual.as_deref().filter(|_| matches!(row.verdict, Verdict::NotTestable | Verdict::Error))?;
    let cause = said.strip_prefix("scenario `").and_then(|rest| rest.split_once("`: ")).map_or(said, |(_, cause)| cause);
    Some((row.verdict, cause))
}

/// Causes that more than three requirements share. To say it of each would hide what else is wrong.
fn common_causes(report: &Report) -> BTreeMap<(Verdict, &str), Vec<&str>> {
    let mut causes: BTreeMap<(Verdict, &str), Vec<&str>> = BTreeMap::new();
    for row in &report.results {
        if let Some(cause) = cause(row) {
            causes.entry(cause).or_default().push(&row.id);
        }
    }
    causes.retain(|_, ids| ids.len() > 3);
    causes
}

/// One result with all that is known of it.
fn result(out: &mut String, row: &Row, look: Look) {
    let style = verdict_style(false, matches!(row.verdict, Verdict::Fail | Verdict::NotTestable | Verdict::Error | Verdict::Stale));
    let verdict = look.paint(style.bold(), row.verdict.as_str());
    let place = look.paint(DIM, &format!("{}, profile {}, section {}", row.level, row.profile, row.section));
    let _ = writeln!(out, "\n{verdict}  {} {}  {place}", look.paint(BOLD, &row.id), row.slug);
    paragraph(out, look, INDENT, &row.text);
    let (expected, actual) = match row.verdict {
        Verdict::NotTestable => ("", "not testable"),
        Verdict::Error => ("", "error"),
        _ => ("expected", "actual"),
    };
    quote(out, look, expected, row.expected.as_deref());
    quote(out, look, actual, row.actual.as_deref());
    quote(out, look, "scenario", row.scenario.as_deref());
    quote(out, look, "known because", row.reason.as_deref());
    advice(out, look, "why it matters", &row.why);
    advice(out, look, "how to fix it", &row.fix);
    advice(out, look, "see it again", &row.reproduce);
}

/// Words of the image. The bar before each line shows where they begin and end.
fn quote(out: &mut String, look: Look, label: &str, text: Option<&str>) {
    for (number, line) in text.into_iter().flat_map(|text| text.split('\n')).enumerate() {
        let label = if number == 0 { label } else { "" };
        let _ = writeln!(out, "{INDENT}{} {line}", look.paint(DIM, &format!("{label:<14} │")));
    }
}

fn advice(out: &mut String, look: Look, label: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    let indent = " ".repeat(INDENT.len() + 17);
    // A command is copied as it stands, however long it is.
    let wrapped = if label == "see it again" { text.to_owned() } else { wrap(text, look.width.max(60), &indent) };
    let _ = writeln!(out, "{INDENT}{}   {}", look.paint(DIM, &format!("{label:<14}")), wrapped.trim_start());
}

/// What was not tested, by the reason.
fn untested(out: &mut String, report: &Report, look: Look) {
    let mut reasons: BTreeMap<(Verdict, &str), Vec<&str>> = BTreeMap::new();
    for row in report.results.iter().filter(|row| row.weight(report.asked.strict) == Weight::Untested) {
        reasons.entry((row.verdict, row.actual.as_deref().unwrap_or_default())).or_default().push(&row.id);
    }
    if !reasons.is_empty() {
        out.push('\n');
    }
    for ((verdict, reason), ids) in reasons {
        let _ = writeln!(out, "{}: {}", look.paint(BOLD, verdict.as_str()), in_one(reason));
        paragraph(out, look, INDENT, &ids.join(" "));
    }
    if !report.excluded.is_empty() {
        let ids: Vec<&str> = report.excluded.iter().map(|excluded| excluded.id.as_str()).collect();
        let _ = writeln!(out, "\n{}: no check can see these; `explain ID` says why", look.paint(BOLD, "not tested"));
        paragraph(out, look, INDENT, &ids.join(" "));
    }
}

/// Verdicts by profile.
fn table(out: &mut String, report: &Report) {
    let mut profiles: BTreeMap<_, BTreeMap<Verdict, usize>> = BTreeMap::new();
    for row in &report.results {
        *profiles.entry(row.profile).or_default().entry(row.verdict).or_default() += 1;
    }
    if !profiles.is_empty() {
        out.push('\n');
    }
    for (profile, verdicts) in profiles {
        let verdicts: Vec<String> = verdicts.iter().map(|(verdict, count)| format!("{count} {}", verdict.as_str())).collect();
        let _ = writeln!(out, "{:<12}{}", profile.as_str(), verdicts.join(", "));
    }
}

fn paragraph(out: &mut String, look: Look, indent: &str, text: &str) {
    let _ = writeln!(out, "{}", wrap(text, look.width.max(60), indent));
}

fn verdict_style(good: bool, bad: bool) -> Style {
    let color = if good {
        AnsiColor::Green
    } else if bad {
        AnsiColor::Red
    } else {
        AnsiColor::Yellow
    };
    color.on_default()
}
