//! The specification's examples, held against its schemas, its rules, and the runner: what is called valid is, and what is called invalid
//! breaks just the rule that it names.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use agent_runner::inputs::{Inputs, read_input_file};
use agent_sdk::marker::{MarkerScanner, Nonce, Scanned};
use agent_sdk::termination::TerminationMessage;
use serde::Deserialize;
use serde_json::Value;

/// `spec/v1/examples/index.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    nonce: String,
    example: Vec<Example>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    file: String,
    document: Document,
    /// The rule that it breaks; a valid one has none.
    rule: Option<String>,
    /// The keyword of the schema that says so, where the schema does.
    keyword: Option<String>,
    /// Where, as a JSON pointer.
    at: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Document {
    Task,
    Termination,
    Outcome,
    Event,
    Manifest,
    Marker,
}

fn spec() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("spec/v1")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(spec().join("examples").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn index() -> Index {
    toml::from_str(&read("index.toml")).unwrap()
}

fn of(document: Document) -> Vec<Example> {
    let examples: Vec<Example> = index().example.into_iter().filter(|example| example.document == document).collect();
    assert!(examples.iter().any(|example| example.rule.is_none()), "no valid example of {document:?}");
    assert!(examples.iter().any(|example| example.rule.is_some()), "no invalid example of {document:?}");
    examples
}

fn schema(name: &str) -> jsonschema::Validator {
    let text = std::fs::read_to_string(spec().join(format!("{name}.schema.json"))).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// What a schema says of a value: keyword and place of each error.
fn errors(schema: &jsonschema::Validator, value: &Value) -> BTreeSet<(String, String)> {
    schema.iter_errors(value).map(|error| (error.kind().keyword().to_owned(), error.instance_path().to_string())).collect()
}

/// The schema finds in it just what the index says, or nothing.
fn hold_against(schema: &jsonschema::Validator, example: &Example, value: &Value) {
    let expected = example.keyword.clone().map(|keyword| (keyword, example.at.clone().unwrap_or_default()));
    assert_eq!(errors(schema, value), expected.into_iter().collect(), "{}", example.file);
}

/// A document of this file: YAML and TOML as the JSON that they mean.
fn value(file: &str) -> Value {
    let text = read(file);
    match file.rsplit('.').next().unwrap() {
        "yaml" => serde_saphyr::from_str(&text).unwrap(),
        "toml" => toml::from_str(&text).unwrap(),
        _ => serde_json::from_str(&text).unwrap(),
    }
}

#[test]
fn every_file_is_in_the_index_and_says_by_its_name_whether_it_is_valid() {
    let index = index();
    let listed: BTreeSet<String> = index.example.iter().map(|example| example.file.clone()).collect();
    assert_eq!(listed.len(), index.example.len(), "a file stands twice");
    let found: BTreeSet<String> = std::fs::read_dir(spec().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "index.toml")
        .collect();
    assert_eq!(listed, found);
    let rows = std::fs::read_to_string(spec().join("requirements.toml")).unwrap();
    let prose = std::fs::read_to_string(spec().join("spec.md")).unwrap();
    for example in &index.example {
        assert_eq!(example.file.contains(".invalid."), example.rule.is_some(), "{}", example.file);
        let Some(rule) = &example.rule else { continue };
        let known = match rule.strip_prefix("section ") {
            Some(section) => prose.lines().any(|line| line.trim_start_matches('#').trim_start().starts_with(&format!("{section} "))),
            None => rows.contains(&format!("id = \"{rule}\"")),
        };
        assert!(known, "{}: there is no rule {rule}", example.file);
    }
}

/// What the prose shows is the file, not something like it.
#[test]
fn the_examples_of_the_prose_are_the_files() {
    let prose = std::fs::read_to_string(spec().join("spec.md")).unwrap();
    let mut shown = 0;
    for block in prose.split("\n```").skip(1) {
        let (head, body) = block.split_once('\n').unwrap();
        let file = match head.split_once(' ') {
            Some((_, "stream")) => "stream.jsonl",
            Some((_, info)) => info.strip_prefix("examples/").unwrap_or_else(|| panic!("`{info}` is no example")),
            None => continue,
        };
        assert_eq!(format!("{body}\n"), read(file), "{file}");
        shown += 1;
    }
    assert!(shown >= 6, "the prose has lost its examples");
}

/// What the runner says of a task document.
fn resolve(file: &str) -> Result<(), String> {
    let path = spec().join("examples").join(file);
    let env = [(OsString::from("AGENT_TASK_FILE"), OsString::from(&path))];
    Inputs::of(&[], env.into(), &|_| false).resolve(read_input_file).map(drop).map_err(|error| error.to_string())
}

#[test]
fn tasks_are_what_the_schema_and_the_runner_take() {
    let schema = schema("task");
    for example in of(Document::Task) {
        hold_against(&schema, &example, &value(&example.file));
        match (resolve(&example.file), &example.rule) {
            (Ok(()), None) => {}
            (Ok(()), Some(rule)) => panic!("{}: the runner takes it, against {rule}", example.file),
            (Err(error), None) => panic!("{}: {error}", example.file),
            (Err(error), Some(_)) => {
                let at = example.at.as_deref().unwrap().trim_start_matches('/').replace('/', ".");
                assert!(error.contains(&at), "{}: the place `{at}` is not named: {error}", example.file);
                assert!(!error.contains("hunter2"), "{}: the password is told: {error}", example.file);
            }
        }
    }
}

/// What a message breaks, in the order in which a reader would notice.
fn broken_rule(text: &str, schema: &jsonschema::Validator) -> Option<&'static str> {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Some("TERM-001") };
    if !schema.is_valid(&value) {
        return Some("TERM-002");
    }
    let reasons: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(spec().join("reasons.json")).unwrap()).unwrap();
    let row = reasons.iter().find(|row| row["reason"] == value["reason"]).unwrap();
    if row["status"] != value["status"] {
        return Some("TERM-005");
    }
    (!row["exitCode"].is_null() && row["exitCode"] != value["exitCode"]).then_some("section 6.5")
}

