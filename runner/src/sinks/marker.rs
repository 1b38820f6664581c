//! The marker block on stdout: the last lines that the container prints.

use std::io::Write;
use std::path::Path;

use agent_sdk::marker::{Nonce, kelos_block, outcome_block};
use agent_sdk::outcome::Outcome;

use super::SinkError;

/// Which block is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkerForm {
    /// Ours. The nonce should be one that the agent never saw, so that no earlier line can look like this block.
    Native(Nonce),
    /// Kelos' fixed form.
    Kelos,
}

/// Prints the block in one write. `at_line_start` says whether the last byte printed before was a line end; if not, the block begins with one.
///
/// # Errors
/// Nobody reads stdout any more, or it cannot be written.
pub fn write(outcome: &Outcome, form: &MarkerForm, at_line_start: bool, stdout: &mut dyn Write) -> Result<(), SinkError> {
    let block = match form {
        MarkerForm::Native(nonce) => outcome_block(nonce, outcome),
        MarkerForm::Kelos => kelos_block(outcome),
    };
    let text = if at_line_start { block } else { format!("\n{block}") };
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| SinkError::of_io("write the marker block to", Path::new("stdout"), error))
}
