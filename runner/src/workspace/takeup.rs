//! A directory that already holds something: a clone to be taken up, or whatever a platform prepared.
//!
//! Work that is there is never lost: uncommitted changes stay, local commits stay, and what cannot be reconciled is an error
//! that names the files.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_sdk::task::{GitAccess, Workspace};
use gix::ObjectId;
use gix::bstr::BString;
use gix::remote::fetch::Shallow;
use gix::state::InProgress;

use super::clone::{self, Fetched, broken};
use super::error::WorkspaceError;
use super::facts::Base;
use super::fetch::{Session, shallow};
use super::programs::Git;
use super::refs::{Listing, Start, Wanted};
use super::url::{RepoUrl, without_what_may_be_a_password};
use super::{Context, Hold, Prepared, Progress, checkout, config, promised, trust};
use crate::files::{Directory, FileError, Kind};

/// Locks that a killed git leaves; while they are there, nothing can be committed.
const LOCKS: [&str; 5] = ["index.lock", "HEAD.lock", "config.lock", "shallow.lock", "packed-refs.lock"];

/// How many paths a conflict names.
const NAMED: usize = 5;

/// Takes up the clone in the directory.
pub(crate) fn take_up(
    url: &RepoUrl,
    workspace: &Workspace,
    access: &GitAccess,
    wanted: &Wanted,
    context: &Context<'_>,
) -> Result<Prepared, WorkspaceError> {
    let dir = &context.dir;
    let conflict = |problem: String| WorkspaceError::Conflict { dir: dir.clone(), problem };
    let remotes = config::extra_remotes(workspace)?;
    check_files(dir)?;
    let repo = clone::open(dir)?;
    let git_dir = repo.git_dir().to_owned();
    match config::origin_url(repo.common_dir()) {
        None => return Err(conflict("it holds a repository without a remote `origin`".to_owned())),
        Some(origin) if !RepoUrl::parse(&origin).is_ok_and(|origin| origin.is_same_repository(url)) => {
            let origin = RepoUrl::parse(&origin).map_or_else(|_| without_what_may_be_a_password(&origin), |origin| origin.to_string());
            return Err(conflict(format!("it holds a clone of `{origin}`, not of `{url}`")));
        }
        Some(_) => {}
    }
    let hold = Hold::of_repository(&git_dir, context)?;
    if hold.is_others() {
        return as_it_is(workspace, access, context);
    }
    let mut notes = vec![format!("took up the clone of `{url}` that was there")];
    // Of a linked work tree the common directory is others', too, who may be at work.
    let common_dir = if repo.git_dir() == repo.common_dir() { Some(repo.common_dir()) } else { None };
    for lock in locks(&git_dir, common_dir) {
        if std::fs::remove_file(&lock).is_ok() {
            let name = lock.strip_prefix(repo.common_dir()).unwrap_or(&lock).display();
            notes.push(format!("removed `{name}`, left by a git that was killed"));
        }
    }
    notes.extend(trust::undo(&repo)?.iter().map(|path| left_as_it_is(path)));
    // A partial clone stays one, whatever this task says: the rest of it is not here.
    let filter = workspace.filter.clone().or_else(|| config::partial_filter(repo.common_dir()));
    let workspace = &Workspace { filter, ..workspace.clone() };
    config::write(repo.common_dir(), url, &remotes, workspace, access, context.program)?;
    let repo = clone::open(dir)?;

    let session = Session { url, access, context };
    let git = Git::new(url, access, context)?;
    // A whole history stays whole, a cut one is only ever prolonged: new commits come without a new cut.
    let depth = if repo.is_shallow().unwrap_or(false) && workspace.depth == 0 { Shallow::undo() } else { Shallow::NoChange };
    let known = below(&repo, REMOTES);
    make_room(&repo, wanted)?;
    let fetched = match &workspace.filter {
        Some(filter) => clone::fetch_filtered(&session, &git, &repo, &depth, wanted, filter)?,
        None => {
            let check = |listing: &Listing| wanted.check(listing, url.as_str());
            let listing = session.fetch(&repo, &wanted.refspecs(), &depth, &check)?;
            clone::complete(&session, &repo, &depth, wanted, listing)?
        }
    };
    let Fetched { listing, base_branch } = fetched;
    let repo = clone::open(dir)?;
    let start = wanted.start(&listing, |id| clone::peel(&repo, id))?;
    clone::refuse_missing_head(&session, &repo, &start, &listing)?;
    let base_commit = base_branch.as_deref().and_then(|name| clone::remote_tip(&repo, clone::ORIGIN, name));
    let start = reconcile(&repo, start, &known, &mut notes)?;
    if let Start::Branch { name, .. } | Start::Unborn { name } = &start
        && let Some(other) = in_the_way(&repo, HEADS, name).first()
    {
        return Err(conflict(format!("the branch `{other}` is here, so there cannot be a branch `{name}`: rename or delete it")));
    }
    let commit = switch(&repo, &git, &start, context, &mut notes)?;
    if let Start::Branch { name, .. } | Start::Unborn { name } = &start {
        config::set_upstream(repo.common_dir(), name)?;
    }
    if workspace.submodules {
        git.fetch_submodules(workspace.depth)?;
    }
    if workspace.lfs {
        git.fetch_lfs()?;
    }
    let branch = match start {
        Start::Branch { name, .. } | Start::Unborn { name } => Some(name),
        Start::Detached { .. } => None,
    };
    Ok(Prepared {
        dir: dir.clone(),
        git_dir: Some(git_dir),
        branch,
        base_branch,
        base_commit: base_commit.map(|id| id.to_string()),
        head: commit.map(|id| id.to_string()),
        taken_up: true,
        notes,
        env: Vec::new(),
        is_shared: false,
        claim: None,
        hold: Some(hold),
    })
}

