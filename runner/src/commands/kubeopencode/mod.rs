//! `agent-runner kubeopencode COMMAND`: stands in for the commands of KubeOpenCode's init containers, which call their binary
//! `/kubeopencode COMMAND`: the same variables, the same effect.
//!
//! What is made here belongs to the pod: files that the user and the group may write, so that another container of the same group
//! (`fsGroup`, OpenShift's group 0) can, and nobody else. An error ends the init container, and stands in its termination message.

mod context_init;
mod git_init;
mod plugin_init;
mod url_fetch;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use agent_sdk::outcome::Outcome;
use agent_sdk::task::Sinks;
use agent_sdk::termination::fit;
use agent_sdk::verdict::{Origin, Phase, Reason};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};

use crate::cli::KubeOpenCodeCommand;
use crate::dialects::kubeopencode::{DEFAULT_WORKSPACE, WORKSPACE};
use crate::files::{Directory, FileError};
use crate::init::RunnerSide;
use crate::inputs::{InputError, InputErrors};
use crate::run::report::say;
use crate::sinks::TerminationFile;
use crate::workspace::WorkspaceError;

/// What the group may do that others may not: write.
const UMASK: Mode = Mode::S_IWOTH;
/// Which permissions directories get that are made on the way to a file.
const DIRECTORY: u32 = 0o775;

/// Why an init container ends without having done what it was for.
#[derive(Debug, thiserror::Error)]
enum InitError {
    /// Variables are missing or wrong.
    #[error(transparent)]
    Inputs(#[from] InputErrors),
    /// The clone.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A file could not be put where it belongs.
    #[error("{}{}", .0, cause(.0))]
    File(#[from] FileError),
    /// Files of the context could not be copied, each named.
    #[error("{} parts of the context could not be copied:{}", .0.len(), lines(.0))]
    Context(Vec<String>),
    /// Files of the runner's own.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// The server answered, but not with the content.
    #[error("`{url}` answered with HTTP {status}")]
    Answered {
        /// The URL without credentials and query.
        url: String,
        /// The answer.
        status: u16,
    },
    /// npm failed.
    #[error("`npm install` ended with code {0}")]
    Npm(u8),
    /// npm is not there.
    #[error("`npm` does not start: {0}")]
    NoNpm(io::Error),
}

fn cause(error: &FileError) -> String {
    std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default()
}

fn lines(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

impl InitError {
    fn reason(&self) -> Reason {
        match self {
            Self::Inputs(_) => Reason::InvalidTask,
            Self::Workspace(error) => error.reason(),
            Self::File(_) | Self::Context(_) | Self::Io { .. } => Reason::WorkspaceConflict,
            Self::Answered { status: 408 | 429 | 500.., .. } => Reason::NetworkFailed,
            Self::Answered { .. } | Self::Npm(_) | Self::NoNpm(_) => Reason::SetupFailed,
        }
    }

    /// The failed program's own code, or the nearest of ours.
    fn own_code(&self) -> Option<u8> {
        match self {
            Self::Answered { status: 401 | 403 | 407, .. } => Some(77),
            Self::Answered { status: 404 | 410, .. } => Some(66),
            Self::Npm(code) => Some(*code),
            Self::NoNpm(_) => Some(127),
            _ => None,
        }
    }

    fn hint(&self) -> &str {
        match self {
            Self::Inputs(_) => "",
            Self::Workspace(error) => error.hint(),
            Self::File(_) | Self::Context(_) => {
                "the target must be in a volume that this container may write, with no link on the way to it"
            }
            Self::Io { .. } => "mount a writable /tmp",
            Self::Answered { .. } => "check URL_SOURCE and the Secret with its credentials",
            Self::Npm(_) => "npm's own output says why; PLUGIN_PACKAGES holds npm's specifiers",
            Self::NoNpm(_) => "plugins are installed by npm: use an image for this init container that has it",
        }
    }
}

/// Runs the command; its code is the init container's.
#[must_use]
pub fn run(side: RunnerSide, command: KubeOpenCodeCommand) -> u8 {
    // Nothing is to be done in order when the pod is ended: what is half done goes with it.
    drop(side);
    // Fails only for a wrong argument, which this is not.
    let _ = SigSet::empty().thread_set_mask();
    umask(UMASK);
    let env: BTreeMap<String, String> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let env = Variables(env);
    let (phase, done) = match command {
        KubeOpenCodeCommand::GitInit => (Phase::Workspace, git_init::run(&env)),
        KubeOpenCodeCommand::ContextInit => (Phase::Setup, context_init::run(&env)),
        KubeOpenCodeCommand::UrlFetch => (Phase::Setup, url_fetch::run(&env)),
        KubeOpenCodeCommand::PluginInit => (Phase::Setup, plugin_init::run(&env)),
    };
    match done {
        Ok(done) => {
            tracing::info!("{done}");
            0
        }
        Err(error) => report(phase, &error),
    }
}

/// In the log, and where `kubectl describe` shows it.
fn report(phase: Phase, error: &InitError) -> u8 {
    let mut outcome = Outcome::new(crate::VERSION, phase, Origin::Runner, error.reason(), error.to_string());
    outcome.exit_code = error.reason().code_rule().exit_code(error.own_code(), None);
    if !error.hint().is_empty() {
        outcome.hint = Some(error.hint().to_owned());
    }
    say(&outcome);
    let sinks = Sinks::default();
    let path = std::env::var_os("AGENT_TERMINATION_LOG").map_or(sinks.termination_log, PathBuf::from);
    let message = fit(&outcome, sinks.termination_budget as usize, None);
    if let Err(error) = TerminationFile::new(path).write_last(message.as_bytes()) {
        tracing::warn!("{}", error.warning());
    }
    outcome.exit_code
}

/// The variables of an init container; an empty one counts as unset, since the controller templates them so.
struct Variables(BTreeMap<String, String>);

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn get_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.get(name).unwrap_or(default)
    }

    fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1"))
    }

