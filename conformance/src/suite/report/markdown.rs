//! The report as Markdown (GitHub's), for job summaries and pull requests: what matters as a table, and everything about it below.
//!
//! Words of the image stand in code spans and fences alone, where nothing is a link, a mention or markup.

use std::fmt::Write as _;

use super::text::one_line;
use super::{Report, Row, Weight};
use crate::suite::verdict::Conclusion;

/// GitHub refuses a job summary of more than a megabyte, whole.
const LONGEST: usize = 900_000;

/// The report as Markdown.
#[must_use]
pub fn render(report: &Report) -> String {
    let mark = if report.conclusion == Conclusion::Conformant { "✅" } else { "❌" };
    let mut out = format!("## {mark} {}\n\n", prose(&report.summary));
    // Writing to a string cannot fail.
    let digest = report.image.digest.as_deref().map(|digest| format!(" ({})", code(digest))).unwrap_or_default();
    let _ = writeln!(out, "Image {}{digest}, engine {},", code(&report.image.reference), code(&report.engine));
    let profiles: Vec<&str> = report.asked.profiles.iter().map(|profile| profile.as_str()).collect();
    let _ = writeln!(out, "judged by {} of Agent Image Interface {}", profiles.join(", "), report.interface);
    let _ = writeln!(out, "with agent-conformance {}.\n", report.suite_version);
    counts(&mut out, report);
    for note in &report.notes {
        let _ = writeln!(out, "> {}\n", prose(note));
    }
    let noted: Vec<&Row> = report.results.iter().filter(|row| row.weight(report.asked.strict) <= Weight::Known).collect();
    if !noted.is_empty() {
        out.push_str("| | requirement | level | profile |\n|---|---|---|---|\n");
        for row in &noted {
            let _ = writeln!(out, "| {} | {} {} | {} | {} |", row.verdict.as_str(), row.id, row.slug, row.level, row.profile);
        }
        out.push('\n');
    }
    for (place, row) in noted.iter().enumerate() {
        let details = details(row);
        if out.len() + details.len() > LONGEST {
            let _ = writeln!(out, "… and {} more, in the table above.\n", noted.len() - place);
            break;
        }
        out += &details;
    }
    untested(&mut out, report);
    out
}

fn counts(out: &mut String, report: &Report) {
    let counts: Vec<String> = report.counts.iter().map(|(verdict, count)| format!("{count} {}", verdict.as_str())).collect();
    if !counts.is_empty() {
        let _ = writeln!(out, "{}\n", counts.join(" · "));
    }
}

/// One result, folded.
fn details(row: &Row) -> String {
    let mut out = format!("<details><summary>{}: {} {}</summary>\n\n{}\n\n", row.verdict.as_str(), row.id, row.slug, prose(&row.text));
    for (label, said) in [("expected", &row.expected), ("actual", &row.actual), ("scenario", &row.scenario), ("known because", &row.reason)]
    {
        if let Some(said) = said {
            let _ = writeln!(out, "{label}:\n\n{}\n", fence(said));
        }
    }
    for (label, said) in [("Why it matters", &row.why), ("How to fix it", &row.fix)] {
        if !said.is_empty() {
            let _ = writeln!(out, "**{label}**: {}\n", prose(said));
        }
    }
    let _ = writeln!(out, "**See it again**:\n\n{}\n\n</details>\n", fence(&row.reproduce));
    out
}

fn untested(out: &mut String, report: &Report) {
    let rows: Vec<&Row> = report.results.iter().filter(|row| row.weight(report.asked.strict) == Weight::Untested).collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "<details><summary>{} not tested</summary>\n", rows.len());
    for row in rows {
        let _ =
            writeln!(out, "- {} {} ({}): {}", row.id, row.slug, row.verdict.as_str(), code(row.actual.as_deref().unwrap_or("no reason")));
    }
    out.push_str("\n</details>\n");
}

/// The specification's own sentences, outside of whose code spans angle brackets would be HTML.
fn prose(text: &str) -> String {
    let parts = text
        .split('`')
        .enumerate()
        .map(|(number, part)| if number % 2 == 0 { part.replace('&', "&amp;").replace('<', "&lt;") } else { part.to_owned() });
    one_line(&parts.collect::<Vec<_>>().join("`"))
}

/// A code span in one line, with more backticks around it than are in it. Good for lists and paragraphs.
fn code(text: &str) -> String {
    let text = one_line(text);
    let ticks = "`".repeat(longest_run(&text, '`') + 1);
    // The blanks are taken off again, and keep a backtick at an end from joining the others.
    format!("{ticks} {text} {ticks}")
}

/// A fenced block that no line within can close.
fn fence(text: &str) -> String {
    let ticks = "`".repeat(longest_run(text, '`').max(2) + 1);
    format!("{ticks}text\n{text}\n{ticks}")
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|character| character != of).map(str::len).max().unwrap_or_default()
}
