//! Fields merged into a JSON or TOML document that others write too: what they wrote stays, and what an earlier run merged and this one
//! does not is taken out again.
//!
//! Which fields are ours stands in a list beside the document: a JSON pointer (RFC 6901) a line. Pure: documents in, documents out.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike};

use super::error::ConfigureError;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Toml,
}

/// A document with the fields in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) document: Vec<u8>,
    /// The list of what is ours, empty if nothing is.
    pub(super) list: Vec<u8>,
}

/// The list of what was merged into a file.
pub(super) fn list_name(name: &Path) -> PathBuf {
    format!(".{}.agent-runner-merged", name.display()).into()
}

/// Merges. `None`: there is no document, and none is needed.
pub(super) fn merge(
    format: Format,
    path: &Path,
    old: Option<&[u8]>,
    earlier: &[u8],
    fields: &Map<String, Value>,
) -> Result<Option<Merged>, ConfigureError> {
    if old.is_none() && fields.is_empty() {
        return Ok(None);
    }
    let mut ours = Vec::new();
    leaves(fields, &mut Vec::new(), &mut ours);
    let earlier = String::from_utf8_lossy(earlier);
    let stale = earlier.split('\n').filter_map(parse_pointer).filter(|pointer| !ours.contains(pointer));
    let old = old.unwrap_or_default();
    let problem = |problem: String| ConfigureError::NotAnObject { path: path.to_owned(), problem };
    let document = match format {
        Format::Json => {
            let mut object: Map<String, Value> = match old.trim_ascii() {
                [] => Map::new(),
                text => serde_json::from_slice(text).map_err(|error| problem(error.to_string()))?,
            };
            let before = object.clone();
            stale.for_each(|pointer| take_out_of_json(&mut object, &pointer));
            merge_json(&mut object, fields);
            if object == before && !before.is_empty() { None } else { Some(format!("{:#}\n", Value::Object(object))) }
        }
        Format::Toml => {
            let text = std::str::from_utf8(old).map_err(|error| problem(error.to_string()))?;
            let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| problem(error.message().to_owned()))?;
            let before = meaning(&document);
            stale.for_each(|pointer| take_out_of_toml(document.as_table_mut(), &pointer));
            merge_toml(document.as_table_mut(), fields);
            (meaning(&document) != before).then(|| document.to_string())
        }
    };
    // One that says the same already stays as it is written.
    let document = document.map_or_else(|| old.to_vec(), String::into_bytes);
    let list: String = ours.iter().map(|pointer| pointer_line(pointer)).collect();
    Ok(Some(Merged { document, list: list.into_bytes() }))
}

/// What a document says, without how it says it.
fn meaning(document: &DocumentMut) -> Option<Value> {
    toml_edit::de::from_document(document.clone()).ok()
}

/// The way to each value that is no object, or an empty one.
fn leaves(fields: &Map<String, Value>, at: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    for (key, value) in fields {
        at.push(key.clone());
        match value {
            Value::Object(object) if !object.is_empty() => leaves(object, at, into),
            _ => into.push(at.clone()),
        }
        at.pop();
    }
}

fn pointer_line(pointer: &[String]) -> String {
    // A line break in a key would end the line; RFC 6901 has no escape for it, so it has one of ours.
    let parts = pointer.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1").replace('\n', "~n")));
    parts.chain(["\n".to_owned()]).collect()
}

fn parse_pointer(line: &str) -> Option<Vec<String>> {
    let parts = line.strip_prefix('/')?.split('/');
    Some(parts.map(|part| part.replace("~n", "\n").replace("~1", "/").replace("~0", "~")).collect())
}

