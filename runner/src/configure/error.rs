//! What can go wrong while an agent is configured, one variant per thing that a user can mend.

use std::path::PathBuf;

use crate::files::FileError;

/// Why an agent could not be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// A path is not absolute, or names no file.
    #[error("`{path}` is no absolute path of a file")]
    BadPath {
        /// The path.
        path: PathBuf,
    },
    /// A file would be written into the repository's tree, where the agent's `git add -A` would commit it.
    #[error("`{path}` is within the repository's tree")]
    InsideRepository {
        /// The path.
        path: PathBuf,
    },
    /// A file that a section is to be put into is not text.
    #[error("`{path}` is not UTF-8: {problem}")]
    NotText {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file that fields are to be merged into is no JSON object, or no TOML document.
    #[error("`{path}` is no document that fields can be merged into: {problem}")]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        problem: String,
    },
    /// A directory to copy, or to look for plugins in, holds more than is reasonable.
    #[error("`{path}` holds more than {limit}")]
    TooMuch {
        /// The directory.
        path: PathBuf,
        /// What is reasonable, with its unit.
        limit: String,
    },
    /// The plugin directory does not exist, or is none.
    #[error("the plugin directory `{path}` cannot be read: {problem}")]
    PluginDirectory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A plugin has a name that cannot be used.
    #[error("`{path}` has a name that no agent takes for a plugin, a skill or a sub-agent")]
    BadName {
        /// Its directory or file.
        path: PathBuf,
    },
    /// A file could not be reached, read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ConfigureError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::BadPath { .. } => "set HOME and the agent's configuration directory to absolute paths",
            Self::InsideRepository { .. } => "point HOME and the agent's configuration directory outside of AGENT_WORKSPACE_DIR",
            Self::NotAnObject { .. } | Self::NotText { .. } => "mend or remove the file; it was left as it is",
            Self::TooMuch { .. } => "remove what does not belong there",
            Self::PluginDirectory { .. } => "check AGENT_PLUGIN_DIR",
            Self::BadName { .. } => "use letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
            Self::File(FileError::Link { .. }) => "put a real file or directory in the link's place, or point HOME at its target",
            Self::File(FileError::Outside { .. }) => "the path may not contain `..`",
            Self::File(FileError::NotA { .. } | FileError::TooLarge { .. }) => "remove what is in the way",
            Self::File(FileError::Io { .. }) => {
                "HOME and the agent's configuration directory must be writable by the user that the runner runs as"
            }
        }
    }
}
