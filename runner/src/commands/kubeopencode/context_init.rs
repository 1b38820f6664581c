//! `context-init`: copies files of ConfigMaps into the workspace, where the agent may change them.
//!
//! All that can be copied are, and each that cannot is named: a Task whose context is not all there does not start.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{DIRECTORY, InitError, Variables, check, open_parent, wrong};
use crate::files::Directory;
use crate::inputs::read_input_file;

/// Which permissions a file gets where nothing is said.
const FILE: u32 = 0o664;
/// A ConfigMap is flat; a volume with other things in it may be deeper, and a link in it may lead round in a circle.
const DEEPEST: usize = 32;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileMapping {
    key: String,
    target_path: PathBuf,
    file_mode: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryMapping {
    source_path: PathBuf,
    target_path: PathBuf,
}

pub(super) fn run(env: &Variables) -> Result<String, InitError> {
    let mut errors = Vec::new();
    let files: Vec<FileMapping> = env.json("FILE_MAPPINGS", &mut errors);
    let directories: Vec<DirectoryMapping> = env.json("DIR_MAPPINGS", &mut errors);
    for file in files.iter().filter(|file| !is_key(&file.key)) {
        errors.push(wrong("FILE_MAPPINGS", format!("`{}` is no key of a ConfigMap", file.key)));
    }
    check(errors)?;
    let workspace = env.workspace();
    let source = Path::new(env.get_or("CONFIGMAP_PATH", "/configmap-files"));
    let mut problems = Vec::new();
    let mut copied = 0;
    let mut note = |from: &Path, result: Result<usize, InitError>| match result {
        Ok(count) => copied += count,
        Err(error) => problems.push(format!("`{}`: {error}", from.display())),
    };
    for file in &files {
        let from = source.join(&file.key);
        // No set-user-id, no sticky bit: only who may read, write and execute.
        let mode = file.file_mode.map_or(FILE, |mode| mode & 0o777);
        note(&from, open_parent(workspace, &file.target_path).and_then(|(directory, name)| copy(&from, &directory, &name, mode)));
    }
    for directory in &directories {
        let from = &directory.source_path;
        let result = open_parent(workspace, &directory.target_path.join("x")).and_then(|(to, _)| copy_all(from, &to, DEEPEST));
        note(from, result);
    }
    if problems.is_empty() { Ok(format!("{copied} files copied")) } else { Err(InitError::Context(problems)) }
}

/// One name, as a key is.
fn is_key(key: &str) -> bool {
    let mut parts = Path::new(key).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

/// The kubelet's files are links to where they really are, so links are followed here.
fn copy(from: &Path, directory: &Directory, name: &Path, mode: u32) -> Result<usize, InitError> {
    let content = read_input_file(from).map_err(|source| InitError::Io { doing: "cannot be read".to_owned(), source })?;
    directory.write(name, &content, mode)?;
    Ok(1)
}

fn copy_all(from: &Path, to: &Directory, deepest: usize) -> Result<usize, InitError> {
    let read = |source| InitError::Io { doing: format!("cannot read `{}`", from.display()), source };
    if deepest == 0 {
        return Err(read(std::io::Error::other("directories in directories without end")));
    }
    let mut copied = 0;
    for entry in fs::read_dir(from).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        // `..data` and its like are how the kubelet exchanges all files at once.
        if name.as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        let (path, name) = (from.join(&name), PathBuf::from(name));
        copied += if path.is_dir() {
            copy_all(&path, &to.descend_or_make(&name, DIRECTORY)?, deepest - 1)?
        } else {
            copy(&path, to, &name, FILE)?
        };
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_name() {
        for (key, is) in [("workspace-task.md", true), ("..data", true), ("", false), ("..", false), ("a/b", false), ("/etc", false)] {
            assert_eq!(is_key(key), is, "{key}");
        }
    }
}
