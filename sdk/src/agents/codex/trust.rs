//! What of a repository's own configuration reaches Codex.
//!
//! # What was tried, with 0.169.0, 0.158.0 and 0.148.0
//! - A project is trusted, untrusted, or neither. 0.169.0 takes the last for untrusted. 0.158.0 and 0.148.0 take it for *trusted* when
//!   they run without a sandbox, and write that into the user's `config.toml`, where every later version finds it. So the level is
//!   always said.
//! - A trusted project's `.codex/config.toml` starts its MCP servers, sets the effort, the instructions, and the policy for the variables
//!   of the shell. Provider, endpoint and `notify` it cannot set, in none of the versions; hooks start only once a person has approved
//!   them.
//! - An untrusted project's `.codex/config.toml`, sub-agents and hooks are left alone, whatever the user's `config.toml` says of it. Its
//!   skills are offered. Its `AGENTS.md` is read by 0.148.0, and not by the newer ones.
//! - Levels are looked up by the real path of the repository's root: a link to it is another path.
//!
//! # What follows
//! A project is trusted under `trust: repository` only. Otherwise Codex is told not to read the project's `AGENTS.md` at all, and they
//! are handed over with the task's instructions, so that every version does the same.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::agent::{PlanError, RepositoryFile, RepositoryPath, RepositoryPower, Surroundings};
use crate::task::Trust;

use RepositoryPower::{Executes, Instructs};

/// The files of a repository that Codex, or a program that it always starts, reads as configuration.
pub(super) const REPOSITORY_CONFIG: &[RepositoryPath] = &[
    RepositoryPath { path: ".codex/config.toml", power: Executes },
    RepositoryPath { path: ".codex/hooks.json", power: Executes },
    RepositoryPath { path: ".codex/hooks", power: Executes },
    RepositoryPath { path: ".codex/rules", power: Executes },
    RepositoryPath { path: ".codex/agents", power: Executes },
    RepositoryPath { path: ".codex/skills", power: Instructs },
    RepositoryPath { path: ".codex/prompts", power: Instructs },
    RepositoryPath { path: ".agents/skills", power: Instructs },
    RepositoryPath { path: "AGENTS.md", power: Instructs },
    RepositoryPath { path: "AGENTS.override.md", power: Instructs },
    RepositoryPath { path: ".gitmodules", power: Executes },
    RepositoryPath { path: ".husky", power: Executes },
];

/// In one directory the first of these counts.
const INSTRUCTION_FILES: [&str; 2] = ["AGENTS.override.md", "AGENTS.md"];

/// Whether the project's configuration counts.
pub(super) fn is_trusted(trust: Trust) -> bool {
    trust == Trust::Repository
}

/// The level of every path by which Codex may look for the project.
pub(super) fn levels(trust: Trust, surroundings: &Surroundings) -> Result<Value, PlanError> {
    let level = if is_trusted(trust) { "trusted" } else { "untrusted" };
    let mut levels = serde_json::Map::new();
    for path in [&surroundings.work_tree, &surroundings.workdir] {
        let Some(path) = path.to_str() else {
            return Err(PlanError {
                field: "workspace.dir".into(),
                problem: format!("`{}` is no UTF-8, so that Codex cannot be told how far to trust it", path.display()),
                hint: "work in a directory with a plain name".into(),
            });
        };
        levels.insert(path.to_owned(), json!({"trust_level": level}));
    }
    Ok(Value::Object(levels))
}

/// The texts of the project's instruction files, from the root to the directory in which Codex is started.
pub(super) fn instructions(surroundings: &Surroundings) -> Vec<(PathBuf, String)> {
    let below = surroundings.workdir.strip_prefix(&surroundings.work_tree).unwrap_or(Path::new(""));
    let mut directories = vec![Path::new("")];
    if !below.as_os_str().is_empty() {
        directories.push(below);
    }
    let first = |directory: &&Path| INSTRUCTION_FILES.iter().find_map(|name| read(surroundings, directory.join(name)));
    directories.iter().filter_map(first).collect()
}

fn read(surroundings: &Surroundings, path: PathBuf) -> Option<(PathBuf, String)> {
    match surroundings.repository_files.get(&path)? {
        RepositoryFile::File(content) => Some((path, String::from_utf8_lossy(content).into_owned())),
        RepositoryFile::Directory | RepositoryFile::Other => None,
    }
}

/// The directories between the root and the one in which Codex is started: what they hold is not known here.
pub(super) fn has_directories_between(surroundings: &Surroundings) -> bool {
    surroundings.workdir.strip_prefix(&surroundings.work_tree).is_ok_and(|below| below.components().count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(files: &[(&str, &str)]) -> Surroundings {
        Surroundings {
            work_tree: "/w".into(),
            workdir: "/w/sub".into(),
            repository_files: files
                .iter()
                .map(|(path, text)| (PathBuf::from(path), RepositoryFile::File(text.as_bytes().to_vec())))
                .collect(),
            ..Surroundings::default()
        }
    }

    #[test]
    fn the_level_is_always_said() {
        for (trust, wanted) in [(Trust::Repository, "trusted"), (Trust::Base, "untrusted"), (Trust::Instructions, "untrusted")] {
            let levels = levels(trust, &surroundings(&[])).unwrap();
            assert_eq!(levels, json!({"/w": {"trust_level": wanted}, "/w/sub": {"trust_level": wanted}}));
        }
    }

    #[test]
    fn an_override_takes_the_place_of_its_neighbour_and_the_root_comes_first() {
        let held =
            surroundings(&[("AGENTS.md", "root"), ("sub/AGENTS.md", "no"), ("sub/AGENTS.override.md", "yes"), ("other/AGENTS.md", "x")]);
        let texts: Vec<String> = instructions(&held).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["root", "yes"]);
    }
}
