//! Installs files and copies of directory trees below a directory, and takes back what an earlier run installed and this one does not.
//!
//! Which files are ours stands in a list beside the directory: one relative path a line. Files that are not in it are the user's.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use agent_sdk::agent::Installed;

use super::error::ConfigureError;
use super::writer::{Report, put};
use crate::files::{Directory, FileError, Identity, Kind};

/// A tree of skills and sub-agents is text with a few scripts; more than this is a mistake.
const FILES_LIMIT: usize = 10_000;
/// The same in bytes.
const BYTES_LIMIT: u64 = 256 << 20;
/// Deeper than any tree that people write.
const DEPTH_LIMIT: usize = 32;
/// A list of the most files, each with the longest usual path.
const LIST_LIMIT: u64 = 16 << 20;

/// What is to be below a directory.
#[derive(Default)]
pub(super) struct Tree {
    files: Vec<Entry>,
    bytes: u64,
    /// Links and other things that were not read.
    pub(super) left_out: Vec<PathBuf>,
}

/// Where a tree that is copied may come from, and what its links are worth there.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    /// The repository: no link is followed, not even on the way to it.
    pub(super) repository: Option<&'a Path>,
    /// The plugin directory, by its real path: a link is followed as far as it stays within.
    pub(super) plugins: Option<&'a Path>,
}

struct Entry {
    path: PathBuf,
    content: Vec<u8>,
    executable: bool,
}

/// One tree, while it is read.
struct Reading<'a> {
    source: &'a Path,
    /// The directory that no link may leave; without one, none is followed.
    within: Option<&'a Path>,
}

impl Reading<'_> {
    /// Where a link leads, if it may be followed.
    fn follow(&self, link: &Path) -> Option<PathBuf> {
        let within = self.within?;
        link.canonicalize().ok().filter(|real| real.starts_with(within))
    }

    fn too_much(&self, limit: String) -> ConfigureError {
        ConfigureError::TooMuch { path: self.source.to_owned(), limit }
    }
}

/// The list of what was installed below a directory.
pub(super) fn list_name(name: &Path) -> PathBuf {
    format!(".{}.agent-runner-installed", name.display()).into()
}

impl Tree {
    /// Reads everything that is to be copied.
    pub(super) fn gather(wanted: &BTreeMap<PathBuf, Installed>, sources: Sources<'_>) -> Result<Self, ConfigureError> {
        let mut tree = Self::default();
        for (to, what) in wanted {
            match what {
                Installed::File(content) => tree.files.push(Entry { path: to.clone(), content: content.clone(), executable: false }),
                Installed::Tree(source) => tree.read(source, to, sources)?,
            }
        }
        Ok(tree)
    }

    fn read(&mut self, source: &Path, to: &Path, sources: Sources<'_>) -> Result<(), ConfigureError> {
        let in_repository = sources.repository.and_then(|root| Some((root, source.strip_prefix(root).ok()?)));
        let directory = match in_repository {
            Some((root, below)) => Directory::open(root)?.descend(below)?,
            None => Directory::open(source)?,
        };
        let within = sources.plugins.filter(|plugins| in_repository.is_none() && source.starts_with(plugins));
        self.read_directory(&directory, to, &mut Vec::new(), &Reading { source, within })
    }

    fn read_directory(
        &mut self,
        directory: &Directory,
        below: &Path,
        above: &mut Vec<Identity>,
        reading: &Reading<'_>,
    ) -> Result<(), ConfigureError> {
        if above.len() == DEPTH_LIMIT {
            return Err(reading.too_much(format!("{DEPTH_LIMIT} levels of directories")));
        }
        let identity = directory.identity()?;
        if above.contains(&identity) {
            // A link leads round in circles.
            self.left_out.push(directory.path().to_owned());
            return Ok(());
        }
        above.push(identity);
        for (name, kind) in directory.entries()? {
            if reading.within.is_some() && name.as_os_str().as_bytes().starts_with(b"..") {
                // Kubernetes keeps a volume's content there, and links to it.
                continue;
            }
            let path = below.join(&name);
            match kind {
                Kind::Directory => self.read_directory(&directory.descend(&name)?, &path, above, reading)?,
                Kind::File => self.read_file(directory, &name, path, reading)?,
                Kind::Link => match reading.follow(&directory.path().join(&name)) {
                    Some(real) if real.is_dir() => self.read_directory(&Directory::open(&real)?, &path, above, reading)?,
                    Some(real) if real.is_file() => {
                        let (parent, name) = split(&real);
                        self.read_file(&Directory::open(parent)?, name, path, reading)?;
                    }
                    _ => self.left_out.push(directory.path().join(&name)),
                },
                Kind::Other => self.left_out.push(directory.path().join(&name)),
            }
        }
        above.pop();
        Ok(())
    }

