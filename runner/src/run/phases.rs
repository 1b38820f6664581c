//! The phases of a run, in order: inputs, workspace beside configure, setup, agent, collect.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use agent_sdk::agent::{Agent, Plan, PlanRequest, Plugin, ProcessEnd, RepositoryPath, RepositoryPower};
use agent_sdk::task::{GitAccess, Task, Trust, Workspace as WorkspaceSpec};
use agent_sdk::verdict::Phase;

use super::failure::Failure;
use super::follower::{RunFollower, SetupFollower, Watch};
use super::journal::Journal;
use super::limits::{self, Stop};
use super::look::until_asked;
use super::place::{Place, search_path};
use super::report::{AgentEnd, AgentRun, Ending, Work};
use super::{Extent, Order, identity};
use crate::agents;
use crate::configure::{self, ConfigureError, Places};
use crate::dialects::Dialect;
use crate::init::RunnerSide;
use crate::init::oom::OomCounter;
use crate::inputs::settings::NONCE;
use crate::inputs::{Inputs, Resolved, read_input_file};
use crate::process::launch::{Input, Launch, Output, Placement};
use crate::process::signals::Request;
use crate::process::{Cause, Ending as EndSwitch, ExecOptions, ExitStatus, Signals, exec, until};
use crate::secrets;
use crate::workspace::takeup::repository_root;
use crate::workspace::trust::{self, plain::SetAside};
use crate::workspace::{self, Context, Prepared, Progress, WhenHeld, WorkspaceError, gh};

/// Drives a run to its end.
///
/// # Errors
/// What ended it before the agent could be judged.
pub async fn drive(journal: &mut Journal, side: &RunnerSide, order: &Order) -> Result<Ending, Failure> {
    let mut signals = Signals::install().map_err(|error| Failure::Fault(format!("no signals: {error}")))?;
    if order.inputs.dialect != Dialect::Native {
        tracing::info!("the platform speaks {}", order.inputs.dialect.name());
    }
    journal.tell_progress(order.inputs.dialect.progress_file(&order.inputs.env));
    let Resolved { mut task, warnings } = match order.inputs.resolve(read_unless_ended) {
        Ok(resolved) => resolved,
        Err(error) => {
            // It is why something could not be read.
            if let Some(signal) = signals.waiting() {
                return Err(Failure::Cancelled(signal));
            }
            check_version(error.version.as_deref())?;
            return Err(error.into());
        }
    };
    start_paths_here(&mut task);
    let agent = agents::find(&task);
    gather_secrets(journal, &order.inputs, &task, agent.as_deref().ok());
    journal.take_task(&task);
    // From here on every failure is told where the task says.
    // Only what the agent is to write to could be committed.
    let could_commit = task.sinks.results_dir.is_some() && holds_repository(&task);
    journal.open(&task.sinks, could_commit.then_some(&task.workspace.dir));
    warnings.into_iter().for_each(|warning| journal.warn(warning));
    check_version(task.interface_version.as_deref())?;
    let agent = agent?;
    journal.take_agent(agent.name());
    let place = match Place::make(&order.inputs.env) {
        Ok(place) => place.in_container(side.is_pid_one()),
        // Nothing is written for these, so they also run where nothing can be written.
        Err(_) if matches!(order.extent, Extent::Command(_) | Extent::Clone) => Place::nowhere(&order.inputs.env),
        Err(error) => return Err(error.into()),
    };
    journal.note_place(place.private_dir());

    let run = Run { side, order, task: &task, agent: agent.as_ref(), place: &place, started: journal.started() };
    journal.enter(Phase::Workspace);
    let (mut prepared, plugins) = run.prepare(&mut signals).await?;
    let work = Work::of(&mut prepared);
    if order.extent == Extent::Clone {
        return Ok(Ending::Prepared(work));
    }
    journal.enter(Phase::Configure);
    let set_aside = run.apply_trust(journal, &prepared)?;
    let mut plan = run.configure(journal, &prepared, &plugins)?;
    plan.warnings.drain(..).for_each(|warning| journal.warn(warning));
    let environment = run.environment(&plan, &prepared, journal);
    run.set_up(journal, &mut signals, &prepared, &environment).await?;
    if order.extent == Extent::Setup {
        set_aside.keep();
        return Ok(Ending::Prepared(work));
    }
    journal.enter(Phase::Agent);
    let ran = run.agent(journal, &mut signals, plan, &prepared, &environment).await?;
    drop(set_aside);
    journal.enter(Phase::Collect);
    Ok(Ending::Agent(Box::new(AgentEnd { agent, task, place, work, run: ran, by_hand: matches!(order.extent, Extent::Command(_)) })))
}

