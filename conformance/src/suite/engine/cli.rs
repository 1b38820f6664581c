//! What podman and docker share: they are driven by their command lines, which are nearly the same.
//!
//! A container is made first and started then, with the command that starts it attached to its output: so what the engine itself has to say
//! when it makes the container does not stand in the container's stderr. How the container ended is what the engine says it was, not what
//! its command returned: that has 125 for its own failures, and an image may end with 125 too.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::limits::limits;
use super::output::Pumps;
use super::refusal::code_of_refusal;
use super::tree::Tree;
use super::typed::words;
use super::{Container, EngineError, Mount, Start, Typed, image_config, launch};
use crate::suite::evidence::Ended;
use crate::suite::subject::Subject;

/// What all of the suite's containers have, so that people can find them.
const LABEL: &str = "io.github.agent-runner.conformance=container";

/// The runtime that is tried where the engine's own fails: crun does on machines with hybrid cgroups, where this one works.
const OTHER_RUNTIME: &str = "runc";

/// What tells podman's command line from docker's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// The program and the engine's name.
    pub(super) name: &'static str,
    /// Options of `create`.
    pub(super) create: &'static [&'static str],
    /// Variables that the client would otherwise add to those of the container.
    pub(super) not_the_hosts: &'static [&'static str],
    /// Options of `create` that leave nothing writable in a root file system that is read-only.
    pub(super) read_only: &'static [&'static str],
    /// Options of the command that starts.
    pub(super) start: &'static [&'static str],
    /// Whether limits of open files and processes are named, since the engine's own are higher than we may give.
    pub(super) limits: bool,
    /// Whether another runtime can be named, and is worth a try.
    pub(super) runtimes: bool,
}

/// An engine's command line.
#[derive(Debug)]
pub(super) struct Cli {
    dialect: Dialect,
    /// The runtime that works, when that was found out; inner `None` is the engine's own.
    runtime: Mutex<Option<Option<&'static str>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    exit_code: i64,
    #[serde(default)]
    error: String,
    started_at: String,
}

