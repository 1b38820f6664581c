//! The `git` program, for what gix cannot do: submodules, LFS, partial clones. And the waiting for any program.
//!
//! One place builds these commands. Hooks, file system monitors and prompts are switched off in each; what the task gives for reaching its
//! repository, and that its work tree is to be trusted whoever owns it, stands in the environment of each.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use agent_sdk::task::GitAccess;
use gix::ObjectId;
use gix::remote::fetch::Shallow;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, setsid};

use super::config::{self, Setting};
use super::connect::{git_command, set_config};
use super::error::WorkspaceError;
use super::takeup::repository_root;
use super::url::RepoUrl;
use super::wire::{Cancel, pause};
use super::{Context, clone};

/// A program whose pipes are closed ends at once; what has not ended after this never will.
const BRIEFLY: Duration = Duration::from_millis(500);

/// Their names, 40 bytes each, fit an argument list of any size that a kernel allows (execve(2): 128 KiB at the least).
const OBJECTS_AT_ONCE: usize = 2000;

/// Starts a program in a session of its own, where it has no terminal to ask at, with no signal blocked: this process has all of them
/// blocked, and what cannot be asked to end keeps whoever asks waiting.
pub(crate) fn start(command: &mut Command) -> io::Result<Child> {
    let prepare = || {
        setsid()?;
        Ok(SigSet::empty().thread_set_mask()?)
    };
    // SAFETY: between fork and exec it makes two system calls, which are async-signal-safe, and touches no memory but its own.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// Ends a program that [`start`] started, and all that it has started in turn, and reaps it.
fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It may have ended just now; as long as it is not reaped, its number is nobody else's.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
}

/// Waits a moment for a program that has every reason to end, then ends it.
pub(crate) fn wait_briefly(child: &mut Child) -> Option<ExitStatus> {
    let begin = Instant::now();
    while begin.elapsed() < BRIEFLY {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Err(_) => break,
        }
    }
    end(child);
    None
}

/// The `git` program in the work tree of a task.
pub(crate) struct Git<'a> {
    context: &'a Context<'a>,
    access: Vec<Setting>,
    root: PathBuf,
    git_dir: PathBuf,
    common_dir: PathBuf,
    owned: Vec<OsString>,
}

impl<'a> Git<'a> {
    /// For the work tree of the context, whose `origin` is at this URL.
    pub(crate) fn new(url: &RepoUrl, access: &GitAccess, context: &'a Context<'a>) -> Result<Self, WorkspaceError> {
        let root = repository_root(&context.dir).unwrap_or_else(|| context.dir.clone());
        // git compares with the path without links.
        let real = root.canonicalize().unwrap_or_else(|_| root.clone());
        // `.git` may be a file that names another directory.
        let dirs = clone::open(&root).map(|repo| [repo.git_dir().to_owned(), repo.common_dir().to_owned()]);
        let [git_dir, common_dir] = dirs.unwrap_or_else(|_| [root.join(".git"), root.join(".git")]);
        let owned = [&root, &real].into_iter().flat_map(|dir| [dir.join("*").into(), dir.into()]).collect();
        Ok(Self { context, access: config::access_settings(url, access, context.program)?, root, git_dir, common_dir, owned })
    }

    /// A command that the repository's settings make start nothing. A repository that has others than the runner's own is refused.
    fn command(&self) -> Result<Command, WorkspaceError> {
        if let Some(name) = config::leads_out(&self.root, &self.git_dir, &self.common_dir, &self.access) {
            let problem = format!("its git configuration sets `{name}`, by which git starts a program or leads elsewhere");
            return Err(WorkspaceError::Conflict { dir: self.context.dir.clone(), problem });
        }
        let mut command = git_command(self.context.env);
        command.current_dir(&self.context.dir);
        for setting in [
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "protocol.ext.allow=never",
            "submodule.recurse=false",
            "advice.detachedHead=false",
            "gc.auto=0",
        ] {
            command.args(["-c", setting]);
        }
        let names: Vec<String> = self.access.iter().map(Setting::name).collect();
        let access = names.iter().zip(&self.access).map(|(name, setting)| (name.as_str(), OsStr::new(setting.value())));
        let owned = self.owned.iter().map(|dir| ("safe.directory", dir.as_os_str()));
        set_config(&mut command, &access.chain(owned).collect::<Vec<_>>());
        Ok(command)
    }

    fn run(&self, command: Command, what: &str, needed_for: &str) -> Result<(), WorkspaceError> {
        run(command, what, needed_for, &self.context.cancel)
    }

