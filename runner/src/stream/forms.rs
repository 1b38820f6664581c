//! How a secret may be written: as it is; as JSON writes it (the escapes that encoders differ in: quotes, `\/`, `\u00e9`, `\u003c`); in
//! base64 at each of its three alignments, as in a basic `Authorization` header. A secret of several lines is written line by line.
//!
//! Where they are looked for is the business of `mask`.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::mask::SECRET_MIN;

/// Longer values are looked for in pieces of this size, which bounds what may be held back.
const PATTERN_MAX: usize = 4 << 10;

/// Every way of writing a secret that is looked for: none shorter than [`SECRET_MIN`], none with a newline in it.
pub(super) fn written_forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for line in secret.split(|byte| *byte == b'\n').map(|line| line.trim_ascii()) {
        // The frame of a PEM file is no secret and stands in ordinary text.
        if line.len() >= SECRET_MIN && !line.starts_with(b"-----") {
            forms.extend(line_forms(line));
        }
    }
    if secret.contains(&b'\n') {
        forms.extend(json_forms(secret));
    }
    let pieces = forms.iter().flat_map(|form| form.chunks(PATTERN_MAX));
    pieces.filter(|piece| piece.len() >= SECRET_MIN && !piece.contains(&b'\n')).map(<[u8]>::to_vec).collect()
}

/// Of one line: in JSON, in JSON within JSON, as it is, in base64.
fn line_forms(line: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = json_forms(line);
    // JSON within a JSON string, as in a tool's arguments.
    let twice: Vec<Vec<u8>> = forms.iter().flat_map(|form| json_forms(form)).collect();
    forms.extend(twice);
    forms.insert(line.to_vec());
    forms.extend(base64_forms(line));
    forms
}

/// The forms of a JSON string, by what encoders differ in.
fn json_forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    let Ok(text) = std::str::from_utf8(secret) else { return forms };
    for slash in [false, true] {
        for markup in [false, true] {
            for beyond_ascii in [None, Some(false), Some(true)] {
                forms.insert(json_form(text, slash, markup, beyond_ascii).into_bytes());
            }
        }
    }
    forms
}

/// `slash`: `/` is escaped. `markup`: `<`, `>`, `&` and `'` are. `beyond_ascii`: all but ASCII is, with capital hex digits if `Some(true)`.
fn json_form(text: &str, slash: bool, markup: bool, beyond_ascii: Option<bool>) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let unit = |out: &mut String, unit: u16| {
        out.push_str(&if beyond_ascii == Some(true) { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") });
    };
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '/' if slash => out.push_str("\\/"),
            '<' | '>' | '&' | '\'' if markup => unit(&mut out, c as u16),
            '\0'..='\x1f' => unit(&mut out, c as u16),
            c if !c.is_ascii() && beyond_ascii.is_some() => {
                for half in c.encode_utf16(&mut [0; 2]) {
                    unit(&mut out, *half);
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// The part of a base64 text that a secret alone decides, at each alignment it can have in what was encoded.
fn base64_forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for before in 0..3 {
        let padded = [&[0; 2][..before], secret].concat();
        for engine in [&STANDARD, &URL_SAFE] {
            let text = engine.encode(&padded);
            // The first characters hold bits of what comes before, the last of what comes after.
            let from = (before * 8).div_ceil(6);
            let to = padded.len() * 8 / 6;
            if let Some(own) = text.as_bytes().get(from..to).filter(|own| own.len() >= SECRET_MIN) {
                forms.insert(own.to_vec());
            }
        }
    }
    forms
}
