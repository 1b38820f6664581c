//! Holds a TOML text against the schema of [`Manifest`], so that every unknown, missing and misshapen field is named at once, with its
//! line. The schema is the one that is published: what an editor says by it and what the runner says are the same.
//!
//! What the fields mean is for [`super::check`].

use std::collections::BTreeMap;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ManifestError;
use super::schema::Manifest;
use crate::task::nearest;

/// So many words are listed where one is wrong.
const FEW: usize = 12;

/// Where each field stands: its path and its line.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// The line of a field, or of the nearest that is there and holds it.
    pub(super) fn of(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// Walks a document.
struct Walk<'a> {
    text: &'a str,
    schema: &'a Value,
    lines: Lines,
    errors: Vec<ManifestError>,
}

/// The manifest of a text, and where its fields stand.
pub(super) fn read(text: &str) -> Result<(Manifest, Lines), Vec<ManifestError>> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        vec![ManifestError { line, path: String::new(), problem: format!("is not TOML: {}", error.message()), hint: None }]
    })?;
    let schema = schemars::schema_for!(Manifest).to_value();
    let mut walk = Walk { text, schema: &schema, lines: Lines::default(), errors: Vec::new() };
    walk.table(&schema, document.get_ref(), "", 0);
    if !walk.errors.is_empty() {
        walk.errors.sort_by_key(|error| error.line);
        return Err(walk.errors);
    }
    // What the schema cannot say, such as a number that does not fit its type, is left to this.
    let manifest = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        vec![ManifestError { line, path: String::new(), problem: format!("cannot be read: {}", error.message()), hint: None }]
    })?;
    Ok((manifest, walk.lines))
}

/// The number of the line, from 1, that holds a byte. The end of a text is in its last line, whether that ends or not.
fn line_of(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len().saturating_sub(1));
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl<'a> Walk<'a> {
    fn error(&mut self, path: &str, offset: usize, problem: String, hint: Option<String>) {
        self.errors.push(ManifestError { line: Some(line_of(self.text, offset)), path: path.to_owned(), problem, hint });
    }

    /// The schema that counts for a value: references followed, and of alternatives the one that has the value's type.
    fn resolve(&self, schema: &'a Value, value: Option<&DeValue<'_>>) -> &'a Value {
        let mut schema = schema;
        // References do not go round in schemas of types that hold no boxes; the bound is for the day when they do.
        for _ in 0..16 {
            if let Some(target) = schema["$ref"].as_str().and_then(|path| self.schema.pointer(path.trim_start_matches('#'))) {
                schema = target;
                continue;
            }
            let options = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
            let mut options = options.iter().map(|option| self.resolve(option, value)).filter(|option| option["type"] != "null");
            let first = options.next();
            let fits = |option: &&Value| value.is_some_and(|value| types(option).contains(&type_of(value)));
            match first {
                Some(first) if fits(&first) => return first,
                Some(first) => return options.find(fits).unwrap_or(first),
                None => return schema,
            }
        }
        schema
    }

    fn value(&mut self, schema: &'a Value, value: &Spanned<DeValue<'_>>, path: &str) {
        let at = value.span().start;
        let given = schema;
        let schema = self.resolve(schema, Some(value.get_ref()));
        let types = types(schema);
        let found = type_of(value.get_ref());
        let fits = types.is_empty() || types.contains(&found) || (types.contains(&"number") && found == "integer");
        if !fits || found == "date" {
            let wanted = self.wanted(given);
            let hint = given["description"].as_str().or(schema["description"].as_str()).map(first_sentence);
            self.error(path, at, format!("expected {wanted}, got {}", an(found)), hint);
            return;
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(schema, table, path, at),
            DeValue::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    let path = format!("{path}[{number}]");
                    self.lines.0.insert(path.clone(), line_of(self.text, item.span().start));
                    self.value(&schema["items"], item, &path);
                }
            }
            DeValue::String(text) => {
                let words = words(schema);
                if !words.is_empty() && !words.contains(&&**text) {
                    let near = nearest(text, words.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                    let got: String = text.chars().take(40).collect();
                    let few = if words.len() <= FEW { format!(": `{}`", words.join("`, `")) } else { String::new() };
                    self.error(path, at, format!("expected a word that is known here{few}; got `{got}`"), near);
                }
            }
            DeValue::Float(number) if number.as_str().contains(['n', 'i']) => {
                self.error(path, at, "expected a number that is finite".to_owned(), None);
            }
            DeValue::Integer(number) => {
                let (low, high) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
                let value = i64::from_str_radix(number.as_str(), number.radix()).ok();
                let inside = value.is_some_and(|value| low.is_none_or(|low| low <= value) && high.is_none_or(|high| value <= high));
                if !inside {
                    let range = match (low, high) {
                        (Some(low), Some(high)) => format!(" from {low} to {high}"),
                        _ => String::new(),
                    };
                    self.error(path, at, format!("expected a whole number{range}"), None);
                }
            }
            _ => {}
        }
    }

    fn table(&mut self, schema: &'a Value, table: &DeTable<'_>, path: &str, at: usize) {
        let known = schema["properties"].as_object();
        let more = &schema["additionalProperties"];
        for (key, value) in table {
            let name: &str = key.get_ref();
            let field = below(path, name);
            self.lines.0.insert(field.clone(), line_of(self.text, key.span().start));
            match known.and_then(|known| known.get(name)) {
                Some(schema) => self.value(schema, value, &field),
                None if *more == Value::Bool(false) => {
                    let names = || known.iter().flat_map(|known| known.keys()).map(String::as_str);
                    let hint = match nearest(name, names()) {
                        Some(near) => format!("did you mean `{}`?", below(path, near)),
                        None => format!("known here: {}", names().collect::<Vec<_>>().join(", ")),
                    };
                    self.error(&field, key.span().start, "is not known".to_owned(), Some(hint));
                }
                None => self.value(more, value, &field),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !table.contains_key(name) {
                let property = &schema["properties"][name];
                let property = if property["description"].is_string() { property } else { self.resolve(property, None) };
                let hint = property["description"].as_str().map(first_sentence);
                self.error(&below(path, name), at, "is missing".to_owned(), hint);
            }
        }
    }

    /// What is expected, in words.
    fn wanted(&self, schema: &'a Value) -> String {
        let options = schema["anyOf"].as_array().map_or_else(|| vec![schema], |options| options.iter().collect());
        let mut wanted: Vec<&str> = Vec::new();
        for option in options {
            wanted.extend(types(self.resolve(option, None)).into_iter().filter(|name| *name != "null").map(an));
        }
        wanted.dedup();
        wanted.join(" or ")
    }
}

/// The types that a schema allows; none means any.
fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        // An enumeration of words has them in each of its alternatives.
        _ if schema["oneOf"].is_array() || schema["enum"].is_array() => vec!["string"],
        _ => Vec::new(),
    }
}

/// The words of an enumeration.
fn words(schema: &Value) -> Vec<&str> {
    let of = |field: &str| schema[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let documented = of("oneOf").iter().flat_map(|option| {
        let plain = option["enum"].as_array().map(Vec::as_slice).unwrap_or_default();
        option["const"].as_str().into_iter().chain(plain.iter().filter_map(Value::as_str))
    });
    documented.chain(of("enum").iter().filter_map(Value::as_str)).collect()
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

/// A type in TOML's words.
fn an(name: &str) -> &'static str {
    match name {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a table",
        "date" => "a date",
        _ => "nothing",
    }
}

fn first_sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    text.split_once(". ").map_or_else(|| text.trim_end_matches('.').to_owned(), |(first, _)| first.to_owned())
}
