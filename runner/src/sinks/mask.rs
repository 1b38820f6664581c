//! Masking: what sinks write passes the caller's mask before it is escaped or shortened. Afterwards half a secret, or one with a quote in
//! it, would not be found.

use agent_sdk::outcome::Outcome;
use agent_sdk::usage::UsageByModel;
use serde_json::Value;

/// Takes a text and gives it back without secrets.
pub type Mask = dyn Fn(&str) -> String + Send + Sync;

/// The outcome with every text masked.
#[must_use]
pub fn mask_outcome(outcome: &Outcome, mask: &Mask) -> Outcome {
    // Taken apart completely, so that a field that is added later cannot be forgotten here.
    let Outcome {
        interface_version,
        runner_version,
        status,
        reason,
        exit_code,
        retry,
        phase,
        origin,
        message,
        hint,
        agent_exit_code,
        signal,
        agent,
        results,
        usage,
        usage_complete,
        usage_by_model,
        answer,
        warnings,
        put_back,
        phases_ms,
        stream,
        stderr_tail,
    } = outcome;
    let optional = |text: &Option<String>| text.as_deref().map(mask);
    let list = |texts: &[String]| texts.iter().map(|text| mask(text)).collect();
    Outcome {
        interface_version: interface_version.clone(),
        runner_version: runner_version.clone(),
        status: *status,
        reason: *reason,
        exit_code: *exit_code,
        retry: *retry,
        phase: *phase,
        origin: *origin,
        message: mask(message),
        hint: optional(hint),
        agent_exit_code: *agent_exit_code,
        signal: *signal,
        agent: optional(agent),
        results: results.map_text(mask),
        usage: *usage,
        usage_complete: *usage_complete,
        usage_by_model: usage_by_model.iter().map(|(model, usage)| (mask(model), *usage)).collect::<UsageByModel>(),
        answer: optional(answer),
        warnings: list(warnings),
        put_back: list(put_back),
        phases_ms: phases_ms.clone(),
        stream: *stream,
        stderr_tail: optional(stderr_tail),
    }
}

/// Masks every text in a JSON value, keys included: a tool's arguments may have anything anywhere.
pub(super) fn mask_json(value: &mut Value, mask: &Mask) {
    match value {
        Value::String(text) => *text = mask(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask_json(item, mask)),
        Value::Object(map) => {
            *map = std::mem::take(map)
                .into_iter()
                .map(|(key, mut value)| {
                    mask_json(&mut value, mask);
                    (mask(&key), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_sdk::event::Event;
    use agent_sdk::verdict::{Origin, Phase, Reason};

    const SECRET: &str = "s3cr3t-\"quoted\"\nvalue";

    fn mask(text: &str) -> String {
        text.replace(SECRET, "***")
    }

    #[test]
    fn no_text_of_an_outcome_keeps_a_secret() {
        let text = || format!("before {SECRET} after");
        let mut outcome = Outcome::new("0.1.0", Phase::Done, Origin::Agent, Reason::Completed, text());
        outcome.hint = Some(text());
        outcome.agent = Some(text());
        outcome.answer = Some(text());
        outcome.stderr_tail = Some(text());
        outcome.warnings = vec![text()];
        outcome.put_back = vec![text()];
        outcome.usage_by_model.insert(text(), outcome.usage);
        outcome.results.set_fact("model", text());
        outcome.results.claim("summary", text()).unwrap();
        let json = serde_json::to_value(mask_outcome(&outcome, &mask)).unwrap().to_string();
        assert!(!json.contains("s3cr3t"), "{json}");
        assert_eq!(json.matches("***").count(), 10, "{json}");
    }

    #[test]
    fn no_part_of_an_event_keeps_a_secret() {
        let input = serde_json::json!({"list": [{SECRET: SECRET}], "number": 1});
        let event = Event::ToolCall { id: SECRET.to_owned(), name: "Bash".to_owned(), input, parent: None };
        let mut value = serde_json::to_value(event).unwrap();
        mask_json(&mut value, &mask);
        assert_eq!(
            value,
            serde_json::json!({"type": "tool-call", "id": "***", "name": "Bash", "input": {"list": [{"***": "***"}], "number": 1}})
        );
    }
}
