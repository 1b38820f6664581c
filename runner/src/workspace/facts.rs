//! Facts: what the runner itself sees in the work tree when the agent has ended. By gix, without starting a program, and
//! tolerant of whatever state a killed agent left.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use gix::ObjectId;
use gix::object::tree::diff::Change;

use super::error::WorkspaceError;
use super::takeup::repository_root;
use super::{Prepared, clone, config, trust};

/// What the work is measured against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The branch that it is meant for.
    pub branch: Option<String>,
    /// That branch's tip when the work began.
    pub commit: Option<String>,
    /// The commit on which the work began.
    pub start: Option<String>,
}

impl From<&Prepared> for Base {
    fn from(prepared: &Prepared) -> Self {
        Self { branch: prepared.base_branch.clone(), commit: prepared.base_commit.clone(), start: prepared.head.clone() }
    }
}

/// What became of the workspace. What cannot be known is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The branch that HEAD is on.
    pub branch: Option<String>,
    /// HEAD's commit; absent on an unborn branch.
    pub commit: Option<String>,
    /// As given.
    pub base_branch: Option<String>,
    /// As given.
    pub base_commit: Option<String>,
    /// Commits of HEAD that the base has not. Where a shallow history ends before it meets the base: those since the work began.
    pub commits: Option<u64>,
    /// Files that differ between HEAD and the point where it left the base (or, as above, where the work began).
    pub files_changed: Option<u64>,
    /// Lines that they gained.
    pub insertions: Option<u64>,
    /// Lines that they lost.
    pub deletions: Option<u64>,
    /// Whether anything is uncommitted: staged, changed, or new and not ignored. What `trust` put back does not count, but changes to it
    /// do.
    pub dirty: Option<bool>,
    /// Whether a remote-tracking branch contains HEAD's commit: one of the same name or, for a detached HEAD, any. `git push`
    /// moves it when the server has accepted; a push to a bare URL does not, and is not seen.
    pub pushed: Option<bool>,
}

/// Reads the facts; `None` if the directory is in no repository.
///
/// # Errors
/// If there is a repository that cannot be read at all. A fact that cannot be had is absent instead.
pub fn facts(dir: &Path, base: &Base) -> Result<Option<Facts>, WorkspaceError> {
    let Some(root) = repository_root(dir) else { return Ok(None) };
    let mut repo = clone::open(&root)?;
    // Trees are read several times: by the walk, the diff and the status.
    repo.object_cache_size_if_unset(4 * 1024 * 1024);
    let head = repo.head_id().ok().map(|id| id.detach());
    let mut facts = Facts {
        branch: repo.head_name().ok().flatten().map(|name| name.shorten().to_string()),
        commit: head.map(|id| id.to_string()),
        base_branch: base.branch.clone(),
        base_commit: base.commit.clone(),
        dirty: is_dirty(&repo),
        ..Facts::default()
    };
    let Some(head) = head else { return Ok(Some(facts)) };
    facts.pushed = is_pushed(&repo, head, facts.branch.as_deref());
    if let Some((commits, from)) = count(&repo, head, base) {
        facts.commits = Some(commits);
        if let Some((files, lines)) = compare(&repo, from, head) {
            facts.files_changed = Some(files);
            (facts.insertions, facts.deletions) = lines.unzip();
        }
    }
    Ok(Some(facts))
}

fn is_dirty(repo: &gix::Repository) -> Option<bool> {
    if trust::has_edits(repo) {
        return Some(true);
    }
    let mut status =
        repo.status(gix::progress::Discard).ok()?.untracked_files(gix::status::UntrackedFiles::Collapsed).into_iter(None).ok()?;
    // The first item answers.
    match status.next() {
        None => Some(false),
        Some(Ok(_)) => Some(true),
        Some(Err(_)) => None,
    }
}