/// What a killed git, or one that was, holds locked. No reference's name can end so.
fn locks(git_dir: &Path, common_dir: Option<&Path>) -> BTreeSet<PathBuf> {
    let dirs = std::iter::once(git_dir).chain(common_dir);
    let mut found: BTreeSet<PathBuf> = dirs.flat_map(|dir| LOCKS.map(|lock| dir.join(lock))).collect();
    let mut directories: Vec<PathBuf> = common_dir.into_iter().map(|dir| dir.join("refs")).collect();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                // The entry's own: no link is followed.
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() && entry.path().extension().is_some_and(|extension| extension == "lock") => {
                    found.insert(entry.path());
                }
                _ => {}
            }
        }
    }
    found
}

fn left_as_it_is(path: &Path) -> String {
    format!("`{}` was changed since it was put back from the base branch, and stays as an uncommitted change", path.display())
}

/// Where the references of the remote's branches are, and of ours.
const REMOTES: &str = "refs/remotes/origin/";
const HEADS: &str = "refs/heads/";

/// The names of the references below a directory, with their commits.
fn below(repo: &gix::Repository, directory: &str) -> BTreeMap<String, Option<ObjectId>> {
    let of = |mut reference: gix::Reference<'_>| {
        let name = reference.name().as_bstr().to_string().strip_prefix(directory)?.to_owned();
        Some((name, reference.peel_to_id().ok().map(|id| id.detach())))
    };
    let references = repo.references().ok();
    let references = references.as_ref().and_then(|references| references.prefixed(directory).ok());
    references.into_iter().flatten().flatten().filter_map(of).collect()
}

/// The branches by whose side there can be none of this name, since one's name would be the other's directory.
fn in_the_way(repo: &gix::Repository, directory: &str, name: &str) -> Vec<String> {
    let is_inside = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    below(repo, directory).into_keys().filter(|other| is_inside(other, name) || is_inside(name, other)).collect()
}

/// Forgets of the remote's branches those that it cannot have if it has what is wanted: nobody tells of branches that are no more.
fn make_room(repo: &gix::Repository, wanted: &Wanted) -> Result<(), WorkspaceError> {
    for spec in wanted.refspecs() {
        let Some(name) = spec.split_once(':').and_then(|(_, to)| to.strip_prefix(REMOTES)) else { continue };
        for other in in_the_way(repo, REMOTES, name) {
            let reference = repo.find_reference(format!("{REMOTES}{other}").as_str()).map_err(|error| broken(repo, &error))?;
            reference.delete().map_err(|error| broken(repo, &error))?;
            // Where it was one of several there may be others left.
            for place in ["", "logs"].map(|place| repo.common_dir().join(place).join(REMOTES)) {
                for directory in Path::new(&other).ancestors().skip(1).take_while(|directory| !directory.as_os_str().is_empty()) {
                    let _ = std::fs::remove_dir(place.join(directory));
                }
            }
        }
    }
    Ok(())
}

