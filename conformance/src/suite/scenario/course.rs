//! The course of a scenario: starting the image, what is done while it runs, and gathering what is left.
//!
//! Whatever the image left is hostile: links are not followed, and nothing is read beyond a bound.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stage::{EVENTS_FILE, RESULT_FILE, RESULTS, Stage, TERMINATION, TOKEN, UNTOUCHED, VICTIM, WORK};
use super::{Act, Scenario};
use crate::suite::engine::{Container, Engine, EngineError};
use crate::suite::evidence::{AgentEvent, AgentRecord, Ended, HeadFact, ModelRequest, Run, RunFacts};
use crate::suite::fake::{self, RECORDS, contains, head_of};

/// How often it is looked whether something has happened in the container.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long an image may take to end after a signal: several times the grace that scenarios give.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(20);
/// The most that is kept of one stream of output.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// The most that is kept of one file.
const FILE_LIMIT: u64 = 8 << 20;
/// The most files and directories that are tried.
const CLOSED_LIMIT: usize = 10_000;
/// The most files of a directory that are read.
const FILES_LIMIT: usize = 1000;
/// The most entries of the workspace that are named.
const LIST_LIMIT: usize = 100;

/// Plays a scenario on its stage.
pub(super) fn play(scenario: &Scenario, mut stage: Stage, engine: &dyn Engine, patience: Duration) -> Run {
    let mut facts = RunFacts { env: stage.start.env.clone(), known: std::mem::take(&mut stage.known), ..RunFacts::default() };
    let begun = Instant::now();
    let mut told = None;
    match run(scenario, &stage, engine, begun + patience) {
        Ok(course) => {
            facts.ended = course.ended;
            facts.after_signal_ms = course.signalled.map(|at| milliseconds(at.elapsed()));
            told = course.told;
        }
        Err(error) => facts.fault = Some(chain(&error)),
    }
    facts.duration_ms = milliseconds(begun.elapsed());
    let agent =
        stage.start.mounts.iter().find(|mount| mount.host.ends_with(fake::AGENT)).map(|mount| mount.container.display().to_string());
    facts.records = told.unwrap_or_else(|| records(&stage.dir));
    let closed = closed_to_us(&stage.dir);
    let mut run = gather(stage, facts);
    if let Some(path) = closed {
        run.facts.fault = Some(format!("`{}` is closed to whom the suite runs as: {CLOSED}", path.display()));
    }
    if let Some(why) = agent.and_then(|agent| too_new_for_the_image(&run.stderr, &agent)) {
        run.facts.fault = Some(why);
    }
    run
}

/// What the image's loader says of the suite's program, at the agent's place, if that is linked to a C library newer than the image's.
fn too_new_for_the_image(stderr: &[u8], agent: &str) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let needed = format!("(required by {agent})");
    let line = text.lines().find(|line| line.contains("version `GLIBC_") && line.contains(&needed))?;
    Some(format!("the suite's own program cannot run in this image, a static one could (`make release` builds it): {line}"))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What went wrong while an image ran, and is not its fault.
#[derive(Debug, thiserror::Error)]
enum CourseError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot write the stage")]
    Stage(#[from] io::Error),
}

/// How an image went through its scenario.
struct Course {
    ended: Ended,
    /// When the last signal was sent.
    signalled: Option<Instant>,
    /// What the suite's programs had written down when the suite's patience was over. What comes after is told by a container that is being
    /// killed: its first process is gone and has closed the agent's stdin, and the agent is still there to see that.
    told: Option<Vec<AgentRecord>>,
}

/// Starts the image, follows the course, and kills what does not end.
fn run(scenario: &Scenario, stage: &Stage, engine: &dyn Engine, until: Instant) -> Result<Course, CourseError> {
    stage.finish()?;
    for path in [&stage.start.stdout, &stage.start.stderr] {
        File::create(path)?;
    }
    let mut container = engine.start(&stage.start)?;
    let mut signalled = None;
    let ended = follow(scenario, stage, container.as_mut(), until, &mut signalled)?;
    let told = (ended == Ended::OutOfPatience).then(|| records(&stage.dir));
    if told.is_some() {
        container.kill()?;
    }
    Ok(Course { ended, signalled, told })
}

/// Does what the course says, and waits for the end; who is [`Ended::OutOfPatience`] is still there.
fn follow(
    scenario: &Scenario,
    stage: &Stage,
    container: &mut dyn Container,
    mut until: Instant,
    signalled: &mut Option<Instant>,
) -> Result<Ended, CourseError> {
    for act in scenario.course {
        let ready: &dyn Fn() -> bool = match act {
            Act::AwaitMark(name) => &|| records(&stage.dir).iter().any(|record| is_mark(record, name)),
            Act::AwaitGit => &|| stage.git.as_ref().is_some_and(|server| !server.requests().is_empty()),
            Act::AwaitModel => &|| stage.model.as_ref().is_some_and(|model| model.requests().iter().any(|record| record.is_question())),
            Act::Send(signal) => {
                container.signal(*signal)?;
                let now = Instant::now();
                *signalled = Some(now);
                until = until.min(now + SIGNAL_PATIENCE);
                continue;
            }
            Act::Kill => {
                container.kill()?;
                let _ = container.wait(until.saturating_duration_since(Instant::now()))?;
                return Ok(Ended::Killed);
            }
        };
        if let Some(ended) = await_ready(container, ready, until)? {
            return Ok(ended);
        }
    }
    Ok(container.wait(until.saturating_duration_since(Instant::now()))?.unwrap_or(Ended::OutOfPatience))
}

