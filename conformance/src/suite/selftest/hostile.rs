//! Hostile images: they want to fill the disk, to hang the suite, to colour its reports or to speak in its name. They break requirements;
//! the suite says so and goes on.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::{Proof, Shown, find, in_scope, reads_only};
use crate::suite::checks;
use crate::suite::engine::wrapped::Wrapped;
use crate::suite::engine::{Engine, Start};
use crate::suite::evidence::Evidence;
use crate::suite::fake::{self, PROGRAMS, RECORDS, SCRIPTS, Script, Step};
use crate::suite::report::redact::Redactor;
use crate::suite::report::{Format, Report};
use crate::suite::scenario::{GatherOptions, gather};
use crate::suite::selection::Wanted;
use crate::suite::subject::Subject;
use crate::suite::verdict::Baseline;

/// Where the image has its script, and the suite's program that plays it.
const PLACE: &str = "/hostile";
/// The image's entry point.
pub const ENTRY: &str = "/hostile/bin/agent";
/// How many processes a container may have: a storm has to be felt, and to be survived by this machine.
const PROCESSES: u32 = 64;
/// A length that no suite should read, and that takes no room on the disk.
const HUGE: u64 = 1 << 30;
/// What wants to be taken for the suite's own words: workflow commands, escape codes, an end of a heredoc, a block of results, markup.
pub const FOREIGN_WORDS: &str = "\n::error::owned\n::set-output name=x::owned\n\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31m\n\
    EOF\n---AGENT_OUTPUTS_START owned---\nstatus: succeeded\n---AGENT_OUTPUTS_END owned---\n</pre><script>owned()</script>]]>\n## owned\n";

/// A hostile image: its name, and what it does in every scenario.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<Step>)> {
    let log = "/dev/termination-log";
    let words = serde_json::json!({"status": FOREIGN_WORDS, "message": FOREIGN_WORDS}).to_string();
    let say = || [Step::Print(FOREIGN_WORDS.into()), Step::PrintError(FOREIGN_WORDS.into())].into_iter();
    vec![
        ("endless output", vec![Step::PrintForever(FOREIGN_WORDS.repeat(100))]),
        ("huge message", say().chain([Step::Extend { path: log.into(), bytes: HUGE }]).collect()),
        (
            "huge results",
            ["AGENT_RESULT_FILE", "AGENT_EVENTS_FILE", "AGENT_TERMINATION_LOG"]
                .map(|name| Step::Extend { path: format!("${{{name}}}"), bytes: HUGE })
                .into_iter()
                .chain(say())
                .collect(),
        ),
        ("foreign words", say().chain([Step::Write { path: log.into(), text: words }, Step::Exit(3)]).collect()),
        ("fork storm", vec![Step::ForkStorm]),
    ]
}

/// Puts the suite's program and the image's script into its root file system.
///
/// # Errors
/// A file cannot be written.
pub fn equip(root: &Path, program: &Path, steps: Vec<Step>) -> io::Result<()> {
    let place = root.join(PLACE.trim_start_matches('/'));
    fs::create_dir_all(place.join(PROGRAMS))?;
    fs::copy(program, place.join(PROGRAMS).join(fake::AGENT))?;
    let script = Script { roles: [(fake::AGENT.to_owned(), steps)].into(), ..Script::default() };
    fs::write(place.join(SCRIPTS), serde_json::to_vec(&script).map_err(io::Error::other)?)?;
    fs::write(place.join(RECORDS), "")?;
    fs::set_permissions(place.join(RECORDS), fs::Permissions::from_mode(0o666))
}

/// Starts one, and asks the checks: what is asked of a good run is broken, and nothing is the suite's fault.
pub fn judge(name: &str, engine: &dyn Engine, subject: &Subject, options: &GatherOptions) -> (Proof, Evidence) {
    let scenarios = BTreeSet::from(["happy", "signal", "killed"]);
    // No storm grows.
    let limited = Wrapped::new(engine, |engine, start| engine.start(&Start { pids_limit: Some(PROCESSES), ..start.clone() }));
    let evidence = gather(&limited, subject, &scenarios, options, &|_| {});
    let found = find(&evidence, |check| in_scope(check) && reads_only(check, &scenarios));
    let shown = match found.faults.first() {
        Some(fault) => Shown::No(format!("a fault of the suite: {fault}")),
        None if !found.killed.contains("RUN-001") => Shown::No("it was taken for an image that did its task".to_owned()),
        None => coloured(&evidence, &scenarios).map_or(Shown::Yes, Shown::No),
    };
    (Proof { name: format!("hostile image: {name}"), shown }, evidence)
}

/// Which report speaks with the image's voice, if one does.
fn coloured(evidence: &Evidence, scenarios: &BTreeSet<&str>) -> Option<String> {
    let ids = checks::all().filter(|check| in_scope(check) && reads_only(check, scenarios)).map(|check| check.id.to_owned());
    let wanted = Wanted::new([], ids.collect()).ok()?;
    let selection = wanted.of(&evidence.about.subject.claimed());
    let judgements = selection.judge(evidence, &Baseline::new());
    let report = Report::new(&evidence.about, &wanted, &selection, &judgements, false, Duration::ZERO);
    let redactor = Redactor::new(&evidence.about.canaries);
    Format::ALL.into_iter().find_map(|format| match format.render(&report, &redactor) {
        Err(error) => Some(error.to_string()),
        Ok(text) => voice(format, &text).map(|line| format!("the {} report says {line:?}", format.as_str())),
    })
}

/// A line that only the image can have written: with a control character, as a command to a workflow, as a block of results; markup where
/// that means something.
fn voice(format: Format, text: &str) -> Option<&str> {
    // Files are read by programs that know their syntax; logs by programs that look at how lines begin.
    let is_file = matches!(format, Format::Junit | Format::Html | Format::Json | Format::Markdown);
    let commands: &[&str] = if is_file {
        &["::error::owned", "::set-output"]
    } else {
        &["::error::owned", "::set-output", "---AGENT_OUTPUTS_", "## owned", "EOF"]
    };
    let is_its = |line: &str| {
        let is_markup = format == Format::Html && line.contains("<script>owned");
        is_markup || line.contains(|c: char| c.is_control()) || commands.iter().any(|word| line.starts_with(word))
    };
    text.lines().find(|line| is_its(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_that_would_harm_is_recognised() {
        for line in FOREIGN_WORDS.lines().filter(|line| !line.is_empty() && *line != "status: succeeded") {
            assert!([Format::Human, Format::Html].iter().any(|format| voice(*format, line) == Some(line)), "{line:?}");
        }
        assert_eq!(voice(Format::Human, "</pre><script>owned(); seen: \\x1b[31m, `::error::owned`\n  1 fail"), None);
    }
}
