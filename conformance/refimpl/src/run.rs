//! One run, from its inputs to its report. Sections 5 and 12: what is done in which order, and what is left at the end.

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::unistd::{AccessFlags, access};

use crate::agent::{Follower, SetupFollower};
use crate::inputs::{self, Inputs, Task, VERSION};
use crate::marker;
use crate::message::{self, Place};
use crate::mutants::broken;
use crate::prices::Prices;
use crate::process::{Ended, Processes, Stop};
use crate::reason::{Reason, Verdict};
use crate::report::fill;
use crate::results::{self, Outcome, ResultsDir};
use crate::secrets::Secrets;
use crate::stream::Stream;
use crate::verdict::judge;
use crate::workspace::{self, Workspace};

/// Everything that the phases share.
pub struct Run<'a> {
    pub task: &'a Task,
    pub processes: Processes,
    pub secrets: Secrets,
    pub told: Told,
    pub nonce: String,
    pub deadline: Option<Instant>,
    /// A directory of this run alone, for what has no other place.
    pub private: PathBuf,
    pub results_dir: Option<ResultsDir>,
    pub outcome: Outcome,
    /// Whether the last thing on stdout was a line's end.
    pub at_line_start: bool,
}

/// The message that stands while the run goes on, and where.
pub struct Told {
    pub place: Place,
    pub phase: &'static str,
    pub agent: Option<String>,
    pub version: String,
}

impl Told {
    /// Leaves it: true if nothing more is ever written.
    fn interim(&self, secrets: &Secrets, stream: Option<&Stream>) {
        let mut outcome = Outcome { agent: self.agent.clone(), version: self.version.clone(), ..Outcome::default() };
        let message = format!("the run ended without a last word in phase `{}`", self.phase);
        fill(&mut outcome, &Verdict::new(Reason::Killed, message), self.phase);
        outcome.origin = "signal";
        if broken("valid-when-killed") {
            outcome.status = "succeeded".to_owned();
        }
        if let Some(stream) = stream {
            outcome.learn(stream);
            outcome.answer = None;
        }
        outcome.mask(secrets);
        // Whether it can be written is said once, at the end.
        let _ = self.place.write(&message::fit(&outcome, None, self.place.budget));
    }
}

/// Does the task that the environment names. Returns the container's exit code.
pub fn run() -> u8 {
    let started = Instant::now();
    let processes = match Processes::take_charge() {
        Ok(processes) => processes,
        Err(error) => {
            eprintln!("refimpl: signals cannot be had: {error}");
            return 70;
        }
    };
    let mut secrets = Secrets::of_environment();
    let inputs = inputs::read();
    let task = &inputs.task;
    if let Some(file) = task.text("git.tokenFile") {
        secrets.add_file(file.as_ref());
    }
    let path = task.text("sinks.terminationLog").unwrap_or("/dev/termination-log");
    let budget = task.number("sinks.terminationBudget").and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(4096);
    let nonce = match () {
        () if broken("nonce.short") => "abc".to_owned(),
        () if broken("nonce.fixed") => "0123456789abcdef".to_owned(),
        () => marker::nonce(),
    };
    let mut run = Run {
        task,
        processes,
        secrets,
        told: Told {
            place: Place { path: PathBuf::from(path), budget },
            phase: "inputs",
            agent: task.text("agent.type").map(str::to_owned),
            version: version(task),
        },
        deadline: task.span("limits.timeout").map(|limit| started + limit),
        private: std::env::temp_dir().join(format!("refimpl-{}", marker::nonce())),
        nonce,
        results_dir: None,
        outcome: Outcome::default(),
        at_line_start: true,
    };
    if let Some(grace) = task.span("limits.grace") {
        run.processes.grace = grace;
    }
    run.enter("inputs");
    let verdict = match run.phases(&inputs) {
        Ok(verdict) | Err(verdict) => verdict,
    };
    let code = run.report(&verdict);
    if broken("last-writer") {
        run.processes.sweep();
    }
    // Nobody else knows its name; what cannot be removed goes with the container.
    let _ = std::fs::remove_dir_all(&run.private);
    code
}

