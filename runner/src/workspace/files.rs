//! Files that the task puts into the work tree: never outside it, never through a symbolic link, never into `.git`.
//!
//! Every step from the work tree's root is opened with `O_NOFOLLOW` relative to the one before, so that a link that a
//! repository brought, or that appears meanwhile, is refused and not followed (`openat2`'s `RESOLVE_NO_SYMLINKS` would do the
//! same in one call, but seccomp profiles of older container engines refuse it).

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use agent_sdk::task::InjectedFile;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::WorkspaceError;

/// Writes all of them. The paths are checked before the first is written.
pub(crate) fn write_all(dir: &Path, files: &[InjectedFile]) -> Result<(), WorkspaceError> {
    let checked = files.iter().map(|file| parts(&file.path).map(|parts| (file, parts))).collect::<Result<Vec<_>, _>>()?;
    for (file, parts) in checked {
        let mode = if file.executable { 0o755 } else { 0o644 };
        write(dir, &parts, file.content.as_bytes(), mode).map_err(|error| explain(&file.path, error))?;
    }
    Ok(())
}

/// The directory, if each step to it is a real one.
pub(crate) fn subdirectory(dir: &Path, path: &Path) -> Result<PathBuf, WorkspaceError> {
    let conflict = |problem: String| WorkspaceError::Subdirectory { path: dir.join(path), problem };
    let parts: Vec<&OsStr> = path
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Ok(name),
            _ => Err(conflict("the subdirectory must be a path inside the work tree".to_owned())),
        })
        .collect::<Result<_, _>>()?;
    let mut at = root(dir).map_err(|error| conflict(error.desc().to_owned()))?;
    for name in parts {
        at = step(&at, name).map_err(|error| match error {
            Errno::ELOOP | Errno::ENOTDIR => conflict(format!("`{}` is not a directory, or is a symbolic link", name.to_string_lossy())),
            other => conflict(format!("`{}`: {}", name.to_string_lossy(), other.desc())),
        })?;
    }
    Ok(dir.join(path))
}

/// The steps of a path inside the work tree.
pub(crate) fn parts(path: &Path) -> Result<Vec<&OsStr>, WorkspaceError> {
    let refuse = |problem: &str| WorkspaceError::InjectedFile { path: path.to_owned(), problem: problem.to_owned() };
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if name.eq_ignore_ascii_case(".git") => return Err(refuse("it leads into `.git`")),
            Component::Normal(name) => parts.push(name),
            Component::CurDir => {}
            _ => return Err(refuse("it is not relative, or leads out of the work tree")),
        }
    }
    if parts.is_empty() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(refuse("it names no file"));
    }
    Ok(parts)
}

fn root(dir: &Path) -> Result<OwnedFd, Errno> {
    openat(AT_FDCWD, dir, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY, Mode::empty())
}

fn step(at: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY, Mode::empty())
}

/// Writes one file in one step: a name of its own beside it, then a rename over whatever has its name.
pub(crate) fn write(dir: &Path, parts: &[&OsStr], content: &[u8], mode: u32) -> Result<(), Errno> {
    let Some((name, parents)) = parts.split_last() else { return Err(Errno::EINVAL) };
    let mut at = root(dir)?;
    for parent in parents {
        match mkdirat(&at, *parent, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        at = step(&at, parent)?;
    }
    // A directory of this name is the repository's; a rename would fail on it with a less clear error.
    match nix::sys::stat::fstatat(&at, *name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) if status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR => return Err(Errno::EISDIR),
        Ok(status) if status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFLNK => return Err(Errno::ELOOP),
        Ok(_) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    put(at.as_fd(), name, content, mode)
}

/// As [`write`], in a directory that is open already, over a link too: the link itself is replaced.
pub(crate) fn put(at: std::os::fd::BorrowedFd<'_>, name: &OsStr, content: &[u8], mode: u32) -> Result<(), Errno> {
    let mut temporary = std::ffi::OsString::from(".agent-runner-");
    temporary.push(std::process::id().to_string());
    temporary.push("-");
    temporary.push(name);
    // NAME_MAX; the file's own name may use all of it.
    let bytes = temporary.as_encoded_bytes();
    let temporary = if bytes.len() > 255 { std::ffi::OsString::from(format!(".agent-runner-{}", std::process::id())) } else { temporary };
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || openat(at, temporary.as_os_str(), flags, Mode::from_bits_truncate(mode));
    let fd = match open() {
        // Left by a run that was killed and had our process id, as all have that are first in their containers.
        Err(Errno::EEXIST) => {
            unlinkat(at, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
            open()?
        }
        other => other?,
    };
    let mut file = File::from(fd);
    let result = file
        .write_all(content)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO)))
        .and_then(|()| renameat(at, temporary.as_os_str(), at, name));
    if result.is_err() {
        // The first failure is the one to report.
        let _ = unlinkat(at, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
    }
    result
}

fn explain(path: &Path, error: Errno) -> WorkspaceError {
    let problem = match error {
        Errno::ELOOP | Errno::ENOTDIR => "a symbolic link or a file is on the way".to_owned(),
        Errno::EISDIR => "there is a directory of this name".to_owned(),
        Errno::ENOSPC | Errno::EDQUOT => return WorkspaceError::DiskFull { dir: path.to_owned(), said: error.desc().to_owned() },
        other => other.desc().to_owned(),
    };
    WorkspaceError::InjectedFile { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn file(path: &str) -> InjectedFile {
        InjectedFile { path: path.into(), content: "content".into(), executable: path.ends_with(".sh") }
    }

    #[test]
    fn files_are_written_where_they_belong() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("old"), "old").unwrap();
        write_all(dir.path(), &[file("a/b/c.txt"), file("run.sh"), file("old"), file("./d")]).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a/b/c.txt")).unwrap(), "content");
        assert_eq!(fs::read_to_string(dir.path().join("old")).unwrap(), "content");
        assert_ne!(fs::metadata(dir.path().join("run.sh")).unwrap().permissions().mode() & 0o111, 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn nothing_is_written_outside_through_a_link_or_into_git() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("target"), "untouched").unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        symlink(outside.path().join("target"), dir.path().join("leaf")).unwrap();
        symlink(outside.path().join("new"), dir.path().join("dangling")).unwrap();
        fs::create_dir(dir.path().join("directory")).unwrap();
        for bad in [
            "../x",
            "/etc/x",
            "a/../../x",
            "link/x",
            "leaf",
            "dangling",
            "leaf/x",
            ".git/config",
            ".GIT/config",
            "a/.git/hooks/x",
            "",
            ".",
            "directory",
            "x/",
        ] {
            // Beside a good one: paths are checked before anything is written.
            let error = write_all(dir.path(), &[file(bad)]).unwrap_err();
            assert_eq!(error.reason(), agent_sdk::verdict::Reason::WorkspaceConflict, "{bad}");
        }
        assert_eq!(fs::read_to_string(outside.path().join("target")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_subdirectory_behind_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        symlink("/etc", dir.path().join("l")).unwrap();
        assert_eq!(subdirectory(dir.path(), Path::new("a/./b")).unwrap(), dir.path().join("a/b"));
        for bad in ["l", "..", "/etc", "missing", "a/../../x"] {
            assert!(subdirectory(dir.path(), Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_killed_run_of_the_same_process_id_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(format!(".agent-runner-{}-a", std::process::id())), "half").unwrap();
        write_all(dir.path(), &[file("a")]).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "content");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
