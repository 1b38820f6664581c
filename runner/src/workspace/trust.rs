//! Trust: what of the repository's own agent configuration counts (`repository`, `base`, `instructions`).
//!
//! What does not count is set aside before the agent starts, and what the base branch has is put in its place, so that the
//! agent sees that, and its `git add -A && git commit` still commits neither: tracked files get the index's skip-worktree
//! flag, files that only the base has are named in `.git/info/exclude`. What was set aside is kept below
//! `.git/agent-runner/set-aside`, and put back where the clone is taken up again. A directory that is no repository is [`plain`]'s subject.
//!
//! A symbolic link counts as what it leads to inside the tree, on both sides; a link that leads out of it leads nowhere. Where
//! the two sides differ, the link itself is replaced; it is never written through.

pub mod plain;
mod tree;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use agent_sdk::agent::{RepositoryPath, RepositoryPower};
use agent_sdk::task::{InjectedFile, Trust};
use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::index::entry::{Flags, Mode};

use super::clone;
use super::config::replace;
use super::error::WorkspaceError;
use super::files;
use super::takeup::repository_root;
use crate::files::is_same;
use tree::{BaseFiles, Blob, blob_id, resolve_base, resolve_work};

/// What is to be looked at.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The workspace's directory.
    pub dir: &'a Path,
    /// The directory in which the agent will be started; each directory from the work tree's root to it is looked at.
    pub workdir: &'a Path,
    /// The agent's HOME: what stands there is the user's own.
    pub home: &'a Path,
    /// What counts.
    pub trust: Trust,
    /// The agent's list.
    pub paths: &'a [RepositoryPath],
    /// The base branch's commit, for [`Trust::Base`].
    pub base_commit: Option<&'a str>,
    /// What the task itself has put into [`Self::dir`]: it counts.
    pub given: &'a [InjectedFile],
}

/// Sets aside what does not count. Returns the paths, relative to the work tree, that the agent now sees differently.
///
/// # Errors
/// If the base commit is not in the repository, or a file cannot be moved or written: the agent must not start then.
pub fn apply(request: &Request<'_>) -> Result<Vec<String>, WorkspaceError> {
    if request.trust == Trust::Repository || request.paths.is_empty() {
        return Ok(Vec::new());
    }
    let root = repository_root(request.workdir);
    let repo = root.as_deref().map(clone::open).transpose()?;
    let root = root.unwrap_or_else(|| request.dir.to_owned());
    let inner = request.workdir.strip_prefix(&root).unwrap_or(Path::new(""));
    if !inner.as_os_str().is_empty() {
        files::subdirectory(&root, inner)?;
    }
    let mut places = places(inner);
    let base = match (&repo, request.base_commit) {
        (Some(repo), Some(id)) if request.trust == Trust::Base => Some(base_tree(repo, id)?),
        // No base is known, so nothing of the repository is vouched for.
        _ => None,
    };
    let state = repo.as_ref().map_or_else(|| plain::state_dir(&root), state_dir);
    let in_root = |file: &InjectedFile| request.dir.join(&file.path).strip_prefix(&root).unwrap_or(&file.path).to_owned();
    let given = request.given.iter().map(in_root).collect();
    let (modules, notes) = (OnceCell::new(), None);
    let mut work = Work { repo: repo.as_ref(), root, state, given, modules, notes, changed: BTreeMap::new() };
    if repo.is_none() {
        places.retain(|place| !is_same(&work.root.join(place), request.home));
    }
    let done = settle(request, base.as_ref(), &places, &mut work);
    if let (Err(_), Some(repo)) = (&done, &repo) {
        // What was done is taken back; should that fail too, the next run finds what is noted.
        let _ = undo(repo);
    }
    done?;
    Ok(work.changed.keys().map(|path| path.to_string_lossy().into_owned()).collect())
}

/// The file by which a submodule's directory says where its repository is.
fn is_module_file(modules: &BTreeSet<PathBuf>, name: &Path) -> bool {
    name.ends_with(".git") && name.parent().is_some_and(|parent| modules.contains(parent))
}

