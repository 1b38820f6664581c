//! The smallest JSON value that a JSON Schema allows: what a model answers that was asked for a form and has nothing to say.
//! Gemini CLI asks a small model so which of its models is to answer, and asks again for as long as the form is not kept.

use serde_json::{Map, Value, json};

/// A value of that form, with `text` wherever a text may stand freely. Types are read in either case: Google's are upper.
pub fn instance(schema: &Value, text: &str) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    match schema["type"].as_str().unwrap_or_default().to_ascii_lowercase().as_str() {
        "object" => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            Value::Object(fields.map(|(name, field)| (name.clone(), instance(field, text))).collect::<Map<_, _>>())
        }
        "array" => json!([]),
        "boolean" => json!(false),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        _ => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_gets_a_value_of_its_type() {
        let schema = json!({"type": "OBJECT", "required": ["why"], "properties": {
            "why": {"type": "STRING"}, "score": {"type": "integer"}, "least": {"type": "number", "minimum": 2.5},
            "which": {"type": "string", "enum": ["flash", "pro"]}, "sure": {"type": "BOOLEAN"}, "more": {"type": "array"},
        }});
        let wanted = json!({"why": "said", "score": 1, "least": 2.5, "which": "flash", "sure": false, "more": []});
        assert_eq!(instance(&schema, "said"), wanted);
        assert_eq!(instance(&json!({}), "said"), json!("said"));
    }
}