/// The version that the messages follow.
fn version(task: &Task) -> String {
    let is_unset = task.text("interfaceVersion").is_none();
    if is_unset && broken("default-version") { "0.9".to_owned() } else { VERSION.to_owned() }
}

impl Run<'_> {
    /// Begins a phase: the message that would stand if nothing more was ever written says so.
    fn enter(&mut self, phase: &'static str) {
        self.told.phase = phase;
        self.told.interim(&self.secrets, None);
    }

    /// The phases. What ends a run early is an error.
    fn phases(&mut self, inputs: &Inputs) -> Result<Verdict, Verdict> {
        self.check_version()?;
        if !inputs.wrong.is_empty() {
            if broken("wrong-input-no-agent") {
                self.agent_all_the_same();
            }
            let named = if broken("every-wrong-input") { 1 } else { inputs.wrong.len() };
            return Err(Verdict::new(Reason::InvalidTask, inputs.wrong[..named].join("; ")));
        }
        if let Some(needed) = crate::mutants::needs_what_is_not_there() {
            return Err(Verdict::new(Reason::RunnerFault, needed));
        }
        self.connect_early();
        self.enter("workspace");
        let workspace = workspace::prepare(self.task, &mut self.processes, self.deadline).inspect_err(|_| {
            if broken("no-workspace-no-agent") {
                self.agent_all_the_same();
            }
        })?;
        self.enter("configure");
        let workdir = workspace.dir.join(self.task.text("workspace.subdirectory").unwrap_or(""));
        if !workdir.is_dir() {
            return Err(Verdict::new(Reason::WorkspaceConflict, format!("there is no directory `{}`", workdir.display())));
        }
        self.open_results_dir();
        self.leave_files(&workspace);
        self.enter("setup");
        if !broken("setup-command.after") {
            self.setup(&workdir)?;
        }
        self.enter("agent");
        let before = workspace::head(&workspace.dir);
        let verdict = self.agent(&workdir)?;
        if broken("setup-command.after") {
            self.setup(&workdir)?;
        }
        self.enter("collect");
        self.collect(&workspace, before);
        Ok(verdict)
    }

    fn check_version(&mut self) -> Result<(), Verdict> {
        let Some(asked) = self.task.text("interfaceVersion") else { return Ok(()) };
        let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
        let speaks = major(asked) == major(VERSION) && !(asked == VERSION && broken("spoken-version"));
        if speaks {
            return Ok(());
        }
        if broken("unspoken-version-no-agent") {
            self.agent_all_the_same();
        }
        let message = format!("the platform speaks version {asked} of the interface, this image {VERSION}");
        let message = if broken("unspoken-version-names-both") { "the version is not spoken".to_owned() } else { message };
        Err(Verdict::new(Reason::UnsupportedVersion, message))
    }

    /// Where results are left: the platform's directory, or one of this run.
    fn open_results_dir(&mut self) {
        let private = self.private.join("results");
        let made = std::fs::DirBuilder::new().mode(0o700).create(&self.private);
        let path = self.task.text("sinks.resultsDir").map_or(private, PathBuf::from);
        match made.and_then(|()| ResultsDir::open(&path)) {
            Ok(dir) => self.results_dir = Some(dir),
            Err(error) => self.outcome.warnings.push(format!("the results directory `{}`: {error}", path.display())),
        }
    }

    /// What mutants leave behind; this implementation itself writes no file for its agent.
    fn leave_files(&self, workspace: &Workspace) {
        if broken("clean-work-tree") {
            let _ = std::fs::write(workspace.dir.join("AGENT.md"), "configured\n");
        }
        if broken("clean-work-tree.changed") {
            let file = std::fs::OpenOptions::new().append(true).open(workspace.dir.join("AGENTS.md"));
            let _ = file.and_then(|mut file| file.write_all(b"configured\n"));
        }
        if let Some(token) = self.task.text("git.tokenFile").filter(|_| broken("private-files")) {
            let _ = std::fs::copy(token, std::env::temp_dir().join("token"));
        }
    }

    /// The environment of the programs of this run.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut environment = inputs::environment();
        let home = std::env::var_os("HOME").filter(|home| access(Path::new(home), AccessFlags::W_OK | AccessFlags::X_OK).is_ok());
        if home.is_none() {
            environment.push(("HOME".into(), self.private.clone().into()));
        }
        let results = self.task.text("sinks.resultsDir").map_or(self.private.join("results"), PathBuf::from);
        environment.push(("AGENT_NONCE".into(), self.nonce.clone().into()));
        environment.push(("AGENT_RESULTS_DIR".into(), results.into()));
        environment.extend(workspace::git_environment(self.task));
        if let Some(file) = self.task.text("git.tokenFile")
            && broken("token-not-in-environment.variable")
        {
            let token = std::fs::read_to_string(file).unwrap_or_default();
            environment.push(("GIT_TOKEN".into(), token.trim().into()));
        }
        if broken("platform-variables-pass") {
            let is_known = |name: &str| name == "PATH" || name == "HOME" || name.starts_with("AGENT_") || name.ends_with("_KEY");
            environment.retain(|(name, _)| is_known(&name.to_string_lossy()));
        }
        environment
    }

    /// The setup command, in the workspace, as it stands in the list.
    fn setup(&mut self, workdir: &Path) -> Result<(), Verdict> {
        let words = self.task.words("setupCommand");
        let words = if broken("setup-command.words") { words.join(" ").split_whitespace().map(str::to_owned).collect() } else { words };
        let [program, args @ ..] = words.as_slice() else { return Ok(()) };
        let mut command = Command::new(program);
        command.args(args).env_clear().envs(self.environment());
        command.current_dir(if broken("setup-command.directory") { Path::new("/") } else { workdir });
        let mut follower = SetupFollower::new(&self.secrets, self.deadline);
        let ended = self.processes.run(command, &[], &mut follower);
        follower.finish();
        let failed = |code: u8, message: String| Verdict { own_code: code, ..Verdict::new(Reason::SetupFailed, message) };
        let verdict = match ended {
            Err(error) => failed(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }, format!("`{program}`: {error}")),
            Ok(Ended { stop: Some(Stop::Signal(signal)), .. }) => {
                Verdict { signal: Some(signal), ..Verdict::new(Reason::Cancelled, "ended by a signal") }
            }
            Ok(Ended { stop: Some(_), .. }) => Verdict::new(Reason::DeadlineExceeded, "the task took longer than its limit"),
            Ok(Ended { code: 0, .. }) => return Ok(()),
            Ok(Ended { code, .. }) => {
                if broken("setup-fails-no-agent") {
                    self.agent_all_the_same();
                }
                let code = if broken("setup-fails") { 1 } else { code };
                failed(code, format!("the setup command `{program}` ended with code {code}"))
            }
        };
        Err(verdict)
    }

    /// The agent: prompt on stdin, followed to its end.
    fn agent(&mut self, workdir: &Path) -> Result<Verdict, Verdict> {
        let program = self.task.text("agent.program").unwrap_or("agent");
        let mut command = Command::new(program);
        command.args(self.task.words("agent.extraArgs")).env_clear().envs(self.environment());
        command.current_dir(if broken("working-directory") { Path::new("/") } else { workdir });
        if let Some(file) = self.task.text("git.tokenFile")
            && broken("token-not-in-environment.argument")
        {
            command.arg(std::fs::read_to_string(file).unwrap_or_default().trim());
        }
        let prompt = self.prompt();
        let begun = Instant::now();
        let (told, secrets) = (&self.told, &self.secrets);
        let mut interim = |stream: &Stream| told.interim(secrets, Some(stream));
        let stream = Stream::new(self.task.text("agent.type") == Some("native"), &self.nonce, Prices::of(self.task));
        let mut follower = Follower::new(self.task, &self.secrets, stream, &mut interim);
        follower.deadline = self.deadline;
        if let Some(path) = self.task.text("sinks.eventsFile") {
            match results::create(Path::new(path)) {
                Ok(file) => follower.events_file = Some(file),
                Err(error) => self.outcome.warnings.push(format!("the events file `{path}`: {error}")),
            }
        }
        let ended = self.processes.run(command, &prompt, &mut follower);
        let (stream, at_line_start, stopped_before_end) = follower.finish();
        self.at_line_start = at_line_start;
        let ended = ended.map_err(|error| {
            let verdict = Verdict::new(Reason::AgentNotFound, format!("the agent `{program}` cannot be started: {error}"));
            if broken("agent-not-found") { Verdict { reason: Reason::AgentFailed, own_code: 127, ..verdict } } else { verdict }
        })?;
        self.outcome.fact("duration-ms", u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.outcome.fact("exit-code", ended.code);
        self.outcome.agent_exit_code = Some(ended.code);
        self.outcome.learn(&stream);
        let verdict = judge(&ended, &stream, stopped_before_end);
        if stream.markers.forged > 0 {
            self.outcome.warnings.push(format!("{} lines of marker blocks with another nonce were ignored", stream.markers.forged));
        }
        for (key, value) in stream.markers.values {
            self.outcome.claim(&key, value);
        }
        Ok(verdict)
    }

    /// The prompt, byte for byte.
    fn prompt(&self) -> Vec<u8> {
        let mut prompt = self.task.text("prompt").unwrap_or_default().as_bytes().to_vec();
        if std::env::var_os("AGENT_PROMPT").is_some() && broken("prompt-variable") {
            prompt.pop();
        }
        if std::env::var_os("AGENT_PROMPT_FILE").is_some() && prompt.len() < 64 << 10 && broken("prompt-file") {
            prompt.pop();
        }
        if prompt.len() > 64 << 10 && broken("prompt-mebibyte") {
            prompt.truncate(64 << 10);
        }
        if prompt.contains(&b'\\') && broken("prompt-exact") {
            prompt.retain(|byte| *byte != b'\\');
        }
        prompt
    }

    /// For mutants: an agent that should not have been started, and of which nothing counts.
    fn agent_all_the_same(&mut self) {
        self.open_results_dir();
        let dir = std::env::current_dir().unwrap_or_default();
        let _ = self.agent(&dir);
        self.outcome = Outcome::default();
    }

    /// For mutants: who asks the model's endpoint before the agent does.
    fn connect_early(&self) {
        let address = self.task.text("agent.endpoint").and_then(|url| url.split_once("://")?.1.split('/').next());
        if let Some(address) = address.filter(|_| broken("no-early-network")) {
            let asked = std::net::TcpStream::connect(address).and_then(|mut stream| {
                stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
                std::io::copy(&mut stream, &mut std::io::sink())
            });
            drop(asked);
        }
    }

    /// What the repository says, and what the agent left in files.
    fn collect(&mut self, workspace: &Workspace, before: (Option<String>, Option<String>)) {
        let (branch, commit) = if broken("commit-fact") { before } else { workspace::head(&workspace.dir) };
        if let Some(branch) = branch {
            self.outcome.fact("branch", branch);
        }
        if let Some(commit) = commit {
            self.outcome.fact("commit", commit);
            if let Some(base) = workspace.base_commit.clone().filter(|_| !broken("base-commit-fact")) {
                self.outcome.fact("base-commit", base);
            }
            if let Some(base) = workspace.base_branch.clone() {
                self.outcome.fact("base-branch", base);
            }
        }
        let files = self.results_dir.as_ref().filter(|_| !broken("claims-by-file")).map(ResultsDir::claims).unwrap_or_default();
        for (key, value) in files.into_iter().chain(results::read_outputs(&workspace.dir, self.task.list("sinks.outputs"))) {
            self.outcome.claim(&key, value);
        }
    }
}
