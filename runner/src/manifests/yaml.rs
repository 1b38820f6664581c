//! YAML, written: values whose fields keep their order, as people write manifests.
//!
//! What stands in it unquoted begins with a letter and is no word that any version of YAML takes for something else; everything else is
//! a JSON string, which YAML is a superset of. So no value changes its type at a reader of another version.

use std::fmt::Write as _;

/// Lists and objects that fit a line this long stand on one.
const LINE: usize = 110;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Switch(bool),
    /// A list.
    List(Vec<Node>),
    /// Fields in order.
    Object(Vec<(String, Node)>),
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Node {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Node {
    fn from(switch: bool) -> Self {
        Self::Switch(switch)
    }
}

impl<T: Into<Node>> FromIterator<T> for Node {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

/// An object of these fields.
#[must_use]
pub fn object<const N: usize>(fields: [(&str, Node); N]) -> Node {
    Node::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

impl Node {
    /// With one more field, if there is a value and it is not an empty list. What is no object stays as it is.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Option<Node>>) -> Self {
        if let (Self::Object(fields), Some(value)) = (&mut self, value.into())
            && value != Self::List(Vec::new())
        {
            fields.push((name.to_owned(), value));
        }
        self
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::List(items) if items.is_empty()) || matches!(self, Self::Object(fields) if fields.is_empty())
    }
}

/// Documents, one below the other.
#[must_use]
pub fn print(documents: &[Node]) -> String {
    let mut text = String::new();
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            text.push_str("---\n");
        }
        block(document, 0, &mut text);
    }
    text
}

/// A list or an object on lines of its own, each indented so far.
fn block(node: &Node, indent: usize, text: &mut String) {
    // Writing to a string does not fail.
    match node {
        Node::Object(fields) => {
            for (name, value) in fields {
                let _ = write!(text, "{:indent$}{}:", "", scalar(name));
                field(value, indent, text);
            }
        }
        Node::List(items) => {
            for item in items {
                let _ = write!(text, "{:indent$}-", "");
                match flow(item).filter(|line| line.len() + indent + 2 <= LINE) {
                    Some(line) => {
                        let _ = writeln!(text, " {line}");
                    }
                    None => {
                        // The first line of what follows stands behind the dash.
                        let mut below = String::new();
                        block(item, indent + 2, &mut below);
                        let _ = write!(text, " {}", below.trim_start_matches(' '));
                    }
                }
            }
        }
        scalar_node => {
            let _ = writeln!(text, "{:indent$}{}", "", one_line(scalar_node));
        }
    }
}

/// What stands behind a field's colon.
fn field(value: &Node, indent: usize, text: &mut String) {
    let below = indent + 2;
    match value {
        Node::Text(words) if is_block_text(words) => {
            let chomp = match words.strip_suffix('\n') {
                None => "-",
                Some(_) => "",
            };
            let _ = writeln!(text, " |{chomp}");
            for line in words.lines() {
                let _ = if line.is_empty() { writeln!(text) } else { writeln!(text, "{:below$}{line}", "") };
            }
        }
        Node::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            block(value, below, text);
        }
        Node::List(items) if !items.is_empty() => {
            match flow(value).filter(|line| line.len() + below <= LINE && items.iter().all(is_scalar)) {
                Some(line) => {
                    let _ = writeln!(text, " {line}");
                }
                None => {
                    text.push('\n');
                    block(value, below, text);
                }
            }
        }
        other => {
            let _ = writeln!(text, " {}", one_line(other));
        }
    }
}

fn is_scalar(node: &Node) -> bool {
    !matches!(node, Node::List(_) | Node::Object(_))
}

/// A value on one line, if no text in it is worth several.
fn flow(node: &Node) -> Option<String> {
    match node {
        Node::Text(words) if is_block_text(words) => None,
        Node::List(items) => Some(format!("[{}]", items.iter().map(flow).collect::<Option<Vec<_>>>()?.join(", "))),
        Node::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Some(format!("{}: {}", scalar(name), flow(value)?)));
            Some(format!("{{{}}}", fields.collect::<Option<Vec<_>>>()?.join(", ")))
        }
        other => Some(one_line(other)),
    }
}