impl Cli {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, runtime: Mutex::new((!dialect.runtimes).then_some(None)) }
    }

    fn command(&self, runtime: Option<&str>) -> Command {
        let mut command = Command::new(self.dialect.name);
        command.stdin(Stdio::null());
        if let Some(runtime) = runtime {
            command.args(["--runtime", runtime]);
        }
        // a signal from the terminal is for the suite, which then ends its containers
        command.process_group(0);
        command
    }

    fn failed(&self, what: &'static str, why: impl ToString) -> EngineError {
        EngineError::Failed { engine: self.dialect.name, what, why: why.to_string() }
    }

    /// What a command says on stdout; else its last words.
    pub(super) fn ask(&self, what: &'static str, arguments: &[&str]) -> Result<String, EngineError> {
        self.run(what, self.command(None).args(arguments))
    }

    fn run(&self, what: &'static str, command: &mut Command) -> Result<String, EngineError> {
        let output = command.output().map_err(|error| self.failed(what, error))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(self.failed(what, last_words(&output)))
        }
    }

    /// Whether the engine answers, with its version; or why not.
    pub(super) fn usable(&self, arguments: &[&str]) -> Result<String, String> {
        match self.command(None).args(arguments).output() {
            Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            Ok(output) => Err(last_words(&output)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("there is no program `{}`", self.dialect.name)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether there is such an image.
    pub(super) fn has_image(&self, reference: &str) -> bool {
        self.ask("inspect the image", &["image", "inspect", "--format", "{{.Id}}", "--", reference]).is_ok()
    }

    /// Looks at an image that is there.
    pub(super) fn inspect(&self, reference: &str) -> Result<Subject, EngineError> {
        let no_image = |error: EngineError| match error {
            EngineError::Failed { why, .. } => EngineError::NoImage { reference: reference.to_owned(), why },
            other => other,
        };
        let text = self.ask("inspect the image", &["image", "inspect", "--", reference]).map_err(no_image)?;
        let images: Vec<Value> = serde_json::from_str(&text).map_err(|error| self.failed("inspect the image", error))?;
        let image = images.first().ok_or_else(|| self.failed("inspect the image", "it says nothing of it"))?;
        let config = image_config::parse(&image["Config"]).map_err(|error| self.failed("inspect the image", error))?;
        let in_registry = image["RepoDigests"][0].as_str().and_then(|name| name.split_once('@')).map(|(_, digest)| digest);
        let digest = image["Digest"].as_str().filter(|digest| !digest.is_empty()).or(in_registry).or_else(|| image["Id"].as_str());
        let subject = Subject { reference: reference.to_owned(), digest: digest.map(str::to_owned), config, files: None };
        let files = self.export(reference)?.facts(&subject);
        Ok(Subject { files: Some(files), ..subject })
    }

    /// The image's files, from a container that is never started.
    fn export(&self, reference: &str) -> Result<Tree, EngineError> {
        const WHAT: &str = "look into the image's file system";
        let name = unique_name();
        // some engines want a command, even if nobody runs it
        self.ask(WHAT, &["create", "--name", &name, "--label", LABEL, "--pull", "never", "--network", "host", "--", reference, "/"])?;
        let mut tree = Tree::default();
        let exported =
            self.command(None).args(["export", &name]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().and_then(|mut client| {
                let read = client.stdout.take().map_or(Ok(()), |archive| tree.add_layer(archive));
                let output = client.wait_with_output()?;
                if output.status.success() { read } else { Err(io::Error::other(last_words(&output))) }
            });
        self.remove(&name);
        exported.map_err(|error| self.failed(WHAT, error))?;
        Ok(tree)
    }

    /// Starts an image. The first start finds out which runtime works.
    pub(super) fn start(self: &Arc<Self>, reference: &str, start: &Start) -> Result<Box<dyn Container>, EngineError> {
        // runc before 1.1.9 gives a tmpfs the mode of the directory that it hides; but what containers leave behind only root can remove
        let made = geteuid().is_root().then(|| launch::work(self.dialect.name)).transpose()?;
        let name = self.create(reference, start, made.as_ref())?;
        // from here on it is removed, whatever becomes of it
        let mut running = Running {
            cli: Arc::clone(self),
            name,
            client: None,
            pumps: Pumps::default(),
            stderr: start.stderr.clone(),
            _work: made,
            killed: false,
            ended: None,
        };
        let mut command = self.command(None);
        // its own words on stderr would stand among the container's
        command.args(self.dialect.start).args(["start", "--attach", &running.name]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().map_err(|error| self.failed("start the image", error))?;
        running.pumps = Pumps::start(self.dialect.name, &mut client, start)?;
        running.client = Some(client);
        Ok(Box::new(running))
    }

    /// Makes a container with a runtime that works, and says its name.
    fn create(&self, reference: &str, start: &Start, work: Option<&TempDir>) -> Result<String, EngineError> {
        // another start waits until it is known
        let mut known = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = *known {
            return self.create_with(runtime, reference, start, work);
        }
        let name = self.create_with(None, reference, start, work)?;
        let Err(EngineError::Failed { why, .. }) = self.ask("start the image", &["init", &name]) else {
            *known = Some(None);
            return Ok(name);
        };
        if code_of_refusal(&why).is_some() {
            // nothing is known of the runtime, and the start will say the same
            return Ok(name);
        }
        self.remove(&name);
        let other = self.create_with(Some(OTHER_RUNTIME), reference, start, work)?;
        if self.ask("start the image", &["init", &other]).is_err() {
            self.remove(&other);
            return Err(self.failed("start the image", why));
        }
        *known = Some(Some(OTHER_RUNTIME));
        Ok(other)
    }

    fn create_with(&self, runtime: Option<&str>, reference: &str, start: &Start, work: Option<&TempDir>) -> Result<String, EngineError> {
        let name = unique_name();
        let mut command = self.command(runtime);
        command.args(["create", "--name", &name, "--label", LABEL]);
        // its output is ours alone; and at its end there is nothing to wait for
        command.args(["--log-driver", "none", "--stop-timeout", "0"]).args(self.options(start, work.map(TempDir::path))?);
        for name in self.dialect.not_the_hosts.iter().filter(|name| !start.env.contains_key(**name)) {
            command.args(["--env", name]).env_remove(name);
        }
        for (name, value) in &start.env {
            if for_the_client(name) {
                command.args(["--env", &format!("{name}={value}")]);
            } else {
                // others on this machine can read arguments, and a value may be a secret
                command.args(["--env", name]).env(name, value);
            }
        }
        command.args(["--", reference]).args(start.args.iter().flatten());
        self.run("make a container of the image", &mut command)?;
        Ok(name)
    }

    /// Options of a container, but for its variables.
    fn options(&self, start: &Start, work: Option<&Path>) -> Result<Vec<String>, EngineError> {
        // what is mounted has no label that SELinux would let a container read
        let mut options = words(["--pull", "never", "--network", "host", "--security-opt", "label=disable"]);
        let mut add = |more: &[&str]| options.extend(more.iter().map(|word| (*word).to_owned()));
        add(self.dialect.create);
        if self.dialect.limits {
            add(&limits().iter().map(String::as_str).collect::<Vec<_>>());
        }
        if let Some((user, group)) = start.user {
            add(&["--user", &format!("{user}:{group}")]);
        }
        if start.read_only {
            add(&["--read-only"]);
            add(self.dialect.read_only);
        }
        for (index, path) in start.scratch.iter().enumerate() {
            match work {
                Some(work) => {
                    add(&["--mount", &self.mount(&scratch(work, index, path).map_err(|error| self.failed("make a directory", error))?)?]);
                }
                None => add(&["--tmpfs", &format!("{}:rw,exec,mode=1777", path.display())]),
            }
        }
        if start.no_capabilities {
            add(&["--cap-drop", "all", "--security-opt", "no-new-privileges"]);
        }
        if let Some(limit) = start.pids_limit {
            add(&["--pids-limit", &limit.to_string()]);
        }
        for mount in &start.mounts {
            add(&["--mount", &self.mount(mount)?]);
        }
        Ok(options)
    }

    /// What a person would type to start an image.
    pub(super) fn typed(&self, reference: &str, start: &Start, name: &str, place: &Path) -> Result<Typed, EngineError> {
        // one that is never started tells which runtime works
        let tried = self.create(reference, start, None)?;
        self.remove(&tried);
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).flatten();
        let mut command = words([self.dialect.name]);
        command.extend(runtime.into_iter().flat_map(|runtime| words(["--runtime", runtime])));
        command.extend(words(["run", "--rm", "--name", name]));
        command.extend(self.options(start, geteuid().is_root().then_some(place))?);
        command.extend(start.env.iter().flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")]));
        command.extend(words(["--", reference]));
        command.extend(start.args.iter().flatten().cloned());
        Ok(Typed { start: vec![command], signal: Some(words([self.dialect.name, "kill", name, "--signal"])) })
    }

    fn mount(&self, mount: &Mount) -> Result<String, EngineError> {
        let text = |path: &Path| match path.to_str() {
            // there is no way to quote them that both engines know
            Some(text) if !text.contains([',', '"', '\n']) => Ok(text.to_owned()),
            _ => Err(self.failed("mount a file", format!("it cannot be said in an argument: {}", path.display()))),
        };
        let read_only = if mount.read_only { ",readonly" } else { "" };
        Ok(format!("type=bind,source={},target={}{read_only}", text(&mount.host)?, text(&mount.container)?))
    }

    /// Removes a directory as whoever the containers' users are: of rootless podman they are others than this process.
    pub(super) fn remove_directory(&self, dir: &Path) {
        // nothing can be done if it fails
        let _ = self.command(None).args(["unshare", "rm", "-rf", "--"]).arg(dir).output();
    }

    /// Removes a container, which may be running.
    fn remove(&self, name: &str) {
        // nothing can be done if it fails: people find what is left by its label
        let _ = self.command(None).args(["rm", "--force", "--volumes", name]).output();
    }
}

/// A container of an engine that is driven by its command line.
#[derive(Debug)]
struct Running {
    cli: Arc<Cli>,
    name: String,
    /// The command that is attached to it, then one that waits for it.
    client: Option<Child>,
    pumps: Pumps,
    /// Where the client's own words stand, if the container was never started.
    stderr: PathBuf,
    killed: bool,
    ended: Option<Ended>,
    /// What is removed last.
    _work: Option<TempDir>,
}

impl Container for Running {
    fn signal(&mut self, signal: Signal) -> Result<(), EngineError> {
        self.cli.ask("send a signal", &["kill", "--signal", signal.as_str(), &self.name]).map(drop)
    }

    fn kill(&mut self) -> Result<(), EngineError> {
        if self.ended.is_none() {
            // the kernel kills all that is in the namespace of a PID 1 that dies
            self.signal(Signal::SIGKILL)?;
            self.killed = true;
        }
        Ok(())
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<Ended>, EngineError> {
        let deadline = Instant::now() + patience;
        while self.ended.is_none() {
            let Some(client) = &mut self.client else {
                return Err(self.cli.failed("wait for the container", "it was not started"));
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(status) = wait_for(client, left).map_err(|error| self.cli.failed("wait for the container", error))? else {
                break;
            };
            self.pumps.finish(self.cli.dialect.name)?;
            self.judge(status.code())?;
        }
        Ok(self.ended)
    }
}

impl Running {
    /// How it ended, when the client has; or has another client wait, if only the client has ended.
    fn judge(&mut self, client: Option<i32>) -> Result<(), EngineError> {
        let text = self.cli.ask("inspect the container", &["container", "inspect", "--format", "{{json .State}}", &self.name])?;
        let state: State = serde_json::from_str(&text).map_err(|error| self.cli.failed("inspect the container", error))?;
        let code = u8::try_from(state.exit_code).unwrap_or(u8::MAX);
        let started = !state.started_at.starts_with("0001-");
        self.ended = match (state.status.as_str(), started) {
            ("running" | "stopping" | "paused", _) => {
                let waiting = self.cli.command(None).args(["wait", &self.name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
                self.client = Some(waiting.map_err(|error| self.cli.failed("wait for the container", error))?);
                None
            }
            (_, true) => Some(if self.killed { Ended::Killed } else { Ended::Code(code) }),
            (_, false) => {
                // no container, so these are the client's words
                let said = fs::read_to_string(&self.stderr).unwrap_or_default();
                let words = [state.error.as_str(), said.trim()].into_iter().find(|words| !words.is_empty());
                let why = words.map_or_else(|| format!("it is {}, and the client ended with {client:?}", state.status), str::to_owned);
                let refused = code_of_refusal(&why).or(Some(code).filter(|code| matches!(code, 126 | 127)));
                Some(refused.map(Ended::Code).ok_or_else(|| self.cli.failed("start the image", why))?)
            }
        };
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cli.remove(&self.name);
        if let Some(client) = &mut self.client {
            // it ends with its container; and if it does not, it is of no use
            let _ = client.kill();
            let _ = client.wait();
        }
        // the output of a container that nobody waits for is nobody's concern
        let _ = self.pumps.finish(self.cli.dialect.name);
    }
}

/// An empty directory on the host that anybody can write, for a container.
fn scratch(work: &Path, index: usize, container: &Path) -> io::Result<Mount> {
    let host = work.join(index.to_string());
    match fs::create_dir(&host) {
        // made for another runtime, which has not used it
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::set_permissions(&host, Permissions::from_mode(0o1777))?;
    Ok(Mount { host, container: container.to_owned(), read_only: false })
}

fn unique_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("agent-conformance-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Waits for a process of ours, at most so long.
fn wait_for(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let descriptor = rustix::process::pidfd_open(rustix::process::Pid::from_child(child), rustix::process::PidfdFlags::empty())?;
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut ready = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, patience) {
        // a little less patience does no harm: who waits asks again
        Ok(0) | Err(Errno::EINTR) => Ok(None),
        Ok(_) => child.wait().map(Some),
        Err(error) => Err(error.into()),
    }
}

/// Whether the engine's own client would read the variable.
fn for_the_client(name: &str) -> bool {
    const NAMES: &[&str] = &["PATH", "HOME", "TMPDIR", "USER", "SHELL"];
    const PREFIXES: &[&str] =
        &["CONTAINER", "DOCKER_", "PODMAN_", "BUILDAH_", "XDG_", "LD_", "GO", "STORAGE_", "REGISTRY_", "DBUS_", "NOTIFY_", "LISTEN_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim();
    if text.is_empty() { format!("it ended with {}", output.status) } else { text.to_owned() }
}
