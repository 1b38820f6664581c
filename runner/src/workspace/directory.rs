//! The directory of the work tree: what is in it before anything is done, and how it is put back if nothing comes of it.
//!
//! It may be a mount point, so it is filled in place, and emptied in place. It may also be a volume that two runs share, of which the
//! second must not take what the first is making for what a killed one left, nor the first remove what the second made.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::WorkspaceError;

/// Written into `.git` while a clone is under way, so that what a killed runner left is known for what it is. Whoever clones holds it
/// locked.
const UNFINISHED: &str = "agent-runner-unfinished";

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or nothing but what a fresh file system brings.
    Empty,
    /// A repository.
    Repository,
    /// What a killed runner left of a clone.
    Unfinished,
    /// Something else.
    Other(String),
}

/// Looks, and changes nothing.
pub(crate) fn look(dir: &Path) -> Result<Found, WorkspaceError> {
    let io = |source| WorkspaceError::io("cannot read directory", dir, source);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Empty),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(WorkspaceError::Conflict { dir: dir.to_owned(), problem: "it is not a directory".to_owned() });
        }
        Err(error) => return Err(io(error)),
    };
    let mut first = None;
    for entry in entries {
        let name = entry.map_err(io)?.file_name();
        if name == ".git" {
            let unfinished = dir.join(".git").join(UNFINISHED).symlink_metadata().is_ok();
            return Ok(if unfinished { Found::Unfinished } else { Found::Repository });
        }
        // mkfs.ext4 puts it at the root of each new volume.
        if name != "lost+found" {
            first.get_or_insert(name);
        }
    }
    Ok(first.map_or(Found::Empty, |name| Found::Other(name.to_string_lossy().into_owned())))
}

/// A directory that is being filled. Dropped without [`Claim::keep`], it is as it was before.
#[derive(Debug)]
pub(crate) struct Claim {
    dir: PathBuf,
    created: Vec<PathBuf>,
    /// Our mark, as it was made.
    marker: Option<File>,
    /// Whether what is in the directory is to go when this is dropped.
    is_ours: bool,
}

impl Claim {
    /// Makes the directory where it is missing. What a killed runner left in it, other than `lost+found`, is removed.
    ///
    /// # Errors
    /// Another run is at it; or the file system says no.
    pub(crate) fn new(dir: &Path) -> Result<Self, WorkspaceError> {
        let mut created = Vec::new();
        let mut missing = Some(dir);
        while let Some(path) = missing.filter(|path| !path.as_os_str().is_empty() && path.symlink_metadata().is_err()) {
            created.push(path.to_owned());
            missing = path.parent();
        }
        let mut claim = Self { dir: dir.to_owned(), created: Vec::new(), marker: None, is_ours: false };
        for path in created.iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => claim.created.push(path.clone()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(WorkspaceError::io("cannot create directory", path, error)),
            }
        }
        // Held until all is gone.
        let left = match OpenOptions::new().read(true).write(true).open(claim.marker_path()) {
            Ok(left) => Some(left),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
            Err(error) => return Err(WorkspaceError::io("cannot open", claim.marker_path(), error)),
        };
        if let Some(left) = &left {
            claim.lock(left)?;
            claim.is_ours = true;
            claim.empty().map_err(|error| WorkspaceError::io("cannot empty directory", dir, error))?;
        }
        if dir.join(".git").symlink_metadata().is_ok() {
            return Err(claim.taken());
        }
        claim.is_ours = true;
        Ok(claim)
    }

    /// Marks the repository that was just made as unfinished.
    pub(crate) fn mark(&mut self) -> Result<(), WorkspaceError> {
        let path = self.marker_path();
        let marker = OpenOptions::new().write(true).create_new(true).open(&path);
        let marker = marker.map_err(|error| WorkspaceError::io("cannot write", path, error))?;
        self.lock(&marker)?;
        self.marker = Some(marker);
        Ok(())
    }

    /// The work is done: everything stays, without the mark.
    pub(crate) fn keep(mut self) -> Result<(), WorkspaceError> {
        if !self.has_own_marker() {
            return Err(self.taken());
        }
        let path = self.marker_path();
        fs::remove_file(&path).map_err(|error| WorkspaceError::io("cannot remove", path, error))?;
        self.is_ours = false;
        self.created.clear();
        Ok(())
    }

    fn marker_path(&self) -> PathBuf {
        self.dir.join(".git").join(UNFINISHED)
    }

    /// A file system that knows no locks has none that could be held.
    fn lock(&self, marker: &File) -> Result<(), WorkspaceError> {
        match marker.try_lock() {
            Err(TryLockError::WouldBlock) => Err(self.taken()),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
        }
    }

    fn taken(&self) -> WorkspaceError {
        WorkspaceError::Taken { dir: self.dir.clone() }
    }

    /// Whether the mark is there, and is the one that was made here: another run that took the directory has its own, or is done.
    fn has_own_marker(&self) -> bool {
        let same = |own: fs::Metadata, found: fs::Metadata| (own.dev(), own.ino()) == (found.dev(), found.ino());
        let Some(own) = self.marker.as_ref().and_then(|marker| marker.metadata().ok()) else { return false };
        self.marker_path().symlink_metadata().is_ok_and(|found| same(own, found))
    }

    fn empty(&self) -> io::Result<()> {
        // The mark goes last: what is left without it would be somebody's repository.
        remove_all_but(&self.dir, &["lost+found", ".git"])?;
        let git_dir = self.dir.join(".git");
        if git_dir.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            remove_all_but(&git_dir, &[UNFINISHED])?;
        }
        remove_all_but(&self.dir, &["lost+found"])
    }
}

fn remove_all_but(dir: &Path, kept: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if kept.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        // Never follows a link: `remove_dir_all` opens what it removes with O_NOFOLLOW.
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_ours && (self.marker.is_none() || self.has_own_marker()) {
            // The failure that led here is the one to report; what cannot be removed now would fail the same way again.
            let _ = self.empty();
        }
        for path in self.created.iter().rev() {
            // Fails where something is in it, which is then somebody else's.
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_is_not_kept_leaves_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b/c");
        let claim = Claim::new(&dir).unwrap();
        fs::create_dir(dir.join("x")).unwrap();
        fs::write(dir.join("x/y"), "z").unwrap();
        drop(claim);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);

        let mounted = root.path().join("mounted");
        fs::create_dir_all(mounted.join("lost+found")).unwrap();
        let claim = Claim::new(&mounted).unwrap();
        std::os::unix::fs::symlink(root.path(), mounted.join("link")).unwrap();
        drop(claim);
        let left: Vec<_> = fs::read_dir(&mounted).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["lost+found"]);
    }

    #[test]
    fn what_is_there_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        assert_eq!(look(&dir.join("missing")).unwrap(), Found::Empty);
        assert_eq!(look(dir).unwrap(), Found::Empty);
        fs::write(dir.join("file"), "").unwrap();
        assert_eq!(look(dir).unwrap(), Found::Other("file".into()));
        assert!(matches!(look(&dir.join("file")), Err(WorkspaceError::Conflict { .. })));
        fs::create_dir(dir.join(".git")).unwrap();
        assert_eq!(look(dir).unwrap(), Found::Repository);
        fs::write(dir.join(".git").join(UNFINISHED), "").unwrap();
        assert_eq!(look(dir).unwrap(), Found::Unfinished);
    }
}