/// What all phases look at.
struct Run<'a> {
    side: &'a RunnerSide,
    order: &'a Order,
    task: &'a Task,
    agent: &'a dyn Agent,
    place: &'a Place,
    started: Instant,
}

impl Run<'_> {
    /// Clones, and meanwhile reads the plugins, which do not depend on it.
    async fn prepare(&self, signals: &mut Signals) -> Result<(Prepared, Vec<Plugin>), Failure> {
        let interrupt = Arc::new(AtomicBool::new(false));
        if workspace::is_plain_directory(&self.task.workspace) {
            // Nothing that a thread would have to wait for.
            let prepared = clone(&self.task.workspace, &self.task.git, &self.utf8_env(), interrupt, &[], self.when_held())?;
            return Ok((prepared, self.read_plugins()?));
        }
        let cloning = {
            let (spec, git) = (self.task.workspace.clone(), self.task.git.clone());
            let (env, interrupt) = (self.utf8_env(), Arc::clone(&interrupt));
            let config_paths = if self.task.trust == Trust::Base { self.agent.repository_config().to_vec() } else { Vec::new() };
            let when_held = self.when_held();
            tokio::task::spawn_blocking(move || clone(&spec, &git, &env, interrupt, &config_paths, when_held))
        };
        let plugins = self.read_plugins();
        if plugins.is_err() {
            interrupt.store(true, Ordering::Relaxed);
        }
        let mut cloning = std::pin::pin!(cloning);
        let mut ended: Option<Failure> = None;
        let mut hurried = false;
        let cloned = loop {
            let deadline = self.deadline().filter(|_| ended.is_none());
            tokio::select! {
                cloned = &mut cloning => break Some(cloned),
                () = until(deadline) => {
                    ended = Some(Failure::Deadline(self.task.limits.timeout.unwrap_or_default()));
                    interrupt.store(true, Ordering::Relaxed);
                }
                request = signals.next() => match request {
                    Request::End(signal) => {
                        ended = Some(Failure::Cancelled(signal));
                        interrupt.store(true, Ordering::Relaxed);
                    }
                    Request::Hurry(_) => hurried = true,
                    Request::Forward(_) => {}
                },
                // A clone that does not stop within the grace is left to the end of the process.
                () = tokio::time::sleep(self.task.limits.grace.as_duration()), if ended.is_some() => hurried = true,
            }
            if hurried && ended.is_some() {
                break None;
            }
        };
        if let Some(failure) = ended {
            return Err(failure);
        }
        let plugins = plugins?;
        match cloned {
            Some(Ok(prepared)) => {
                let prepared = prepared?;
                prepared.notes.iter().for_each(|note| tracing::info!("{note}"));
                Ok((prepared, plugins))
            }
            Some(Err(error)) => Err(Failure::Fault(format!("the clone panicked: {error}"))),
            None => Err(Failure::Fault("the clone did not stop".into())),
        }
    }

    /// What is started within an agent's run is no run after that one; nor is a command, unless it is a container's own and wants a clone:
    /// many may be started at once in a directory that they only look at.
    fn when_held(&self) -> WhenHeld {
        let is_within = self.order.inputs.variable(NONCE).is_some();
        let wants_clone = self.side.is_pid_one() && self.task.workspace.repo.is_some();
        let is_beside = matches!(self.order.extent, Extent::Command(_)) && !wants_clone;
        if is_within || is_beside { WhenHeld::Share } else { WhenHeld::default() }
    }

    fn read_plugins(&self) -> Result<Vec<Plugin>, Failure> {
        match &self.task.plugin_dir {
            Some(dir) if self.order.extent != Extent::Clone => configure::read_plugins(dir).map_err(Failure::from),
            _ => Ok(Vec::new()),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.task.limits.timeout.map(|limit| self.started + limit.as_duration())
    }

    /// For the workspace: without the keys of models, which are no business of git's, nor of a program that somebody might have it start.
    fn utf8_env(&self) -> BTreeMap<String, String> {
        let agents = agent_sdk::agents::all();
        let agents = agents.iter().map(AsRef::as_ref).chain([self.agent]);
        // A cloud's credentials may be what reaches its git server.
        let keys: Vec<&str> = agents.flat_map(|agent| agent.secret_variables()).copied().filter(|name| !name.starts_with("AWS_")).collect();
        let text = self.order.inputs.env.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
        text.filter(|(name, _)| !keys.contains(name)).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Plans for the agent, and writes its configuration: after `trust`, since what the repository holds is part of the plan.
    fn configure(&self, journal: &mut Journal, prepared: &Prepared, plugins: &[Plugin]) -> Result<Plan, Failure> {
        if let Extent::Command(command) = &self.order.extent {
            let program = command.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
            return Ok(Plan { program, ..Plan::default() });
        }
        let workdir = workspace::workdir(prepared, &self.task.workspace)?;
        let root = workspace::work_tree(prepared);
        let below = workdir.strip_prefix(&root).unwrap_or(Path::new(""));
        let config = self.agent.repository_config();
        let mut files = configure::read_repository_files(&root, below, config).map_err(ConfigureError::from)?;
        if let Some(place) = below.ancestors().find(|place| trust::plain::is_users_own(prepared, &root.join(place), self.place.home())) {
            let own = config.iter().filter(|path| path.power == RepositoryPower::Executes);
            let own: Vec<PathBuf> = own.map(|path| place.join(path.path.trim_end_matches('/'))).collect();
            files.retain(|name, _| !own.iter().any(|own| name.starts_with(own)));
        }
        let mut surroundings = self.place.surroundings(&self.order.inputs.env, &root, &workdir, files);
        surroundings.for_later = self.order.extent == Extent::Setup;
        let request = PlanRequest { task: self.task, surroundings: &surroundings, plugins };
        let plan = self.agent.plan(&request).map_err(Failure::Plan)?;
        let places = Places {
            trusted: &[&surroundings.home, &surroundings.private_dir],
            forbidden: prepared.git_dir.as_ref().map(|_| root.as_path()),
            plugins: plugins.first().and_then(|plugin| plugin.dir.parent()),
        };
        let report = configure::apply(&plan.files, places)?;
        report.warnings.into_iter().for_each(|warning| journal.warn(warning));
        Ok(plan)
    }

    fn apply_trust(&self, journal: &mut Journal, prepared: &Prepared) -> Result<SetAside, Failure> {
        if prepared.is_shared {
            journal.warn("another run works in the workspace: it is left as it is, whatever `trust` and the rest of `workspace` say");
            return Ok(SetAside::nothing());
        }
        let workdir = workspace::workdir(prepared, &self.task.workspace)?;
        let put_back = trust::apply(&trust::Request {
            dir: &prepared.dir,
            workdir: &workdir,
            home: self.place.home(),
            trust: self.task.trust,
            paths: self.agent.repository_config(),
            base_commit: prepared.base_commit.as_deref(),
            given: &self.task.workspace.files,
        });
        // Also where it failed halfway.
        let set_aside = SetAside::of(prepared);
        let put_back = put_back?;
        if !put_back.is_empty() {
            tracing::info!(trust = self.task.trust.as_str(), "put back or hidden: {}", put_back.join(", "));
            if let (Some(dir), Trust::Base) = (set_aside.dir(), self.task.trust) {
                journal.warn(format!(
                    "`{}` is no git repository, so that no base branch vouches for {}: set aside for this run; AGENT_TRUST=repository has it count",
                    dir.display(),
                    put_back.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
                ));
            }
            journal.put_back(put_back);
        }
        Ok(set_aside)
    }

    fn environment(&self, plan: &Plan, prepared: &Prepared, journal: &Journal) -> Vec<(OsString, OsString)> {
        let mut more: BTreeMap<_, _> = prepared.env.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        more.extend(identity::variables(&self.order.inputs.env, &prepared.env, &self.task.git, &prepared.dir));
        more.extend(self.order.inputs.dialect.kept_back().iter().map(|name| ((*name).to_owned(), None)));
        more.extend(plan.env.clone());
        more.extend(self.path(prepared).map(|path| ("PATH".to_owned(), Some(path))));
        // Always a place to leave results in; a private one is read, and goes with the run. One that the task names and that cannot be used
        // is none: what is left there would not be read, or would be committed.
        let results = journal.results_dir().map(Path::to_owned).or_else(|| self.place.results_dir());
        self.place.environment(&self.order.inputs.env, &more, journal.nonce(), results.as_deref()).into_iter().collect()
    }

    /// The agent's `PATH`, if there is one to begin with.
    fn path(&self, prepared: &Prepared) -> Option<String> {
        let given = self.order.inputs.variable("PATH")?;
        let runner = std::env::current_exe().ok()?;
        let before = self.stand_in_for_gh(prepared, given, &runner);
        Some(search_path(before.as_deref(), given, &runner))
    }

    /// The directory of what has to stand before GitHub's CLI: if there is one, and a token for it.
    fn stand_in_for_gh(&self, prepared: &Prepared, path: &str, runner: &Path) -> Option<PathBuf> {
        let token_file = self.task.git.token_file.as_deref()?;
        gh::real(OsStr::new(path), None)?;
        let script = gh::StandIn::of(&self.task.workspace, prepared, token_file).script(runner)?;
        self.place.put_program(gh::PROGRAM, &script)
    }

    /// The setup command, in a phase of its own, with a code of its own.
    async fn set_up(
        &self,
        journal: &mut Journal,
        signals: &mut Signals,
        prepared: &Prepared,
        environment: &[(OsString, OsString)],
    ) -> Result<(), Failure> {
        let Some((program, args)) = self.task.setup_command.split_first() else { return Ok(()) };
        self.place.make_local_bin(&self.order.inputs.env);
        journal.enter(Phase::Setup);
        let dialect = self.order.inputs.dialect;
        dialect.before_setup().into_iter().for_each(crate::log::print);
        let done = self.run_setup(journal, signals, prepared, environment, program, args).await;
        let code = done.as_ref().err().map_or(0, Failure::exit_code);
        dialect.after_setup(code).as_deref().into_iter().for_each(crate::log::print);
        done
    }

    async fn run_setup(
        &self,
        journal: &mut Journal,
        signals: &mut Signals,
        prepared: &Prepared,
        environment: &[(OsString, OsString)],
        program: &str,
        args: &[String],
    ) -> Result<(), Failure> {
        let mut launch = Launch::new(program, args.iter().map(OsString::from));
        launch.env = environment.to_vec();
        launch.start_in(workspace::workdir(prepared, &self.task.workspace)?);
        launch.stdin = Input::Null;
        launch.stderr = Output::Pipe;
        launch.placement = Placement::Session;
        let switch = EndSwitch::default();
        let options = ExecOptions { grace: self.task.limits.grace.as_duration(), ending: switch.clone() };
        let mut follower = SetupFollower::new(self.task, &journal.secrets);
        let timed_out = Cell::new(false);
        let deadline = async {
            until(self.deadline()).await;
            timed_out.set(true);
            switch.request();
            std::future::pending::<Infallible>().await
        };
        // It may take long: what waits to be made known is not kept from whoever looks meanwhile.
        let journal = RefCell::new(journal);
        let making_known = make_known(&journal);
        let finished = tokio::select! {
            biased;
            finished = exec(self.side, signals, &launch, &options, &mut follower) => finished.map_err(Failure::SetupLaunch)?,
            never = deadline => match never {},
            never = making_known => match never {},
        };
        follower.finish(finished.signal.is_some()).await;
        let too_long = || Failure::Deadline(self.task.limits.timeout.unwrap_or_default());
        match (finished.cause, finished.code()) {
            (Cause::Signal(signal), _) => Err(Failure::Cancelled(signal)),
            (Cause::Switch, _) => Err(too_long()),
            (Cause::Itself, code @ 1..) => Err(Failure::Setup { program: program.to_owned(), code }),
            // It has done its work; what came while its stragglers ended still keeps the agent from starting.
            (Cause::Itself, 0) => match finished.signal {
                Some(signal) => Err(Failure::Cancelled(signal)),
                None if timed_out.get() => Err(too_long()),
                None => Ok(()),
            },
        }
    }

    /// The agent itself: started, followed, held to its limits, ended with all that came of it.
    async fn agent(
        &self,
        journal: &mut Journal,
        signals: &mut Signals,
        mut plan: Plan,
        prepared: &Prepared,
        environment: &[(OsString, OsString)],
    ) -> Result<AgentRun, Failure> {
        let ledgers = std::mem::take(&mut plan.ledgers);
        let by_hand = matches!(self.order.extent, Extent::Command(_));
        let launch = self.launch(plan, prepared, environment)?;
        let watch = Watch::new(self.started);
        let switch = EndSwitch::default();
        let options = ExecOptions { grace: self.task.limits.grace.as_duration(), ending: switch.clone() };
        let nonce = journal.nonce().clone();
        let journal = RefCell::new(journal);
        let mut follower = RunFollower::open(self.task, |detail| self.agent.reader(detail), ledgers, &journal, &watch, &switch, &nonce);
        let memory = OnceCell::new();
        let watchdog = async {
            // The agent is on its way already, so this costs it nothing.
            memory.get_or_init(OomCounter::start);
            watch.stop(watch_over(self.task, &journal, &watch).await);
            switch.request();
            // The end has its own clock.
            std::future::pending::<Infallible>().await
        };
        let begun = Instant::now();
        let finished = tokio::select! {
            biased;
            finished = exec(self.side, signals, &launch, &options, &mut follower) => finished.map_err(|error| Failure::Launch { error, by_hand })?,
            never = watchdog => match never {},
        };
        let duration = begun.elapsed();
        // Whatever was asked for when its end had begun already is not why it ended.
        let stop = match finished.cause {
            Cause::Itself => None,
            Cause::Signal(signal) => Some(Stop::Signal(signal)),
            Cause::Switch => watch.stopped(),
        };
        if !finished.ended.left.is_empty() {
            journal.borrow_mut().warn(format!("{} processes of the agent could not be ended", finished.ended.left.len()));
        }
        let process = match finished.ended.status {
            Some(ExitStatus::Exited(code)) => ProcessEnd::Exited(code),
            Some(ExitStatus::Signalled(signal)) => ProcessEnd::Signaled(signal),
            None => ProcessEnd::Signaled(nix::libc::SIGKILL),
        };
        let out_of_memory = memory.get().is_some_and(OomCounter::has_grown);
        let finish = follower.finish(finished.signal.is_some() || stop.is_some());
        let followed = tokio::select! {
            followed = finish => followed,
            never = make_known(&journal) => match never {},
        };
        Ok(AgentRun { process, stop, signal: finished.signal, duration, out_of_memory, followed })
    }

    fn launch(&self, plan: Plan, prepared: &Prepared, environment: &[(OsString, OsString)]) -> Result<Launch, Failure> {
        let mut launch = match &self.order.extent {
            Extent::Command(command) => {
                let mut launch = Launch::new(command[0].clone(), command[1..].iter().cloned());
                launch.stdin = Input::Inherit;
                launch.stderr = Output::Pipe;
                // An interactive program wants the terminal itself; then there is no stream to follow.
                if std::io::IsTerminal::is_terminal(&std::io::stdout()) && std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                    launch.stdout = Output::Inherit;
                    launch.stderr = Output::Inherit;
                }
                launch
            }
            _ => {
                let mut launch = Launch::new(plan.program, plan.args.into_iter().map(OsString::from));
                launch.stdin = Input::Bytes(plan.stdin);
                launch.stderr = Output::Pipe;
                // Nobody answers a password prompt in a container: git and ssh must fail at once instead.
                launch.placement = Placement::Session;
                launch.descriptors = plan.descriptors.into_iter().map(|(variable, secret)| (variable.into(), secret.0)).collect();
                launch
            }
        };
        launch.env = environment.to_vec();
        launch.start_in(workspace::workdir(prepared, &self.task.workspace)?);
        Ok(launch)
    }
}

