//! The suite's program, started again: a process of its own that makes what a container needs, starts it, and watches it.
//!
//! Namespaces, mounts and users belong to a process, and the suite has threads; so none of it can be done in the suite's own process.
//! What is started again has one thread ([`child`]). It talks with the suite over its standard input, a socket:
//!
//! ```text
//! suite ─▶ child   the plan, a line of JSON; then a byte per signal for PID 1; 0 kills all
//! child ─▶ suite   a line of JSON each: `started` or `failed`, then `ended`
//! ```
//!
//! When the suite has gone, by whatever way, the socket is at its end and the child kills all.

pub(super) mod child;
mod privileges;
mod root;
mod runtime;

use std::collections::BTreeMap;
use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub(super) use root::{MASKED, READ_ONLY};

use super::output::Pumps;
use super::{Container, EngineError, Mount, Start};
use crate::suite::evidence::Ended;

/// The argument by which the program knows that it was started again.
pub(super) const ARGUMENT: &str = "__namespace";

/// How long the child may take to say that it has started. Where no overlay file system can be mounted, it copies the image's.
const START: Duration = Duration::from_secs(180);

/// The byte that kills all.
const KILL_ALL: u8 = 0;

/// What the child is to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The program and its arguments.
    pub(super) args: Vec<String>,
    /// All of its environment.
    pub(super) env: BTreeMap<String, String>,
    /// Where it starts.
    pub(super) cwd: PathBuf,
    /// What is made around it; nothing is for a process on the host.
    pub(super) namespace: Option<Namespace>,
}

/// What is made around a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Namespace {
    /// The image's root file system, which stays as it is.
    pub(super) image: PathBuf,
    /// An empty directory of this start.
    pub(super) work: PathBuf,
    /// User, group, and other groups.
    pub(super) user: (u32, u32, Vec<u32>),
    /// See [`Start::mounts`].
    pub(super) mounts: Vec<Mount>,
    /// See [`Start::scratch`].
    pub(super) scratch: Vec<PathBuf>,
    /// See [`Start::read_only`].
    pub(super) read_only: bool,
    /// See [`Start::no_capabilities`].
    pub(super) no_capabilities: bool,
    /// See [`Start::pids_limit`].
    pub(super) pids_limit: Option<u32>,
    /// Whether runc does it, with the bundle that lies in [`bundle_directory`]; then only the root file system is made for it.
    pub(super) runc: bool,
}

/// What the child says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Report {
    Started,
    Failed(String),
    Ended(u8),
}

/// The program that is started again: the running one, unless tests or others who use the library say which.
#[derive(Debug, Clone, Default)]
pub struct Program(pub Option<PathBuf>);

impl Program {
    fn path(&self) -> io::Result<PathBuf> {
        self.0.clone().map_or_else(env::current_exe, Ok)
    }
}

/// What the child has started.
#[derive(Debug)]
pub(super) struct Launched {
    engine: &'static str,
    child: Child,
    control: BufReader<UnixStream>,
    /// What was read of a line that was not whole yet.
    line: Vec<u8>,
    pumps: Pumps,
    killed: bool,
    ended: Option<Ended>,
    /// What is removed last.
    _work: TempDir,
}

/// Starts a process by the plan.
pub(super) fn launch(engine: &'static str, program: &Program, plan: &Plan, start: &Start, work: TempDir) -> Result<Launched, EngineError> {
    let failed = |why: String| EngineError::Failed { engine, what: "start the image", why };
    let text = serde_json::to_string(plan).map_err(|error| failed(error.to_string()))?;
    let (mut control, theirs) = UnixStream::pair().map_err(|error| failed(error.to_string()))?;
    let path = program.path().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(&path);
    command.arg(ARGUMENT).stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
    // a signal from the terminal is for the suite, which then ends its containers
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| failed(format!("`{}`: {error}", path.display())))?;
    // the command holds the child's end of the socket
    drop(command);
    let pumps = Pumps::start(engine, &mut child, start);
    let mut launched = Launched {
        engine,
        child,
        control: BufReader::new(control.try_clone().map_err(|error| failed(error.to_string()))?),
        line: Vec::new(),
        pumps: Pumps::default(),
        killed: false,
        ended: None,
        _work: work,
    };
    launched.pumps = pumps?;
    // what goes wrong here is told by the answer that does not come
    let _ = control.write_all(format!("{text}\n").as_bytes());
    match launched.hear(START)? {
        Some(Report::Started) => Ok(launched),
        Some(Report::Ended(code)) => {
            launched.finish(Ended::Code(code))?;
            Ok(launched)
        }
        Some(Report::Failed(why)) => Err(failed(why)),
        None => Err(failed(format!("`{} {ARGUMENT}` said nothing for {} seconds", path.display(), START.as_secs()))),
    }
}

