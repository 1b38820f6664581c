//! What can go wrong with a workspace, one variant per thing that somebody can mend.
//!
//! The message quotes what the server, the program or the file system said. Whoever makes one sees to it that no secret is in
//! it: URLs are [`RepoUrl`](super::url::RepoUrl)s or strings that come from one, which never hold credentials.

use std::io;
use std::path::{Path, PathBuf};

use agent_sdk::verdict::Reason;

/// Why a workspace could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The URL cannot be understood, or must not be used.
    #[error("repository `{url}`: {problem}")]
    InvalidUrl {
        /// As it was given, without credentials.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The server knows no such repository, or does not show it to us.
    #[error("repository `{url}` not found: {said}")]
    RepositoryNotFound {
        /// The repository.
        url: String,
        /// What the server said.
        said: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("`{reference}` not found in `{url}`: {said}")]
    RefNotFound {
        /// What was asked for.
        reference: String,
        /// The repository.
        url: String,
        /// What the server said, or what it has.
        said: String,
    },
    /// A branch or ref cannot have this name.
    #[error("`{reference}` cannot be the name of a branch, tag or commit")]
    InvalidRef {
        /// The name.
        reference: String,
    },
    /// A remote cannot have this name.
    #[error("remote `{name}`: {problem}")]
    InvalidRemote {
        /// The name.
        name: String,
        /// Why not.
        problem: &'static str,
    },
    /// The server wants credentials, or refused those it was given.
    #[error("`{url}` refused access: {said}")]
    AuthFailed {
        /// The repository.
        url: String,
        /// What the server said.
        said: String,
        /// Whether credentials were sent.
        given: bool,
    },
    /// The token file cannot be used.
    #[error("token file `{path}`: {problem}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The ssh server's key is not known, or is another than the known one.
    #[error("`{url}`: {said}")]
    HostKey {
        /// The repository.
        url: String,
        /// What ssh said.
        said: String,
    },
    /// Another run is cloning into the directory.
    #[error("`{}`: another run is cloning into it", dir.display())]
    Taken {
        /// The directory.
        dir: PathBuf,
    },
    /// ssh does not start for a user that the image does not know.
    #[error("`{url}`: {said}")]
    NoUser {
        /// The repository.
        url: String,
        /// What ssh said.
        said: String,
    },
    /// The server's certificate was not accepted.
    #[error("`{url}`: {said}")]
    Tls {
        /// The repository.
        url: String,
        /// What is wrong with the certificate.
        said: String,
    },
    /// The server could not be reached, or the connection broke.
    #[error("`{url}`: {said}")]
    Network {
        /// The repository.
        url: String,
        /// What happened.
        said: String,
    },
    /// The server is there, but cannot answer now.
    #[error("`{url}`: {said}")]
    ServerBusy {
        /// The repository.
        url: String,
        /// What it said.
        said: String,
    },
    /// The server answered with something that a git server does not say.
    #[error("fetching from `{url}` failed: {said}")]
    Fetch {
        /// The repository.
        url: String,
        /// What went wrong.
        said: String,
    },
    /// A program is needed and is not there.
    #[error("{needed_for} needs the `{program}` program, which is not on PATH")]
    ProgramMissing {
        /// The program.
        program: String,
        /// What it is needed for.
        needed_for: String,
    },
    /// A program that was started failed.
    #[error("`{program}` failed: {said}")]
    Program {
        /// The program and what it was to do.
        program: String,
        /// Its own words.
        said: String,
    },
    /// The file system has no room.
    #[error("no room left below `{dir}`: {said}")]
    DiskFull {
        /// The workspace.
        dir: PathBuf,
        /// What could not be written.
        said: String,
    },
    /// The directory holds something else, or taking it up would lose work.
    #[error("`{dir}` cannot be used: {problem}")]
    Conflict {
        /// The workspace.
        dir: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The agent cannot be started in the directory of the work tree that the task names.
    #[error("the directory `{path}` cannot be worked in: {problem}")]
    Subdirectory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A file that is to be put into the tree may not be put there.
    #[error("file `{path}` cannot be written: {problem}")]
    InjectedFile {
        /// The file, relative to the work tree.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A file that does not count, by the task's trust, cannot be kept from the agent.
    #[error("cannot set aside `{path}`: {source}")]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file system said no.
    #[error("{what} `{path}`: {source}")]
    Io {
        /// What was to be done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The repository in the directory cannot be read or written.
    #[error("repository in `{dir}`: {said}")]
    Repository {
        /// The work tree.
        dir: PathBuf,
        /// What went wrong.
        said: String,
    },
    /// It was asked to stop.
    #[error("stopped while the workspace was prepared")]
    Cancelled,
}

impl WorkspaceError {
    /// The reason that the outcome carries.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidUrl { .. } | Self::InvalidRef { .. } | Self::InvalidRemote { .. } => Reason::InvalidTask,
            Self::RepositoryNotFound { .. } => Reason::RepositoryNotFound,
            Self::RefNotFound { .. } => Reason::RefNotFound,
            Self::AuthFailed { .. } | Self::TokenFile { .. } => Reason::CloneAuthFailed,
            Self::Network { .. } | Self::ServerBusy { .. } => Reason::NetworkFailed,
            Self::DiskFull { .. } => Reason::DiskFull,
            Self::SetAside { .. } => Reason::ConfigurationFailed,
            Self::Conflict { .. } | Self::Taken { .. } | Self::Subdirectory { .. } | Self::InjectedFile { .. } => Reason::WorkspaceConflict,
            Self::HostKey { .. }
            | Self::NoUser { .. }
            | Self::Tls { .. }
            | Self::Fetch { .. }
            | Self::ProgramMissing { .. }
            | Self::Program { .. }
            | Self::Io { .. }
            | Self::Repository { .. } => Reason::CloneFailed,
            Self::Cancelled => Reason::Cancelled,
        }
    }

    /// Whether the same thing, tried again in a moment, may well succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::ServerBusy { .. })
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InvalidRef { .. } => "a commit is given by its full id; a name follows git's rules (git-check-ref-format)",
            Self::InvalidUrl { .. } => "https://host/path, ssh://user@host/path, user@host:path, git://host/path, file:///path, or a path",
            Self::InvalidRemote { .. } => "letters, digits, `.`, `_`, `-` and `/`, and not `origin`",
            Self::AuthFailed { given: false, .. } => {
                "the server asks for credentials and none were given: set AGENT_TOKEN_FILE, or an SSH key"
            }
            Self::TokenFile { .. } => "AGENT_TOKEN_FILE must name a readable file with the token on one line",
            Self::HostKey { .. } => {
                "put the server's key into the known hosts file (`ssh-keyscan HOST` prints it; compare it with a trusted source)"
            }
            Self::NoUser { .. } => {
                "ssh needs its user in /etc/passwd: add it to the image (`useradd -u UID agent`), or clone by https with AGENT_TOKEN_FILE"
            }
            Self::Tls { .. } => "name the certificate authority's PEM file as the CA bundle (git.caBundleFile)",
            Self::ProgramMissing { .. } => "add the program to the image, or leave out the setting that needs it",
            Self::Repository { .. } => "point AGENT_WORKSPACE_DIR at an empty directory to clone anew",
            Self::Subdirectory { .. } => {
                "AGENT_SUBDIRECTORY names a real directory of the repository, as it is at the ref that is checked out"
            }
            Self::SetAside { .. } => "make the workspace writable, or let all of its agent configuration count: AGENT_TRUST=repository",
            Self::InjectedFile { .. } => {
                "files are put only at plain paths inside the work tree: no `..`, no symbolic link on the way, not into .git"
            }
            other => other.reason().hint(),
        }
    }

    /// For a failure of the file system: a full one is told apart, since it has a remedy of its own.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if is_disk_full(&source) {
            Self::DiskFull { said: format!("{what}: {source}"), dir: path }
        } else {
            Self::Io { what, path, source }
        }
    }

    /// For a file that cannot be set aside.
    pub(crate) fn set_aside(path: &Path, source: io::Error) -> Self {
        if is_disk_full(&source) { Self::io("cannot set aside", path, source) } else { Self::SetAside { path: path.to_owned(), source } }
    }

    /// For a failure inside a repository.
    pub(crate) fn repository(dir: &Path, error: &(dyn std::error::Error + 'static)) -> Self {
        let said = describe(error);
        if find_io(error).is_some_and(is_disk_full) || says_disk_full(&said) {
            return Self::DiskFull { dir: dir.to_owned(), said };
        }
        Self::Repository { dir: dir.to_owned(), said }
    }
}

