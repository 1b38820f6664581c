//! How far a run has come, as `N/M` in a file: the phases that are behind it, of all.

use std::path::PathBuf;

use agent_sdk::verdict::Phase;

use super::SinkError;
use super::place::write_file;

/// The phases in order; the last is the end.
const PHASES: &[Phase] = &[Phase::Inputs, Phase::Workspace, Phase::Configure, Phase::Setup, Phase::Agent, Phase::Collect, Phase::Done];

/// The file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressFile {
    path: PathBuf,
}

impl ProgressFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Writes that the run is in this phase.
    ///
    /// # Errors
    /// What stands there is no regular file, or cannot be written.
    pub fn write(&self, phase: Phase) -> Result<(), SinkError> {
        write_file(&self.path, text(phase).as_bytes())
    }
}

fn text(phase: Phase) -> String {
    let behind = PHASES.iter().take_while(|other| **other < phase).count();
    format!("{behind}/{}\n", PHASES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_is_further_than_the_one_before_and_the_last_is_all() {
        let texts: Vec<String> = PHASES.iter().map(|phase| text(*phase)).collect();
        assert_eq!(texts, ["0/6\n", "1/6\n", "2/6\n", "3/6\n", "4/6\n", "5/6\n", "6/6\n"]);
    }

    #[test]
    fn the_file_is_made_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = ProgressFile::new(dir.path().join("progress"));
        for (phase, text) in [(Phase::Agent, "4/6\n"), (Phase::Done, "6/6\n")] {
            file.write(phase).unwrap();
            assert_eq!(std::fs::read_to_string(dir.path().join("progress")).unwrap(), text);
        }
    }
}