impl Launched {
    fn failed(&self, what: &'static str, why: impl ToString) -> EngineError {
        EngineError::Failed { engine: self.engine, what, why: why.to_string() }
    }

    /// The next line from the child, if it comes in time.
    fn hear(&mut self, patience: Duration) -> Result<Option<Report>, EngineError> {
        let deadline = Instant::now() + patience;
        loop {
            // a time of zero would mean for ever
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let read = self.control.get_ref().set_read_timeout(Some(left)).and_then(|()| self.control.read_until(b'\n', &mut self.line));
            match read {
                Ok(_) if self.line.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.line);
                    return serde_json::from_slice(&line)
                        .map(Some)
                        .map_err(|error| self.failed("read what the started process says", error));
                }
                Ok(_) => return Err(self.failed("watch the container", "the process that watches it has ended")),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("watch the container", error)),
            }
        }
    }

    fn tell(&mut self, byte: u8) -> io::Result<()> {
        self.control.get_mut().write_all(&[byte])
    }

    fn finish(&mut self, ended: Ended) -> Result<(), EngineError> {
        self.ended = Some(ended);
        // it leaves right after its last line
        let _ = self.child.wait();
        self.pumps.finish(self.engine)
    }
}

impl Container for Launched {
    fn signal(&mut self, signal: Signal) -> Result<(), EngineError> {
        if self.ended.is_some() {
            return Err(self.failed("send a signal", "the container has ended"));
        }
        let byte = u8::try_from(signal as i32).unwrap_or(KILL_ALL);
        self.tell(byte).map_err(|error| self.failed("send a signal", error))
    }

    fn kill(&mut self) -> Result<(), EngineError> {
        if self.ended.is_none() {
            self.killed = true;
            self.tell(KILL_ALL).map_err(|error| self.failed("kill the container", error))?;
        }
        Ok(())
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<Ended>, EngineError> {
        if self.ended.is_none() {
            match self.hear(patience)? {
                Some(Report::Ended(_)) if self.killed => self.finish(Ended::Killed)?,
                Some(Report::Ended(code)) => self.finish(Ended::Code(code))?,
                Some(other) => return Err(self.failed("watch the container", format!("unexpected {other:?}"))),
                None => {}
            }
        }
        Ok(self.ended)
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // the end of the socket says the same, if this cannot be said
            let _ = self.tell(KILL_ALL);
            let _ = self.control.get_ref().shutdown(std::net::Shutdown::Both);
            let _ = self.child.wait();
        }
        // the output of a container that nobody waits for is nobody's concern
        let _ = self.pumps.finish(self.engine);
    }
}

/// Whether namespaces can be made here, and what is to be known of how; or why not.
pub(super) fn probe(program: &Program) -> Result<Option<String>, String> {
    let path = program.path().map_err(|error| error.to_string())?;
    let output = Command::new(&path).args([ARGUMENT, "probe"]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`{}`: {error}", path.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(Some(said).filter(|said| !said.is_empty())),
        _ if said.is_empty() => Err(format!("`{} {ARGUMENT}` is not this suite's program", path.display())),
        _ => Err(said),
    }
}

/// A directory of this start, for nobody else.
pub(super) fn work(engine: &'static str) -> Result<TempDir, EngineError> {
    let made = tempfile::Builder::new().prefix("agent-conformance-").tempdir();
    made.map_err(|error| EngineError::Failed { engine, what: "make a temporary directory", why: error.to_string() })
}

/// How deep a path is: mounts are made in this order, so that parents are there before what is below them.
pub(super) fn depth(path: &Path) -> usize {
    path.components().count()
}

/// Where the bundle for runc lies.
pub(super) fn bundle_directory(work: &Path) -> PathBuf {
    work.join("bundle")
}

/// Where the directories lie that runc mounts as scratch.
pub(super) fn scratch_directory(work: &Path, index: usize) -> PathBuf {
    work.join("scratch").join(index.to_string())
}

/// The capabilities of a container, by name.
pub(super) fn default_capabilities() -> Vec<String> {
    privileges::DEFAULT.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}