/// ENOSPC, or EDQUOT: a quota has the same remedy.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// gix keeps some errors as text only; these are how the standard library prints ENOSPC and EDQUOT.
pub(crate) fn says_disk_full(text: &str) -> bool {
    text.contains("(os error 28)") || text.contains("(os error 122)")
}

/// The first I/O error in the chain of causes, seen through I/O errors that wrap others.
pub(crate) fn find_io<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut found: Option<&'a io::Error> = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            // A wrapped error says less than the one it wraps.
            if found.is_none() || io.raw_os_error().is_some() || io.kind() != io::ErrorKind::Other {
                found = Some(io);
            }
            if let Some(inner) = io.get_ref() {
                next = Some(inner);
                continue;
            }
        }
        next = error.source();
    }
    found
}

/// The chain of causes on one line, without repetition.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures_of_the_file_system() {
        let full = io::Error::from_raw_os_error(nix::libc::ENOSPC);
        assert_eq!(WorkspaceError::io("cannot write", "/w/x", full).reason(), Reason::DiskFull);
        let denied = io::Error::from_raw_os_error(nix::libc::EACCES);
        assert_eq!(WorkspaceError::io("cannot write", "/w/x", denied).reason(), Reason::CloneFailed);
    }

    #[test]
    fn a_full_disk_is_found_below_other_errors() {
        let inner = io::Error::from_raw_os_error(nix::libc::ENOSPC);
        let outer = io::Error::other(io::Error::other(inner));
        assert!(find_io(&outer).is_some_and(is_disk_full));
    }
}
