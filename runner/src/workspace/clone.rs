//! A fresh clone: an empty directory becomes a work tree at the wanted ref, on the working branch.

use std::path::Path;

use agent_sdk::task::{GitAccess, Workspace};
use gix::ObjectId;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target};

use super::config;
use super::directory::Claim;
use super::error::WorkspaceError;
use super::fetch::{Session, shallow};
use super::programs::Git;
use super::refs::{Listing, Reference, Start, Wanted};
use super::url::RepoUrl;
use super::{Context, Hold, Prepared, Progress, checkout, trust};

/// Clones into a directory that is empty or missing. On failure the directory is as it was.
pub(crate) fn clone(
    url: &RepoUrl,
    workspace: &Workspace,
    access: &GitAccess,
    wanted: &Wanted,
    context: &Context<'_>,
) -> Result<Prepared, WorkspaceError> {
    let remotes = config::extra_remotes(workspace)?;
    let mut claim = Claim::new(&context.dir)?;
    let repo = init(&context.dir)?;
    claim.mark()?;
    let git_dir = repo.git_dir().to_owned();
    let hold = Hold::of_repository(&git_dir, context)?;
    if context.dir.join("lost+found").exists() {
        trust::exclude(&git_dir, &["/lost+found/".to_owned()])?;
    }
    config::write(&git_dir, url, &remotes, workspace, access, context.program)?;
    let repo = open(&context.dir)?;

    let session = Session { url, access, context };
    let git = Git::new(url, access, context)?;
    let fetched = match &workspace.filter {
        Some(filter) => fetch_filtered(&session, &git, &repo, &shallow(workspace.depth), wanted, filter)?,
        None => fetch(&session, &repo, workspace, wanted)?,
    };
    let Fetched { listing, base_branch } = fetched;
    let start = wanted.start(&listing, |id| peel(&repo, id))?;
    refuse_missing_head(&session, &repo, &start, &listing)?;
    let base_commit = base_branch.as_deref().and_then(|name| remote_tip(&repo, ORIGIN, name));
    let commit = place_head(&repo, &start)?;
    if let Start::Branch { name, .. } | Start::Unborn { name } = &start {
        config::set_upstream(&git_dir, name)?;
    }

    let mut notes = Vec::new();
    match commit {
        None => notes.push(format!("`{url}` is empty: nothing was checked out")),
        Some(_) if workspace.filter.is_some() => git.checkout_filtered()?,
        Some(commit) => {
            (context.progress)(Progress::CheckingOut);
            notes.extend(checkout::whole(&open(&context.dir)?, commit, context)?);
        }
    }
    if commit.is_some() && workspace.submodules {
        git.fetch_submodules(workspace.depth)?;
    }
    if commit.is_some() && workspace.lfs {
        git.fetch_lfs()?;
    }
    if context.is_cancelled() {
        return Err(WorkspaceError::Cancelled);
    }
    let branch = match start {
        Start::Branch { name, .. } | Start::Unborn { name } => Some(name),
        Start::Detached { .. } => None,
    };
    Ok(Prepared {
        dir: context.dir.clone(),
        git_dir: Some(git_dir),
        branch,
        base_branch,
        base_commit: base_commit.map(|id| id.to_string()),
        head: commit.map(|id| id.to_string()),
        taken_up: false,
        notes,
        env: Vec::new(),
        is_shared: false,
        claim: Some(claim),
        hold: Some(hold),
    })
}

/// What a fetch brought.
pub(crate) struct Fetched {
    pub(crate) listing: Listing,
    pub(crate) base_branch: Option<String>,
}

fn fetch(session: &Session<'_>, repo: &gix::Repository, workspace: &Workspace, wanted: &Wanted) -> Result<Fetched, WorkspaceError> {
    let depth = shallow(workspace.depth);
    let lists_all = std::cell::Cell::new(false);
    let check = |listing: &Listing| {
        lists_all.set(wanted.is_more_than_asked(listing));
        wanted.check(listing, session.url.as_str())
    };
    let listing = match session.fetch(repo, &wanted.refspecs(), &depth, &check) {
        // A server of protocol version 0, which lists everything, may give only what it lists: the commit may be in a
        // branch's history. A newer server gives each commit that it has.
        Err(WorkspaceError::RefNotFound { said, .. }) if lists_all.get() && matches!(wanted.reference, Reference::Commit(_)) => {
            fetch_commit_by_history(session, repo, wanted, said)?
        }
        result => result?,
    };
    complete(session, repo, &depth, wanted, listing)
}

