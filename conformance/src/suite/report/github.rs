//! The report as annotations of a GitHub workflow
//! (<https://docs.github.com/actions/reference/workflow-commands-for-github-actions>).
//!
//! GitHub shows at most ten of each kind for a step and drops the rest without a word; so there are at most nine, and one that counts the
//! rest.

use super::{Report, Row, Weight};

/// How many of a kind are written out before the rest is counted.
const SHOWN: usize = 9;

/// The report as workflow commands, one a line.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut lines = Vec::new();
    let kinds = [("error", vec![Weight::Bad]), ("warning", vec![Weight::Warning]), ("notice", vec![Weight::Known])];
    for (kind, weights) in kinds {
        let rows: Vec<&Row> = report.results.iter().filter(|row| weights.contains(&row.weight(report.asked.strict))).collect();
        // The tenth error may be the conclusion's.
        let room = if rows.len() == SHOWN + 1 && !(kind == "error" && needs_conclusion(report)) { SHOWN + 1 } else { SHOWN };
        lines.extend(rows.iter().take(room).map(|row| command(kind, &format!("{} {}", row.id, row.slug), &message(row))));
        if rows.len() > room {
            let rest: Vec<&str> = rows[room..].iter().map(|row| row.id.as_str()).collect();
            lines.push(command(kind, "agent-conformance", &format!("{} more: {}", rest.len(), rest.join(" "))));
        }
    }
    if needs_conclusion(report) {
        lines.push(command("error", "agent-conformance", &report.summary));
    }
    lines.concat()
}

/// Whether the exit code is not 0 and no result says why.
fn needs_conclusion(report: &Report) -> bool {
    report.exit_code != 0 && !report.results.iter().any(|row| row.weight(report.asked.strict) == Weight::Bad)
}

fn message(row: &Row) -> String {
    let parts = [
        ("", Some(row.text.as_str())),
        ("expected: ", row.expected.as_deref()),
        ("actual: ", row.actual.as_deref()),
        ("known: ", row.reason.as_deref()),
        ("how to fix it: ", Some(row.fix.as_str())),
    ];
    let parts = parts.into_iter().filter_map(|(label, said)| Some(format!("{label}{}", said.filter(|said| !said.is_empty())?)));
    parts.collect::<Vec<_>>().join("\n")
}

/// A workflow command, escaped as the runner's `ActionCommand` reads it back.
fn command(kind: &str, title: &str, message: &str) -> String {
    let message = escaped(message);
    let title = escaped(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{kind} title={title}::{message}\n")
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