#[test]
fn messages_are_what_the_schema_the_table_and_the_reader_take() {
    let schema = schema("termination");
    for example in of(Document::Termination) {
        let text = read(&example.file);
        assert_eq!(broken_rule(&text, &schema), example.rule.as_deref(), "{}", example.file);
        if let Ok(value) = serde_json::from_str(&text) {
            hold_against(&schema, &example, &value);
        }
        if example.rule.is_none() {
            let message = TerminationMessage::parse(text.as_bytes()).unwrap();
            let compact = serde_json::to_string(&serde_json::from_str::<Value>(&text).unwrap()).unwrap();
            assert!(compact.len() <= if message.cut.is_empty() { 4096 } else { 512 }, "{}: {}", example.file, compact.len());
        }
    }
}

#[test]
fn outcomes_and_manifests_are_what_their_schemas_take() {
    for (document, name) in [(Document::Outcome, "outcome"), (Document::Manifest, "manifest")] {
        let schema = schema(name);
        for example in of(document) {
            hold_against(&schema, &example, &value(&example.file));
        }
    }
}

#[test]
fn events_are_what_their_schema_takes_and_every_kind_is_shown() {
    let schema = schema("event");
    let mut kinds = BTreeSet::new();
    for example in of(Document::Event) {
        for line in read(&example.file).lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            hold_against(&schema, &example, &value);
            if example.rule.is_none() {
                serde_json::from_value::<agent_sdk::event::Event>(value.clone()).unwrap();
                kinds.insert(value["type"].as_str().unwrap().to_owned());
            }
        }
    }
    let text = std::fs::read_to_string(spec().join("event.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let all = schema["oneOf"].as_array().unwrap().iter().map(|kind| kind["properties"]["type"]["const"].as_str().unwrap());
    // a line that carries nothing is counted, and never written
    let written: BTreeSet<String> = all.filter(|kind| *kind != "ignored").map(str::to_owned).collect();
    assert_eq!(kinds, written);
}

fn scan(text: &str, nonce: &str) -> Scanned {
    let mut scanner = MarkerScanner::native(&Nonce::parse(nonce).unwrap());
    text.lines().for_each(|line| scanner.line(line.as_bytes()));
    scanner.finish()
}

#[test]
fn marker_blocks_are_read_as_the_grammar_says() {
    let nonce = index().nonce;
    for example in of(Document::Marker) {
        let scanned = scan(&read(&example.file), &nonce);
        match example.rule.as_deref() {
            None => {
                let values: Vec<(&str, &str)> = scanned.values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                let expected = [
                    ("branch", "fix-7"),
                    ("empty", ""),
                    ("padded", " between spaces "),
                    ("path", "C:\\temp"),
                    ("reason", "Completed"),
                    ("status", "succeeded"),
                    ("summary", "two lines\nof text"),
                ];
                assert_eq!(values, expected);
                assert_eq!((scanned.counts.blocks, scanned.counts.malformed), (1, 0));
            }
            Some(_) => assert!(scanned.values.is_empty(), "{}: {:?}", example.file, scanned.values),
        }
    }
}
