//! Declared outputs: files in the work tree that the platform asked the agent to leave, read as claims.

use std::path::{Component, Path};

use agent_sdk::task::DeclaredOutput;

use super::SinkError;
use super::claims::{Claims, MAX_VALUE};
use super::place::Directory;

/// Reads each declared file, trimmed. The default stands in for a file that is missing or cannot be taken; the latter is also a warning.
#[must_use]
pub fn read_outputs(work_tree: &Path, outputs: &[DeclaredOutput]) -> Claims {
    let mut claims = Claims::default();
    if outputs.is_empty() {
        return claims;
    }
    let directory = Directory::open(work_tree);
    for output in outputs {
        let text = match &directory {
            Ok(directory) => read_one(directory, work_tree, &output.path),
            Err(_) => Err(SinkError::Missing(work_tree.to_owned())),
        };
        let value = match text {
            Ok(text) => Some(text.trim().to_owned()),
            Err(SinkError::Missing(_)) => output.default.clone(),
            Err(error) => {
                claims.warnings.push(format!("output `{}`: {}", output.name, error.warning()));
                output.default.clone()
            }
        };
        claims.values.extend(value.map(|value| (output.name.clone(), value)));
    }
    claims
}

fn read_one(directory: &Directory, work_tree: &Path, path: &Path) -> Result<String, SinkError> {
    // Platforms also write the path as they know it themselves.
    let relative = path.strip_prefix(work_tree).unwrap_or(path);
    if relative.is_absolute() || relative.components().any(|part| part == Component::ParentDir) {
        return Err(SinkError::OutsideWorkTree(path.to_owned()));
    }
    directory.read_text_beneath(relative, MAX_VALUE)
}