fn is_mark(record: &AgentRecord, wanted: &str) -> bool {
    matches!(&record.event, AgentEvent::Mark { name } if name == wanted)
}

/// Waits until something has happened, or the container has ended, or patience is over: then how it ended.
fn await_ready(container: &mut dyn Container, ready: &dyn Fn() -> bool, until: Instant) -> Result<Option<Ended>, CourseError> {
    while !ready() {
        if let Some(ended) = container.wait(INTERVAL)? {
            return Ok(Some(ended));
        }
        if Instant::now() >= until {
            return Ok(Some(Ended::OutOfPatience));
        }
    }
    Ok(None)
}

/// What to do where a user of the image's keeps something for itself: what lies there is no evidence, and neither is that it is not seen.
const CLOSED: &str = "run it as root; with rootless podman `podman unshare agent-conformance …` does";

/// The first of what a scenario may leave, as far as checks read it, that this process cannot read.
fn closed_to_us(stage: &Path) -> Option<PathBuf> {
    let mut ahead: Vec<PathBuf> =
        [WORK, RESULTS, TERMINATION, RESULT_FILE, EVENTS_FILE, RECORDS].iter().map(|name| stage.join(name)).collect();
    let mut left = CLOSED_LIMIT;
    while let (Some(path), Some(less)) = (ahead.pop(), left.checked_sub(1)) {
        left = less;
        let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match path.symlink_metadata() {
            // What lies there is compressed, and no check looks into it.
            Ok(_) if path.ends_with(".git/objects") => {}
            Ok(found) if found.is_dir() => match fs::read_dir(&path) {
                Ok(entries) => ahead.extend(entries.flatten().map(|entry| entry.path())),
                Err(error) if is_closed(&error) => return Some(path),
                Err(_) => {}
            },
            Ok(found) if found.is_file() && File::open(&path).is_err_and(|error| is_closed(&error)) => return Some(path),
            _ => {}
        }
    }
    None
}

/// Gathers what is left.
fn gather(stage: Stage, mut facts: RunFacts) -> Run {
    let dir = &stage.dir;
    facts.git = stage.git.as_ref().map(|server| server.requests()).unwrap_or_default();
    facts.mcp = stage.mcp.as_ref().map(|server| server.requests()).unwrap_or_default();
    if let Some(model) = &stage.model {
        facts.model = model.requests().iter().map(|record| asked(record, &stage.sentinels)).collect();
        facts.model_connections = model.connections();
        facts.bill = Some(model.bill().total);
    }
    let work = dir.join(WORK);
    let cloned = work.join("repo");
    let workspace = if cloned.is_dir() { cloned } else { work };
    let token = stage.canary(TOKEN);
    facts.token_in =
        files_below(&workspace).into_iter().filter(|path| holds(path, token.as_bytes())).map(|path| relative(&path, &workspace)).collect();
    facts.untouched = regular(&dir.join(VICTIM)).map(|bytes| bytes == UNTOUCHED);
    facts.head = workspace.join(".git").is_dir().then(|| HeadFact { files: BTreeMap::new(), ..head_of(&workspace) });
    facts.workspace = entries(&workspace);
    let (stdout, cut) = output(&stage.start.stdout);
    let (stderr, also_cut) = output(&stage.start.stderr);
    facts.shortened = cut || also_cut;
    Run {
        stdout,
        stderr,
        termination: regular(&dir.join(TERMINATION)).filter(|bytes| !bytes.is_empty()),
        result_file: regular(&dir.join(RESULT_FILE)),
        events_file: regular(&dir.join(EVENTS_FILE)),
        results: results(&dir.join(RESULTS)),
        facts,
    }
}

/// What the suite's programs wrote down so far. A line that is being written is left for the next time.
fn records(dir: &Path) -> Vec<AgentRecord> {
    let bytes = regular(&dir.join(RECORDS)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn asked(record: &crate::model::Record, sentinels: &BTreeMap<String, String>) -> ModelRequest {
    ModelRequest {
        request: format!("{} {}", record.method, record.path),
        model: record.model.clone(),
        status: record.status.unwrap_or_default(),
        sentinels: sentinels.iter().filter(|(_, text)| record.mentions(text)).map(|(name, _)| name.clone()).collect(),
        tools: record.tools.clone(),
        question: record.is_question(),
    }
}

/// A regular file, at most [`FILE_LIMIT`] of it; no link is followed and nothing is waited for.
fn regular(path: &Path) -> Option<Vec<u8>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Output, and whether it was longer than what is kept.
fn output(path: &Path) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What cannot be read is not there.
        let _ = file.take(OUTPUT_LIMIT + 1).read_to_end(&mut bytes);
    }
    let limit = usize::try_from(OUTPUT_LIMIT).unwrap_or(usize::MAX);
    let cut = bytes.len() > limit;
    bytes.truncate(limit);
    (bytes, cut)
}