/// Reads a file that an input names. A pipe, or a terminal, may never come to an end, but the wait for it does.
fn read_unless_ended(path: &Path) -> io::Result<Vec<u8>> {
    if path.metadata().is_ok_and(|found| found.is_file()) {
        return read_input_file(path);
    }
    let path = path.to_owned();
    until_asked(move || read_input_file(&path)).map_err(io::Error::other)?
}

/// Clones, on a thread of its own.
fn clone(
    spec: &WorkspaceSpec,
    git: &GitAccess,
    env: &BTreeMap<String, String>,
    interrupt: Arc<AtomicBool>,
    config_paths: &[RepositoryPath],
    when_held: WhenHeld,
) -> Result<Prepared, WorkspaceError> {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("agent-runner"));
    let progress = |progress: Progress<'_>| match progress {
        Progress::Held { patience } => tracing::warn!("another run works in the workspace: waiting up to {patience:?} for its end"),
        Progress::Fetching { attempt: 1 } => tracing::info!("asking the git server"),
        Progress::Fetching { attempt } => tracing::info!("asking the git server, try {attempt}"),
        Progress::Retrying { error, after } => tracing::warn!("{error}; trying again in {after:.1?}"),
        Progress::Receiving => tracing::info!("receiving objects"),
        Progress::CheckingOut => tracing::info!("checking out"),
    };
    let context = Context { config_paths, when_held, ..Context::new(spec, env, &program, interrupt, &progress)? };
    workspace::prepare(spec, git, &context)
}

