//! The actor: does what a script says, step by step.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, setsid};

use super::recorder::Recorder;
use super::script::{Script, Step};
use super::{MCP, RECORDS, SCRIPTS, look};
use crate::suite::evidence::{AgentEvent, AgentRecord};
use crate::suite::mcp;

/// What it says when it is asked for its version, as runners do of agents.
const VERSION: &str = "0.0.0 (conformance)";
/// Its code when it cannot read its script: nobody else ends with it.
const NO_SCRIPT: u8 = 119;
/// How often it looks whether another process has reached its place.
const MARK_INTERVAL: Duration = Duration::from_millis(5);
/// How long zombies may stay.
const REAPING_PATIENCE: Duration = Duration::from_secs(10);

/// Plays the script of a role, and returns its exit code.
pub fn main(stage: &Path, role: &str) -> u8 {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if let [only] = args.as_slice()
        && ["--version", "-v", "version"].iter().any(|word| only == word)
    {
        let _ = writeln!(io::stdout(), "{VERSION}");
        return 0;
    }
    let script = fs::read(stage.join(SCRIPTS)).ok().and_then(|bytes| serde_json::from_slice::<Script>(&bytes).ok());
    let (Some(script), Ok(mut recorder)) = (script, Recorder::open(stage, role)) else {
        let _ = writeln!(io::stderr(), "conformance: the stage at {} cannot be read or written", stage.display());
        return NO_SCRIPT;
    };
    recorder.record(look::started());
    if role == MCP {
        let mut called = |method: &str| recorder.record(AgentEvent::Mark { name: method.to_owned() });
        return u8::from(mcp::serve_stdio(&mut called).is_err());
    }
    let mut actor = Actor { stage: stage.to_owned(), canaries: script.canaries.clone(), recorder, expected: SigSet::empty() };
    let code = actor.play(script.roles.get(role).map(Vec::as_slice).unwrap_or_default());
    actor.recorder.record(AgentEvent::Ended { code });
    code
}

/// Somebody who plays.
struct Actor {
    stage: PathBuf,
    canaries: Vec<String>,
    recorder: Recorder,
    /// Signals that are blocked, so that they can be waited for and written down.
    expected: SigSet,
}

impl Actor {
    fn play(&mut self, steps: &[Step]) -> u8 {
        for step in steps {
            match self.act(step) {
                Ok(None) => {}
                Ok(Some(code)) => return code,
                Err(error) => self.recorder.record(AgentEvent::Failed { what: format!("{step:?}: {error}").chars().take(500).collect() }),
            }
        }
        0
    }

    /// Does one thing; some end it all.
    fn act(&mut self, step: &Step) -> io::Result<Option<u8>> {
        match step {
            Step::ReadPrompt => self.recorder.record(look::prompt(&self.stage)),
            Step::LookAtHead => self.recorder.record(AgentEvent::Head(look::head())),
            Step::LookAtInit => {
                let readable = fs::read("/proc/1/environ").is_ok_and(|bytes| !bytes.is_empty());
                self.recorder.record(AgentEvent::InitEnvironment { readable });
            }
            Step::LookForSecrets => {
                let files = look::secret_files(&self.stage, &self.canaries);
                self.recorder.record(AgentEvent::SecretFiles { files });
            }
            Step::Print(text) => print(expand(text).as_bytes())?,
            Step::PrintFile(name) => print(&fs::read(self.stage.join(name))?)?,
            Step::PrintFileOf(variable) => print(&fs::read(std::env::var_os(variable).unwrap_or_default())?)?,
            Step::PrintError(text) => io::stderr().write_all(text.as_bytes())?,
            Step::Mark(name) => self.recorder.record(AgentEvent::Mark { name: name.clone() }),
            Step::AwaitMark(name) => self.wait_for_mark(name)?,
            Step::Write { path, text } => fs::write(expand(path), expand(text))?,
            Step::Extend { path, bytes } => {
                fs::OpenOptions::new().write(true).create(true).truncate(false).open(expand(path))?.set_len(*bytes)?;
            }
            Step::Link { path, target } => symlink(expand(target), expand(path))?,
            Step::Commit { id, objects } => commit(id, objects)?,
            Step::Ignore(signal) => self.ignore(*signal)?,
            Step::Await(signal) => self.wait_for(*signal)?,
            Step::Pass(milliseconds) => std::thread::sleep(Duration::from_millis(*milliseconds)),
            Step::Leave { role, steps } => self.leave(role, steps)?,
            Step::Storm(count) => self.storm(*count)?,
            Step::ForkStorm => fork_storm(),
            // SAFETY: nothing of this process writes to stdout after this; std ignores that the descriptor is closed.
            Step::CloseStdout => drop(unsafe { nix::libc::close(1) }),
            Step::Overwrite { path, text } => overwrite(&expand(path), text),
            Step::PrintForever(text) => loop {
                print(text.as_bytes())?;
            },
            Step::Stay => self.stay()?,
            Step::Die(signal) => {
                self.recorder.record(AgentEvent::Ended { code: 128_u8.wrapping_add(u8::try_from(*signal).unwrap_or_default()) });
                die(*signal)?;
            }
            Step::Exit(code) => return Ok(Some(*code)),
        }
        Ok(None)
    }

