//! Reads what of the repository configures an agent, so that the agent's plan can decide what of it counts.
//!
//! Looked at after `trust` was applied, without following links: what is reached by one is reported as something else, and the
//! plan treats it as unsafe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agent_sdk::agent::{REPOSITORY_FILE_LIMIT, RepositoryFile, RepositoryPath};

use crate::files::{Directory, FileError, Kind};

/// The files and directories of `paths` that are there, in the work tree's root and in every directory from there down to
/// `subdirectory`; by their path relative to the work tree.
///
/// # Errors
/// The work tree itself cannot be read.
pub fn read_repository_files(
    work_tree: &Path,
    subdirectory: &Path,
    paths: &[RepositoryPath],
) -> Result<BTreeMap<PathBuf, RepositoryFile>, FileError> {
    let root = Directory::open(work_tree)?;
    let mut found = BTreeMap::new();
    let mut directory = PathBuf::new();
    let mut components = subdirectory.components();
    // Most of an agent's files are in one directory, and most repositories have none.
    let mut parents = BTreeMap::new();
    loop {
        for path in paths {
            let path = directory.join(path.path);
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let parent = parents.entry(parent.to_owned()).or_insert_with(|| root.descend(parent));
            if let Some(file) = read_one(parent, Path::new(name)) {
                found.insert(path, file);
            }
        }
        match components.next() {
            Some(component) => directory.push(component),
            None => return Ok(found),
        }
    }
}

fn read_one(parent: &Result<Directory, FileError>, name: &Path) -> Option<RepositoryFile> {
    let parent = match parent {
        Ok(parent) => parent,
        Err(error) if error.is_missing() => return None,
        // A directory that is a link, for instance: whatever is behind it counts as being there, and as not looked at.
        Err(_) => return Some(RepositoryFile::Other),
    };
    match parent.kind_of(name) {
        Ok(None) => None,
        Ok(Some(Kind::Directory)) => Some(RepositoryFile::Directory),
        Ok(Some(Kind::File)) => match parent.read(name, REPOSITORY_FILE_LIMIT) {
            Ok(None) => None,
            Ok(Some((content, _))) => Some(RepositoryFile::File(content)),
            Err(_) => Some(RepositoryFile::Other),
        },
        Ok(Some(Kind::Link | Kind::Other)) | Err(_) => Some(RepositoryFile::Other),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use agent_sdk::agent::RepositoryPower;

    use super::*;

    #[test]
    fn reads_what_is_there_in_each_directory_and_follows_no_link() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join(path);
        std::fs::create_dir_all(at("sub/deep/.claude/skills")).unwrap();
        std::fs::write(at("sub/deep/.claude/settings.json"), "{}").unwrap();
        std::fs::write(at("AGENTS.md"), "be kind").unwrap();
        symlink("/etc/passwd", at("sub/AGENTS.md")).unwrap();
        symlink("/etc", at("sub/.claude")).unwrap();
        let paths =
            [".claude/settings.json", ".claude/skills", "AGENTS.md"].map(|path| RepositoryPath { path, power: RepositoryPower::Executes });
        let found = read_repository_files(tree.path(), Path::new("sub/deep"), &paths).unwrap();
        let expected: BTreeMap<PathBuf, RepositoryFile> = [
            ("AGENTS.md", RepositoryFile::File(b"be kind".to_vec())),
            ("sub/AGENTS.md", RepositoryFile::Other),
            ("sub/.claude/settings.json", RepositoryFile::Other),
            ("sub/.claude/skills", RepositoryFile::Other),
            ("sub/deep/.claude/settings.json", RepositoryFile::File(b"{}".to_vec())),
            ("sub/deep/.claude/skills", RepositoryFile::Directory),
        ]
        .map(|(path, file)| (path.into(), file))
        .into();
        assert_eq!(found, expected);
    }
}
