//! What stands at a path, in the base's tree and in the work tree, with links inside the tree resolved the same way on both
//! sides, so that the two can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use gix::ObjectId;
use gix::object::tree::EntryKind;

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// No agent's configuration has more; a tree that has is an attack on our time.
const MAX_FILES: usize = 20_000;

/// A file of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) id: ObjectId,
    pub(super) executable: bool,
}

impl Blob {
    pub(super) fn content(&self, repo: &gix::Repository) -> gix::Result<Vec<u8>> {
        Ok(repo.find_object(self.id)?.detach().data)
    }

    /// Whether a file of the work tree is this one. Line ends may differ, as a checkout by attributes makes them.
    pub(super) fn is_same(&self, repo: &gix::Repository, root: &Path, file: &WorkFile) -> bool {
        let Ok(bytes) = fs::read(root.join(&file.real)) else { return false };
        if file.executable != self.executable {
            return false;
        }
        let hash = |bytes: &[u8]| blob_id(repo, bytes);
        hash(&bytes) == Some(self.id) || (bytes.contains(&b'\r') && hash(&without_carriage_returns(&bytes)) == Some(self.id))
    }
}

/// Under which id a file of this content would be.
pub(super) fn blob_id(repo: &gix::Repository, bytes: &[u8]) -> Option<ObjectId> {
    gix::objs::compute_hash(repo.object_hash(), gix::object::Kind::Blob, bytes).ok()
}

fn without_carriage_returns(bytes: &[u8]) -> Vec<u8> {
    let follows = |at: usize| bytes.get(at + 1) == Some(&b'\n');
    bytes.iter().enumerate().filter(|(at, byte)| **byte != b'\r' || !follows(*at)).map(|(_, byte)| *byte).collect()
}

/// A file of the work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkFile {
    /// Where it really is, relative to the root, when links are resolved.
    pub(super) real: PathBuf,
    pub(super) executable: bool,
}

/// What stands at a path of the work tree.
#[derive(Debug, Default)]
pub(super) struct WorkFiles {
    pub(super) files: BTreeMap<PathBuf, WorkFile>,
    /// A link was resolved on the way.
    pub(super) through_link: bool,
    /// A link leads out of the tree, nowhere, or round in circles; or there is something that is neither file, directory nor link.
    pub(super) hostile: bool,
}

/// What stands at a path of the base's tree.
#[derive(Debug, Default)]
pub(super) struct BaseFiles {
    pub(super) files: BTreeMap<PathBuf, Blob>,
    /// A link that a partial clone has only been promised, so that nobody knows where it leads.
    pub(super) unknown: Option<ObjectId>,
}

/// The files at and below a path of the base's tree.
pub(super) fn resolve_base(repo: &gix::Repository, tree: &gix::Tree<'_>, path: &Path) -> gix::Result<BaseFiles> {
    let mut found = BaseFiles::default();
    let mut todo = vec![(path.to_owned(), path.to_owned(), 0)];
    while let Some((shown, real, mut links)) = todo.pop() {
        let (kind, id, real) = match look_up(repo, tree, &real, &mut links)? {
            LookedUp::Nothing => continue,
            LookedUp::UnknownLink(id) => {
                found.unknown = Some(id);
                continue;
            }
            LookedUp::Entry(kind, id, real) => (kind, id, real),
        };
        match kind {
            EntryKind::Blob | EntryKind::BlobExecutable => {
                found.files.insert(shown, Blob { id, executable: kind == EntryKind::BlobExecutable });
            }
            EntryKind::Tree => {
                for entry in repo.find_tree(id)?.iter() {
                    let entry = entry?;
                    let name = std::ffi::OsStr::from_bytes(entry.filename());
                    todo.push((shown.join(name), real.join(name), links));
                }
            }
            EntryKind::Link | EntryKind::Commit => {}
        }
        if found.files.len() + todo.len() > MAX_FILES {
            break;
        }
    }
    Ok(found)
}

enum LookedUp {
    Nothing,
    UnknownLink(ObjectId),
    Entry(EntryKind, ObjectId, PathBuf),
}

