//! Why a command could not be done, with its exit code and what helps.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::suite::baseline::BaselineError;
use crate::suite::engine::EngineError;
use crate::suite::evidence::store::StoreError;
use crate::suite::report::ReportError;
use crate::suite::selection::UnknownRequirement;
use crate::suite::selftest::good::GoodError;
use crate::suite::selftest::run::SelftestError;

/// Why a command could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A name of the command line is none.
    #[error(transparent)]
    Unknown(#[from] UnknownRequirement),
    /// Options that do not go together.
    #[error("{problem}")]
    Usage {
        /// What is wrong.
        problem: String,
        /// What helps.
        hint: &'static str,
    },
    /// The baseline.
    #[error("the baseline `{}` cannot be used", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: BaselineError,
    },
    /// A file.
    #[error("cannot {what} `{}`", path.display())]
    File {
        /// What was wanted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
        /// Whether it was the user's to give.
        given: bool,
    },
    /// The engine, or the image.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No engine was chosen, and none works.
    #[error("no engine works here: {0}")]
    NoEngine(String),
    /// The image cannot start the suite's program, which has to be its agent.
    #[error(
        "the image has none of the loaders ({loaders}) that this `agent-conformance` needs, which is linked dynamically; it puts itself in the agent's place"
    )]
    Dynamic {
        /// Where they would be.
        loaders: String,
    },
    /// Somebody ended the run. Its containers are gone, and nothing was judged.
    #[error("interrupted by {0}")]
    Interrupted(Signal),
    /// Evidence.
    #[error(transparent)]
    Evidence(#[from] StoreError),
    /// The selftest could show nothing.
    #[error(transparent)]
    Selftest(#[from] SelftestError),
    /// Good evidence, of the selftest.
    #[error(transparent)]
    Good(#[from] GoodError),
    /// A report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Standard output.
    #[error("cannot write to stdout")]
    Stdout(#[source] std::io::Error),
}

impl CommandError {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // As a shell has it for a program that died of the signal.
            Self::Interrupted(signal) => 128 + (*signal as i32).unsigned_abs() as u8,
            // Nothing was tried: these do not go together.
            Self::Engine(EngineError::Unfit { .. }) => 2,
            Self::Selftest(SelftestError::NothingSelected(_)) => 2,
            Self::Unknown(_) | Self::Usage { .. } | Self::Baseline { .. } | Self::File { given: true, .. } => 2,
            Self::File { given: false, .. }
            | Self::Engine(_)
            | Self::NoEngine(_)
            | Self::Dynamic { .. }
            | Self::Evidence(_)
            | Self::Selftest(_)
            | Self::Good(_)
            | Self::Report(_)
            | Self::Stdout(_) => 3,
        }
    }

    /// It as people read it: what and why in one line, and a hint below a blank one.
    #[must_use]
    pub fn said(&self) -> String {
        let mut text = format!("error: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        match self.hint() {
            Some(hint) => format!("{text}\n\nhint: {hint}"),
            None => text,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown(unknown) | Self::Baseline { source: BaselineError::Unknown(unknown), .. } => Some(did_you_mean(unknown)),
            Self::Baseline { .. } => Some("each entry is `[[known]]` with `id = \"…\"` and `reason = \"…\"`".to_owned()),
            Self::Dynamic { .. } => Some("the static one runs in any image: `make release` builds it".to_owned()),
            Self::Usage { hint, .. } => Some((*hint).to_owned()),
            Self::Engine(EngineError::Unusable { .. } | EngineError::Unfit { .. }) => {
                Some("`agent-conformance engines` says which engines work here".to_owned())
            }
            _ => None,
        }
    }
}

fn did_you_mean(unknown: &UnknownRequirement) -> String {
    match unknown.near.as_slice() {
        [] => "`agent-conformance list` has them all".to_owned(),
        near => format!(
            "did you mean {}? `agent-conformance list` has them all",
            near.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
        ),
    }
}
