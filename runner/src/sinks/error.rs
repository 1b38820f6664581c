//! What can be amiss with a file that a sink writes or reads, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// Why a sink could not be written, or a file of claims not be read. Never ends a run: it becomes one warning.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Neither the file nor a directory to put it in.
    #[error("`{0}` does not exist")]
    Missing(PathBuf),
    /// A symbolic link stands there.
    #[error("`{0}` is a symbolic link, which is not followed")]
    Link(PathBuf),
    /// Something else than a file stands there.
    #[error("`{path}` is {kind}, not a file")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What stands there: `a directory`, `a FIFO` …
        kind: &'static str,
    },
    /// Something else than a directory stands there.
    #[error("`{0}` is not a directory")]
    NotADirectory(PathBuf),
    /// The user may not.
    #[error("`{path}`: not allowed to {action} it")]
    Denied {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// The file system is mounted read-only.
    #[error("`{0}` is on a read-only file system")]
    ReadOnly(PathBuf),
    /// No room.
    #[error("no room left to write `{0}`")]
    NoRoom(PathBuf),
    /// A results directory within the work tree would be committed by the agent.
    #[error("the directory `{path}` is inside the repository `{repository}`")]
    InsideRepository {
        /// The directory.
        path: PathBuf,
        /// The work tree.
        repository: PathBuf,
    },
    /// A path, or a link in it, leads out of the work tree.
    #[error("`{0}` leads out of the work tree")]
    OutsideWorkTree(PathBuf),
    /// The file is longer than what is taken.
    #[error("`{path}` has {bytes} bytes, more than the {limit} that are taken")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file holds bytes that are no text.
    #[error("`{0}` is not UTF-8 text")]
    NotText(PathBuf),
    /// The outcome could not be written as JSON.
    #[error("the outcome cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Anything else that the operating system said.
    #[error("failed to {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl SinkError {
    /// What an error number means for a path.
    pub(super) fn of_errno(action: &'static str, path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::ENOENT => Self::Missing(path),
            Errno::ELOOP => Self::Link(path),
            Errno::EISDIR => Self::NotAFile { path, kind: "a directory" },
            // What open(2) says of a FIFO that nobody reads, and of a socket.
            Errno::ENXIO => Self::NotAFile { path, kind: "a FIFO or a socket" },
            Errno::ENOTDIR => Self::NotADirectory(path),
            Errno::EACCES | Errno::EPERM => Self::Denied { action, path },
            Errno::EROFS => Self::ReadOnly(path),
            Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => Self::NoRoom(path),
            errno => Self::Io { action, path, source: errno.into() },
        }
    }

    /// The same for an error of the standard library.
    pub(super) fn of_io(action: &'static str, path: &Path, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::of_errno(action, path, Errno::from_raw(code)),
            None => Self::Io { action, path: path.to_owned(), source: error },
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing(_) => "create the directory in the image, or mount a volume there",
            Self::Link(_) => "give the path of the file itself; links are not followed because the agent could place one",
            Self::NotAFile { .. } => "remove what stands there, or give another path",
            Self::NotADirectory(_) => "give a path whose every part but the last is a directory",
            Self::Denied { .. } => "make it writable for the user that the container runs as (fsGroup, or an image with mode 0777 there)",
            Self::ReadOnly(_) => "mount an emptyDir volume there",
            Self::NoRoom(_) => "give the volume more room",
            Self::InsideRepository { .. } => "give a directory outside the work tree: `git add -A` would commit it",
            Self::OutsideWorkTree(_) => "declare outputs by paths relative to the work tree, without links out of it",
            Self::TooLarge { .. } => "write a summary there, and put the whole on a volume",
            Self::NotText(_) => "write text there; encode binary data, for instance as base64",
            Self::Json(_) | Self::Io { .. } => "",
        }
    }

    /// Error and hint in one line, as warnings are.
    #[must_use]
    pub fn warning(&self) -> String {
        match self.hint() {
            "" => self.to_string(),
            hint => format!("{self} ({hint})"),
        }
    }
}