    /// Blocks a signal, so that it ends nothing and can be written down.
    fn ignore(&mut self, number: i32) -> io::Result<()> {
        let signal = Signal::try_from(number)?;
        self.expected.add(signal);
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&self.expected), None)?;
        Ok(())
    }

    fn wait_for(&mut self, number: i32) -> io::Result<()> {
        self.ignore(number)?;
        let signals = SignalFd::with_flags(&self.expected, SfdFlags::SFD_CLOEXEC)?;
        loop {
            if let Some(came) = signals.read_signal()? {
                let signal = i32::try_from(came.ssi_signo).unwrap_or_default();
                self.recorder.record(AgentEvent::Signal { signal });
                if signal == number {
                    return Ok(());
                }
            }
        }
    }

    /// Waits for another process of the stage. The scenario's patience is the limit.
    fn wait_for_mark(&self, name: &str) -> io::Result<()> {
        let mark = AgentEvent::Mark { name: name.to_owned() };
        loop {
            let lines = fs::read_to_string(self.stage.join(RECORDS))?;
            if lines.lines().filter_map(|line| serde_json::from_str::<AgentRecord>(line).ok()).any(|record| record.event == mark) {
                return Ok(());
            }
            std::thread::sleep(MARK_INTERVAL);
        }
    }

    /// Stays until it is killed, and writes down what it ignores.
    fn stay(&mut self) -> io::Result<()> {
        let signals = SignalFd::with_flags(&self.expected, SfdFlags::SFD_CLOEXEC)?;
        loop {
            if let Some(came) = signals.read_signal()? {
                self.recorder.record(AgentEvent::Signal { signal: i32::try_from(came.ssi_signo).unwrap_or_default() });
            }
        }
    }

    fn leave(&mut self, role: &str, steps: &[Step]) -> io::Result<()> {
        // SAFETY: this program has one thread.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                waitpid(child, None)?;
                Ok(())
            }
            ForkResult::Child => {
                let _ = setsid();
                // SAFETY: likewise.
                if let Ok(ForkResult::Child) = unsafe { fork() } {
                    self.recorder.set_role(role);
                    let code = self.play(steps);
                    self.recorder.record(AgentEvent::Ended { code });
                    exit(code);
                }
                exit(0)
            }
        }
    }

    fn storm(&mut self, count: u32) -> io::Result<()> {
        for _ in 0..count {
            // SAFETY: this program has one thread.
            match unsafe { fork() }? {
                ForkResult::Parent { child } => drop(waitpid(child, None)?),
                ForkResult::Child => {
                    // SAFETY: likewise.
                    let _ = unsafe { fork() };
                    exit(0);
                }
            }
        }
        let begun = Instant::now();
        let mut left = look::zombies_of_init();
        while left > 0 && begun.elapsed() < REAPING_PATIENCE {
            std::thread::yield_now();
            left = look::zombies_of_init();
        }
        self.recorder.record(AgentEvent::Zombies { left });
        Ok(())
    }
}

/// Puts the values of variables into a text.
fn expand(text: &str) -> String {
    let mut parts = text.split("${");
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            Some((name, rest)) => {
                expanded.push_str(&std::env::var(name).unwrap_or_default());
                expanded.push_str(rest);
            }
            None => expanded.push_str(part),
        }
    }
    expanded
}

fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Puts loose objects into the repository, and moves the branch that HEAD is on.
fn commit(id: &str, objects: &[(String, String)]) -> io::Result<()> {
    use base64::Engine as _;
    let git = Path::new(".git");
    for (object, text) in objects {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(io::Error::other)?;
        let (dir, name) = object.split_at_checked(2).ok_or_else(|| io::Error::other("no object id"))?;
        let dir = git.join("objects").join(dir);
        fs::create_dir_all(&dir)?;
        if !dir.join(name).exists() {
            fs::write(dir.join(name), bytes)?;
        }
    }
    let head = fs::read_to_string(git.join("HEAD"))?;
    let branch = git.join(head.trim().strip_prefix("ref: ").unwrap_or("HEAD"));
    if let Some(parent) = branch.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(branch, format!("{id}\n"))
}

/// Writes a file anew until this process is killed. That it cannot be written now and then is no reason to stop.
fn overwrite(path: &str, text: &str) -> ! {
    loop {
        let _ = fs::write(path, text);
    }
}

fn fork_storm() {
    loop {
        // SAFETY: this program has one thread.
        if unsafe { fork() }.is_err() {
            std::thread::yield_now();
        }
    }
}

fn die(number: i32) -> io::Result<()> {
    kill(Pid::this(), Signal::try_from(number)?)?;
    loop {
        nix::unistd::pause();
    }
}

/// Ends a forked process without what the program would do at its end.
fn exit(code: u8) -> ! {
    // SAFETY: ends this process.
    unsafe { nix::libc::_exit(i32::from(code)) }
}
