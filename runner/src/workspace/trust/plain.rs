//! Trust in a directory that is no repository: no base branch can vouch for anything in it.
//!
//! What would start programs or say where requests go is set aside under `base` as under `instructions`; instruction files and skills
//! count: whoever mounts such a directory wants them read, and they start nothing. What was set aside is kept below
//! `.agent-runner/set-aside` in the directory itself, so that it is still there where the runner is killed, and put back when the run is
//! over, or when the next one begins.
//!
//! A directory that is HOME, too, holds the user's own configuration, which counts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::error::WorkspaceError;
use super::super::{Hold, Prepared};
use super::{SET_ASIDE, is_reached_without_links, list, put_back};
use crate::files::is_same;

/// The directory for what is kept.
const STATE_DIR: &str = ".agent-runner";

pub(crate) fn state_dir(dir: &Path) -> PathBuf {
    dir.join(STATE_DIR)
}

/// Whether what a directory of a workspace holds is the user's own, and not somebody's whom a repository's trust is about.
#[must_use]
pub fn is_users_own(prepared: &Prepared, dir: &Path, home: &Path) -> bool {
    prepared.git_dir.is_none() && is_same(dir, home)
}

/// Whether something is set aside in a directory, by a run that works there, or was killed.
#[must_use]
pub(crate) fn is_left(dir: &Path) -> bool {
    fs::symlink_metadata(state_dir(dir).join(SET_ASIDE)).is_ok()
}

/// Puts back what was set aside, when it goes.
#[derive(Debug)]
#[must_use = "it is put back when this goes"]
pub struct SetAside {
    dir: Option<PathBuf>,
    _hold: Option<Hold>,
}

impl SetAside {
    /// What [`super::apply`] has set aside in a workspace, if that is no repository.
    pub fn of(prepared: &Prepared) -> Self {
        if prepared.git_dir.is_some() || !is_left(&prepared.dir) {
            return Self::nothing();
        }
        Self { dir: Some(prepared.dir.clone()), _hold: Some(Hold::at_once(&state_dir(&prepared.dir))) }
    }

    /// Nothing was.
    pub fn nothing() -> Self {
        Self { dir: None, _hold: None }
    }

    /// The directory in which something was set aside.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Leaves it set aside: the agent is started later, by others.
    pub fn keep(mut self) {
        self.dir = None;
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take()
            && let Err(error) = undo(&dir)
        {
            tracing::warn!("{error}");
        }
    }
}

/// Puts everything back; what is in the way of something stays, and so does that.
pub(crate) fn undo(dir: &Path) -> Result<(), WorkspaceError> {
    let state = state_dir(dir);
    let kept = state.join(SET_ASIDE);
    let is_real = [&state, &kept].into_iter().all(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()));
    if !is_real {
        return Ok(());
    }
    let failed = |path: &Path, error: io::Error| WorkspaceError::io("cannot put back", path, error);
    for name in list(&kept, Path::new("")).map_err(|error| failed(&kept, error))? {
        if is_reached_without_links(dir, &name) {
            put_back(dir, &state, &name, &name).map_err(|error| failed(&dir.join(&name), error))?;
        }
    }
    remove_empty(&kept);
    // There may be something of the user's in it.
    let _ = fs::remove_dir(&state);
    Ok(())
}

/// Removes the directories in which nothing is left.
fn remove_empty(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // One that holds something stays.
    let _ = fs::remove_dir(dir);
}