/// Writes what a fetch leaves to its caller: where the remote's HEAD points, and the base branch, if it had to be found out first.
pub(crate) fn complete(
    session: &Session<'_>,
    repo: &gix::Repository,
    depth: &gix::remote::fetch::Shallow,
    wanted: &Wanted,
    mut listing: Listing,
) -> Result<Fetched, WorkspaceError> {
    let is_here = |id: ObjectId| repo.try_find_header(id).is_ok_and(|found| found.is_some());
    let is_known = wanted.base_branch(&listing).is_some_and(|name| {
        remote_tip(repo, ORIGIN, &name).is_some() || (listing.head_branch.as_deref() == Some(&name) && listing.head.is_some_and(is_here))
    });
    if !is_known && wanted.base_branch.is_none() && (listing.head.is_none_or(|id| !is_here(id))) {
        // `ref` was a tag. Only now is it known that the base is where HEAD points.
        let head = session.fetch(repo, &["HEAD".to_owned()], depth, &|_| Ok(()))?;
        listing.head_branch = head.head_branch;
        listing.head = head.head;
    }
    place_remote_head(repo, &listing)?;
    let base_branch = wanted.base_branch(&listing);
    Ok(Fetched { listing, base_branch })
}

/// A HEAD that points nowhere is an empty repository's only where there is no branch at all. A server is asked for the others only then.
pub(crate) fn refuse_missing_head(
    session: &Session<'_>,
    repo: &gix::Repository,
    start: &Start,
    listing: &Listing,
) -> Result<(), WorkspaceError> {
    if !matches!(start, Start::Unborn { .. }) {
        return Ok(());
    }
    let all = session.list(repo, &[config::FULL_REFSPEC.to_owned()], &|_| Ok(()))?;
    let branches: Vec<&str> = all.refs.keys().filter_map(|name| name.strip_prefix("refs/heads/")).collect();
    let Some(one) = branches.first() else { return Ok(()) };
    Err(WorkspaceError::RefNotFound {
        reference: listing.head_branch.clone().unwrap_or_else(|| "HEAD".to_owned()),
        url: session.url.to_string(),
        said: format!(
            "the remote's HEAD points to no branch that exists, and others do: set AGENT_REF (`{one}` is one of {})",
            branches.len()
        ),
    })
}

/// Remembers where the remote's HEAD points, if its commit was fetched: a server of protocol version 0 lists it unasked.
fn place_remote_head(repo: &gix::Repository, listing: &Listing) -> Result<(), WorkspaceError> {
    let (Some(name), Some(id)) = (&listing.head_branch, listing.head) else { return Ok(()) };
    if repo.try_find_header(id).ok().flatten().is_none() {
        return Ok(());
    }
    let branch = format!("refs/remotes/origin/{name}");
    edit(repo, [to_object(&branch, id)?, to_ref("refs/remotes/origin/HEAD", &branch)?])
}

fn fetch_commit_by_history(
    session: &Session<'_>,
    repo: &gix::Repository,
    wanted: &Wanted,
    said: String,
) -> Result<Listing, WorkspaceError> {
    let Reference::Commit(id) = &wanted.reference else { return Err(WorkspaceError::Cancelled) };
    let everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*", "HEAD"].map(str::to_owned);
    let listing = session.fetch(repo, &everything, &shallow(0), &|_| Ok(()))?;
    if repo.try_find_object(*id).is_ok_and(|found| found.is_some()) {
        return Ok(listing);
    }
    Err(WorkspaceError::RefNotFound { reference: id.to_string(), url: session.url.to_string(), said })
}

/// As [`fetch`], by the `git` program; the list is gix's, so that refs are found and missed in the same way.
pub(crate) fn fetch_filtered(
    session: &Session<'_>,
    git: &Git<'_>,
    repo: &gix::Repository,
    depth: &gix::remote::fetch::Shallow,
    wanted: &Wanted,
    filter: &str,
) -> Result<Fetched, WorkspaceError> {
    let listing = session.list(repo, &wanted.refspecs(), &|listing| wanted.check(listing, session.url.as_str()))?;
    let specs: Vec<String> = wanted.refspecs().into_iter().filter(|spec| is_listed(spec, &listing)).collect();
    git.fetch_filtered(filter, &specs, depth)?;
    let repo = open(&session.context.dir)?;
    place_remote_head(&repo, &listing)?;
    let base_branch = wanted.base_branch(&listing);
    Ok(Fetched { listing, base_branch })
}

/// git, unlike gix, fails for a spec that matches nothing.
fn is_listed(spec: &str, listing: &Listing) -> bool {
    let source = spec.trim_start_matches('+').split(':').next().unwrap_or_default();
    !source.starts_with("refs/") || listing.refs.contains_key(source)
}