    fn read_file(&mut self, directory: &Directory, name: &Path, path: PathBuf, reading: &Reading<'_>) -> Result<(), ConfigureError> {
        let read = match directory.read(name, BYTES_LIMIT - self.bytes) {
            Err(FileError::TooLarge { .. }) => return Err(reading.too_much(format!("{BYTES_LIMIT} bytes"))),
            other => other?,
        };
        let Some((content, mode)) = read else { return Ok(()) };
        self.bytes += content.len() as u64;
        if self.files.len() == FILES_LIMIT {
            return Err(reading.too_much(format!("{FILES_LIMIT} files")));
        }
        self.files.push(Entry { path, content, executable: mode & 0o100 != 0 });
        Ok(())
    }

    /// Whether there is nothing to install.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether it can be installed there: nothing but regular files and directories stands in its way.
    pub(super) fn check(&self, parent: &Directory, name: &Path) -> Result<(), ConfigureError> {
        parent.expect_file_or_nothing(&list_name(name))?;
        let top = match parent.descend(name) {
            Err(error) if error.is_missing() => return Ok(()),
            other => other?,
        };
        for entry in &self.files {
            let (below, name) = split(&entry.path);
            match top.descend(below) {
                Ok(directory) => directory.expect_file_or_nothing(name).map(|_| ())?,
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Installs it.
    pub(super) fn install(
        &self,
        parent: &Directory,
        name: &Path,
        (file_mode, directory_mode): (u32, u32),
        report: &mut Report,
    ) -> Result<(), ConfigureError> {
        let list_name = list_name(name);
        let earlier = parent.read(&list_name, LIST_LIMIT)?.map(|(bytes, _)| bytes).unwrap_or_default();
        if self.is_empty() && earlier.is_empty() {
            return Ok(());
        }
        let top = parent.descend_or_make(name, directory_mode)?;
        let mut list = String::new();
        for entry in &self.files {
            let (below, name) = split(&entry.path);
            let directory = top.descend_or_make(below, directory_mode)?;
            // Executable for whoever may read it.
            let mode = if entry.executable { file_mode | ((file_mode & 0o444) >> 2) } else { file_mode };
            put(&directory, name, &entry.content, mode, report)?;
            // A name that is no UTF-8 or holds a line break cannot stand in the list; its file then stays for ever, which harms less.
            if let Some(path) = entry.path.to_str().filter(|path| !path.contains('\n')) {
                list.push_str(path);
                list.push('\n');
            }
        }
        for line in String::from_utf8_lossy(&earlier).lines() {
            let stale = Path::new(line);
            if !self.files.iter().any(|entry| entry.path == stale) {
                take_back(&top, stale, report);
            }
        }
        // Last, so that a run that broke off leaves a list with too much in it rather than too little. The list is no news.
        if list.is_empty() {
            parent.remove(&list_name)?;
        } else if list.as_bytes() != earlier {
            parent.write(&list_name, list.as_bytes(), 0o644)?;
        }
        Ok(())
    }
}

fn split(path: &Path) -> (&Path, &Path) {
    (path.parent().unwrap_or(Path::new("")), path.file_name().map_or(path, Path::new))
}

/// Removes a file of an earlier run, and the directories that are empty without it. What cannot be removed is left: it was changed by
/// somebody since, or the list was.
fn take_back(top: &Directory, stale: &Path, report: &mut Report) {
    let (below, name) = split(stale);
    let Ok(directory) = top.descend(below) else { return };
    if directory.remove(name).unwrap_or(false) {
        report.removed.push(directory.path().join(name));
    }
    let mut path = below;
    while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        let gone = top.descend(parent).is_ok_and(|directory| directory.remove_if_empty(Path::new(name)));
        if !gone {
            break;
        }
        path = parent;
    }
}