/// Makes known what waits for its time, as long as it is asked to.
async fn make_known(journal: &RefCell<&mut Journal>) -> Infallible {
    loop {
        let due = journal.borrow().due();
        until(due).await;
        journal.borrow_mut().tick_if_due();
    }
}

/// Sleeps from watchdog to watchdog; returns when one fires.
async fn watch_over(task: &Task, journal: &RefCell<&mut Journal>, watch: &Watch) -> Stop {
    loop {
        let now = Instant::now();
        let due = journal.borrow().due();
        if due.is_some_and(|due| due <= now) {
            journal.borrow_mut().tick();
            continue;
        }
        let watchdog =
            limits::next_watchdog(&task.limits, now - watch.started(), now - watch.last_output(), watch.ended_at().map(|at| now - at));
        if let Some((left, stop)) = watchdog
            && left.is_zero()
        {
            if stop == Stop::Silence && watch.has_answered() {
                // A server that it started to try something, and forgot: a run that is done is not to be done again for it.
                let waited = "the agent had answered, and waited for tasks of its own in the background: these were ended with it";
                journal.borrow_mut().warn(waited);
                return Stop::Linger;
            }
            return stop;
        }
        let wake = [watchdog.map(|(left, _)| now + left), due].into_iter().flatten().min();
        tokio::select! {
            () = until(wake) => {}
            () = watch.changed() => {}
        }
    }
}