/// A repository within a submodule's directory, which is no configuration of any agent; its one file is moved with the files of the
/// submodule.
fn is_git_s_own(modules: &BTreeSet<PathBuf>, name: &Path) -> bool {
    !is_module_file(modules, name) && name.components().any(|component| component.as_os_str().eq_ignore_ascii_case(".git"))
}

/// Goes through everything that could matter to the agent.
fn settle(request: &Request<'_>, base: Option<&gix::Tree<'_>>, places: &[PathBuf], work: &mut Work<'_>) -> Result<(), WorkspaceError> {
    let repo = work.repo;
    for place in places {
        for path in request.paths {
            let path_here = place.join(path.path.trim_end_matches('/'));
            match (repo, request.trust) {
                (Some(repo), Trust::Base) => {
                    let wanted = match base {
                        Some(tree) => known(repo, resolve_base(repo, tree, &path_here)).map_err(|error| clone::broken(repo, &error))?,
                        None => BTreeMap::new(),
                    };
                    work.make(repo, &path_here, &wanted)?;
                }
                _ if path.power == RepositoryPower::Executes => {
                    let kept = || {
                        let instructs = request.paths.iter().filter(|other| other.power == RepositoryPower::Instructs);
                        let places = instructs.map(|other| place.join(other.path.trim_end_matches('/')));
                        places.filter(|other| other.starts_with(&path_here) && *other != path_here).collect()
                    };
                    work.hide(&path_here, kept)?;
                }
                _ => {}
            }
        }
    }
    repo.map_or(Ok(()), |repo| work.keep_out_of_commits(repo))
}

/// The directories of submodules: without what is in them they are as git leaves them where nobody fetches it, and no change.
fn modules(repo: &gix::Repository) -> BTreeSet<PathBuf> {
    let Ok(index) = repo.open_index() else { return BTreeSet::new() };
    let entries = index.entries().iter().filter(|entry| entry.mode == Mode::COMMIT);
    entries.map(|entry| PathBuf::from(OsStr::from_bytes(entry.path(&index)))).collect()
}

/// The root, then each directory on the way to the workdir.
fn places(inner: &Path) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::new()];
    for component in inner.components() {
        places.push(places.last().map_or_else(PathBuf::new, |last| last.join(component)));
    }
    places
}

/// What is not known is no part of the base that could be put in place.
fn known(repo: &gix::Repository, found: gix::Result<BaseFiles>) -> gix::Result<BTreeMap<PathBuf, Blob>> {
    let found = found?;
    found.unknown.map_or(Ok(()), |id| repo.find_object(id).map(|_| ()))?;
    Ok(found.files)
}

/// What [`apply`] would read of the base and cannot, since it is not here.
pub(crate) fn missing_of_base(
    repo: &gix::Repository,
    inner: &Path,
    base: &str,
    paths: &[RepositoryPath],
) -> Result<BTreeSet<ObjectId>, WorkspaceError> {
    let tree = base_tree(repo, base)?;
    let mut missing = BTreeSet::new();
    for (place, path) in places(inner).iter().flat_map(|place| paths.iter().map(move |path| (place, path))) {
        let found = resolve_base(repo, &tree, &place.join(path.path.trim_end_matches('/')));
        let found = found.map_err(|error| clone::broken(repo, &error))?;
        missing.extend(found.unknown);
        missing.extend(found.files.values().map(|blob| blob.id).filter(|id| !repo.has_object(id)));
    }
    Ok(missing)
}

fn base_tree<'repo>(repo: &'repo gix::Repository, id: &str) -> Result<gix::Tree<'repo>, WorkspaceError> {
    let id = ObjectId::from_hex(id.as_bytes()).map_err(|_| WorkspaceError::InvalidRef { reference: id.to_owned() })?;
    repo.find_commit(id).and_then(|commit| commit.tree()).map_err(|error| clone::broken(repo, &error))
}

/// What is done to one work tree.
struct Work<'repo> {
    /// Where there is one, what is done is noted, and kept out of commits.
    repo: Option<&'repo gix::Repository>,
    root: PathBuf,
    /// Where what is set aside is kept.
    state: PathBuf,
    /// Files that the task has put there, which stay.
    given: BTreeSet<PathBuf>,
    /// Directories of submodules, which stay; looked up when it matters.
    modules: OnceCell<BTreeSet<PathBuf>>,
    /// The list that is being written.
    notes: Option<File>,
    /// Files that were set aside or written, or are just being so.
    changed: BTreeMap<PathBuf, Done>,
}

