//! Files from a tree into the work tree, on all processors, without running a filter, a hook, or anything else.

use gix::ObjectId;

use super::Context;
use super::clone::broken;
use super::error::WorkspaceError;

/// Checks a whole tree out into a work tree that is empty, and writes the index.
pub(crate) fn whole(repo: &gix::Repository, commit: ObjectId, context: &Context<'_>) -> Result<Vec<String>, WorkspaceError> {
    let broken = |error: gix::Error| if context.is_cancelled() { WorkspaceError::Cancelled } else { broken(repo, &error) };
    let tree = repo.find_commit(commit).and_then(|commit| commit.tree_id()).map_err(broken)?;
    let mut index = repo.index_from_tree(&tree).map_err(broken)?;
    let notes = write(repo, &mut index, true, context)?;
    index.write(gix::index::write::Options::default()).map_err(broken)?;
    Ok(notes)
}

/// Writes the files of an index into the work tree.
pub(crate) fn write(
    repo: &gix::Repository,
    index: &mut gix::index::State,
    empty: bool,
    context: &Context<'_>,
) -> Result<Vec<String>, WorkspaceError> {
    let broken = |error: gix::Error| if context.is_cancelled() { WorkspaceError::Cancelled } else { broken(repo, &error) };
    let Some(dir) = repo.workdir() else {
        return Err(WorkspaceError::Repository { dir: repo.git_dir().to_owned(), said: "it has no work tree".to_owned() });
    };
    let mut options = repo.checkout_options(gix::worktree::stack::state::attributes::Source::IdMapping).map_err(broken)?;
    options.destination_is_initially_empty = empty;
    options.overwrite_existing = !empty;
    // gix has taken no filter from the repository's settings, since it is opened as untrusted; this says so once more.
    options.filters.options_mut().drivers.clear();
    let files = gix::progress::Discard;
    let objects = repo.objects.clone().into_arc().map_err(|error| WorkspaceError::io("cannot open objects of", repo.git_dir(), error))?;
    let outcome = gix::worktree::state::checkout(index, dir, objects, &files, &files, &context.cancel, options).map_err(broken)?;
    if context.is_cancelled() {
        return Err(WorkspaceError::Cancelled);
    }
    let mut notes: Vec<String> =
        outcome.errors.iter().map(|record| format!("`{}` was not checked out: {}", record.path, record.error)).collect();
    notes.extend(
        outcome.collisions.iter().map(|collision| format!("`{}` was not checked out: something else has its name", collision.path)),
    );
    Ok(notes)
}
