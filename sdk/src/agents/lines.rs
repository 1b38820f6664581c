//! What the agents' readers share about single lines: how a text is shortened, and how a line is mended that JSON may not hold.

use std::borrow::Cow;

use memchr::memchr;

/// The beginning of a text, cut on a character border, with what was cut said.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{} … ({} bytes more)", &text[..end], text.len() - end)
}

/// The line with what no JSON text may hold replaced: bytes that are no UTF-8, and halves of surrogate pairs, which JavaScript
/// prints when it cuts a text in the middle of an emoji. `None` if there was nothing to replace.
pub(super) fn mend(line: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(line);
    let mut mended = Vec::with_capacity(text.len());
    let mut changed = matches!(text, Cow::Owned(_));
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr(b'\\', &bytes[at..]) {
        let escape = at + found;
        mended.extend_from_slice(&bytes[at..escape]);
        let rest = &bytes[escape..];
        let taken = match (code_unit(rest), rest.get(6..).and_then(code_unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                mended.extend_from_slice(br"\ufffd");
                changed = true;
                at = escape + 6;
                continue;
            }
            _ => rest.len().min(2),
        };
        mended.extend_from_slice(&rest[..taken]);
        at = escape + taken;
    }
    mended.extend_from_slice(&bytes[at..]);
    changed.then_some(mended)
}

/// The number of a `\uXXXX` escape.
fn code_unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