/// What was done to a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Done {
    /// What was written there.
    written: Option<ObjectId>,
    /// What stood there is kept under this name.
    kept: Option<PathBuf>,
}

impl Work<'_> {
    fn modules(&self) -> &BTreeSet<PathBuf> {
        self.modules.get_or_init(|| self.repo.map(modules).unwrap_or_default())
    }

    /// Makes a path what the base has there.
    fn make(&mut self, repo: &gix::Repository, path: &Path, wanted: &BTreeMap<PathBuf, Blob>) -> Result<(), WorkspaceError> {
        let actual = resolve_work(&self.root, path).map_err(|error| self.io("cannot read", path, error))?;
        let is_same = actual.files.len() == wanted.len()
            && wanted.iter().all(|(name, blob)| actual.files.get(name).is_some_and(|file| blob.is_same(repo, &self.root, file)));
        if is_same && !actual.hostile {
            return Ok(());
        }
        // With a link anywhere in it, what stands where is no longer one to one: all of it is made anew, as real files.
        let anew = actual.through_link || actual.hostile;
        if anew {
            self.set_aside_whole(path)?;
        }
        for (name, file) in &actual.files {
            let is_wanted = wanted.get(name).is_some_and(|blob| blob.is_same(repo, &self.root, file));
            if !anew && !is_wanted {
                self.set_aside(name)?;
            }
        }
        for (name, blob) in wanted {
            let stays = !anew && actual.files.get(name).is_some_and(|file| blob.is_same(repo, &self.root, file));
            if !stays {
                self.write(repo, name, blob)?;
            }
        }
        Ok(())
    }

    /// Takes a path away, but for what is kept below it, which is asked for where there is anything at all.
    fn hide(&mut self, path: &Path, kept: impl FnOnce() -> Vec<PathBuf>) -> Result<(), WorkspaceError> {
        let actual = resolve_work(&self.root, path).map_err(|error| self.io("cannot read", path, error))?;
        if actual.through_link || actual.hostile {
            return self.set_aside_whole(path);
        }
        if actual.files.is_empty() {
            return Ok(());
        }
        let kept = kept();
        for name in actual.files.keys().filter(|name| !kept.iter().any(|kept| name.starts_with(kept))) {
            self.set_aside(name)?;
        }
        Ok(())
    }

    /// Sets aside whatever stands at a path: the first link or file on the way to it, or itself, with all that is in it.
    fn set_aside_whole(&mut self, path: &Path) -> Result<(), WorkspaceError> {
        let mut at = PathBuf::new();
        for component in path.components() {
            at.push(component);
            match self.root.join(&at).symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return self.set_aside(&at),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(self.io("cannot read", &at, error)),
            }
        }
        for name in list(&self.root, path).map_err(|error| self.io("cannot read", path, error))? {
            self.set_aside(&name)?;
        }
        Ok(())
    }

    /// Moves one file or link away. Its parents are real directories.
    fn set_aside(&mut self, name: &Path) -> Result<(), WorkspaceError> {
        if self.given.contains(name) || is_git_s_own(self.modules(), name) {
            return Ok(());
        }
        let from = self.root.join(name);
        let kept = self.state.join(SET_ASIDE);
        let made = make_real(&self.state)
            .and_then(|()| make_real(&kept))
            .and_then(|()| make_directories_as(&self.root, &kept, name.parent().unwrap_or(Path::new(""))));
        let keep = free_name(&kept.join(name));
        self.changed.entry(name.to_owned()).or_default().kept = keep.strip_prefix(&kept).ok().map(Path::to_owned);
        self.note(name)?;
        let moved = made.and_then(|()| fs::rename(&from, &keep)).or_else(|error| match error.raw_os_error() {
            // The git directory is on another file system.
            Some(nix::libc::EXDEV) => copy(&from, &keep).and_then(|()| fs::remove_file(&from)),
            _ => Err(error),
        });
        moved.map_err(|error| WorkspaceError::set_aside(&from, error))?;
        // Directories that are empty now are nothing to git, and nothing to an agent.
        for parent in name.ancestors().skip(1).take_while(|parent| !parent.as_os_str().is_empty() && !self.modules().contains(*parent)) {
            if fs::remove_dir(self.root.join(parent)).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, repo: &gix::Repository, name: &Path, blob: &Blob) -> Result<(), WorkspaceError> {
        if self.given.contains(name) {
            return Ok(());
        }
        let content = blob.content(repo).map_err(|error| clone::broken(repo, &error))?;
        let parts: Vec<&OsStr> = name.components().map(|component| component.as_os_str()).collect();
        let mode = if blob.executable { 0o755 } else { 0o644 };
        // A file may stand where a directory is needed; it is the repository's, so it is out of the way.
        let mut at = PathBuf::new();
        for part in &parts[..parts.len().saturating_sub(1)] {
            at.push(part);
            if self.root.join(&at).symlink_metadata().is_ok_and(|metadata| !metadata.is_dir()) {
                self.set_aside(&at.clone())?;
            }
        }
        self.changed.entry(name.to_owned()).or_default().written = Some(blob.id);
        self.note(name)?;
        files::write(&self.root, &parts, &content, mode).map_err(|error| self.io("cannot put back", name, error.into()))
    }

    fn io(&self, what: &'static str, path: &Path, source: io::Error) -> WorkspaceError {
        WorkspaceError::io(what, self.root.join(path), source)
    }

    /// Keeps all of it out of the agent's commits.
    fn keep_out_of_commits(&self, repo: &gix::Repository) -> Result<(), WorkspaceError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let tracked = flag(repo, &self.changed.keys().cloned().collect(), true)?;
        let written = self.changed.iter().filter(|(path, done)| done.written.is_some() && !tracked.contains(*path));
        exclude(repo.common_dir(), &written.map(|(path, _)| exclude_pattern(path)).collect::<Vec<_>>())
    }

    /// Notes for [`undo`] what is done to a path, before it is: a run may be killed at any moment.
    fn note(&mut self, path: &Path) -> Result<(), WorkspaceError> {
        let Some(done) = self.changed.get(path).filter(|_| self.repo.is_some()) else { return Ok(()) };
        let written = done.written.map_or(String::new(), |id| id.to_string());
        let kept = done.kept.as_deref().unwrap_or(Path::new("")).as_os_str();
        let fields = [written.as_bytes(), kept.as_bytes(), path.as_os_str().as_bytes()];
        let note: Vec<u8> = fields.into_iter().flat_map(|field| field.iter().copied().chain([0])).collect();
        let list = self.state.join(NOTES);
        let write = |notes: &mut Option<File>| -> io::Result<()> {
            // Where nothing was set aside there is no such directory yet.
            make_real(&self.state)?;
            let file = match notes {
                Some(file) => file,
                None => notes.insert(OpenOptions::new().append(true).create(true).custom_flags(nix::libc::O_NOFOLLOW).open(&list)?),
            };
            file.write_all(&note)
        };
        write(&mut self.notes).map_err(|error| WorkspaceError::io("cannot write", &list, error))
    }
}

