//! runc, as what starts the process: it makes the container and leaves its PID 1 to us, as its parent's next living ancestor that reaps.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Pid;

use super::super::refusal::code_of_refusal;
use super::bundle_directory;

/// What runc did.
pub(super) enum Begun {
    /// It runs.
    Running(Pid),
    /// The entry point cannot be run.
    Refused(u8),
}

/// Makes the container of a bundle and starts it. Its output is ours.
pub(super) fn begin(work: &Path) -> io::Result<Begun> {
    let pid_file = work.join("pid");
    let bundle = bundle_directory(work);
    for arguments in [
        vec!["create".as_ref(), "--bundle".as_ref(), bundle.as_os_str(), "--pid-file".as_ref(), pid_file.as_os_str()],
        vec!["start".as_ref()],
    ] {
        let log = work.join("runc.log");
        let status = runc(work)
            .arg("--log")
            .arg(&log)
            .args(arguments)
            .arg(name(work))
            .status()
            .map_err(|error| io::Error::other(format!("runc: {error}")))?;
        if !status.success() {
            let words = fs::read_to_string(&log).unwrap_or_default();
            end(work);
            return code_of_refusal(&words)
                .map(Begun::Refused)
                .ok_or_else(|| io::Error::other(format!("runc: {status}: {}", words.trim())));
        }
    }
    let pid = fs::read_to_string(&pid_file)?;
    pid.trim().parse().map(|pid| Begun::Running(Pid::from_raw(pid))).map_err(io::Error::other)
}

/// Removes the container, and its cgroup with it.
pub(super) fn end(work: &Path) {
    // nothing can be done if it fails: the container has ended anyway
    let _ = runc(work).args(["delete", "--force", &name(work)]).output();
}

/// The container's name. The state directory is this start's own, but cgroups are called by it, which all starts on this machine share.
fn name(work: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    work.hash(&mut hasher);
    format!("agent-conformance-{:016x}", hasher.finish())
}

fn runc(work: &Path) -> Command {
    let state: PathBuf = work.join("state");
    let mut command = Command::new("runc");
    command.arg("--root").arg(state);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_starts_have_two_names_and_one_keeps_its_own() {
        let names = ["/tmp/a/1", "/tmp/a/2", "/tmp/a/1"].map(|work| name(Path::new(work)));
        assert!(names[0] != names[1] && names[0] == names[2]);
    }
}
