//! Text of others made fit for a terminal or a log: no escape sequence, no control character, nothing that reorders or hides what is read,
//! no command of a CI system that takes them anywhere in a line.

/// The text without ANSI sequences, control characters (but tab and newline), bidirectional controls and invisible characters. Commands as
/// GitHub's runner (`##[error]`) and Azure's (`##vso[task.setvariable]`) take them in the middle of a line are broken by a space.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => match rest.peek() {
                Some('[') => {
                    rest.next();
                    skip_control_sequence(&mut rest);
                }
                Some(']' | 'P' | 'X' | '^' | '_') => {
                    rest.next();
                    skip_string(&mut rest);
                }
                Some(' '..='/' | '0'..='~') => {
                    rest.next();
                }
                _ => {}
            },
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\r' if rest.peek() == Some(&'\n') => {}
            // A lone carriage return would let the end of a line overwrite its beginning.
            '\r' | '\u{2028}' | '\u{2029}' | '\x0b' | '\x0c' => out.push(' '),
            '\n' | '\t' => out.push(c),
            '[' if out.trim_end_matches(|c: char| c.is_ascii_alphabetic()).ends_with("##") => out.push_str(" ["),
            c if c.is_control() || is_deceptive(c) => {}
            c => out.push(c),
        }
    }
    out
}

/// The first line of a text, cleaned, with at most `limit` characters.
#[must_use]
pub fn clean_line(text: &str, limit: usize) -> String {
    // Cleaning a whole answer for one line of it would be waste; a sequence is shorter than this.
    let head: String = text.trim_start().chars().take(limit.saturating_mul(4) + 64).collect();
    let cleaned = clean(&head);
    let mut lines = cleaned.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let line = lines.next().unwrap_or_default();
    let more = lines.next().is_some();
    let mut out: String = line.chars().take(limit).collect();
    if more || line.chars().nth(limit).is_some() || head.len() < text.trim_start().len() {
        out.push('…');
    }
    out
}

fn skip_control_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    // ECMA-48: parameters and intermediates, then one final byte. Anything else was no sequence and stays.
    while rest.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    rest.next_if(|c| matches!(c, '@'..='~'));
}

/// An operating-system command and its like, up to its terminator; never beyond the line, so that nothing can hide the lines after it.
fn skip_string(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = rest.next_if(|c| *c != '\n') {
        if c == '\x07' || c == '\u{9c}' || (c == '\x1b' && rest.next_if_eq(&'\\').is_some()) {
            return;
        }
    }
}

/// Characters that reorder the text around them, or that are there and cannot be seen (the tag block hides whole sentences).
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_go_and_words_stay() {
        for (dirty, wanted) in [
            ("a\x1b[31;1mred\x1b[0m b", "ared b"),
            ("\x1b]0;title\x07shown", "shown"),
            ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b]never ended\nnext line", "\nnext line"),
            ("\u{9b}2Jgone", "gone"),
            ("over\rwritten\r\n", "over written\n"),
            ("x\u{202e}lru\u{2066}", "xlru"),
            ("tab\tnul\0bell\x07del\x7f", "tab\tnulbelldel"),
            ("\x1bcreset \x1b(Bset", "reset Bset"),
            ("see ##[add-mask]x, ##vso[task.complete]", "see ## [add-mask]x, ##vso [task.complete]"),
            ("#\x1b[0m#\u{200b}[error]x # [x] a[0] ##", "## [error]x # [x] a[0] ##"),
            ("family 👨\u{200d}👩", "family 👨\u{200d}👩"),
        ] {
            assert_eq!(clean(dirty), wanted, "{dirty:?}");
        }
    }

    #[test]
    fn a_line_is_one_line_and_says_when_it_was_cut() {
        assert_eq!(clean_line("  one\ntwo", 10), "one…");
        assert_eq!(clean_line("0123456789", 10), "0123456789");
        assert_eq!(clean_line("0123456789a", 10), "0123456789…");
        assert_eq!(clean_line("\n\n", 10), "");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(text in any::<String>(), extra in "[\u{1b}\u{9b}\\[\\]0-9;mPa\n\r\u{7}\u{202e}]{0,40}") {
            let out = clean(&format!("{text}{extra}{text}"));
            prop_assert!(out.chars().all(|c| c == '\n' || c == '\t' || (!c.is_control() && !is_deceptive(c))));
        }
    }
}
