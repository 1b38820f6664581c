//! Hostile images: they want to fill the disk, to hang the suite, to colour its reports or to speak in its name. They break requirements; the suite says so
//! and goes on.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Proof, Shown, find, reads_only};
use crate::suite::engine::{Container, Engine, EngineError, Mount, Start};
use crate::suite::evidence::{Ability, Evidence};
use crate::suite::fake::{self, PROGRAMS, RECORDS, SCRIPTS, Script, Step};
use crate::suite::scenario::{GatherOptions, gather};
use crate::suite::subject::Subject;

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
    let words = format!("{{\"status\":{:?},\"message\":{FOREIGN_WORDS:?}}}", FOREIGN_WORDS);
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

/// An engine that lets no storm grow.
#[derive(Debug)]
struct Limited<'a>(&'a dyn Engine);

impl Engine for Limited<'_> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn abilities(&self) -> BTreeSet<Ability> {
        self.0.abilities()
    }

    fn inspect(&self) -> Result<Subject, EngineError> {
        self.0.inspect()
    }

    fn start(&self, start: &Start) -> Result<Box<dyn Container>, EngineError> {
        self.0.start(&Start { pids_limit: Some(PROCESSES), ..start.clone() })
    }

    fn container_path(&self, mount: &Mount) -> PathBuf {
        self.0.container_path(mount)
    }
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
    let evidence = gather(&Limited(engine), subject, &scenarios, options, &|_| {});
    let found = find(&evidence, |check| reads_only(check, &scenarios));
    let shown = match found.faults.first() {
        Some(fault) => Shown::No(format!("a fault of the suite: {fault}")),
        None if !found.killed.contains("RUN-001") => Shown::No("it was taken for an image that did its task".to_owned()),
        None => Shown::Yes,
    };
    (Proof { name: format!("hostile image: {name}"), shown }, evidence)
}
