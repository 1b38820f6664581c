//! The list of what was merged into a document, which stands beside it: where, what was put there, and what the user had there.
//!
//! A line each: a JSON object with `at` (a JSON pointer, RFC 6901), `ours`, `theirs`. Lists of earlier versions have the pointer alone.

use serde_json::{Map, Value, json};

/// The way to a value: keys of objects.
pub(super) type Pointer = Vec<String>;

/// A value that was merged, or that an object with such values took the place of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) at: Pointer,
    /// What was put there; nothing where it was an object, whose values have entries of their own, and in old lists.
    pub(super) ours: Option<Value>,
    /// What it took the place of.
    pub(super) theirs: Option<Value>,
}

/// The entries of a list. A line that is none is passed over.
pub(super) fn parse(list: &[u8]) -> Vec<Entry> {
    String::from_utf8_lossy(list).split('\n').filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Entry> {
    if line.starts_with('/') {
        return Some(Entry { at: parse_pointer(line)?, ours: None, theirs: None });
    }
    let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
    let at = parse_pointer(fields.get("at")?.as_str()?)?;
    Some(Entry { at, ours: fields.remove("ours"), theirs: fields.remove("theirs") })
}

/// The list of these entries.
pub(super) fn print(entries: &[Entry]) -> Vec<u8> {
    let line = |entry: &Entry| {
        let mut fields = json!({ "at": print_pointer(&entry.at) });
        for (name, value) in [("ours", &entry.ours), ("theirs", &entry.theirs)] {
            if let Some(value) = value {
                fields[name] = value.clone();
            }
        }
        format!("{fields}\n")
    };
    entries.iter().map(line).collect::<String>().into_bytes()
}

fn print_pointer(at: &[String]) -> String {
    // A line break in a key would have ended an old list's line; RFC 6901 has no escape for it, so it has one of ours.
    at.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1").replace('\n', "~n"))).collect()
}

fn parse_pointer(text: &str) -> Option<Pointer> {
    let parts = text.strip_prefix('/')?.split('/');
    Some(parts.map(|part| part.replace("~n", "\n").replace("~1", "/").replace("~0", "~")).collect())
}

/// What stands there.
pub(super) fn value_at<'v>(object: &'v Map<String, Value>, at: &[String]) -> Option<&'v Value> {
    let (first, rest) = at.split_first()?;
    rest.iter().try_fold(object.get(first)?, |value, key| value.get(key.as_str()))
}

/// The value within objects, so that it can be merged.
pub(super) fn nested(at: &[String], value: &Value) -> Map<String, Value> {
    match at.iter().rev().fold(value.clone(), |inner, key| json!({ key: inner })) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed_and_old_lists_are_too() {
        let at = vec!["a/b~\nc".to_owned(), String::new()];
        let entries = [
            Entry { at: at.clone(), ours: Some(Value::Null), theirs: None },
            Entry { at: vec!["x".into()], ours: None, theirs: Some(json!({"y": [1]})) },
        ];
        assert_eq!(parse(&print(&entries)), entries);
        let old = [Entry { at, ours: None, theirs: None }, Entry { at: vec!["x".into(), "y".into()], ours: None, theirs: None }];
        assert_eq!(parse(b"/a~1b~0~nc/\nnonsense\n{\"at\":7}\n/x/y\n"), old);
    }

    #[test]
    fn a_value_is_found_where_it_was_nested() {
        let at = ["a".to_owned(), "b".to_owned()];
        assert_eq!(value_at(&nested(&at, &json!(7)), &at), Some(&json!(7)));
        assert_eq!(value_at(&nested(&at, &json!(7)), &["a".to_owned(), "c".to_owned()]), None);
    }
}