/// The list of what was done, in the directory of what is kept: three fields with a NUL behind each, the id of what was written, the name
/// of what was set aside, and the path. What stands last of a path counts.
const NOTES: &str = "put-back";

/// What is noted; `None` where nothing is.
fn noted(repo: &gix::Repository, state: &Path) -> Result<Option<BTreeMap<PathBuf, Done>>, WorkspaceError> {
    let list = state.join(NOTES);
    if real_directory(state).is_err() {
        return Ok(None);
    }
    let notes = match fs::read(&list) {
        Ok(notes) => notes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(WorkspaceError::io("cannot read", list, error)),
    };
    // What a killed run did not write to its end was not done.
    let whole = notes.iter().rposition(|byte| *byte == 0).map_or(&[][..], |end| &notes[..end]);
    let fields: Vec<&[u8]> = whole.split(|byte| *byte == 0).collect();
    let (modules, mut all) = (modules(repo), BTreeMap::new());
    for note in fields.chunks_exact(3) {
        let path = |field: &[u8]| PathBuf::from(OsStr::from_bytes(field));
        let (kept, name) = (Some(path(note[1])).filter(|kept| !kept.as_os_str().is_empty()), path(note[2]));
        // The list is the runner's, but lies where the agent could write.
        let is_module_file = is_module_file(&modules, &name);
        for path in [Some(&name), kept.as_ref()].into_iter().flatten() {
            files::parts(path.parent().filter(|_| is_module_file).unwrap_or(path))?;
        }
        all.insert(name, Done { written: ObjectId::from_hex(note[0]).ok(), kept });
    }
    Ok(Some(all))
}

