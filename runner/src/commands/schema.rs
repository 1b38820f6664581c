//! `agent-runner schema DOCUMENT`: the JSON Schemas, generated from the SDK's types. `spec/v1/*.schema.json` are its output.

use std::process::ExitCode;

use agent_sdk::event::Event;
use agent_sdk::outcome::Outcome;
use agent_sdk::task::Task;
use schemars::schema_for;

use crate::cli::{SchemaArgs, SchemaDocument};

/// The schema of a document, as pretty JSON with a final newline.
#[must_use]
pub fn schema(document: SchemaDocument) -> String {
    let mut schema = match document {
        SchemaDocument::Task => schema_for!(Task),
        SchemaDocument::Outcome => schema_for!(Outcome),
        SchemaDocument::Event => schema_for!(Event),
        SchemaDocument::Termination => schema_for!(agent_sdk::termination::TerminationMessage),
        SchemaDocument::Manifest => schema_for!(agent_sdk::agents::manifest::Manifest),
    };
    schema.insert("$id".to_owned(), format!("urn:agent-image-interface:v1:{}", name(document)).into());
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// The name of a document, as in the name of its file.
#[must_use]
pub fn name(document: SchemaDocument) -> &'static str {
    match document {
        SchemaDocument::Task => "task",
        SchemaDocument::Outcome => "outcome",
        SchemaDocument::Event => "event",
        SchemaDocument::Termination => "termination",
        SchemaDocument::Manifest => "manifest",
    }
}

/// Runs the command.
#[must_use]
pub fn run(args: &SchemaArgs) -> ExitCode {
    super::print(&schema(args.document))
}
