//! The JSON Schemas of the specification, read as data.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

/// The schema of one line of events.
pub(super) static EVENT: LazyLock<Validator> = LazyLock::new(|| validator(include_str!("../../../../spec/v1/event.schema.json")));
/// The schema of `result.json`.
pub(super) static OUTCOME: LazyLock<Validator> = LazyLock::new(|| validator(include_str!("../../../../spec/v1/outcome.schema.json")));
/// The schema of the termination message.
pub(super) static TERMINATION: LazyLock<Validator> =
    LazyLock::new(|| validator(include_str!("../../../../spec/v1/termination.schema.json")));

fn validator(text: &str) -> Validator {
    let schema: Value = serde_json::from_str(text).unwrap_or_default();
    // The schemas are part of the program, and every check that uses one is tested.
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("a schema of the specification: {error}"))
}

/// What is wrong with a value, at most three things; empty if nothing is.
pub(super) fn faults(schema: &Validator, value: &Value) -> String {
    let faults = schema.iter_errors(value).take(3).map(|error| format!("{}: {error}", error.instance_path()));
    faults.collect::<Vec<_>>().join("; ").chars().take(600).collect()
}
