//! What an image's file system holds, without its contents but for what scripts say of their interpreters: from a directory, or from layers
//! that were never unpacked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::archive::{self, Kind};
use super::process::PATH;
use crate::suite::subject::{CERTIFICATE_BUNDLES, FileFact, FileFacts, LABEL_PREFIX, LOADERS, Subject};

/// How many links are followed, as in Linux.
const LINKS: usize = 40;
/// How much of a program is read: Linux itself reads no longer first line of a script.
const FIRST_LINE: u64 = 256;
/// How many files with a set-user-ID or set-group-ID bit are named.
const SET_ID: usize = 100;

#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    mode: u32,
    size: u64,
    interpreter: Option<String>,
}

/// What a script names after `#!`; `env` stands for the program that it looks for.
fn interpreter(content: impl Read) -> Option<String> {
    let mut first = Vec::new();
    content.take(FIRST_LINE).read_to_end(&mut first).ok()?;
    let line = first.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let program = words.next()?;
    let env = program.ends_with("/env").then(|| words.find(|word| !word.starts_with('-') && !word.contains('=')));
    Some(env.flatten().unwrap_or(program).to_owned())
}

/// Whether it may be a script that is executed.
fn is_program(kind: &Kind, mode: u32) -> bool {
    *kind == Kind::File && mode & 0o111 != 0
}

/// Files by their path below the root.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<PathBuf, Node>);

impl Tree {
    /// What is below a directory.
    pub(super) fn of_directory(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut ahead = vec![PathBuf::new()];
        while let Some(dir) = ahead.pop() {
            for entry in fs::read_dir(root.join(&dir))? {
                let entry = entry?;
                let (path, data) = (dir.join(entry.file_name()), entry.metadata()?);
                let kind = match data.file_type() {
                    kind if kind.is_dir() => Kind::Directory,
                    kind if kind.is_file() => Kind::File,
                    kind if kind.is_symlink() => Kind::Link(fs::read_link(entry.path())?),
                    _ => Kind::Other,
                };
                if kind == Kind::Directory {
                    ahead.push(path.clone());
                }
                let mode = data.permissions().mode() & 0o7777;
                let script = is_program(&kind, mode).then(|| fs::File::open(entry.path()).ok().and_then(interpreter)).flatten();
                tree.0.insert(path, Node { kind, mode, size: data.len(), interpreter: script });
            }
        }
        Ok(tree)
    }

    /// Lays a layer over what is there (<https://github.com/opencontainers/image-spec/blob/main/layer.md>).
    pub(super) fn add_layer(&mut self, layer: impl Read) -> io::Result<()> {
        let mut new = BTreeSet::new();
        archive::entries(layer, |entry, content| {
            let entry_path = self.place(&entry.path);
            match whiteout(&entry_path) {
                Some(Whiteout::Opaque(dir)) => self.0.retain(|path, _| *path == dir || !path.starts_with(&dir) || new.contains(path)),
                Some(Whiteout::File(gone)) => self.0.retain(|path, _| !path.starts_with(&gone) || new.contains(path)),
                None => {
                    let node = match entry.kind {
                        // what is not there has no other name
                        Kind::HardLink(target) => self.0.get(&self.place(&target)).cloned(),
                        kind => {
                            let script = is_program(&kind, entry.mode).then(|| interpreter(content)).flatten();
                            Some(Node { kind, mode: entry.mode, size: entry.size, interpreter: script })
                        }
                    };
                    if let Some(node) = node {
                        let hid = self.0.get(&entry_path).is_some_and(|there| there.kind == Kind::Directory);
                        if hid && node.kind != Kind::Directory {
                            self.0.retain(|path, _| *path == entry_path || !path.starts_with(&entry_path));
                        }
                        new.insert(entry_path.clone());
                        self.0.insert(entry_path, node);
                    }
                }
            }
            Ok(())
        })
    }

    /// What checks want to know of it.
    pub(super) fn facts(&self, subject: &Subject) -> FileFacts {
        let label = subject.config.labels.get(&format!("{LABEL_PREFIX}agent.path"));
        let agent = label.and_then(|path| self.fact(Path::new(path.trim())));
        let certificates =
            CERTIFICATE_BUNDLES.iter().filter(|path| self.fact(Path::new(path)).is_some_and(|fact| fact.regular && fact.size > 0));
        let set_id = self.0.iter().filter(|(_, node)| node.kind == Kind::File && node.mode & 0o6000 != 0);
        FileFacts {
            agent,
            interpreter: self.program(subject).and_then(|node| node.interpreter.clone()),
            loaders: LOADERS.iter().filter(|path| self.fact(Path::new(path)).is_some()).map(|path| (*path).to_owned()).collect(),
            certificates: certificates.map(|path| (*path).to_owned()).collect(),
            set_id: set_id.take(SET_ID).map(|(path, _)| format!("/{}", path.display())).collect(),
        }
    }

    /// The program of the entry point, looked for as an engine does.
    fn program(&self, subject: &Subject) -> Option<&Node> {
        let program = subject.program()?;
        let at = |path: PathBuf| self.follow(&path).and_then(|place| self.0.get(&place)).filter(|node| is_program(&node.kind, node.mode));
        if program.contains('/') {
            return at(Path::new(&subject.config.working_dir).join(program));
        }
        let path = subject.variable("PATH").unwrap_or(PATH);
        path.split(':').find_map(|dir| at(Path::new(dir).join(program)))
    }

    fn fact(&self, path: &Path) -> Option<FileFact> {
        let place = self.follow(path)?;
        let node = self.0.get(&place)?;
        Some(FileFact { path: format!("/{}", place.display()), regular: node.kind == Kind::File, mode: node.mode, size: node.size })
    }

    /// Where an entry of a layer comes to stand: below what its directory is a link to, if it is one.
    fn place(&self, path: &Path) -> PathBuf {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return path.to_owned();
        };
        self.follow(parent).unwrap_or_else(|| parent.to_owned()).join(name)
    }

    /// The path with all links followed inside of the image.
    fn follow(&self, path: &Path) -> Option<PathBuf> {
        let mut place = PathBuf::new();
        let mut ahead: VecDeque<OsString> = super::inside::words(path).collect();
        let mut links = 0;
        while let Some(word) = ahead.pop_front() {
            if word == ".." {
                place.pop();
                continue;
            }
            let next = place.join(&word);
            let Some(Node { kind: Kind::Link(target), .. }) = self.0.get(&next) else {
                place = next;
                continue;
            };
            links += 1;
            if links > LINKS {
                return None;
            }
            if target.is_absolute() {
                place = PathBuf::new();
            }
            for word in super::inside::words(target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(word);
            }
        }
        Some(place)
    }
}

/// What a layer says of the layers below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whiteout {
    /// This is gone.
    File(PathBuf),
    /// All that they have in this directory is gone.
    Opaque(PathBuf),
}

/// Whether the entry is a whiteout.
pub(super) fn whiteout(path: &Path) -> Option<Whiteout> {
    let parent = path.parent()?;
    match path.file_name()?.to_str()?.strip_prefix(".wh.")? {
        ".wh..opq" => Some(Whiteout::Opaque(parent.to_owned())),
        // it would stand for the directory itself, or for its parent
        "" | "." | ".." => None,
        name => Some(Whiteout::File(parent.join(name))),
    }
}