    fn workspace(&self) -> &Path {
        Path::new(self.get_or(WORKSPACE, DEFAULT_WORKSPACE))
    }

    /// A variable that must be there.
    fn require(&self, name: &'static str, errors: &mut Vec<InputError>) -> String {
        if self.get(name).is_none() {
            errors.push(wrong(name, "expected a value, got nothing"));
        }
        self.get_or(name, "").to_owned()
    }

    /// JSON in a variable; nothing where it is unset.
    fn json<T: serde::de::DeserializeOwned + Default>(&self, name: &'static str, errors: &mut Vec<InputError>) -> T {
        let Some(text) = self.get(name) else { return T::default() };
        serde_json::from_str(text).unwrap_or_else(|error| {
            // The words of the error quote no values but those of a wrong type, which no secret is.
            errors.push(wrong(name, format!("expected JSON of its form: {error}")));
            T::default()
        })
    }
}

fn wrong(source: &str, problem: impl Into<String>) -> InputError {
    InputError { source: source.to_owned(), problem: problem.into(), hint: None }
}

fn check(errors: Vec<InputError>) -> Result<(), InitError> {
    if errors.is_empty() { Ok(()) } else { Err(InputErrors::from(errors).into()) }
}

/// The directory that a target is to be in, made if it is missing, and the target's name.
///
/// What the repository brought into the workspace may be a link: it is not followed.
fn open_parent(workspace: &Path, target: &Path) -> Result<(Directory, PathBuf), InitError> {
    let target = if target.is_absolute() { target.to_owned() } else { workspace.join(target) };
    let name = target.file_name().map(PathBuf::from).ok_or_else(|| FileError::Outside { path: target.clone() })?;
    let parent = target.parent().unwrap_or(Path::new("/"));
    let directory = match parent.strip_prefix(workspace) {
        Ok(below) => open_or_make(workspace)?.descend_or_make(below, DIRECTORY)?,
        Err(_) => Directory::open(Path::new("/"))?.descend_or_make(parent.strip_prefix("/").unwrap_or(parent), DIRECTORY)?,
    };
    Ok((directory, name))
}

/// A directory that the platform named.
fn open_or_make(path: &Path) -> Result<Directory, InitError> {
    std::fs::create_dir_all(path).map_err(|source| InitError::Io { doing: format!("cannot make `{}`", path.display()), source })?;
    Ok(Directory::open(path)?)
}