/// The regular files of the results directory.
fn results(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(FILES_LIMIT);
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, regular(&entry.path())?))).collect()
}

/// The regular files below a directory, links not followed.
fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
            if files.len() >= FILES_LIMIT {
                return files;
            }
        }
    }
    files
}

fn holds(path: &Path, wanted: &[u8]) -> bool {
    !wanted.is_empty() && regular(path).is_some_and(|bytes| contains(&bytes, wanted))
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// What lies in the workspace.
fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().take(LIST_LIMIT);
    let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::PathBuf;
    use std::time::Duration;

    use nix::sys::signal::Signal;

    use super::{play, too_new_for_the_image};
    use crate::suite::engine::{Container, Engine, EngineError, Start};
    use crate::suite::evidence::{Ability, AgentEvent, Ended};
    use crate::suite::fake::RECORDS;
    use crate::suite::scenario::stage::Stage;
    use crate::suite::scenario::{Act, Scenario};
    use crate::suite::subject::Subject;

    /// A container that never ends, and whose agent sees a mark at its start and the end of its stdin when it is killed.
    #[derive(Debug)]
    struct Endless(PathBuf);

    impl Endless {
        fn write_down(&self, event: &str) {
            let mut file = OpenOptions::new().append(true).open(&self.0).unwrap();
            file.write_all(format!("{{\"role\":\"agent\",\"pid\":1,\"atMs\":1,{event}}}\n").as_bytes()).unwrap();
        }
    }

    impl Engine for Endless {
        fn name(&self) -> &'static str {
            "endless"
        }
        fn abilities(&self) -> BTreeSet<Ability> {
            BTreeSet::new()
        }
        fn inspect(&self) -> Result<Subject, EngineError> {
            Ok(Subject::default())
        }
        fn start(&self, _: &Start) -> Result<Box<dyn Container>, EngineError> {
            self.write_down(r#""event":"mark","name":"here""#);
            Ok(Box::new(Self(self.0.clone())))
        }
    }

    impl Container for Endless {
        fn signal(&mut self, _: Signal) -> Result<(), EngineError> {
            Ok(())
        }
        fn kill(&mut self) -> Result<(), EngineError> {
            self.write_down(r#""event":"stdin-ended","bytes":8"#);
            Ok(())
        }
        fn wait(&mut self, _: Duration) -> Result<Option<Ended>, EngineError> {
            Ok(None)
        }
    }

    /// What the agent saw of a scenario with this course.
    fn seen(course: &'static [Act]) -> (Ended, Vec<AgentEvent>) {
        let work = tempfile::tempdir().unwrap();
        let engine = Endless(work.path().join(RECORDS));
        let stage = Stage::new(work.path(), &std::env::current_exe().unwrap(), &engine, &Subject::default(), &BTreeMap::new());
        let scenario = Scenario { name: "endless", about: "it never ends", needs: &[], prepare: |_| Ok(()), course };
        let run = play(&scenario, stage.unwrap(), &engine, Duration::ZERO);
        assert_eq!(run.facts.fault, None);
        (run.facts.ended, run.facts.records.into_iter().map(|record| record.event).collect())
    }

    #[test]
    fn what_a_container_tells_while_patience_kills_it_does_not_count() {
        let mark = || AgentEvent::Mark { name: "here".into() };
        for course in [&[][..], &[Act::AwaitMark("here")], &[Act::AwaitMark("never")]] {
            assert_eq!(seen(course), (Ended::OutOfPatience, vec![mark()]), "{course:?}");
        }
        let stdin_ended = AgentEvent::StdinEnded { bytes: 8, prompt: None };
        assert_eq!(seen(&[Act::Kill]), (Ended::Killed, vec![mark(), stdin_ended]), "a scenario's own kill is a part of it");
    }

    #[test]
    fn only_the_suites_own_program_is_the_suites_fault() {
        let said = b"x\n/usr/local/bin/agent: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.39' not found (required by /usr/local/bin/agent)\n";
        assert!(too_new_for_the_image(said, "/usr/local/bin/agent").is_some_and(|why| why.ends_with("(required by /usr/local/bin/agent)")));
        assert_eq!(too_new_for_the_image(said, "/usr/local/bin/agent-runner"), None);
        assert_eq!(too_new_for_the_image(b"version `GLIBC_2.39' not found", "/usr/local/bin/agent"), None);
    }
}