/// Between the remote's branch and the local one of the same name: the newer, if one contains the other; the remote's, if it was written
/// anew and all of the local one was there before (`known`); else the local one, since its commits are nowhere else.
fn reconcile(
    repo: &gix::Repository,
    start: Start,
    known: &BTreeMap<String, Option<ObjectId>>,
    notes: &mut Vec<String>,
) -> Result<Start, WorkspaceError> {
    let Start::Branch { name, commit, at_remote } = start else { return Ok(start) };
    let local = repo.try_find_reference(format!("refs/heads/{name}").as_str()).map_err(|error| broken(repo, &error))?;
    let Some(local) = local.and_then(|mut local| local.peel_to_id().ok()).map(|id| id.detach()) else {
        return Ok(Start::Branch { name, commit, at_remote });
    };
    // `ref` says where a new branch begins; this one is there already.
    if !at_remote || local == commit {
        return Ok(Start::Branch { name, commit: local, at_remote });
    }
    let commit = match clone::merge_base(repo, local, commit) {
        Some(base) if base == local => {
            notes.push(format!("fast-forwarded `{name}` to the remote's"));
            commit
        }
        Some(base) if base == commit => {
            notes.push(format!("`{name}` has commits that the remote has not"));
            local
        }
        _ if known.get(&name).copied().flatten().is_some_and(|known| clone::merge_base(repo, local, known) == Some(local)) => {
            notes.push(format!("`{name}` was written anew at the remote, and nothing here was not there before: went to the remote's"));
            commit
        }
        _ => {
            notes.push(format!("`{name}` and the remote's have diverged: the local commits were kept, the remote's are `origin/{name}`"));
            local
        }
    };
    Ok(Start::Branch { name, commit, at_remote })
}