    /// Fetches submodules, as the work tree's `.gitmodules` lists them.
    pub(crate) fn fetch_submodules(&self, depth: u32) -> Result<(), WorkspaceError> {
        let mut command = self.command()?;
        // A repository names its submodules itself: nothing but the network's transports, never a path of this machine.
        command.args(["-c", "protocol.file.allow=never", "submodule", "update", "--init", "--recursive", "--checkout"]);
        if depth > 0 {
            command.arg(format!("--depth={depth}"));
        }
        self.run(command, "git submodule update", "fetching submodules")?;
        config::write_to_submodules(&self.context.dir.join(".git"), &self.access)
    }

    /// Fetches LFS objects and puts them in place of their pointers.
    pub(crate) fn fetch_lfs(&self) -> Result<(), WorkspaceError> {
        let path = self.context.env.get("PATH").map_or("", String::as_str);
        if !std::env::split_paths(path).any(|dir| dir.join("git-lfs").is_file()) {
            return Err(WorkspaceError::ProgramMissing { program: "git-lfs".to_owned(), needed_for: "fetching LFS objects".to_owned() });
        }
        let mut install = self.command()?;
        install.args(["lfs", "install", "--local", "--skip-repo"]);
        self.run(install, "git lfs install", "fetching LFS objects")?;
        let mut pull = self.command()?;
        pull.args(["lfs", "pull"]);
        self.run(pull, "git lfs pull", "fetching LFS objects")
    }

    /// Fetches with a filter, which gix cannot. The remote's promisor settings must stand in the configuration already.
    pub(crate) fn fetch_filtered(&self, filter: &str, specs: &[String], depth: &Shallow) -> Result<(), WorkspaceError> {
        let mut command = self.command()?;
        command.args(["fetch", "--no-tags", "--no-recurse-submodules", "--quiet"]).arg(format!("--filter={filter}"));
        if let Shallow::DepthAtRemote(depth) = depth {
            command.arg(format!("--depth={depth}"));
        }
        command.args(["--", "origin"]).args(specs);
        self.run(command, "git fetch", "a partial clone (`filter`)")
    }

    /// Fetches these and nothing else, as git itself does when it misses an object of a partial clone.
    pub(crate) fn fetch_objects(&self, ids: &BTreeSet<ObjectId>) -> Result<(), WorkspaceError> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        for some in ids.chunks(OBJECTS_AT_ONCE) {
            let mut command = self.command()?;
            command.args([
                "-c",
                "fetch.negotiationAlgorithm=noop",
                "fetch",
                "--no-tags",
                "--no-recurse-submodules",
                "--no-write-fetch-head",
            ]);
            command.args(["--quiet", "--filter=blob:none", "--", "origin"]).args(some);
            self.run(command, "git fetch", "a partial clone (`filter`)")?;
        }
        Ok(())
    }

    /// Checks out HEAD in a partial clone: the missing blobs are fetched on the way.
    pub(crate) fn checkout_filtered(&self) -> Result<(), WorkspaceError> {
        let mut command = self.command()?;
        command.args(["reset", "--hard", "--quiet"]);
        self.run(command, "git reset", "a partial clone (`filter`)")
    }
}

/// Runs a program to its end. Its stderr is what a failure quotes.
fn run(mut command: Command, what: &str, needed_for: &str, cancel: &Cancel) -> Result<(), WorkspaceError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |said: String| WorkspaceError::Program { program: what.to_owned(), said };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = start(&mut command).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => WorkspaceError::ProgramMissing { program, needed_for: needed_for.to_owned() },
        _ => failed(source.to_string()),
    })?;
    let Some(stderr) = child.stderr.take() else { return Err(failed("it has no stderr".to_owned())) };
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let mut stderr = stderr;
        // What could be read is what there is to quote.
        let _ = stderr.read_to_end(&mut said);
        String::from_utf8_lossy(&said).trim().to_owned()
    });
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(error.to_string()))? {
            break status;
        }
        if pause(Duration::from_millis(20), cancel).is_err() {
            end(&mut child);
            return Err(WorkspaceError::Cancelled);
        }
    };
    let said = reader.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    if said.contains("No space left on device") {
        return Err(WorkspaceError::DiskFull { dir: command.get_current_dir().unwrap_or(Path::new(".")).to_owned(), said });
    }
    let tail: Vec<&str> = said.lines().rev().take(8).collect();
    Err(failed(tail.into_iter().rev().collect::<Vec<_>>().join(" ")))
}
