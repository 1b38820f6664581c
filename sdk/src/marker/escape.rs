//! Values that are safe for one line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// True for what ends a line or moves a terminal: C0, DEL, C1, and Unicode's line and paragraph separators.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A value as it stands in a block.
#[must_use]
pub fn escape(value: &str) -> Cow<'_, str> {
    let at_edge = value.starts_with(' ') || value.ends_with(' ');
    if !at_edge && !value.contains(|c| c == '\\' || is_unsafe(c)) {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len() + 16);
    let last = value.len() - 1;
    for (at, c) in value.char_indices() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            // Readers, log shippers and people strip white space at the ends of lines.
            ' ' if at == 0 || at == last => text.push_str("\\u0020"),
            c if is_unsafe(c) => {
                // Writing to a string does not fail; all unsafe characters have four digits.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// The value that [`escape`] was given, or nothing if there is an escape that it does not write.
#[must_use]
pub fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        value.push_str(before);
        let kind = after.chars().next()?;
        rest = &after[kind.len_utf8()..];
        value.push(match kind {
            '\\' => '\\',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let digits = rest.get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
                rest = &rest[4..];
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        });
    }
    value.push_str(rest);
    Some(Cow::Owned(value))
}
