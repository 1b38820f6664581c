//! Fields merged into a JSON or TOML document that others write too: what they wrote stays, and what an earlier run merged and this one
//! does not is taken out again, and what the user had in its place put back.
//!
//! Which fields are ours, and what they took the place of, stands in a [`list`] beside the document. Pure: documents in, documents out.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml_edit::{Array, Datetime, DocumentMut, InlineTable, Item, Table, TableLike};

use super::error::ConfigureError;
use super::list::{self, Entry, Pointer};

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
    let mut leaves = Vec::new();
    find_leaves(fields, &mut Vec::new(), &mut leaves);
    let earlier = list::parse(earlier);
    let stale = || earlier.iter().filter(|entry| !leaves.contains(&entry.at));
    let old = old.unwrap_or_default();
    let problem = |problem: String| ConfigureError::NotAnObject { path: path.to_owned(), problem };
    let (document, before, after) = match format {
        Format::Json => {
            let mut object: Map<String, Value> = match old.trim_ascii() {
                [] => Map::new(),
                text => serde_json::from_slice(text).map_err(|error| problem(error.to_string()))?,
            };
            let before = object.clone();
            undo(&mut object, stale(), &mut |_, _| ());
            merge_json(&mut object, fields);
            let document = (object != before || before.is_empty()).then(|| format!("{:#}\n", Value::Object(object.clone())));
            (document, before, object)
        }
        Format::Toml => {
            let text = std::str::from_utf8(old).map_err(|error| problem(error.to_string()))?;
            let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| problem(error.message().to_owned()))?;
            let before = meaning(&document);
            undo(&mut before.clone(), stale(), &mut |at, theirs| match theirs {
                Some(theirs) => merge_toml(document.as_table_mut(), &list::nested(at, theirs)),
                None => take_out_of_toml(document.as_table_mut(), at),
            });
            merge_toml(document.as_table_mut(), fields);
            let after = meaning(&document);
            ((after != before).then(|| document.to_string()), before, after)
        }
    };
    // One that says the same already stays as it is written.
    let document = document.map_or_else(|| old.to_vec(), String::into_bytes);
    Ok(Some(Merged { document, list: list::print(&entries(&leaves, &earlier, before, &after)) }))
}

/// Makes undone what these entries say was merged: what the user has changed since is the user's. Whatever is done is told, as what is put
/// back, or taken out.
fn undo<'e>(object: &mut Map<String, Value>, entries: impl Iterator<Item = &'e Entry>, told: &mut dyn FnMut(&[String], Option<&Value>)) {
    // What objects took the place of comes back when nothing is left of them.
    let (objects, values): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.ours.is_none() && entry.theirs.is_some());
    for entry in values.into_iter().chain(objects) {
        let now = list::value_at(object, &entry.at);
        let is_ours = now == entry.ours.as_ref() || (entry.ours.is_none() && entry.theirs.is_none());
        if !is_ours {
            continue;
        }
        match &entry.theirs {
            Some(theirs) => merge_json(object, &list::nested(&entry.at, theirs)),
            None => take_out_of_json(object, &entry.at),
        }
        told(&entry.at, entry.theirs.as_ref());
    }
}

/// What this run merged at these leaves. `before` and `after` are what the document said before and says now.
fn entries(leaves: &[Pointer], earlier: &[Entry], before: Map<String, Value>, after: &Map<String, Value>) -> Vec<Entry> {
    let mut users = before;
    undo(&mut users, earlier.iter(), &mut |_, _| ());
    let mut entries: Vec<Entry> = Vec::new();
    for at in leaves {
        // TOML has no null.
        let Some(ours) = list::value_at(after, at) else { continue };
        let replaced = (1..=at.len()).find_map(|depth| {
            let value = list::value_at(&users, &at[..depth])?;
            (depth == at.len() || !value.is_object()).then_some((depth, value))
        });
        let (whole, part) = match replaced {
            Some((depth, value)) if depth == at.len() => (Some(value.clone()), None),
            Some((depth, value)) => (None, Some((&at[..depth], value))),
            None => (None, None),
        };
        if let Some((at, value)) = part.filter(|(at, _)| entries.iter().all(|entry| entry.at != *at)) {
            entries.push(Entry { at: at.to_vec(), ours: None, theirs: Some(value.clone()) });
        }
        entries.push(Entry { at: at.clone(), ours: Some(ours.clone()), theirs: whole });
    }
    entries
}

/// What a document says, without how it says it.
fn meaning(document: &DocumentMut) -> Map<String, Value> {
    toml_edit::de::from_document(document.clone()).unwrap_or_default()
}

