//! What init does when the runner is dead: the last published message becomes the last words, written as any other.

use std::path::Path;

use agent_sdk::termination::{Death, LastWords, last_words};

use super::{SinkError, TerminationFile, Written};

/// Writes the last words over what stands at `path`, and says what they are; the container has to end with their exit code.
///
/// `previous` is the message that the runner published last, best taken from memory that the agent cannot write.
pub fn write_last_words(path: &Path, budget: usize, previous: &[u8], death: Death) -> (LastWords, Result<Written, SinkError>) {
    let words = last_words(previous, death, budget);
    let written = TerminationFile::new(path).write_last(words.message.as_bytes());
    (words, written)
}