fn merge_json(into: &mut Map<String, Value>, fields: &Map<String, Value>) {
    for (key, value) in fields {
        match (into.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_json(old, new),
            (_, value) => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Takes a value out, and the objects that are empty without it.
fn take_out_of_json(object: &mut Map<String, Value>, pointer: &[String]) {
    match pointer {
        [] => {}
        [key] => {
            object.remove(key);
        }
        [key, rest @ ..] => {
            let Some(Value::Object(inner)) = object.get_mut(key) else { return };
            take_out_of_json(inner, rest);
            if inner.is_empty() {
                object.remove(key);
            }
        }
    }
}

fn merge_toml(into: &mut dyn TableLike, fields: &Map<String, Value>) {
    for (key, value) in fields {
        match value {
            Value::Null => {}
            Value::Object(new) => {
                if into.get(key).is_none_or(|item| item.as_table_like().is_none()) {
                    let mut table = Table::new();
                    // Without values of its own it needs no header.
                    table.set_implicit(!new.is_empty());
                    into.insert(key, Item::Table(table));
                }
                if let Some(table) = into.get_mut(key).and_then(Item::as_table_like_mut) {
                    merge_toml(table, new);
                }
            }
            other => {
                let Some(mut new) = toml_value(other) else { continue };
                // The comment behind a value and the space around it are the user's.
                if let Some(old) = into.get(key).and_then(Item::as_value) {
                    *new.decor_mut() = old.decor().clone();
                }
                match into.get_mut(key) {
                    Some(item) => *item = Item::Value(new),
                    None => {
                        into.insert(key, Item::Value(new));
                    }
                }
            }
        }
    }
}

fn take_out_of_toml(table: &mut dyn TableLike, pointer: &[String]) {
    match pointer {
        [] => {}
        [key] => {
            table.remove(key);
        }
        [key, rest @ ..] => {
            let Some(inner) = table.get_mut(key).and_then(Item::as_table_like_mut) else { return };
            take_out_of_toml(inner, rest);
            if inner.is_empty() {
                table.remove(key);
            }
        }
    }
}

/// TOML has no null.
fn toml_value(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => values.iter().filter_map(toml_value).collect::<Array>().into(),
        Value::Object(fields) => {
            fields.iter().filter_map(|(key, value)| Some((key.as_str(), toml_value(value)?))).collect::<InlineTable>().into()
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("{value} is no object") };
        fields
    }

    fn run(format: Format, old: Option<&str>, earlier: &[u8], value: Value) -> (String, Vec<u8>) {
        let merged = merge(format, Path::new("/f"), old.map(str::as_bytes), earlier, &fields(value)).unwrap().unwrap();
        (String::from_utf8(merged.document).unwrap(), merged.list)
    }

    #[test]
    fn toml_keeps_comments_and_unknown_fields() {
        let old = "# mine\nmodel = \"a\" # the best\n\n[mcp_servers.own]\ncommand = \"x\"\n";
        let new = json!({"model": "b", "mcp_servers": {"probe": {"command": "echo", "args": ["-n", "a b"], "env": {"K": "v"}}}});
        let (document, _) = run(Format::Toml, Some(old), b"", new);
        assert_eq!(
            document,
            "# mine\nmodel = \"b\" # the best\n\n[mcp_servers.own]\ncommand = \"x\"\n\n[mcp_servers.probe]\nargs = [\"-n\", \"a b\"]\n\
             command = \"echo\"\n\n[mcp_servers.probe.env]\nK = \"v\"\n"
        );
    }

    #[test]
    fn what_an_earlier_run_merged_is_taken_out_and_the_users_stays() {
        for (format, old) in [(Format::Json, r#"{"servers":{"own":{"a":1}}}"#), (Format::Toml, "[servers.own]\na = 1\n")] {
            let ours = json!({"servers": {"first": {"url": "u", "headers": {"a/b~\nc": "1"}}, "own": {"b": 2}}});
            let (with, list) = run(format, Some(old), b"", ours);
            let (without, list) = run(format, Some(&with), &list, json!({}));
            assert!(list.is_empty());
            assert!(!without.contains("first") && !without.contains('b') && without.contains('a'), "{without}");
        }
    }

    #[test]
    fn no_document_is_made_for_nothing() {
        assert_eq!(merge(Format::Toml, Path::new("/f"), None, b"", &Map::new()).unwrap(), None);
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        for (format, text) in [(Format::Json, "{"), (Format::Json, "[1]"), (Format::Toml, "a ="), (Format::Toml, "\u{0}")] {
            let error = merge(format, Path::new("/f"), Some(text.as_bytes()), b"", &Map::new()).unwrap_err();
            assert!(matches!(error, ConfigureError::NotAnObject { .. }), "{text}");
        }
    }

    fn arb_fields() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), ".{0,6}".prop_map(Value::from)];
        let tree = leaf.prop_recursive(3, 16, 4, |inner| prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|map| json!(map)));
        prop::collection::btree_map(".{0,4}", tree, 0..5).prop_map(|map| json!(map))
    }

    proptest! {
        #[test]
        fn a_second_run_changes_nothing_and_toml_says_what_json_says(ours in arb_fields(), theirs in arb_fields()) {
            for format in [Format::Json, Format::Toml] {
                let (old, _) = run(format, Some(""), b"", theirs.clone());
                let (once, list) = run(format, Some(&old), b"", ours.clone());
                let (twice, again) = run(format, Some(&once), &list, ours.clone());
                prop_assert_eq!(&once, &twice);
                prop_assert_eq!(list, again);
                let read: Value = match format {
                    Format::Json => serde_json::from_str(&once).unwrap(),
                    Format::Toml => toml_edit::de::from_str(&once).unwrap(),
                };
                let (json, _) = run(Format::Json, Some(&run(Format::Json, Some(""), b"", theirs.clone()).0), b"", ours.clone());
                prop_assert_eq!(read, serde_json::from_str::<Value>(&json).unwrap());
            }
        }

        #[test]
        fn any_bytes_are_merged_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), earlier in ".{0,60}") {
            for format in [Format::Json, Format::Toml] {
                let _ = merge(format, Path::new("/f"), Some(&bytes), earlier.as_bytes(), &fields(json!({"a": {"b": 1}})));
            }
        }
    }
}
