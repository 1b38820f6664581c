//! `result.json`: the whole outcome, and its digest for the termination message.

use std::path::{Path, PathBuf};

use agent_sdk::outcome::Outcome;
use agent_sdk::termination::WholeAt;
use sha2::{Digest, Sha256};

use super::SinkError;
use super::place::write_file;

/// The result file of a run.
#[derive(Debug, Clone)]
pub struct ResultFile {
    path: PathBuf,
}

impl ResultFile {
    /// The file at `path`; its directory must exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the outcome, one reader sees whole or not at all, and says where it stands.
    ///
    /// # Errors
    /// Something else stands there, or it cannot be written.
    pub fn write(&self, outcome: &Outcome) -> Result<WholeAt, SinkError> {
        let mut bytes = serde_json::to_vec_pretty(outcome)?;
        bytes.push(b'\n');
        write_file(&self.path, &bytes)?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(WholeAt { path: self.path.to_string_lossy().into_owned(), sha256 })
    }
}