fn one_line(node: &Node) -> String {
    match node {
        Node::Text(words) => scalar(words),
        Node::Number(number) => number.to_string(),
        Node::Switch(switch) => switch.to_string(),
        Node::List(_) if node.is_empty() => "[]".to_owned(),
        Node::Object(_) if node.is_empty() => "{}".to_owned(),
        other => flow(other).unwrap_or_default(),
    }
}

/// Whether a text is written as it is, on lines of its own: where nothing of it would be lost at their ends.
fn is_block_text(text: &str) -> bool {
    let lines_are_plain = text.lines().all(|line| !line.ends_with([' ', '\t', '\r']) && line.chars().all(is_printable));
    text.trim_end_matches('\n').contains('\n') && !text.starts_with([' ', '\t', '\n']) && !text.ends_with("\n\n") && lines_are_plain
}

fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

fn is_plain(text: &str) -> bool {
    const WORDS: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain =
        |(at, c): (usize, char)| c.is_ascii_alphanumeric() || "/_.@+=-".contains(c) || (c == ':' && text[at + 1..].starts_with('/'));
    begins && text.char_indices().all(plain) && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' => write!(out, "\\\""),
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            '\t' => write!(out, "\\t"),
            c if is_printable(c) => write!(out, "{c}"),
            // None of those is beyond the first plane.
            c => write!(out, "\\u{:04x}", u32::from(c)),
        };
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn words_that_some_yaml_takes_for_something_else_are_quoted() {
        for word in [
            "no",
            "Yes",
            "on",
            "y",
            "NULL",
            "~",
            "1",
            "0x1f",
            "1e3",
            "12:30:45",
            "2026-08-01",
            "-x",
            "",
            " ",
            "a: b",
            "a #b",
            "@x",
            "{a}",
            "<<",
        ] {
            let text = print(&[object([("k", word.into())])]);
            assert!(text.starts_with("k: \""), "{text}");
            assert_eq!(read(&text), json!({"k": word}));
        }
        for word in ["https://github.com/acme/app", "claude", "/runner/agent-runner", "v1"] {
            assert_eq!(print(&[object([("k", word.into())])]), format!("k: {word}\n"));
        }
    }

    #[test]
    fn short_things_stand_on_a_line_and_long_texts_on_their_own() {
        let env =
            [object([("name", "A".into()), ("value", "1".into())]), object([("name", "B".into()), ("value", "two\n\nlines\n".into())])];
        let text = print(&[object([("env", env.into_iter().collect()), ("none", object([])), ("list", ["a", "b"].into_iter().collect())])]);
        assert_eq!(
            text,
            "env:\n  - {name: A, value: \"1\"}\n  - name: B\n    value: |\n      two\n\n      lines\nnone: {}\nlist: [a, b]\n"
        );
    }

    fn node() -> impl Strategy<Value = Node> {
        let text = prop_oneof!["[a-zA-Z0-9 :#{}\\[\\],&*!|>'\"%@`~-]{0,12}", "(\\PC|\n|\t|\r|\u{85}|\u{7f}){0,40}", "([a-z ]{0,5}\n){0,4}"];
        let leaf =
            prop_oneof![text.prop_map(Node::Text), any::<i32>().prop_map(|n| Node::Number(n.into())), any::<bool>().prop_map(Node::Switch)];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Node::List),
                prop::collection::btree_map("[a-zA-Z0-9_. :-]{1,10}", inner, 0..5).prop_map(|map| Node::Object(map.into_iter().collect())),
            ]
        })
    }

    fn as_json(node: &Node) -> Value {
        match node {
            Node::Text(text) => json!(text),
            Node::Number(number) => json!(number),
            Node::Switch(switch) => json!(switch),
            Node::List(items) => items.iter().map(as_json).collect(),
            Node::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), as_json(value))).collect(),
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(node in node()) {
            let document = object([("k", node)]);
            prop_assert_eq!(read(&print(std::slice::from_ref(&document))), as_json(&document));
        }
    }
}