/// Paths that others see, who work in another directory: relative ones begin where this process was started.
fn start_paths_here(task: &mut Task) {
    // Without a current directory they stay as they are.
    let here = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for path in [&mut task.sinks.results_dir, &mut task.plugin_dir].into_iter().flatten() {
        *path = here(path);
    }
    if let Some(program) = task.agent.program.as_mut().filter(|program| program.contains('/')) {
        *program = here(Path::new(program)).to_string_lossy().into_owned();
    }
}

/// Whether what is written into the workspace could be committed.
fn holds_repository(task: &Task) -> bool {
    task.workspace.repo.is_some() || std::path::absolute(&task.workspace.dir).is_ok_and(|dir| repository_root(&dir).is_some())
}

/// Whether this runner speaks the interface's version that the platform asks for.
pub(crate) fn check_version(asked: Option<&str>) -> Result<(), Failure> {
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
    match asked {
        Some(asked) if major(asked) != major(agent_sdk::INTERFACE_VERSION) => {
            Err(Failure::Version { asked: asked.to_owned(), spoken: agent_sdk::INTERFACE_VERSION })
        }
        _ => Ok(()),
    }
}

/// Takes everything that must not be printed from where it stands.
pub fn gather_secrets(journal: &mut Journal, inputs: &Inputs, task: &Task, agent: Option<&dyn Agent>) {
    let token = task.git.token_file.as_deref().and_then(|path| std::fs::read(path).ok());
    let all = secrets::of_environment(&inputs.env, agent).into_iter().chain(secrets::of_task(task, token.as_deref()));
    for secret in all {
        if let Err(error) = journal.secrets.add(&secret) {
            journal.warn(error.to_string());
        }
    }
}
