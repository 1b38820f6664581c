//! The marker block on stdout: the last lines that the container prints.

use std::io::{self, Write};
use std::path::Path;

use agent_sdk::marker::{Nonce, kelos_block, outcome_block};
use agent_sdk::outcome::Outcome;
use nix::libc;

use super::SinkError;

/// Which block is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkerForm {
    /// Ours. The nonce should be one that the agent never saw, so that no earlier line can look like this block.
    Native(Nonce),
    /// Kelos' fixed form.
    Kelos,
}

/// A word for a run that nobody can guess, from the kernel's random numbers (getrandom(2), which needs no `/dev`).
///
/// # Errors
/// The kernel gives none.
pub fn fresh_nonce() -> io::Result<Nonce> {
    let mut bytes = [0_u8; 16];
    // SAFETY: the kernel writes at most the given number of bytes into `bytes`.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    // Up to 256 bytes come at once or not at all.
    if usize::try_from(got) == Ok(bytes.len()) { Ok(Nonce::from_random(bytes)) } else { Err(io::Error::last_os_error()) }
}

/// Prints the block in one write. `at_line_start` says whether the last byte printed before was a line end; if not, the block begins with
/// one.
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

#[cfg(test)]
mod tests {
    use super::*;
    use agent_sdk::verdict::{Origin, Phase, Reason};

    fn outcome() -> Outcome {
        let mut outcome = Outcome::new("0.1.0", Phase::Done, Origin::Agent, Reason::Completed, "done");
        outcome.answer = Some("hi".to_owned());
        outcome
    }

    #[test]
    fn the_block_is_last_and_begins_its_own_line() {
        for form in [MarkerForm::Native(fresh_nonce().unwrap()), MarkerForm::Kelos] {
            for printed in ["", "a line\n", "half a line"] {
                let mut stdout = printed.as_bytes().to_vec();
                write(&outcome(), &form, printed.is_empty() || printed.ends_with('\n'), &mut stdout).unwrap();
                let text = String::from_utf8(stdout).unwrap();
                let lines: Vec<_> = text.lines().collect();
                let begin = lines.iter().position(|line| line.starts_with("---") && line.contains("OUTPUTS_START")).unwrap();
                assert_eq!(begin, usize::from(!printed.is_empty()), "no empty line and no line shared: {text}");
                assert!(lines.last().unwrap().contains("OUTPUTS_END") && text.ends_with("---\n"));
            }
        }
    }

    #[test]
    fn no_two_runs_have_the_same_nonce() {
        assert_ne!(fresh_nonce().unwrap(), fresh_nonce().unwrap());
    }

    #[test]
    fn a_stdout_that_nobody_reads_is_an_error_not_a_signal() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        // Rust ignores SIGPIPE, so this comes back.
        assert!(write(&outcome(), &MarkerForm::Kelos, true, &mut writer).is_err());
    }
}
