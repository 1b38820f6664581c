//! Failures before and around the agent: each with its phase, reason, origin, and what to do.

use std::fmt;

use agent_sdk::agent::PlanError;
use agent_sdk::task::Span;
use agent_sdk::verdict::{Origin, Phase, Reason};

use super::place::PlaceError;
use crate::agents::AgentError;
use crate::configure::ConfigureError;
use crate::inputs::InputErrors;
use crate::inputs::settings::settings_of_path;
use crate::process::LaunchError;
use crate::workspace::WorkspaceError;

/// Why a run ended without a verdict on an agent.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line could not be read.
    #[error("{0}")]
    Usage(String),
    /// The inputs are wrong.
    #[error(transparent)]
    Inputs(#[from] InputErrors),
    /// The platform speaks another version of the interface.
    #[error("the platform speaks interface version `{asked}`, this runner speaks `{spoken}`")]
    Version {
        /// What was asked for.
        asked: String,
        /// What we speak.
        spoken: &'static str,
    },
    /// No agent of that name, or its manifest is wrong.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// No private place for the run.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The agent cannot take what the task asks for.
    #[error("the agent cannot take what the task asks for:{}", Lines(.0))]
    Plan(Vec<PlanError>),
    /// Its configuration could not be written.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// The setup command did not start.
    #[error("the setup command does not start: {0}")]
    SetupLaunch(#[source] LaunchError),
    /// The setup command failed.
    #[error("the setup command `{program}` ended with code {code}")]
    Setup {
        /// Its program.
        program: String,
        /// Its code.
        code: u8,
    },
    /// The agent did not start.
    #[error("the agent does not start: {error}")]
    Launch {
        /// Why.
        error: LaunchError,
        /// Whether the user named the program (`exec`), so that a shell's codes 126 and 127 are what they expect.
        by_hand: bool,
    },
    /// A signal came before the agent was started.
    #[error("ended by signal {0}")]
    Cancelled(i32),
    /// The whole task's time was over before the agent was started.
    #[error("the task took longer than {0}")]
    Deadline(Span),
    /// There can be no second process.
    #[error("{0}")]
    NoRunner(String),
    /// Memory ran out, or a fault of ours.
    #[error("{0}")]
    Fault(String),
}

struct Lines<'a>(&'a [PlanError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|error| {
            write!(f, "\n  {error}")?;
            // The field's variable or the document may have said it.
            settings_of_path(&error.field).next().map_or(Ok(()), |setting| write!(f, " ({})", setting.variable))
        })
    }
}

impl Failure {
    /// The reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Usage(_) => Reason::UsageError,
            Self::Inputs(_) | Self::Agent(AgentError::Unknown { .. }) | Self::Plan(_) => Reason::InvalidTask,
            // The image promises an agent that it does not have.
            Self::Agent(AgentError::Unreadable { .. } | AgentError::Misnamed { .. } | AgentError::Wrong { .. }) => Reason::AgentNotFound,
            Self::Version { .. } => Reason::UnsupportedVersion,
            Self::Place(_) | Self::Configure(_) => Reason::ConfigurationFailed,
            Self::Workspace(error) => error.reason(),
            // The machine's want, not the image's: a retry may find room.
            Self::NoRunner(_)
            | Self::SetupLaunch(LaunchError::NoProcess { .. } | LaunchError::Pipes { .. })
            | Self::Launch { error: LaunchError::NoProcess { .. } | LaunchError::Pipes { .. }, .. } => Reason::RunnerFault,
            Self::SetupLaunch(_) | Self::Setup { .. } => Reason::SetupFailed,
            Self::Launch { .. } => Reason::AgentNotFound,
            Self::Cancelled(_) => Reason::Cancelled,
            Self::Deadline(_) => Reason::DeadlineExceeded,
            Self::Fault(_) => Reason::RunnerFault,
        }
    }

    /// The phase in which it shows, where that does not depend on when it came.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::Usage(_) | Self::Inputs(_) | Self::Version { .. } | Self::Agent(_) => Some(Phase::Inputs),
            Self::Workspace(_) => Some(Phase::Workspace),
            Self::Place(_) | Self::Plan(_) | Self::Configure(_) => Some(Phase::Configure),
            Self::SetupLaunch(_) | Self::Setup { .. } => Some(Phase::Setup),
            Self::Launch { .. } => Some(Phase::Agent),
            Self::Cancelled(_) | Self::Deadline(_) | Self::NoRunner(_) | Self::Fault(_) => None,
        }
    }

    /// Whose doing.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::Cancelled(_) => Origin::Signal,
            _ => Origin::Runner,
        }
    }

    /// The failed program's own code, or the one that a shell gives for it.
    #[must_use]
    pub fn own_code(&self) -> Option<u8> {
        match self {
            Self::Setup { code, .. } => Some(*code),
            Self::SetupLaunch(error) | Self::Launch { error, .. } => Some(error.code()),
            _ => None,
        }
    }

    /// The runner's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Launch { error, by_hand: true } => error.code(),
            Self::Cancelled(signal) => Reason::Cancelled.code_rule().exit_code(None, Some(*signal)),
            _ => self.reason().code_rule().exit_code(self.own_code(), None),
        }
    }

    /// What to do, where this one knows more than its reason.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Workspace(error) => Some(error.hint().to_owned()),
            Self::Configure(error) => Some(error.hint().to_owned()),
            Self::Agent(error) => Some(error.hint()),
            Self::Place(PlaceError::NotWritable { .. }) => {
                Some("mount an emptyDir volume at /tmp, or set TMPDIR to a directory that can be written".to_owned())
            }
            Self::SetupLaunch(error) | Self::Launch { error, .. } => Some(error.hint()),
            Self::Plan(errors) => errors.first().map(|error| error.hint.clone()),
            Self::NoRunner(_) => Some("raise the limit of processes (`pids` of the container, `ulimit -u`)".to_owned()),
            _ => None,
        }
        .filter(|hint| !hint.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_for_whom_there_is_no_process_now_may_start_later() {
        let source = || std::io::Error::from_raw_os_error(nix::libc::EAGAIN);
        let errors = [
            LaunchError::NoProcess { program: "agent".into(), source: source() },
            LaunchError::Pipes { program: "agent".into(), source: source() },
        ];
        let setup = LaunchError::NoProcess { program: "setup".into(), source: source() };
        let of_agent = errors.into_iter().map(|error| Failure::Launch { error, by_hand: false });
        for failure in of_agent.chain([Failure::SetupLaunch(setup)]) {
            assert_eq!((failure.reason(), failure.exit_code()), (Reason::RunnerFault, 70));
            assert!(failure.reason().retry() && failure.hint().is_some_and(|hint| hint.contains("limit")));
        }
    }
}
