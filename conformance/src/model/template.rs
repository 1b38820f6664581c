//! `{{name}}` in a scenario's strings. A name is a parameter of the scenario or one of [`RESERVED`];
//! a scenario with any other name is refused when it is read, so that filling cannot fail in mid-run.

use std::collections::BTreeMap;

use serde_json::Value;

/// Names that the server sets itself: its address (`host`, `port`), the run's path prefix (`path`, empty for the
/// default run), and the model that the request names.
pub const RESERVED: [&str; 4] = ["host", "port", "path", "model"];

/// The names in `text`, in order.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).filter_map(|piece| match piece {
        Piece::Name(name) => Some(name),
        Piece::Text(_) => None,
    })
}

/// `text` with every name replaced. One pass: what a value contains is not a template.
pub fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Name(name) => filled.push_str(values.get(name).map_or("", String::as_str)),
        }
    }
    filled
}

/// `text` with every reserved name replaced, and all others left as they stand: for parameters, whose values are
/// often shell commands of somebody who has never heard of templates.
pub fn fill_reserved(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Name(name) if RESERVED.contains(&name) => {
                filled.push_str(values.get(name).map_or("", String::as_str));
            }
            Piece::Name(name) => filled.extend(["{{", name, "}}"]),
            Piece::Text(text) => filled.push_str(text),
        }
    }
    filled
}

/// `value` with every string in it filled.
pub fn fill_value(value: &Value, values: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, values)),
        Value::Array(items) => items.iter().map(|item| fill_value(item, values)).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(key, field)| (key.clone(), fill_value(field, values))).collect()),
        plain => plain.clone(),
    }
}

/// Calls `visit` with every string in `value`.
pub fn each_string(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| each_string(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| each_string(field, visit)),
        _ => {}
    }
}

enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// Only `{{word}}` is a name: shell commands and JSON are full of braces of their own.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some(name) = name_at_start(rest) {
            rest = &rest[name.len() + 4..];
            return Some(Piece::Name(name));
        }
        // Every `{` is tried, not every `{{`: the name of `{{{x}}}` starts at the second brace.
        let end = (1..rest.len()).find(|&at| rest.as_bytes()[at] == b'{' && name_at_start(&rest[at..]).is_some()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Text(text))
    })
}

fn name_at_start(text: &str) -> Option<&str> {
    let name = text.strip_prefix("{{")?.split_once("}}")?.0;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (!name.is_empty() && name.chars().all(is_word)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_words_in_double_braces_are_names() {
        let filled = fill("${a} {{x}} {{ x }} {{{x}}} {{x", &values(&[("x", "1")]));
        assert_eq!(filled, "${a} 1 {{ x }} {1} {{x");
    }

    #[test]
    fn a_value_is_not_a_template() {
        assert_eq!(fill("{{a}}{{b}}", &values(&[("a", "{{b}}"), ("b", "{{a}}")])), "{{b}}{{a}}");
    }

    #[test]
    fn strings_deep_in_a_value_are_filled() {
        let value = serde_json::json!({"k": ["{{x}}", 1, {"d": "<{{x}}>"}]});
        let wanted = serde_json::json!({"k": ["v", 1, {"d": "<v>"}]});
        assert_eq!(fill_value(&value, &values(&[("x", "v")])), wanted);
    }

    proptest! {
        #[test]
        fn text_without_names_comes_through_unchanged(text in "[{}a-c ]{0,40}") {
            prop_assume!(names(&text).next().is_none());
            prop_assert_eq!(fill(&text, &BTreeMap::new()), text);
        }
    }
}
