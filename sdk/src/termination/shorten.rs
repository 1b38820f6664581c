//! Cutting text so that it fits a JSON string of a given length.
//!
//! What counts is the length *as JSON*: a quote costs two bytes, a control character two or six. A cut falls between characters,
//! never inside one, so no escape and no surrogate pair is ever split (JSON written here holds no surrogates: UTF-8 needs none).

/// Stands where something was taken out.
pub(super) const ELLIPSIS: &str = "…";

/// A text shortened below this many bytes of JSON says nothing any more and is left out instead.
pub(super) const SHORTEST: usize = 24;

/// How many bytes a character takes within a JSON string as `serde_json` writes it.
fn json_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

/// The length of `text` as a JSON string with its quotes, if that is at most `room`. Reads no more than `room` bytes of it.
pub(super) fn quoted_len_within(text: &str, room: usize) -> Option<usize> {
    // No character takes fewer bytes in JSON than in UTF-8.
    if text.len() + 2 > room {
        return None;
    }
    let len = text.chars().map(json_len).sum::<usize>() + 2;
    (len <= room).then_some(len)
}

/// The longest beginning of `text` that takes at most `room` bytes of JSON, and how many it takes.
fn head(text: &str, room: usize) -> (&str, usize) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        if used + json_len(c) > room {
            return (&text[..at], used);
        }
        used += json_len(c);
    }
    (text, used)
}

/// The longest end of `text` that takes at most `room` bytes of JSON.
fn tail(text: &str, room: usize) -> &str {
    let mut used = 0;
    let mut from = text.len();
    for (at, c) in text.char_indices().rev() {
        if used + json_len(c) > room {
            break;
        }
        used += json_len(c);
        from = at;
    }
    &text[from..]
}

/// Where the text is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The beginning: for values, of which the first part is what people look at.
    Head,
    /// Two thirds beginning and one third end: for errors, whose cause stands at the end.
    HeadAndTail,
}

/// `text` as it fits `room` bytes of JSON, quotes included: whole, or with an ellipsis where something was taken out, or nothing where too
/// little would be left.
pub(super) fn shorten(text: &str, room: usize, keep: Keep) -> Option<String> {
    if quoted_len_within(text, room).is_some() {
        return Some(text.to_owned());
    }
    if room < SHORTEST {
        return None;
    }
    let inner = room - 2 - ELLIPSIS.len();
    let (first, used) = match keep {
        Keep::Head => head(text, inner),
        Keep::HeadAndTail => head(text, inner * 2 / 3),
    };
    let last = match keep {
        Keep::Head => "",
        // The whole does not fit, so beginning and end cannot meet.
        Keep::HeadAndTail => tail(text, inner - used),
    };
    Some(format!("{first}{ELLIPSIS}{last}"))
}

/// `text` as a JSON string.
pub(super) fn quote(text: &str) -> String {
    // No text fails to be JSON.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_below_0x800_and_samples_above_take_what_is_computed() {
        let samples = ['\u{fffd}', '\u{2028}', '\u{feff}', '\u{ffff}', '😀', '\u{10ffff}'];
        for c in (0..0x800).filter_map(char::from_u32).chain(samples) {
            assert_eq!(quote(&c.to_string()).len(), json_len(c) + 2, "{c:?}");
        }
    }

    #[test]
    fn a_cut_never_splits_a_character_and_fills_its_room_to_the_last_character() {
        for c in ['a', '"', '\n', '\u{1}', 'é', '…', '😀'] {
            let text = c.to_string().repeat(100);
            for room in SHORTEST..quote(&text).len() {
                for keep in [Keep::Head, Keep::HeadAndTail] {
                    let cut = shorten(&text, room, keep).unwrap();
                    let len = quote(&cut).len();
                    assert!(len <= room && len + 2 * json_len(c) > room, "{c:?} in {room}: {len}");
                    assert!(cut.contains('…'));
                }
            }
        }
    }

    #[test]
    fn keeps_the_end_of_an_error_when_it_is_cut() {
        let text = format!("clone failed: {} password authentication failed", "x".repeat(500));
        let cut = shorten(&text, 120, Keep::HeadAndTail).unwrap();
        assert!(cut.starts_with("clone failed: x") && cut.ends_with("password authentication failed"), "{cut}");
    }
}
