//! The `git` program, for what gix cannot do: submodules, LFS, partial clones. And the waiting for any program.
//!
//! One place builds these commands. Hooks, file system monitors and prompts are switched off in each.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::connect::git_command;
use super::error::WorkspaceError;
use super::wire::{Cancel, pause};

/// A program whose pipes are closed ends at once; what has not ended after this never will.
const BRIEFLY: Duration = Duration::from_millis(500);

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
    // It may have ended just now: both calls then do nothing but reap it.
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// `git` in a work tree, so that neither the repository nor the user's settings start anything.
pub(crate) fn git_in(dir: &Path, env: &BTreeMap<String, String>) -> Command {
    let mut command = git_command(env);
    command.current_dir(dir);
    for setting in
        ["core.hooksPath=/dev/null", "core.fsmonitor=false", "protocol.ext.allow=never", "advice.detachedHead=false", "gc.auto=0"]
    {
        command.args(["-c", setting]);
    }
    command
}

/// Runs a program to its end. Its stderr is what a failure quotes.
pub(crate) fn run(mut command: Command, what: &str, needed_for: &str, cancel: &Cancel) -> Result<(), WorkspaceError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |said: String| WorkspaceError::Program { program: what.to_owned(), said };
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|source| match source.kind() {
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
            let _ = child.kill();
            let _ = child.wait();
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

/// Fetches submodules, as the work tree's `.gitmodules` lists them.
pub(crate) fn fetch_submodules(dir: &Path, depth: u32, env: &BTreeMap<String, String>, cancel: &Cancel) -> Result<(), WorkspaceError> {
    let mut command = git_in(dir, env);
    // A repository names its submodules itself: nothing but the network's transports, never a path of this machine.
    command.args(["-c", "protocol.file.allow=never", "submodule", "update", "--init", "--recursive", "--checkout"]);
    if depth > 0 {
        command.arg(format!("--depth={depth}"));
    }
    run(command, "git submodule update", "fetching submodules", cancel)
}

/// Fetches LFS objects and puts them in place of their pointers.
pub(crate) fn fetch_lfs(dir: &Path, env: &BTreeMap<String, String>, cancel: &Cancel) -> Result<(), WorkspaceError> {
    let lfs = std::env::split_paths(env.get("PATH").map_or("", String::as_str)).any(|dir| dir.join("git-lfs").is_file());
    if !lfs {
        return Err(WorkspaceError::ProgramMissing { program: "git-lfs".to_owned(), needed_for: "fetching LFS objects".to_owned() });
    }
    let mut install = git_in(dir, env);
    install.args(["lfs", "install", "--local", "--skip-repo"]);
    run(install, "git lfs install", "fetching LFS objects", cancel)?;
    let mut pull = git_in(dir, env);
    pull.args(["lfs", "pull"]);
    run(pull, "git lfs pull", "fetching LFS objects", cancel)
}

/// Fetches with a filter, which gix cannot. The remote's promisor settings must stand in the configuration already.
pub(crate) fn fetch_filtered(
    dir: &Path,
    filter: &str,
    specs: &[String],
    depth: u32,
    env: &BTreeMap<String, String>,
    cancel: &Cancel,
) -> Result<(), WorkspaceError> {
    let mut command = git_in(dir, env);
    command.args(["fetch", "--no-tags", "--no-recurse-submodules", "--quiet"]).arg(format!("--filter={filter}"));
    if depth > 0 {
        command.arg(format!("--depth={depth}"));
    }
    command.args(["--", "origin"]).args(specs);
    run(command, "git fetch", "a partial clone (`filter`)", cancel)
}

/// Checks out HEAD in a partial clone: the missing blobs are fetched on the way.
pub(crate) fn checkout_filtered(dir: &Path, env: &BTreeMap<String, String>, cancel: &Cancel) -> Result<(), WorkspaceError> {
    let mut command = git_in(dir, env);
    command.args(["reset", "--hard", "--quiet"]);
    run(command, "git reset", "a partial clone (`filter`)", cancel)
}
