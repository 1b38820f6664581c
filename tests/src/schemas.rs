//! The official schemas of the platforms, as far as they may stand here, and those that a directory of one's own has.
//!
//! `tests/schemas` holds Kubernetes' and Argo's, from packages (each says which). Tekton and Kelos publish theirs as
//! CustomResourceDefinitions only: they are read from the directory in `AGENT_TESTS_CRDS`, which may hold any CRDs as YAML, and are skipped
//! without it.

#![allow(clippy::unwrap_used, reason = "a schema that cannot be read is a failed test")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A schema of `tests/schemas`, by its file and the name of the definition.
#[must_use]
pub fn packaged(file: &str, definition: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(file);
    let mut schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    schema["$ref"] = json!(format!("#/definitions/{definition}"));
    schema
}

/// The schema of a resource from its CustomResourceDefinition. `None`, said loudly, where there is no such directory or definition.
#[must_use]
pub fn of_cluster(group: &str, kind: &str, version: &str) -> Option<Value> {
    let why = format!("AGENT_TESTS_CRDS names no directory with the CustomResourceDefinition of {kind} in {group}");
    let Some(directory) = std::env::var_os("AGENT_TESTS_CRDS").map(PathBuf::from) else {
        crate::skip::skip(&why);
        return None;
    };
    let files = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for path in files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "yaml")) {
        let definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or(Value::Null);
        let spec = &definition["spec"];
        if spec["group"] == group && spec["names"]["kind"] == kind {
            let versions = spec["versions"].as_array().unwrap();
            let served =
                versions.iter().find(|served| served["name"] == version).unwrap_or_else(|| panic!("no {version} in {}", path.display()));
            let mut schema = served["schema"]["openAPIV3Schema"].clone();
            strict(&mut schema);
            return Some(schema);
        }
    }
    crate::skip::skip(&why);
    None
}

/// A field that a server would drop is an error here.
fn strict(schema: &mut Value) {
    if let Value::Object(fields) = schema {
        if fields.remove("x-kubernetes-int-or-string") == Some(json!(true)) {
            fields.remove("anyOf");
            fields.insert("type".to_owned(), json!(["integer", "string"]));
        }
        let keeps = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
        if fields.contains_key("properties") && !keeps && !fields.contains_key("additionalProperties") {
            fields.insert("additionalProperties".to_owned(), json!(false));
        }
        fields.values_mut().for_each(strict);
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(strict);
    }
}

/// What of a document a schema does not accept.
///
/// Only what the schemas here are made of is understood; any other keyword is a failed test, so that nothing is accepted for want of
/// understanding. Of a text's form (`pattern`, `format`) nothing is judged.
#[must_use]
pub fn problems(schema: &Value, document: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check(schema, schema, document, "", &mut problems);
    problems
}

/// Keywords that say nothing of what is accepted, or that a server judges by itself.
const PASSED_OVER: &[&str] = &["$comment", "definitions", "description", "default", "pattern", "format", "nullable", "title"];

fn check(root: &Value, schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    let Value::Object(keywords) = schema else { panic!("{at}: {schema} is no schema") };
    let mut refuse = |problem: String| problems.push(format!("{at}: {problem}"));
    let passes = |other: &Value| {
        let mut found = Vec::new();
        check(root, other, value, at, &mut found);
        found
    };
    let mut nested = Vec::new();
    for (keyword, wanted) in keywords {
        match keyword.as_str() {
            "$ref" => {
                let place = wanted.as_str().and_then(|place| place.strip_prefix('#')).unwrap();
                nested.extend(passes(root.pointer(place).unwrap_or_else(|| panic!("no {place}"))));
            }
            "type" => {
                let kinds = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !kinds.iter().any(|kind| is_of(kind.as_str().unwrap(), value)) {
                    refuse(format!("expected {wanted}, got {value}"));
                }
            }
            "enum" if !wanted.as_array().unwrap().contains(value) => refuse(format!("expected one of {wanted}, got {value}")),
            "const" if wanted != value => refuse(format!("expected {wanted}, got {value}")),
            "anyOf" | "oneOf" => {
                let all: Vec<Vec<String>> = wanted.as_array().unwrap().iter().map(passes).collect();
                if !all.iter().any(Vec::is_empty) {
                    refuse(format!("fits none of: {all:?}"));
                }
            }
            "allOf" => wanted.as_array().unwrap().iter().for_each(|one| nested.extend(passes(one))),
            "required" => {
                let missing =
                    wanted.as_array().unwrap().iter().filter(|name| value.is_object() && value.get(name.as_str().unwrap()).is_none());
                missing.for_each(|name| refuse(format!("{name} is missing")));
            }
            "properties" | "additionalProperties" => {}
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{at}[{number}]"), &mut nested);
                }
            }
            "minimum" if value.as_f64() < wanted.as_f64() && value.is_number() => refuse(format!("{value} is below {wanted}")),
            "maximum" if value.as_f64() > wanted.as_f64() && value.is_number() => refuse(format!("{value} is above {wanted}")),
            "minLength" if value.as_str().is_some_and(|text| (text.chars().count() as u64) < wanted.as_u64().unwrap()) => {
                refuse("is too short".to_owned());
            }
            "minItems" if value.as_array().is_some_and(|items| (items.len() as u64) < wanted.as_u64().unwrap()) => {
                refuse("has too few items".to_owned())
            }
            "enum" | "const" | "minimum" | "maximum" | "minLength" | "minItems" | "maxLength" | "maxItems" | "maxProperties" => {}
            known if PASSED_OVER.contains(&known) || known.starts_with("x-kubernetes-") => {}
            unknown => panic!("{at}: the keyword `{unknown}` is not understood here"),
        }
    }
    let no_fields = serde_json::Map::new();
    let known = keywords.get("properties").and_then(Value::as_object).unwrap_or(&no_fields);
    for (name, field) in value.as_object().into_iter().flatten() {
        let place = format!("{at}.{name}");
        match (known.get(name), keywords.get("additionalProperties")) {
            (Some(schema), _) => check(root, schema, field, &place, &mut nested),
            (None, Some(Value::Bool(false))) => refuse(format!("`{name}` is no field")),
            (None, Some(schema @ Value::Object(_))) => check(root, schema, field, &place, &mut nested),
            (None, _) => {}
        }
    }
    problems.extend(nested);
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("`{other}` is no type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named_by_its_place() {
        let schema = json!({
            "definitions": {"port": {"type": "integer", "minimum": 1}},
            "type": "object", "required": ["name"], "additionalProperties": false,
            "properties": {
                "name": {"type": "string", "minLength": 1, "enum": ["a", "b"]},
                "ports": {"type": "array", "items": {"anyOf": [{"$ref": "#/definitions/port"}, {"type": "null"}]}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        });
        assert_eq!(problems(&schema, &json!({"name": "a", "ports": [1, null], "labels": {"x": "y"}})), Vec::<String>::new());
        let found = problems(&schema, &json!({"ports": [0, "x"], "labels": {"x": 1}, "other": 1}));
        for part in
            [": \"name\" is missing", ".ports[0]: fits none", ".ports[1]: fits none", ".labels.x: expected", ": `other` is no field"]
        {
            assert!(found.iter().any(|problem| problem.starts_with(part)), "{part}: {found:#?}");
        }
        assert_eq!(found.len(), 5, "{found:#?}");
    }
}
