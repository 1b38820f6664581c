//! Blobs that a partial clone (`filter`) has only been promised. gix reads what is here and asks nobody for the rest, so what is about to
//! be read is fetched before, by the `git` program.

use std::collections::BTreeSet;
use std::path::Path;

use agent_sdk::task::GitAccess;
use gix::ObjectId;

use super::error::WorkspaceError;
use super::programs::Git;
use super::takeup::repository_root;
use super::url::RepoUrl;
use super::{Context, Prepared, clone, config, trust};

/// Fetches what is missing of these, where the remote has promised it.
pub(crate) fn fetch(repo: &gix::Repository, git: &Git<'_>, ids: impl IntoIterator<Item = ObjectId>) -> Result<(), WorkspaceError> {
    if config::partial_filter(repo.common_dir()).is_none() {
        return Ok(());
    }
    let missing: BTreeSet<ObjectId> = ids.into_iter().filter(|id| !repo.has_object(id)).collect();
    if missing.is_empty() { Ok(()) } else { git.fetch_objects(&missing) }
}

/// Fetches what the base branch has of the agent's configuration: `trust` puts it in place.
pub(crate) fn fetch_base(
    prepared: &Prepared,
    subdirectory: Option<&Path>,
    access: &GitAccess,
    context: &Context<'_>,
) -> Result<(), WorkspaceError> {
    let (Some(base), Some(root)) = (&prepared.base_commit, repository_root(&prepared.dir)) else { return Ok(()) };
    if context.config_paths.is_empty() {
        return Ok(());
    }
    let repo = clone::open(&root)?;
    let url = config::origin_url(repo.common_dir()).and_then(|origin| RepoUrl::parse(&origin).ok());
    let (Some(url), Some(_)) = (url, config::partial_filter(repo.common_dir())) else { return Ok(()) };
    let git = Git::new(&url, access, context)?;
    let workdir = subdirectory.map_or_else(|| prepared.dir.clone(), |path| prepared.dir.join(path));
    let inner = workdir.strip_prefix(&root).unwrap_or(Path::new(""));
    // A link shows only when it is here where it leads.
    let mut asked = BTreeSet::new();
    loop {
        let missing = trust::missing_of_base(&repo, inner, base, context.config_paths)?;
        if missing.is_subset(&asked) {
            return Ok(());
        }
        fetch(&repo, &git, missing.iter().copied())?;
        asked.extend(missing);
    }
}
