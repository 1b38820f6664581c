//! What a person would type to do what an engine does, word by word.

/// The commands by which a person starts an image as an engine does, and signals it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    /// Commands that start it, one after the other; each is its words.
    pub start: Vec<Vec<String>>,
    /// The command that sends a signal, whose name follows as its last word; none where PID 1 has no name.
    pub signal: Option<Vec<String>>,
}

/// Words of a command.
pub(super) fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}
