//! Section 7.4: what the tokens cost, where the task says what models cost.

use serde_json::{Map, Value, json};

use crate::inputs::Task;
use crate::mutants::broken;

/// The row for every model without one of its own.
const ANY: &str = "*";

/// What a row may hold, and whether it has to.
const PRICES: &[(&str, bool)] = &[("input", true), ("output", true), ("cacheRead", false), ("cacheWrite", false)];

/// What models cost, in US dollars for a million tokens.
#[derive(Debug, Default)]
pub struct Prices {
    rows: Map<String, Value>,
    /// The model that the task names, for an agent that names none.
    asked: Option<String>,
}

/// Whether a value is such a table: an object of rows, each with prices of 0 or more, the needed ones and no unknown ones.
pub fn are_valid(value: &Value) -> bool {
    let is_price = |value: &Value| value.as_f64().is_some_and(|price| price >= 0.0);
    let is_row = |row: &Value| {
        row.as_object().is_some_and(|row| {
            row.iter().all(|(name, value)| PRICES.iter().any(|(known, _)| name == known) && is_price(value))
                && PRICES.iter().all(|(name, is_needed)| !is_needed || row.contains_key(*name))
        })
    };
    value.as_object().is_some_and(|rows| rows.values().all(is_row))
}

impl Prices {
    /// The task's.
    pub fn of(task: &Task) -> Self {
        let rows = task.value("prices").and_then(Value::as_object).cloned().unwrap_or_default();
        Self { rows, asked: task.text("agent.model").map(str::to_owned) }
    }

    /// Puts the cost into what an agent told of its tokens, in the place of its own, if its model has a price.
    pub fn apply(&self, usage: &mut Map<String, Value>, model: Option<&str>) {
        let own = model.or(self.asked.as_deref()).and_then(|model| self.rows.get(model));
        let Some(row) = own.or_else(|| self.rows.get(ANY)) else { return };
        if broken("prices") {
            return;
        }
        let tokens = |part: &str| usage.get(part).and_then(Value::as_f64);
        let (Some(input), Some(output)) = (tokens("inputTokens"), tokens("outputTokens")) else { return };
        let (read, written) = (tokens("cacheReadTokens").unwrap_or(0.0), tokens("cacheWriteTokens").unwrap_or(0.0));
        let plain = row["input"].as_f64().unwrap_or(0.0);
        let price = |part: &str| row.get(part).and_then(Value::as_f64).unwrap_or(plain);
        let (read_price, write_price) = if broken("prices.cache") { (plain, plain) } else { (price("cacheRead"), price("cacheWrite")) };
        let parts = [((input - read - written).max(0.0), plain), (read, read_price), (written, write_price), (output, price("output"))];
        let cost = parts.iter().map(|(tokens, price)| tokens * price).sum::<f64>() / 1e6;
        usage.insert("costUsd".to_owned(), json!(cost));
        let source = if broken("prices.source") { "agent" } else { "price-table" };
        usage.insert("costSource".to_owned(), source.into());
    }
}
