//! Workspace: a repository at a ref, on its working branch, in a directory.
//!
//! [`prepare`] takes a task's `workspace` and `git` settings to a directory in which an agent can work: it clones, takes up the
//! clone that is there, or, where no repository is named, looks at the directory as it is. [`facts`] says at the end what
//! became of it, and [`trust`] puts back, before the agent starts, what the repository may not decide for itself.
//!
//! | file | subject |
//! |---|---|
//! | `url`, `refs` | what the task says, taken apart and checked |
//! | `connect`, `http`, `tls`, `proxy`, `ssh`, `wire` | ways to a git server; `web` is for what is none |
//! | `fetch`, `clone`, `checkout`, `takeup` | from there to files |
//! | `directory`, `config`, `files` | what is left behind, and what never is |
//! | `hold` | one run at a time |
//! | `programs`, `promised` | what gix lacks |
//! | `credential`, `gh` | the token, for us, for the agent's own git, and for GitHub's CLI |
//!
//! gix does all of it but submodules, LFS, partial clones and paths, which need the `git` program, and ssh, which needs `ssh`.
//! Nothing of the repository is ever executed: no hook, no filter, no command from its settings.

mod checkout;
mod clone;
pub(crate) mod config;
mod connect;
pub mod credential;
mod directory;
mod error;
mod exchange;
pub mod facts;
mod fetch;
mod files;
pub mod gh;
mod hold;
mod http;
mod programs;
mod promised;
mod proxy;
mod refs;
mod ssh;
pub(crate) mod takeup;
mod tcp;
mod tls;
pub mod trust;
pub mod url;
pub mod web;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_sdk::agent::RepositoryPath;
use agent_sdk::task::{GitAccess, Workspace};

pub use error::WorkspaceError;
pub use fetch::Retry;
pub use hold::{Hold, WhenHeld};
pub use takeup::base_as_found;
pub use wire::Cancel;

use directory::{Claim, Found};

/// What a workspace is prepared with, beside the task.
pub struct Context<'a> {
    /// The work tree, absolute; see [`Context::new`].
    pub dir: PathBuf,
    /// The environment that the runner was given: proxies, certificates, PATH.
    pub env: &'a BTreeMap<String, String>,
    /// The runner's own program, for the credential helper of the clone.
    pub program: &'a Path,
    /// Raised by whoever wants this to stop.
    pub cancel: Cancel,
    /// Told what is going on.
    pub progress: &'a (dyn Fn(Progress<'_>) + Sync),
    /// When to try again.
    pub retry: Retry,
    /// What [`trust`] will read of the base branch: a partial clone has it then.
    pub config_paths: &'a [RepositoryPath],
    /// What becomes of this if another run works there.
    pub when_held: WhenHeld,
}

impl<'a> Context<'a> {
    /// For a task's workspace directory, which may be relative to the current one.
    ///
    /// # Errors
    /// If there is no current directory.
    pub fn new(
        workspace: &Workspace,
        env: &'a BTreeMap<String, String>,
        program: &'a Path,
        cancel: Cancel,
        progress: &'a (dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Self, WorkspaceError> {
        let dir = std::path::absolute(&workspace.dir).map_err(|source| WorkspaceError::io("cannot find", &workspace.dir, source))?;
        Ok(Self { dir, env, program, cancel, progress, retry: Retry::default(), config_paths: &[], when_held: WhenHeld::default() })
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// What is going on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Another run works there; its end is waited for.
    Held {
        /// How long at most.
        patience: Duration,
    },
    /// The server is asked.
    Fetching {
        /// The how many-th time, from 1.
        attempt: u32,
    },
    /// It did not work; it will be tried again.
    Retrying {
        /// Why.
        error: &'a WorkspaceError,
        /// When.
        after: Duration,
    },
    /// Objects arrive.
    Receiving,
    /// Files are written.
    CheckingOut,
}

/// A workspace, ready for an agent.
#[derive(Debug)]
pub struct Prepared {
    /// The work tree.
    pub dir: PathBuf,
    /// Its git directory; `None` if the directory is no repository.
    pub git_dir: Option<PathBuf>,
    /// The branch that HEAD is on; `None` if it is on none.
    pub branch: Option<String>,
    /// The branch that the work is meant for, as far as it is known.
    pub base_branch: Option<String>,
    /// Its tip when the work began.
    pub base_commit: Option<String>,
    /// The commit on which the work begins; `None` in an empty repository.
    pub head: Option<String>,
    /// Whether a clone was there and was taken up.
    pub taken_up: bool,
    /// What the user is to know.
    pub notes: Vec<String>,
    /// Variables that the agent's own git needs in this workspace.
    pub env: Vec<(String, String)>,
    /// Whether another run works there, too: what that one has arranged stays as it is.
    pub is_shared: bool,
    claim: Option<Claim>,
    hold: Option<Hold>,
}

impl Prepared {
    /// What keeps other runs out, to be kept until nothing of the workspace is looked at any more.
    pub fn take_hold(&mut self) -> Option<Hold> {
        self.hold.take()
    }

