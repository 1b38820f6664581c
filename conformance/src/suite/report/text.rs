//! What an image printed, as text that a report can hold: bounded, without control characters, and unable to command a terminal or a CI.
//!
//! It is done once, when a report is made. The formats only escape what their own syntax asks for.

use std::fmt::Write as _;

/// How many bytes are kept from the beginning of a text. Enough for a message and some lines around it.
const HEAD: usize = 1200;
/// How many are kept from its end, where errors stand.
const TAIL: usize = 600;
/// How many lines are kept from the beginning.
const HEAD_LINES: usize = 16;
/// How many are kept from the end.
const TAIL_LINES: usize = 8;

/// The text as a report may hold it. Line feeds stay; every other control character and whatever is invisible or turns the direction
/// of writing is shown as an escape like `\x1b` or `\u{202e}`.
#[must_use]
pub fn tame(text: &str) -> String {
    disarm(&bound_lines(&escape(&bound_bytes(text))))
}

fn bound_bytes(text: &str) -> String {
    if text.len() <= HEAD + TAIL {
        return text.to_owned();
    }
    let head = (0..=HEAD).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let tail = (text.len() - TAIL..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("{} [… {} bytes left out …] {}", &text[..head], tail - head, &text[tail..])
}

fn bound_lines(text: &str) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    if lines.len() <= HEAD_LINES + TAIL_LINES {
        return text.to_owned();
    }
    let left_out = format!("[… {} lines left out …]", lines.len() - HEAD_LINES - TAIL_LINES);
    let tail = &lines[lines.len() - TAIL_LINES..];
    [&lines[..HEAD_LINES], &[left_out.as_str()], tail].concat().join("\n")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        // Writing to a string cannot fail.
        let _ = match character {
            '\n' => out.write_char('\n'),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            _ if character.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(character)),
            _ if is_unseen(character) => write!(out, "\\u{{{:x}}}", u32::from(character)),
            _ => out.write_char(character),
        };
    }
    out
}

/// Whether a character is not seen, or changes how others are: control characters beyond ASCII, bidirectional controls
/// (<https://trojansource.codes>), zero-width characters, line separators, tags, and what XML does not allow.
fn is_unseen(character: char) -> bool {
    matches!(character,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        // Noncharacters at the end of each plane.
        || u32::from(character) & 0xfffe == 0xfffe
        || ('\u{fdd0}'..='\u{fdef}').contains(&character)
}

/// Takes the meaning from what CI systems read as commands in a log: a line that begins with `::` (GitHub), and `##[`, `##vso[`,
/// `##teamcity[` anywhere (the older GitHub syntax, Azure, TeamCity).
fn disarm(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let indent = line.len() - line.trim_start().len();
        let (blank, rest) = line.split_at(indent);
        // One is enough: what a format puts behind the text may begin with another.
        let guard = if rest.starts_with(':') { "\\" } else { "" };
        lines.push(format!("{blank}{guard}{}", apart(rest)));
    }
    lines.join("\n")
}

/// Puts a blank between two `#` before a bracket or a letter.
fn apart(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("##") {
        let after = rest[at + 2..].chars().next();
        out.push_str(&rest[..=at]);
        if after.is_some_and(|next| next == '[' || next.is_ascii_alphabetic()) {
            out.push(' ');
        }
        rest = &rest[at + 1..];
    }
    out + rest
}

/// Prose in lines of this width, the first after `indent` and the others after as many blanks. Words are never parted, since some are
/// options.
#[must_use]
pub fn paragraph(text: &str, width: usize, indent: &str) -> String {
    let hanging = " ".repeat(indent.chars().count());
    let options = textwrap::Options::new(width).initial_indent(indent).subsequent_indent(&hanging);
    textwrap::fill(text, options.word_splitter(textwrap::WordSplitter::NoHyphenation).break_words(false))
}

/// The text in one line.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.replace('\n', " ⏎ ")
}

/// A word of a command line as a POSIX shell wants it.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:@=+,".contains(character);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_command_a_terminal_or_a_reader_is_shown_as_escapes() {
        assert_eq!(
            tame("a\x1b[31mred\r\n\tb\u{202e}c\u{0}\u{7f}\u{85}\u{feff}"),
            "a\\x1b[31mred\\r\n\\tb\\u{202e}c\\x00\\x7f\\u{85}\\u{feff}"
        );
        assert_eq!(tame("ordinary ü 漢字 🦀 \\ text"), "ordinary ü 漢字 🦀 \\ text");
    }

    #[test]
    fn what_a_ci_reads_as_a_command_is_taken_apart() {
        assert_eq!(
            tame("::error::x\n  ::stop-commands::y\n\u{3000}::z\na::b"),
            "\\::error::x\n  \\::stop-commands::y\n\u{3000}\\::z\na::b"
        );
        assert_eq!(tame("a ##[error]x ##vso[y] ###[z] ## Title"), "a # #[error]x # #vso[y] ## #[z] ## Title");
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        let long = format!("begin{}end", "ü".repeat(1_000_000));
        let tamed = tame(&long);
        assert!(tamed.starts_with("begin") && tamed.ends_with("end") && tamed.contains("bytes left out"), "{tamed}");
        let lines: String = (0..500).map(|line| format!("{line}\n")).collect();
        let tamed = tame(&lines);
        assert!(tamed.starts_with("0\n1\n") && tamed.contains("lines left out") && tamed.ends_with("499\n"), "{tamed}");
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_ends_harmless_and_bounded(text in "(\\PC|\\pC|::|##\\[|\n|[ -~]){0,3000}") {
            let tamed = tame(&text);
            prop_assert!(tamed.len() <= 4 * (HEAD + TAIL) + 200);
            prop_assert!(tamed.split('\n').count() <= HEAD_LINES + TAIL_LINES + 1);
            prop_assert!(!tamed.contains("##["));
            for line in tamed.split('\n') {
                prop_assert!(!line.trim().starts_with(':'));
                prop_assert!(!line.chars().any(|character| character.is_control() || is_unseen(character)));
            }
        }

        #[test]
        fn a_shell_reads_a_word_as_it_was(word in "[ -~üñ\n]{0,40}") {
            let command = format!("printf %s {}", shell_word(&word));
            let said = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
            prop_assert_eq!(String::from_utf8(said.stdout).unwrap(), word);
        }
    }
}