/// Whether what was written is not what stands there any more.
fn is_edited(repo: &gix::Repository, here: &Path, written: ObjectId) -> bool {
    let is_file = here.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    !is_file || fs::read(here).ok().and_then(|bytes| blob_id(repo, &bytes)) != Some(written)
}

/// Whether somebody has changed what [`apply`] put in place: such a change is in no commit, and git sees none.
pub(crate) fn has_edits(repo: &gix::Repository) -> bool {
    let root = repo.workdir().unwrap_or(repo.git_dir());
    let notes = noted(repo, &state_dir(repo)).ok().flatten().unwrap_or_default();
    notes.iter().any(|(name, done)| {
        done.written.is_some_and(|written| is_reached_without_links(root, name) && is_edited(repo, &root.join(name), written))
    })
}

/// Where, below the directory of what is kept, files are that were set aside.
const SET_ASIDE: &str = "set-aside";

fn state_dir(repo: &gix::Repository) -> PathBuf {
    repo.git_dir().join("agent-runner")
}

/// Sets or clears skip-worktree; returns the paths that are in the index.
fn flag(repo: &gix::Repository, paths: &BTreeSet<PathBuf>, on: bool) -> Result<BTreeSet<PathBuf>, WorkspaceError> {
    let mut tracked = BTreeSet::new();
    let Ok(mut index) = repo.open_index() else { return Ok(tracked) };
    let names: BTreeMap<BString, &PathBuf> = paths.iter().map(|path| (BString::from(path.as_os_str().as_bytes()), path)).collect();
    for (entry, name) in index.entries_mut_with_paths() {
        if let Some(path) = names.get(name.as_bytes().as_bstr()) {
            tracked.insert((*path).clone());
            if on {
                // EXTENDED makes the entry's second half, in which the flag stands, be written at all.
                entry.flags.insert(Flags::SKIP_WORKTREE | Flags::EXTENDED);
            } else {
                entry.flags.remove(Flags::SKIP_WORKTREE);
            }
        }
    }
    if !tracked.is_empty() {
        index.write(gix::index::write::Options::default()).map_err(|error| clone::broken(repo, &error))?;
    }
    Ok(tracked)
}

/// Puts everything back as it was before [`apply`]: the clone is taken up by another run, which decides anew. Returns what stays as it is,
/// since somebody has changed it meanwhile.
pub(crate) fn undo(repo: &gix::Repository) -> Result<Vec<PathBuf>, WorkspaceError> {
    let state = state_dir(repo);
    let Some(notes) = noted(repo, &state)? else { return Ok(Vec::new()) };
    let root = repo.workdir().unwrap_or(repo.git_dir()).to_owned();
    let (mut paths, mut edited) = (BTreeSet::new(), Vec::new());
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| WorkspaceError::io("cannot put back", path, error)
    };
    let reached: Vec<_> = notes.iter().filter(|(name, _)| is_reached_without_links(&root, name)).collect();
    for (name, done) in &reached {
        let here = root.join(name);
        match done.written {
            Some(written) if !is_edited(repo, &here, written) => fs::remove_file(&here).map_err(io(&here))?,
            Some(_) if here.symlink_metadata().is_ok() => edited.push((*name).clone()),
            _ => {}
        }
        paths.insert((*name).clone());
    }
    for (name, done) in &reached {
        if let Some(kept) = &done.kept {
            put_back(&root, &state, name, kept).map_err(io(&root.join(name)))?;
        }
    }
    flag(repo, &paths, false)?;
    unexclude(repo.common_dir())?;
    let list = state.join(NOTES);
    fs::remove_file(&list).map_err(io(&list))?;
    Ok(edited)
}