    /// A directory that holds no repository.
    pub(crate) fn without_repository(dir: PathBuf) -> Self {
        Self {
            dir,
            git_dir: None,
            branch: None,
            base_branch: None,
            base_commit: None,
            head: None,
            taken_up: false,
            notes: Vec::new(),
            env: Vec::new(),
            is_shared: false,
            claim: None,
            hold: None,
        }
    }
}

/// Prepares the workspace of a task. Blocks; [`Context::cancel`] ends it within a fraction of a second.
///
/// # Errors
/// Whatever keeps an agent from working there. A directory that was filled in vain is as it was before.
pub fn prepare(workspace: &Workspace, access: &GitAccess, context: &Context<'_>) -> Result<Prepared, WorkspaceError> {
    let mut prepared = match &workspace.repo {
        Some(repo) if !hold::is_shared(&context.dir, context) => {
            let url = url::RepoUrl::parse(repo)?;
            let wanted = refs::Wanted::new(workspace)?;
            // Whoever clones there may leave a clone to take up, or nothing.
            hold::in_time(context, || match directory::look(&context.dir)? {
                Found::Empty | Found::Unfinished => clone::clone(&url, workspace, access, &wanted, context),
                Found::Repository => {
                    takeup::take_up(&url, workspace, access, &wanted, context).map_err(|error| match directory::look(&context.dir) {
                        Ok(Found::Repository) => error,
                        // It was the rest of a clone that another run has just given up.
                        _ => WorkspaceError::Taken { dir: context.dir.clone() },
                    })
                }
                Found::Other(name) => {
                    let problem = format!("it is not empty and holds no repository (there is `{name}`)");
                    Err(WorkspaceError::Conflict { dir: context.dir.clone(), problem })
                }
            })?
        }
        _ => takeup::as_it_is(workspace, access, context)?,
    };
    if prepared.is_shared {
        prepared.env = takeup::owner_env(&prepared, context.env);
        return Ok(prepared);
    }
    promised::fetch_base(&prepared, workspace.subdirectory.as_deref(), access, context)?;
    files::write_all(&context.dir, &workspace.files)?;
    prepared.env = takeup::owner_env(&prepared, context.env);
    if let Some(claim) = prepared.claim.take() {
        claim.keep()?;
    }
    Ok(prepared)
}

/// Whether there is neither anything to clone nor a repository to look at, nor another run at work, so that [`prepare`] has nothing to wait for.
#[must_use]
pub fn is_plain_directory(workspace: &Workspace) -> bool {
    let is_in_none = |dir: &Path| std::path::absolute(dir).is_ok_and(|dir| takeup::repository_root(&takeup::located(dir)).is_none());
    workspace.repo.is_none() && is_in_none(&workspace.dir) && !trust::plain::is_left(&workspace.dir)
}

/// Takes out of a clone's configuration what names files of credentials: for a clone that is handed on without them.
///
/// # Errors
/// The configuration cannot be read or written.
pub fn forget_access(prepared: &Prepared) -> Result<(), WorkspaceError> {
    prepared.git_dir.as_deref().map_or(Ok(()), config::forget_access)
}

/// The repository's root: the workspace's directory, or, where somebody else made the clone, a directory above it.
#[must_use]
pub fn work_tree(prepared: &Prepared) -> PathBuf {
    prepared.git_dir.as_ref().and_then(|_| takeup::repository_root(&prepared.dir)).unwrap_or_else(|| prepared.dir.clone())
}

/// The directory in which the agent is started: the work tree, or the task's `subdirectory` of it.
///
/// # Errors
/// If it is missing, or a symbolic link is on the way to it.
pub fn workdir(prepared: &Prepared, workspace: &Workspace) -> Result<PathBuf, WorkspaceError> {
    match &workspace.subdirectory {
        None => Ok(prepared.dir.clone()),
        Some(path) => files::subdirectory(&prepared.dir, path),
    }
}
