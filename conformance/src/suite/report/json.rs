//! The report as JSON. Its schema is `conformance/report.schema.json`, made from the same types.

use super::Report;

/// The report as JSON, with a line feed at its end.
///
/// # Errors
/// Those of the serializer; there is none for this type.
pub fn render(report: &Report) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// The JSON Schema (draft 2020-12) of the report.
///
/// # Errors
/// Those of the serializer; there is none for this type.
pub fn schema() -> serde_json::Result<String> {
    let mut schema = schemars::schema_for!(Report);
    schema.insert("title".into(), "Report of agent-conformance".into());
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}