/// Whether no link is on the way to a path of the work tree, as far as that is there.
fn is_reached_without_links(root: &Path, name: &Path) -> bool {
    let parents = name.parent().unwrap_or(Path::new(""));
    parents.as_os_str().is_empty() || files::subdirectory(root, parents).is_ok() || !root.join(parents).exists()
}

/// Puts one file or link that was set aside under a name back where it was, unless something stands there meanwhile.
fn put_back(root: &Path, state: &Path, name: &Path, kept: &Path) -> io::Result<()> {
    let all_kept = state.join(SET_ASIDE);
    let is_reached = is_reached_without_links(&all_kept, kept);
    let (here, kept) = (root.join(name), all_kept.join(kept));
    let is_kept = real_directory(&all_kept).is_ok() && is_reached && kept.symlink_metadata().is_ok();
    if is_kept && here.symlink_metadata().is_err() {
        make_directories_as(&state.join(SET_ASIDE), root, name.parent().unwrap_or(Path::new("")))?;
        fs::rename(&kept, &here).or_else(|_| copy(&kept, &here))?;
    }
    Ok(())
}

/// Makes the directories of a path that are missing below `to`, with the owner and the permissions that they have below `from`.
fn make_directories_as(from: &Path, to: &Path, path: &Path) -> io::Result<()> {
    let mut at = PathBuf::new();
    for component in path.components() {
        at.push(component);
        let made = to.join(&at);
        match fs::create_dir(&made) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                real_directory(&made)?;
                continue;
            }
            other => other?,
        }
        let metadata = from.join(&at).symlink_metadata()?;
        // Only root can give one away; anybody else's is their own.
        let _ = std::os::unix::fs::chown(&made, Some(metadata.uid()), Some(metadata.gid()));
        fs::set_permissions(&made, metadata.permissions())?;
    }
    Ok(())
}

/// A link or a file where what is set aside is to be kept was left by somebody who wants it somewhere else.
fn real_directory(path: &Path) -> io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::NotADirectory, format!("`{}` is no directory", path.display()))),
    }
}

/// Makes a directory, or finds one that is no link.
fn make_real(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => real_directory(path),
        other => other,
    }
}

/// This path, or one beside it where an older file is kept already: that one is somebody's, too.
fn free_name(path: &Path) -> PathBuf {
    let taken = |path: &Path| path.symlink_metadata().is_ok();
    let mut free = path.to_owned();
    let mut number = 1_u32;
    while taken(&free) {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{number}"));
        free = path.with_file_name(name);
        number += 1;
    }
    free
}

/// The lines that the runner adds to `info/exclude` stand between these.
const BEGIN: &str = "# agent-runner: begin";
const END: &str = "# agent-runner: end";

/// Adds patterns to `.git/info/exclude`.
pub(crate) fn exclude(git_dir: &Path, patterns: &[String]) -> Result<(), WorkspaceError> {
    if patterns.is_empty() {
        return Ok(());
    }
    let path = git_dir.join("info/exclude");
    let mut text = fs::read_to_string(&path).unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&format!("{BEGIN}\n{}\n{END}\n", patterns.join("\n")));
    fs::create_dir_all(git_dir.join("info")).map_err(|error| WorkspaceError::io("cannot create", git_dir.join("info"), error))?;
    replace(&path, text.as_bytes())
}

fn unexclude(git_dir: &Path) -> Result<(), WorkspaceError> {
    let path = git_dir.join("info/exclude");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        match line {
            BEGIN => inside = true,
            END => inside = false,
            // The volume's own directory stays out whoever decides what.
            "/lost+found/" if inside => kept.push_str(&format!("{BEGIN}\n{line}\n{END}\n")),
            _ if inside => {}
            _ => kept.push_str(&format!("{line}\n")),
        }
    }
    replace(&path, kept.as_bytes())
}

/// A pattern that matches exactly this path (gitignore(5)).
fn exclude_pattern(path: &Path) -> String {
    let mut pattern = String::from("/");
    for character in path.to_string_lossy().chars() {
        if r"\*?[ !#".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// Every file and link below a directory, relative to the root; links are not followed.
fn list(root: &Path, path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![path.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let name = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() { todo.push(name) } else { found.push(name) }
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.symlink_metadata()?.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to).map(|_| ())
}