/// The way to each value that is no object, or an empty one.
fn find_leaves(fields: &Map<String, Value>, at: &mut Pointer, into: &mut Vec<Pointer>) {
    for (key, value) in fields {
        at.push(key.clone());
        match value {
            Value::Object(object) if !object.is_empty() => find_leaves(object, at, into),
            _ => into.push(at.clone()),
        }
        at.pop();
    }
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
            Value::Object(new) if !new.contains_key(DATE) => {
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
                    Some(item) if item.is_value() => *item = Item::Value(new),
                    // A table's key is written otherwise.
                    _ => {
                        into.remove(key);
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

/// The field as whose value a date of TOML's, which JSON has not, is read.
const DATE: &str = "$__toml_private_datetime";

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
        Value::Object(fields) => match fields.get(DATE) {
            Some(Value::String(date)) if fields.len() == 1 => date.parse::<Datetime>().ok()?.into(),
            _ => fields.iter().filter_map(|(key, value)| Some((key.as_str(), toml_value(value)?))).collect::<InlineTable>().into(),
        },
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
    fn what_the_user_had_comes_back_when_nothing_of_ours_is_there() {
        let json = r#"{"a":1,"list":[1,{"x":2}],"deep":{"own":true,"x":"mine","c":"mine"},"flat":7,"table":{"k":{"l":1}},"same":"s"}"#;
        let toml = "a = 1\nlist = [1, {x = 2}]\nflat = 7\nsame = \"s\"\nwhen = 1979-05-27\n[deep]\nown = true\nc = \"mine\" # why\nx = \"mine\"\n\
                    [table.k]\nl = 1\n";
        for (format, old) in [(Format::Json, json), (Format::Toml, toml)] {
            let ours = json!({"a": "b", "list": [], "deep": {"x": {}, "c": "ours", "new": 1}, "flat": {"x": {"y": 1}, "z": 2}, "table": "t", "same": "s", "when": 0});
            let (first, list) = run(format, Some(old), b"", ours.clone());
            // Other values in between, and a run that says the same.
            let (second, list) = run(format, Some(&first), &list, json!({"a": [2], "flat": 8, "same": "s"}));
            let (third, list) = run(format, Some(&second), &list, ours);
            let (fourth, list) = run(format, Some(&third), &list, json!({}));
            assert!(list.is_empty());
            assert_eq!(said(format, &fourth), said(format, old), "{fourth}");
            assert_ne!(said(format, &first), said(format, old));
            assert!(format == Format::Json || fourth.contains("c = \"mine\" # why\nx = \"mine\""), "{fourth}");
        }
    }

    #[test]
    fn what_the_user_changed_meanwhile_is_the_users() {
        for (format, edited) in [(Format::Json, r#"{"a":{"x":3,"y":1}}"#), (Format::Toml, "[a]\nx = 3\ny = 1\n")] {
            let (_, list) = run(format, Some(""), b"", json!({"a": {"x": 1, "y": 1}}));
            let (document, _) = run(format, Some(edited), &list, json!({}));
            assert_eq!(said(format, &document), json!({"a": {"x": 3}}));
            // And comes back if a run puts something else there.
            let (over, list) = run(format, Some(edited), &list, json!({"a": {"x": 9, "y": 1}}));
            assert_eq!(said(format, &run(format, Some(&over), &list, json!({})).0), json!({"a": {"x": 3}}));
        }
    }

    #[test]
    fn what_an_old_list_names_is_taken_out_as_it_was() {
        for (format, old) in [(Format::Json, r#"{"a":{"x":1},"b":2}"#), (Format::Toml, "b = 2\n[a]\nx = 1\n")] {
            let (document, list) = run(format, Some(old), b"/a/x\n/c\n", json!({"b": 3}));
            assert_eq!(said(format, &document), json!({"b": 3}));
            assert_eq!(said(format, &run(format, Some(&document), &list, json!({})).0), json!({"b": 2}));
        }
    }

    fn said(format: Format, document: &str) -> Value {
        match format {
            Format::Json => serde_json::from_str(document).unwrap(),
            Format::Toml => toml_edit::de::from_str(document).unwrap(),
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

    /// Objects that are empty without what is taken out go with it.
    fn without_empty(value: Value) -> Value {
        let Value::Object(fields) = value else { return value };
        let fields = fields.into_iter().map(|(key, value)| (key, without_empty(value)));
        fields.filter(|(_, value)| *value != json!({})).collect()
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
                let read = said(format, &once);
                let (json, _) = run(Format::Json, Some(&run(Format::Json, Some(""), b"", theirs.clone()).0), b"", ours.clone());
                prop_assert_eq!(read, serde_json::from_str::<Value>(&json).unwrap());
            }
        }

        #[test]
        fn what_the_user_had_comes_back(ours in arb_fields(), between in arb_fields(), theirs in arb_fields()) {
            for format in [Format::Json, Format::Toml] {
                let (old, _) = run(format, Some(""), b"", theirs.clone());
                let (first, list) = run(format, Some(&old), b"", ours.clone());
                let (second, list) = run(format, Some(&first), &list, between.clone());
                let (last, _) = run(format, Some(&second), &list, json!({}));
                prop_assert_eq!(without_empty(said(format, &last)), without_empty(said(format, &old)));
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