/// Moves HEAD, index and files to where work begins, if nothing uncommitted is in the way.
fn switch(
    repo: &gix::Repository,
    git: &Git<'_>,
    start: &Start,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<ObjectId>, WorkspaceError> {
    let broken = |error: gix::Error| broken(repo, &error);
    let target = match start {
        Start::Branch { commit, .. } | Start::Detached { commit } => *commit,
        Start::Unborn { .. } => return Ok(None),
    };
    refuse_half_done(repo, start, target, context, notes)?;
    let tree = |commit: ObjectId| repo.find_commit(commit).and_then(|commit| commit.tree()).map_err(broken);
    let old = match repo.head_id() {
        Ok(id) => Some(tree(id.detach())?),
        Err(_) => None,
    };
    let new = tree(target)?;
    let options = gix::diff::Options::default().with_rewrites(None);
    let changes = repo.diff_tree_to_tree(old.as_ref(), Some(&new), options).map_err(broken)?;
    let changed: BTreeSet<BString> =
        changes.iter().filter(|change| !change.entry_mode().is_tree()).map(|change| change.location().to_owned()).collect();

    let dirty = uncommitted(repo)?;
    if !dirty.is_empty() {
        notes.push(format!("kept {} uncommitted change{}", dirty.len(), if dirty.len() == 1 { "" } else { "s" }));
    }
    let clashes: Vec<&BString> = dirty.iter().filter(|path| changed.iter().any(|other| overlap(path, other))).collect();
    if !clashes.is_empty() {
        let names = clashes.iter().take(NAMED).map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
        let more = if clashes.len() > NAMED { format!(" and {} more", clashes.len() - NAMED) } else { String::new() };
        return Err(WorkspaceError::Conflict {
            dir: context.dir.clone(),
            problem: format!("uncommitted changes in {names}{more} would be overwritten by going to {target}"),
        });
    }
    if !changed.is_empty() {
        (context.progress)(Progress::CheckingOut);
        update_files(repo, git, &new, &changed, context, notes)?;
    }
    clone::place_head(repo, start)
}

/// The commit that ends a merge takes HEAD for one of its parents, and a rebase goes on from where it stands: under either, HEAD must not
/// move.
fn refuse_half_done(
    repo: &gix::Repository,
    start: &Start,
    target: ObjectId,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<(), WorkspaceError> {
    let what = match repo.state() {
        // A bisection minds no other HEAD.
        None | Some(InProgress::Bisect) => return Ok(()),
        Some(InProgress::Merge) => "a merge",
        Some(InProgress::CherryPick | InProgress::CherryPickSequence) => "a cherry-pick",
        Some(InProgress::Revert | InProgress::RevertSequence) => "a revert",
        Some(InProgress::Rebase | InProgress::RebaseInteractive | InProgress::ApplyMailbox | InProgress::ApplyMailboxRebase) => "a rebase",
    };
    let on = repo.head_name().map_err(|error| broken(repo, &error))?.map(|name| name.shorten().to_string());
    let (wanted, place) = match start {
        Start::Branch { name, .. } | Start::Unborn { name } => (Some(name), format!("`{name}`")),
        Start::Detached { commit } => (None, commit.to_string()),
    };
    if on.as_ref() == wanted && repo.head_id().is_ok_and(|head| head == target) {
        notes.push(format!("{what} that was begun here is still to be finished"));
        return Ok(());
    }
    let on = on.map_or("no branch".to_owned(), |on| format!("`{on}`"));
    let problem = format!("{what} is in progress on {on}, and going to {place} would mix the two up: finish or abort it first");
    Err(WorkspaceError::Conflict { dir: context.dir.clone(), problem })
}

/// One path is the other, or is inside it.
fn overlap(one: &BString, other: &BString) -> bool {
    let inside = |inner: &BString, outer: &BString| inner.strip_prefix(outer.as_slice()).is_some_and(|rest| rest.starts_with(b"/"));
    one == other || inside(one, other) || inside(other, one)
}

fn uncommitted(repo: &gix::Repository) -> Result<BTreeSet<BString>, WorkspaceError> {
    let broken = |error: gix::Error| broken(repo, &error);
    let status = repo
        .status(gix::progress::Discard)
        .map_err(broken)?
        .untracked_files(gix::status::UntrackedFiles::Files)
        .into_iter(None)
        .map_err(broken)?;
    status.map(|item| item.map(|item| item.location().to_owned()).map_err(broken)).collect()
}

/// Brings the changed files, and only those, to what the tree has.
fn update_files(
    repo: &gix::Repository,
    git: &Git<'_>,
    tree: &gix::Tree<'_>,
    changed: &BTreeSet<BString>,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<(), WorkspaceError> {
    let broken = |error: gix::Error| broken(repo, &error);
    let dir = &context.dir;
    let mut wanted = repo.index_from_tree(&tree.id).map_err(broken)?;
    wanted.remove_entries(|_, path, _| !changed.contains(&path.to_owned()));
    let blobs = wanted.entries().iter().filter(|entry| entry.mode != gix::index::entry::Mode::COMMIT);
    promised::fetch(repo, git, blobs.map(|entry| entry.id))?;
    let kept: BTreeSet<BString> = wanted.entries().iter().map(|entry| entry.path(&wanted).to_owned()).collect();
    for path in changed.difference(&kept) {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        if !remove(dir, path).map_err(|error| WorkspaceError::io("cannot remove", dir.join(path), std::io::Error::other(error)))? {
            notes.push(format!("`{}` is no longer of the repository, and was left: there is something in it", path.display()));
        }
    }
    if !wanted.entries().is_empty() {
        notes.extend(checkout::write(repo, &mut wanted, false, context)?);
    }

    let mut index = match repo.open_index() {
        Ok(index) => index,
        Err(_) => gix::index::File::from_state(gix::index::State::new(repo.object_hash()), repo.index_path()),
    };
    index.remove_entries(|_, path, _| changed.contains(&path.to_owned()));
    for entry in wanted.entries() {
        index.dangerously_push_entry(entry.stat, entry.id, entry.flags, entry.mode, entry.path(&wanted));
    }
    index.sort_entries();
    // They describe the old entries.
    index.remove_tree();
    index.remove_resolve_undo();
    index.write(gix::index::write::Options::default()).map_err(broken)
}

/// Removes what was tracked at a path, and the directories that it leaves empty; of a submodule an empty directory. False where something
/// is left in that. What a link on the way leads to was never tracked, whatever the index says of it.
fn remove(dir: &Path, path: &Path) -> Result<bool, FileError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().map(Path::new)) else { return Ok(true) };
    let root = Directory::open(dir)?;
    let Ok(directory) = root.descend(parent) else { return Ok(true) };
    match directory.kind_of(name)? {
        None => {}
        Some(Kind::Directory) if !directory.remove_if_empty(name) => return Ok(false),
        Some(Kind::Directory) => {}
        Some(Kind::File | Kind::Link | Kind::Other) => directory.unlink(name)?,
    }
    for parent in parent.ancestors().take_while(|parent| !parent.as_os_str().is_empty()) {
        let above = root.descend(parent.parent().unwrap_or(Path::new("")))?;
        if !parent.file_name().is_some_and(|name| above.remove_if_empty(Path::new(name))) {
            break;
        }
    }
    Ok(true)
}

/// No repository is named: the directory stays as it is, and is looked at.
pub(crate) fn as_it_is(workspace: &Workspace, access: &GitAccess, context: &Context<'_>) -> Result<Prepared, WorkspaceError> {
    let dir = context.dir.clone();
    std::fs::create_dir_all(&dir).map_err(|error| WorkspaceError::io("cannot create directory", &dir, error))?;
    let dir = located(dir);
    let nothing = Prepared::without_repository(dir.clone());
    let Some(root) = repository_root(&dir) else {
        if !trust::plain::is_left(&dir) {
            return Ok(nothing);
        }
        let hold = Hold::of_directory(&trust::plain::state_dir(&dir), context)?;
        if !hold.is_others() {
            // Of a run that was killed.
            trust::plain::undo(&dir)?;
        }
        return Ok(Prepared { is_shared: hold.is_others(), hold: Some(hold), ..nothing });
    };
    check_files(&root)?;
    let repo = clone::open(&root)?;
    let hold = Hold::of_repository(repo.git_dir(), context)?;
    let mut notes = Vec::new();
    // The agent of a run in a directory that was no repository may have made one of it.
    let beneath = if trust::plain::is_left(&dir) { Some(Hold::of_directory(&trust::plain::state_dir(&dir), context)?) } else { None };
    let is_shared = [Some(&hold), beneath.as_ref()].into_iter().flatten().any(Hold::is_others);
    if !is_shared {
        notes.extend(trust::undo(&repo)?.iter().map(|path| left_as_it_is(path)));
        // The agent of a run that was killed may have made a repository of a directory that was none. One that brings such files says
        // nothing of us.
        let is_tracked = repo.open_index().is_ok_and(|index| index.prefixed_entries(".agent-runner/".into()).is_some());
        if !is_tracked {
            trust::plain::undo(&dir)?;
        }
    }
    let branch = repo.head_name().map_err(|error| broken(&repo, &error))?.map(|name| name.shorten().to_string());
    let head = repo.head_id().ok().map(|id| id.detach());
    let wanted = Wanted::new(workspace)?;
    if let (Some(wanted), on) = (&wanted.branch, &branch)
        && on.as_ref() != Some(wanted)
    {
        notes.push(format!(
            "HEAD is on {}, not on the working branch `{wanted}`",
            on.as_deref().map_or("no branch".into(), |on| format!("`{on}`"))
        ));
    }
    let mut base = base_as_it_is(&repo, wanted.base_branch.as_deref());
    if let (None, Some(name)) = (&base, &wanted.base_branch)
        && let Some(url) = config::origin_url(repo.common_dir()).and_then(|origin| RepoUrl::parse(&origin).ok())
    {
        let session = Session { url: &url, access, context };
        let depth = if repo.is_shallow().unwrap_or(false) { shallow(1) } else { Shallow::NoChange };
        let spec = format!("+refs/heads/{name}:refs/remotes/origin/{name}");
        session.fetch(&repo, &[spec], &depth, &|listing| wanted.check(listing, url.as_str()))?;
        base = base_as_it_is(&repo, Some(name));
    }
    if base.is_none() && head.is_some() {
        notes.push("no base branch is known here: HEAD's commit stands in for it".to_owned());
        base = head.map(|id| (None, id));
    }
    let (base_branch, base_commit) = base.unzip();
    Ok(Prepared {
        git_dir: Some(repo.git_dir().to_owned()),
        branch,
        base_branch: base_branch.flatten(),
        base_commit: base_commit.map(|id: ObjectId| id.to_string()),
        head: head.map(|id| id.to_string()),
        taken_up: true,
        notes,
        is_shared,
        hold: Some(hold),
        ..nothing
    })
}

/// What the work in a directory is measured against, where nobody looked before the work began: the base branch as it is known there now.
#[must_use]
pub fn base_as_found(dir: &Path, wanted: Option<&str>) -> Base {
    let found = repository_root(dir).and_then(|root| clone::open(&root).ok()).and_then(|repo| base_as_it_is(&repo, wanted));
    match found {
        Some((branch, commit)) => Base { branch, commit: Some(commit.to_string()), start: None },
        None => Base { branch: wanted.map(str::to_owned), ..Base::default() },
    }
}

/// The base branch that is asked for, or where `origin/HEAD` points, or the usual names.
fn base_as_it_is(repo: &gix::Repository, wanted: Option<&str>) -> Option<(Option<String>, ObjectId)> {
    let local = |name: &str| repo.try_find_reference(format!("refs/heads/{name}").as_str()).ok()??.peel_to_id().ok().map(|id| id.detach());
    let named = |name: &str| clone::remote_tip(repo, clone::ORIGIN, name).map(|id| (Some(name.to_owned()), id));
    // A platform may also call a tag or a commit so from which its clone was made.
    let tag = |name: &str| repo.try_find_reference(format!("refs/tags/{name}").as_str()).ok()??.peel_to_id().ok().map(|id| id.detach());
    let commit = |name: &str| ObjectId::from_hex(name.as_bytes()).ok().filter(|id| repo.has_object(id));
    match wanted {
        Some(name) => named(name).or_else(|| {
            let id = local(name).or_else(|| tag(name)).or_else(|| commit(name))?;
            Some((Some(name.to_owned()), id))
        }),
        None => {
            let head = repo.try_find_reference("refs/remotes/origin/HEAD").ok().flatten();
            let target = head.and_then(|head| head.target().try_name().map(|name| name.as_bstr().to_string()));
            let default = target.as_deref().and_then(|name| name.strip_prefix("refs/remotes/origin/")).and_then(named);
            default.or_else(|| ["main", "master"].into_iter().find_map(named))
        }
    }
}

/// An agent of before may have left anything there, and whoever opens a FIFO waits for ever.
fn check_files(root: &Path) -> Result<(), WorkspaceError> {
    let odd = |path: &Path| WorkspaceError::Conflict {
        dir: root.to_owned(),
        problem: format!("`{}` is no regular file", path.strip_prefix(root).unwrap_or(path).display()),
    };
    let is_odd = |path: &Path| path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir());
    let read = [".git", ".gitattributes", ".gitignore", ".gitmodules"].map(|name| root.join(name));
    if let Some(path) = read.iter().find(|path| is_odd(path)) {
        return Err(odd(path));
    }
    let mut directories = vec![root.join(".git")];
    while let Some(directory) = directories.pop() {
        // What cannot be listed is told by who reads it.
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            match kind {
                // Objects are written once and never opened by a name that is not theirs; there may be very many.
                Ok(kind) if kind.is_dir() && directory.ends_with("objects") && entry.file_name().len() == 2 => {}
                Ok(kind) if kind.is_dir() => directories.push(path),
                Ok(kind) if kind.is_file() => {}
                _ if is_odd(&path) => return Err(odd(&path)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The directory that holds `.git`: this one or one above it.
pub(crate) fn repository_root(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().find(|ancestor| ancestor.join(".git").symlink_metadata().is_ok()).map(Path::to_owned)
}

/// The directory by the path at which git, and with it an agent, finds its repository: its real one, where a link leads into a repository.
pub(crate) fn located(dir: PathBuf) -> PathBuf {
    let Ok(real) = dir.canonicalize() else { return dir };
    let leads_into_one = real != dir && repository_root(&dir).is_none() && repository_root(&real).is_some();
    if leads_into_one { real } else { dir }
}

/// git refuses a work tree of another owner (a volume that belongs to root, a runner that is somebody else). The agent's git is
/// told of this one, precisely, by variables: `safe.directory` counts from there, and nobody's settings are changed.
pub(crate) fn owner_env(prepared: &Prepared, env: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let Some(git_dir) = &prepared.git_dir else { return Vec::new() };
    let ours = nix::unistd::geteuid().as_raw();
    let root = repository_root(&prepared.dir).unwrap_or_else(|| prepared.dir.clone());
    let foreign = [root.as_path(), git_dir].into_iter().any(|path| path.metadata().is_ok_and(|metadata| metadata.uid() != ours));
    if !foreign {
        return Vec::new();
    }
    let before: usize = env.get("GIT_CONFIG_COUNT").and_then(|count| count.parse().ok()).unwrap_or(0);
    vec![
        (format!("GIT_CONFIG_KEY_{before}"), "safe.directory".to_owned()),
        (format!("GIT_CONFIG_VALUE_{before}"), root.to_string_lossy().into_owned()),
        ("GIT_CONFIG_COUNT".to_owned(), (before + 1).to_string()),
    ]
}
