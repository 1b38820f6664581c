//! An answer that comes in pieces, put together in bounded memory, whatever the model goes on to say.

use std::fmt::Write as _;

use super::lines::border;

/// How much of an answer is kept: more than any model says for people to read, and as much as the longest line that can hold a whole one.
pub(super) const ANSWER_LIMIT: usize = 256 << 10;
/// How much of what is said in pieces is gathered before it is shown: some pages, more than a model says between two calls.
pub(super) const CHUNK_LIMIT: usize = 64 << 10;

/// How far the answer, which its owner keeps as a text, has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    /// Bytes of the answer that are kept, which what is said of the others follows.
    kept: usize,
    /// Bytes of it that are not.
    left_out: usize,
}

impl Pieces {
    /// Adds a piece. What is beyond the limit is not kept, from a character border on, and how much it is is said, as
    /// [`super::lines::shorten`] does it.
    pub(super) fn add(&mut self, answer: &mut String, piece: &str) {
        let room = if self.left_out == 0 { ANSWER_LIMIT.saturating_sub(self.kept) } else { 0 };
        let end = border(piece, room);
        answer.truncate(self.kept);
        answer.push_str(&piece[..end]);
        self.kept = answer.len();
        self.left_out = self.left_out.saturating_add(piece.len() - end);
        if self.left_out > 0 {
            // Writing into a text cannot fail.
            let _ = write!(answer, " … ({} bytes more)", self.left_out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_up_to_the_limit_and_says_what_is_left_out_beyond_it() {
        let whole = "ä€😀".repeat(ANSWER_LIMIT / 9 + 9);
        for size in [1, 7, 100, whole.len()] {
            let (mut pieces, mut answer, mut said) = (Pieces::default(), String::new(), 0);
            while said < whole.len() {
                let end = (said + size..).find(|end| whole.is_char_boundary((*end).min(whole.len()))).unwrap().min(whole.len());
                pieces.add(&mut answer, &whole[said..end]);
                said = end;
                // All of it is looked at again where the limit is near, and at the end.
                if said.abs_diff(ANSWER_LIMIT) > 2 * size + 8 && said < whole.len() {
                    continue;
                }
                let (kept, note) = answer.split_once(" … (").unwrap_or((&answer, ""));
                assert!(kept.len() <= ANSWER_LIMIT && whole.starts_with(kept));
                if said <= ANSWER_LIMIT {
                    assert_eq!((kept.len(), note), (said, ""));
                } else {
                    assert!(kept.len() > ANSWER_LIMIT - 4);
                    assert_eq!(note, format!("{} bytes more)", said - kept.len()));
                }
            }
        }
    }

    #[test]
    fn what_comes_after_what_was_left_out_is_left_out_though_there_were_room() {
        let (mut pieces, mut answer) = (Pieces::default(), String::new());
        for piece in [&"x".repeat(ANSWER_LIMIT - 1), "ä", "y"] {
            pieces.add(&mut answer, piece);
        }
        assert_eq!(answer[ANSWER_LIMIT - 2..], *"x … (3 bytes more)");
    }
}
