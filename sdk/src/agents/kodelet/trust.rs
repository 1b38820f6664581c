//! Which of a repository's files configure Kodelet.
//!
//! A repository's `kodelet-config.yaml` is merged over the user's: it names base URLs, and the variable that holds the key. So it is never
//! loaded, at no level of trust: `KODELET_CONFIG_FILE` names the user's own file as the only one. Extensions and plugins of the repository
//! start as programs, and inherit the key, which Kodelet takes by its environment only.

use crate::agent::{RepositoryPath, RepositoryPower, Surroundings};

use RepositoryPower::{Executes, Instructs};

/// The file of a repository that is never loaded.
const CONFIG: &str = "kodelet-config.yaml";

/// The files of a repository that Kodelet reads as configuration.
pub(super) const REPOSITORY_CONFIG: &[RepositoryPath] = &[
    RepositoryPath { path: CONFIG, power: Executes },
    RepositoryPath { path: ".kodelet/extensions", power: Executes },
    RepositoryPath { path: ".kodelet/hooks", power: Executes },
    RepositoryPath { path: ".kodelet/plugins", power: Executes },
    RepositoryPath { path: "mcp.json", power: Executes },
    RepositoryPath { path: ".kodelet/recipes", power: Instructs },
    RepositoryPath { path: ".kodelet/skills", power: Instructs },
    RepositoryPath { path: "recipes", power: Instructs },
    RepositoryPath { path: "AGENTS.md", power: Instructs },
];

/// What the user is to know.
pub(super) fn warnings(surroundings: &Surroundings, keys: &[&str]) -> Vec<String> {
    let mut warnings = Vec::new();
    let found = |wanted: &dyn Fn(&RepositoryPath) -> bool| {
        let mut files = surroundings.repository_files.keys();
        files.find(|path| REPOSITORY_CONFIG.iter().any(|config| wanted(config) && path.ends_with(config.path))).cloned()
    };
    if let Some(path) = found(&|config| config.path == CONFIG) {
        warnings.push(format!("`{}` does not count: it could send Kodelet's requests, and the key, elsewhere", path.display()));
    }
    let key = keys.iter().find(|key| surroundings.env.get(**key).is_some_and(|value| !value.is_empty()));
    if let (Some(path), Some(key)) = (found(&|config| config.power == Executes && config.path != CONFIG), key) {
        let path = path.display();
        warnings.push(format!(
            "what `{path}` starts inherits `{key}`, which Kodelet takes by its environment only; `trust: instructions` leaves it out"
        ));
    }
    warnings
}
