//! A room that several texts have to share, where a platform puts all results into one small message: a pure function.

use std::borrow::Cow;

/// What each text costs beside its value and its name: `{"key":"","value":"","type":1},` around both, as Tekton writes it.
const AROUND: usize = 32;
/// Stands where something was taken out.
const ELLIPSIS: &str = "…";

/// How many of the entries, the first of them, leave half of the room for values.
#[must_use]
pub fn fitting<'a>(names: impl IntoIterator<Item = &'a str>, room: usize) -> usize {
    let mut used = 0;
    let fits = |name: &&str| {
        used += AROUND + name.len();
        used <= room / 2
    };
    names.into_iter().take_while(fits).count()
}

/// How many bytes a value may have, written as JSON, so that all entries together fit `room`.
///
/// Whoever needs less than an equal share leaves the rest to the others: a short text is never cut for a long one's sake.
#[must_use]
pub fn share<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>, room: usize) -> usize {
    let mut lengths = Vec::new();
    let mut left = room;
    for (name, value) in entries {
        left = left.saturating_sub(AROUND + name.len());
        lengths.push(json_length(value));
    }
    lengths.sort_unstable();
    let mut waiting = lengths.len();
    for length in lengths {
        let equal = left / waiting;
        if length > equal {
            return equal;
        }
        left -= length;
        waiting -= 1;
    }
    usize::MAX
}

/// The value as it fits `limit` bytes of JSON; empty if not even an ellipsis does.
#[must_use]
pub fn cut(value: &str, limit: usize) -> Cow<'_, str> {
    if json_length(value) <= limit {
        return Cow::Borrowed(value);
    }
    if limit < ELLIPSIS.len() {
        return Cow::Borrowed("");
    }
    let mut used = ELLIPSIS.len();
    let mut kept = String::new();
    for c in value.chars() {
        used += json_length(c.encode_utf8(&mut [0; 4]));
        if used > limit {
            break;
        }
        kept.push(c);
    }
    Cow::Owned(kept + ELLIPSIS)
}

/// The length of a text within a JSON string. Go's writer, unlike ours, escapes what HTML could take for markup.
fn json_length(text: &str) -> usize {
    let one = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{0}'..='\u{1f}' => 6,
        c => c.len_utf8(),
    };
    text.chars().map(one).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_text_is_whole_and_the_long_ones_share_what_is_left() {
        let long = "x".repeat(5000);
        let entries = [("a", "short"), ("b", long.as_str()), ("c", long.as_str())];
        let limit = share(entries, 3000);
        assert_eq!(limit, (3000 - 3 * (AROUND + 1) - 5) / 2);
        assert_eq!(cut("short", limit), "short");
        assert_eq!(cut(&long, limit).len(), limit);
        assert_eq!(share([("a", "short")], 3000), usize::MAX);
    }

    #[test]
    fn names_alone_do_not_fill_the_room() {
        assert_eq!(fitting(["name"; 100], 3600), 50);
        assert_eq!(fitting(["name"; 10], 3600), 10);
    }

    proptest! {
        #[test]
        fn what_is_cut_fits_whatever_stands_in_it(values in prop::collection::vec("[a-z<\"\n\u{1}é😀]{0,900}", 0..9), room in 400_usize..4000) {
            let entries: Vec<(&str, &str)> = values.iter().map(|value| ("name", value.as_str())).collect();
            let limit = share(entries.iter().copied(), room);
            let all: usize = entries.iter().map(|(name, value)| AROUND + name.len() + json_length(&cut(value, limit))).sum();
            prop_assert!(all <= room, "{} in {}", all, room);
        }
    }
}