fn is_pushed(repo: &gix::Repository, head: ObjectId, branch: Option<&str>) -> Option<bool> {
    let tips: BTreeSet<ObjectId> = match branch {
        Some(branch) => {
            // A remote's name may hold slashes, and so may a branch's: `origin/team/w` is no `w`.
            let mut remotes = config::remote_names(repo.common_dir());
            remotes.insert(clone::ORIGIN.to_owned());
            remotes.iter().filter_map(|remote| clone::remote_tip(repo, remote, branch)).collect()
        }
        None => {
            let references = repo.references().ok()?;
            let all = references.prefixed("refs/remotes/").ok()?.flatten();
            all.filter_map(|mut reference| Some(reference.peel_to_id().ok()?.detach())).collect()
        }
    };
    if tips.contains(&head) {
        return Some(true);
    }
    // All at once: there may be thousands, with one history behind them.
    let history = repo.rev_walk(tips).all();
    Some(history.is_ok_and(|mut history| history.any(|info| info.is_ok_and(|info| info.id == head))))
}

/// The number of commits, and the commit that files are compared with.
fn count(repo: &gix::Repository, head: ObjectId, base: &Base) -> Option<(u64, ObjectId)> {
    let id = |text: &Option<String>| ObjectId::from_hex(text.as_deref()?.as_bytes()).ok();
    let (tip, start) = (id(&base.commit), id(&base.start));
    let since = |from: ObjectId| -> Option<u64> {
        let boundary = repo.shallow_commits().ok().flatten();
        let mut commits = 0;
        for info in repo.rev_walk([head]).with_hidden([from]).all().ok()? {
            let info = info.ok()?;
            // History ends here without having met the base: how far it would go is not known.
            if boundary.as_ref().is_some_and(|boundary| boundary.contains(&info.id)) {
                return None;
            }
            commits += 1;
        }
        Some(commits)
    };
    if let Some(tip) = tip {
        if tip == head {
            return Some((0, tip));
        }
        if let Some(commits) = since(tip) {
            return Some((commits, clone::merge_base(repo, tip, head).unwrap_or(tip)));
        }
    }
    let start = start?;
    Some((since(start)?, start))
}

/// Files that differ, and the lines that they gained and lost. A partial clone may lack a blob of them: then nobody knows how many lines.
fn compare(repo: &gix::Repository, from: ObjectId, to: ObjectId) -> Option<(u64, Option<(u64, u64)>)> {
    let tree = |id: ObjectId| repo.find_commit(id).ok()?.tree().ok();
    let (from, to) = (tree(from)?, tree(to)?);
    let mut cache = repo.diff_resource_cache_for_tree_diff().ok()?;
    let (mut files, mut lines) = (0, Some((0, 0)));
    let each = |change: Change<'_, '_, '_>| {
        if !change.entry_mode().is_tree() {
            files += 1;
            match (&mut lines, line_counts(repo, &change, &mut cache)) {
                (Some((insertions, deletions)), Ok(Some(counts))) => {
                    *insertions += u64::from(counts.insertions);
                    *deletions += u64::from(counts.removals);
                }
                // A binary file, and a submodule, has no lines.
                (_, Ok(None)) => {}
                _ => lines = None,
            }
            cache.clear_resource_cache_keep_allocation();
        }
        Ok(ControlFlow::Continue(()))
    };
    from.changes().ok()?.for_each_to_obtain_tree(&to, each).ok()?;
    Some((files, lines))
}

fn line_counts(
    repo: &gix::Repository,
    change: &Change<'_, '_, '_>,
    cache: &mut gix::diff::blob::Platform,
) -> gix::Result<Option<gix::diff::blob::DiffLineStats>> {
    let (before, after) = match change {
        Change::Addition { entry_mode, id, .. } => (None, Some((entry_mode, id))),
        Change::Deletion { entry_mode, id, .. } => (Some((entry_mode, id)), None),
        Change::Modification { previous_entry_mode, previous_id, entry_mode, id, .. } => {
            (Some((previous_entry_mode, previous_id)), Some((entry_mode, id)))
        }
        Change::Rewrite { source_entry_mode, source_id, entry_mode, id, .. } => {
            (Some((source_entry_mode, source_id)), Some((entry_mode, id)))
        }
    };
    for (mode, id) in [before, after].into_iter().flatten() {
        if mode.is_commit() {
            return Ok(None);
        }
        // To the diff a missing blob is an empty one.
        repo.find_header(*id)?;
    }
    change.diff(cache)?.line_counts()
}