/// One path of a tree, through the links that are in it.
fn look_up(repo: &gix::Repository, tree: &gix::Tree<'_>, path: &Path, links: &mut usize) -> gix::Result<LookedUp> {
    let mut path = path.to_owned();
    'again: loop {
        let mut at = PathBuf::new();
        let mut components = path.components();
        while let Some(component) = components.next() {
            at.push(component);
            let Some(entry) = tree.lookup_entry_by_path(&at)? else { return Ok(LookedUp::Nothing) };
            if entry.mode().kind() == EntryKind::Link {
                *links += 1;
                let Some(target) = repo.try_find_object(entry.object_id())? else { return Ok(LookedUp::UnknownLink(entry.object_id())) };
                let target = target.detach().data;
                let Some(inside) = inside(&at, Path::new(std::ffi::OsStr::from_bytes(&target))).filter(|_| *links <= MAX_LINKS) else {
                    return Ok(LookedUp::Nothing);
                };
                path = inside.components().chain(components).collect();
                continue 'again;
            }
        }
        let Some(entry) = tree.lookup_entry_by_path(&path)? else { return Ok(LookedUp::Nothing) };
        return Ok(LookedUp::Entry(entry.mode().kind(), entry.object_id(), path));
    }
}

/// The files at and below a path of the work tree.
pub(super) fn resolve_work(root: &Path, path: &Path) -> io::Result<WorkFiles> {
    let mut found = WorkFiles::default();
    let mut todo = vec![(path.to_owned(), path.to_owned(), 0)];
    while let Some((shown, real, mut links)) = todo.pop() {
        let before = links;
        let step = find(root, &real, &mut links)?;
        found.through_link |= links > before;
        match step {
            Step::Nothing => {}
            Step::Hostile => found.hostile = true,
            Step::File { real, executable } => {
                found.files.insert(shown, WorkFile { real, executable });
            }
            Step::Directory(real) => {
                for entry in fs::read_dir(root.join(&real))? {
                    let name = entry?.file_name();
                    todo.push((shown.join(&name), real.join(&name), links));
                }
            }
        }
        if found.files.len() + todo.len() > MAX_FILES {
            found.hostile = true;
            break;
        }
    }
    Ok(found)
}

enum Step {
    Nothing,
    Hostile,
    File { real: PathBuf, executable: bool },
    Directory(PathBuf),
}

fn find(root: &Path, path: &Path, links: &mut usize) -> io::Result<Step> {
    let mut path = path.to_owned();
    'again: loop {
        let mut at = PathBuf::new();
        let mut last = None;
        let mut components = path.components();
        while let Some(component) = components.next() {
            at.push(component);
            let metadata = match root.join(&at).symlink_metadata() {
                Ok(metadata) => metadata,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    // A link to nothing is not nothing: something may yet appear there.
                    return Ok(if *links > 0 { Step::Hostile } else { Step::Nothing });
                }
                Err(error) => return Err(error),
            };
            if metadata.is_symlink() {
                *links += 1;
                let target = fs::read_link(root.join(&at))?;
                let Some(inside) = inside(&at, &target).filter(|_| *links <= MAX_LINKS) else { return Ok(Step::Hostile) };
                path = inside.components().chain(components).collect();
                continue 'again;
            }
            last = Some(metadata);
        }
        return Ok(match last {
            Some(metadata) if metadata.is_dir() => Step::Directory(path),
            Some(metadata) if metadata.is_file() => Step::File { real: path, executable: metadata.permissions().mode() & 0o100 != 0 },
            Some(_) => Step::Hostile,
            None => Step::Nothing,
        });
    }
}

/// Where a link leads, if that is inside the tree and not in `.git`.
fn inside(link: &Path, target: &Path) -> Option<PathBuf> {
    let mut at: PathBuf = link.parent()?.to_owned();
    for component in target.components() {
        match component {
            Component::Normal(name) if name.eq_ignore_ascii_case(".git") => return None,
            Component::Normal(name) => at.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !at.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!at.as_os_str().is_empty()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_only_inside_the_tree() {
        for (link, target, found) in [
            ("CLAUDE.md", "AGENTS.md", Some("AGENTS.md")),
            ("a/b", "../c/./d", Some("c/d")),
            ("a/b", "../../c", None),
            ("a", "/etc/passwd", None),
            ("a", ".git/config", None),
            ("a", ".", None),
        ] {
            assert_eq!(inside(Path::new(link), Path::new(target)), found.map(PathBuf::from), "{link} {target}");
        }
    }
}
