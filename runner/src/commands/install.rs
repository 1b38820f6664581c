//! `agent-runner install DEST`: copies this binary into a volume, so that any image can be started with it.
//!
//! The copy appears whole or not at all (written beside, then renamed), since another container may start it at any moment.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::InstallArgs;

/// Copies the running binary to `dest`, or into it if it is a directory; returns the new path.
///
/// # Errors
/// What the file system says.
pub fn install(dest: &Path) -> io::Result<PathBuf> {
    let ends_as_directory = dest.as_os_str().as_encoded_bytes().ends_with(b"/");
    let path = if dest.is_dir() || ends_as_directory { dest.join("agent-runner") } else { dest.to_owned() };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let beside = parent.join(format!(".agent-runner.{}.tmp", std::process::id()));
    let copied = copy(&beside).and_then(|()| fs::rename(&beside, &path));
    if copied.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&beside);
    }
    copied.map(|()| path)
}

fn copy(to: &Path) -> io::Result<()> {
    // /proc/self/exe also reads a binary that was replaced since it started; without /proc the path has to do.
    let mut from = File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))?;
    // An init container that was killed here left one behind, and is started again with the same process id.
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).open(to)?;
    io::copy(&mut from, &mut file)?;
    // Whoever runs the agent's container is another user than the one who installs.
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    file.sync_all()
}

/// Runs the command.
#[must_use]
pub fn run(args: &InstallArgs) -> ExitCode {
    match install(&args.dest) {
        Ok(path) => super::print(&format!("{}\n", path.display())),
        Err(error) => {
            super::complain(
                &format!("cannot install to `{}`: {error}", args.dest.display()),
                Some("the volume must be mounted writable here"),
            );
            ExitCode::from(73)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installs_into_a_directory_or_under_a_name_and_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(install(dir.path()).unwrap(), dir.path().join("agent-runner"));
        let named = dir.path().join("new/sub/run-me");
        for _ in 0..2 {
            assert_eq!(install(&named).unwrap(), named);
        }
        assert_eq!(fs::metadata(&named).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read(&named).unwrap(), fs::read("/proc/self/exe").unwrap());
        assert_eq!(fs::read_dir(named.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }
}
