//! `agent-runner emit KEY VALUE`: how a script or an agent says a result.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use agent_sdk::marker::{MAX_VALUE, Nonce, block};
use agent_sdk::results::{ClaimError, Results};

use super::claims::MAX_VALUE as MAX_FILE_VALUE;
use super::{ResultsDir, SinkError};

/// The places where a result can be said, as the runner put them into the environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmitTo<'a> {
    /// `AGENT_NONCE`: a marker block with it counts.
    pub nonce: Option<&'a str>,
    /// `AGENT_RESULTS_DIR`: a file in it counts.
    pub results_dir: Option<&'a Path>,
}

/// Where it was said.
#[derive(Debug, Default)]
pub struct Emitted {
    /// In a marker block on stdout.
    pub marker: bool,
    /// In this file.
    pub file: Option<PathBuf>,
    /// Why not in the other place, if there is one.
    pub warning: Option<String>,
}

/// Why a result could not be said.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The key is none, or not for claims.
    #[error(transparent)]
    Key(#[from] ClaimError),
    /// Nothing in the environment says where to.
    #[error("neither `AGENT_NONCE` nor `AGENT_RESULTS_DIR` is set")]
    NotInARun,
    /// The nonce is not one.
    #[error("`AGENT_NONCE` is not a word of 16 to 64 letters and digits")]
    BadNonce,
    /// The value is longer than what is taken.
    #[error("the value has {bytes} bytes, more than the {limit} that are taken")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit of the places that are there.
        limit: usize,
    },
    /// Stdout could not be written.
    #[error("failed to write the marker block to stdout: {0}")]
    Stdout(#[source] io::Error),
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] SinkError),
}

impl EmitError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Key(ClaimError::BadKey(_)) => "for instance `agent-runner emit summary \"all tests pass\"`",
            Self::Key(ClaimError::FactKey(_)) => "use another key; facts are found by the runner itself",
            Self::NotInARun => "call this from within a run of agent-runner; it sets AGENT_NONCE for the agent and for the setup command",
            Self::BadNonce => "leave AGENT_NONCE as the runner set it",
            Self::TooLong { .. } => "emit a summary, and put the whole into a file on a volume",
            Self::Stdout(_) => {
                "stdout must lead to the runner; where the agent captures it, a results directory is the way (AGENT_RESULTS_DIR)"
            }
            Self::File(error) => error.hint(),
        }
    }
}

/// Says a result in every place that there is. One place is enough; that another failed is a warning.
///
/// # Errors
/// The key or the value cannot be a claim, or no place could be written.
pub fn emit(key: &str, value: &str, to: EmitTo<'_>, stdout: &mut dyn Write) -> Result<Emitted, EmitError> {
    Results::default().claim(key, value)?;
    let nonce = match to.nonce.filter(|word| !word.is_empty()) {
        None => None,
        Some(word) => Some(Nonce::parse(word).ok_or(EmitError::BadNonce)?),
    };
    let results_dir = to.results_dir.filter(|path| !path.as_os_str().is_empty());
    let file_limit = usize::try_from(MAX_FILE_VALUE).unwrap_or(usize::MAX);
    let limit = match (results_dir, &nonce) {
        (Some(_), _) => file_limit,
        (None, Some(_)) => MAX_VALUE,
        (None, None) => return Err(EmitError::NotInARun),
    };
    if value.len() > limit {
        return Err(EmitError::TooLong { bytes: value.len(), limit });
    }

    let mut emitted = Emitted::default();
    let mut failure: Option<EmitError> = None;
    if let Some(path) = results_dir {
        match ResultsDir::write_one(path, key, value) {
            Ok(file) => emitted.file = Some(file),
            Err(error) => failure = Some(error.into()),
        }
    }
    // A value that is too long for a line is in the file.
    if let Some(nonce) = nonce.filter(|_| value.len() <= MAX_VALUE) {
        let text = block(&nonce, [(key, value)]);
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => emitted.marker = true,
            Err(error) => failure = Some(EmitError::Stdout(error)),
        }
    }
    match failure {
        Some(error) if !emitted.marker && emitted.file.is_none() => Err(error),
        failure => {
            emitted.warning = failure.map(|error| error.to_string());
            Ok(emitted)
        }
    }
}
