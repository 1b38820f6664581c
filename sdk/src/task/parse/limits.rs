//! When to stop.

use serde_json::Value;

use super::super::fields::{Fields, amount};
use super::super::{Limits, Span};
use super::Errors;

pub(super) fn read_limits(fields: &mut Fields<'_>, e: Errors<'_>) -> Limits {
    let default = Limits::default();
    let Some(object) = fields.object("limits", e) else { return default };
    let mut l = Fields::new("limits", object);
    let limits = Limits {
        timeout: read_span(&mut l, "timeout", e).filter(|span| span.limit().is_some()),
        silence_timeout: read_span(&mut l, "silenceTimeout", e).unwrap_or(default.silence_timeout),
        grace: read_span(&mut l, "grace", e).unwrap_or(default.grace),
        linger: read_span(&mut l, "linger", e).unwrap_or(default.linger),
        max_cost_usd: l.read("maxCostUsd", "an amount in US dollars above 0", e, |value| amount(value).filter(|dollars| *dollars > 0.0)),
        max_turns: read_positive(&mut l, "maxTurns", e),
        max_output_tokens: read_positive(&mut l, "maxOutputTokens", e),
        max_retries: l.integer("maxRetries", "a number of retries", e).map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
    };
    l.finish(e);
    limits
}

fn read_positive(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> Option<u64> {
    let value = fields.integer(name, "a whole number above 0", e)?;
    if value == 0 {
        fields.error(name, &Value::from(0), "a whole number above 0", e);
    }
    (value > 0).then_some(value)
}

fn read_span(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> Option<Span> {
    fields.read(name, "a length of time such as `90s` or `30m`", e, |value| match value {
        Value::Number(number) => number.as_u64().map(Span::from_secs),
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}
