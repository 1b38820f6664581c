//! Which of a repository's files configure Cursor's CLI.
//!
//! Where its requests go is said by variables and flags only (`CURSOR_API_ENDPOINT`, `--endpoint`), which no file of a repository sets. Its
//! hooks and MCP servers start as the repository says, and inherit the key: it can be given to the CLI by its environment only. So under
//! `trust: base` the user is told of them.

use crate::agent::{RepositoryPath, RepositoryPower, Surroundings};

use RepositoryPower::{Executes, Instructs};

/// The files of a repository that Cursor's CLI reads as configuration, and those of other agents that it reads too.
pub(super) const REPOSITORY_CONFIG: &[RepositoryPath] = &[
    RepositoryPath { path: ".cursor/agents", power: Executes },
    RepositoryPath { path: ".cursor/cli.json", power: Executes },
    RepositoryPath { path: ".cursor/commands", power: Executes },
    RepositoryPath { path: ".cursor/environment.json", power: Executes },
    RepositoryPath { path: ".cursor/hooks", power: Executes },
    RepositoryPath { path: ".cursor/hooks.json", power: Executes },
    RepositoryPath { path: ".cursor/mcp.json", power: Executes },
    RepositoryPath { path: ".cursor/sandbox.json", power: Executes },
    RepositoryPath { path: ".cursor/worktrees.json", power: Executes },
    RepositoryPath { path: ".cursor-plugin", power: Executes },
    RepositoryPath { path: ".claude/agents", power: Executes },
    RepositoryPath { path: ".claude/settings.json", power: Executes },
    RepositoryPath { path: ".claude/settings.local.json", power: Executes },
    RepositoryPath { path: ".codex/agents", power: Executes },
    RepositoryPath { path: ".cursor/rules", power: Instructs },
    RepositoryPath { path: ".cursor/skills", power: Instructs },
    RepositoryPath { path: ".agents/skills", power: Instructs },
    RepositoryPath { path: ".claude/skills", power: Instructs },
    RepositoryPath { path: ".codex/skills", power: Instructs },
    RepositoryPath { path: ".cursorrules", power: Instructs },
    RepositoryPath { path: "AGENTS.md", power: Instructs },
    RepositoryPath { path: "CLAUDE.md", power: Instructs },
];

/// What the user is to know where programs of the repository would inherit the key.
pub(super) fn warning(surroundings: &Surroundings) -> Option<String> {
    let executes = |path: &std::path::Path| REPOSITORY_CONFIG.iter().any(|config| config.power == Executes && path.ends_with(config.path));
    let found = surroundings.repository_files.keys().find(|path| executes(path))?;
    surroundings.env.get("CURSOR_API_KEY").filter(|key| !key.is_empty())?;
    let path = found.display();
    Some(format!(
        "what `{path}` starts inherits `CURSOR_API_KEY`, which Cursor takes by its environment only; `trust: instructions` leaves it out"
    ))
}