/// A new repository: no templates, no hooks of anybody.
fn init(dir: &Path) -> Result<gix::Repository, WorkspaceError> {
    let options = gix::create::Options { destination_must_be_empty: Some(false), ..gix::create::Options::default() };
    gix::ThreadSafeRepository::init_opts(dir, gix::create::Kind::WithWorktree, options, open_options())
        .map(Into::into)
        .map_err(|error| WorkspaceError::repository(dir, &error))
}

/// Nothing but the repository's own settings, and of those none that starts a program: filters, includes, commands.
pub(crate) fn open_options() -> gix::open::Options {
    gix::open::Options::isolated().with(gix::sec::Trust::Reduced).open_path_as_is(false).config_overrides([ANY_SIZE])
}

/// Of a repository that is not trusted gix reads no object of more than 16 MiB. git has no such limit, and should memory run out, the run
/// says so.
const ANY_SIZE: &str = "gitoxide.objects.allocLimitIfReducedTrust=0";

/// Opens the repository whose work tree is `dir`.
pub(crate) fn open(dir: &Path) -> Result<gix::Repository, WorkspaceError> {
    let mut repo: gix::Repository = open_options().open(dir).map_err(|error| WorkspaceError::repository(dir, &error))?.into();
    // Ref logs want a name; an image may have neither a user nor a host name.
    repo.committer_or_set_generic_fallback().map_err(|error| WorkspaceError::repository(dir, &error))?;
    Ok(repo)
}

/// The commit that a ref's object means: itself, or what a tag is on.
pub(crate) fn peel(repo: &gix::Repository, id: ObjectId) -> Result<ObjectId, WorkspaceError> {
    let object = repo.find_object(id).map_err(|error| broken(repo, &error))?;
    let commit = object.peel_to_kind(gix::object::Kind::Commit).map_err(|error| broken(repo, &error))?;
    Ok(commit.id)
}

/// The best common ancestor; `None` where there is none, or where a cut history does not reach it.
pub(crate) fn merge_base(repo: &gix::Repository, one: ObjectId, other: ObjectId) -> Option<ObjectId> {
    repo.merge_base(one, other).ok().flatten().map(|id| id.detach())
}

/// The remote that the runner clones from.
pub(crate) const ORIGIN: &str = "origin";

/// The tip of a remote's branch, as last fetched.
pub(crate) fn remote_tip(repo: &gix::Repository, remote: &str, name: &str) -> Option<ObjectId> {
    let mut reference = repo.try_find_reference(format!("refs/remotes/{remote}/{name}").as_str()).ok()??;
    reference.peel_to_id().ok().map(|id| id.detach())
}

/// Puts HEAD where work begins.
pub(crate) fn place_head(repo: &gix::Repository, start: &Start) -> Result<Option<ObjectId>, WorkspaceError> {
    match start {
        Start::Branch { name, commit, .. } => {
            let full = format!("refs/heads/{name}");
            edit(repo, [to_object(&full, *commit)?, to_ref("HEAD", &full)?])?;
            Ok(Some(*commit))
        }
        Start::Detached { commit } => {
            let mut head = to_object("HEAD", *commit)?;
            head.deref = false;
            edit(repo, [head])?;
            Ok(Some(*commit))
        }
        Start::Unborn { name } => {
            edit(repo, [to_ref("HEAD", &format!("refs/heads/{name}"))?])?;
            Ok(None)
        }
    }
}

fn full_name(name: &str) -> Result<FullName, WorkspaceError> {
    FullName::try_from(name).map_err(|_| WorkspaceError::InvalidRef { reference: name.to_owned() })
}

fn update(name: &str, new: Target) -> Result<RefEdit, WorkspaceError> {
    let log = LogChange { mode: RefLog::AndReference, force_create_reflog: false, message: "agent-runner: prepare the workspace".into() };
    Ok(RefEdit { change: Change::Update { log, expected: PreviousValue::Any, new }, name: full_name(name)?, deref: false })
}

pub(crate) fn to_object(name: &str, id: ObjectId) -> Result<RefEdit, WorkspaceError> {
    update(name, Target::Object(id))
}

pub(crate) fn to_ref(name: &str, target: &str) -> Result<RefEdit, WorkspaceError> {
    update(name, Target::Symbolic(full_name(target)?))
}

pub(crate) fn edit<const N: usize>(repo: &gix::Repository, edits: [RefEdit; N]) -> Result<(), WorkspaceError> {
    repo.edit_references(edits).map(|_| ()).map_err(|error| broken(repo, &error))
}

pub(crate) fn broken(repo: &gix::Repository, error: &gix::Error) -> WorkspaceError {
    WorkspaceError::repository(repo.workdir().unwrap_or(repo.git_dir()), error)
}
