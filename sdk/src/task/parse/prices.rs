//! What models cost.

use serde_json::Value;

use super::super::fields::{FieldError, Fields, Got, amount, quote};
use super::Errors;
use crate::prices::{Price, Prices};

const EXPECTED: &str = "US dollars for a million tokens, 0 or more";

pub(super) fn read_prices(fields: &mut Fields<'_>, e: Errors<'_>) -> Prices {
    let mut prices = Prices::default();
    let Some(object) = fields.read("prices", "an object of prices by the model's name", e, Value::as_object) else { return prices };
    for (model, value) in object {
        let path = fields.path(&format!("prices.{model}"));
        let Some(row) = value.as_object() else {
            let expected = "an object such as {\"input\": 1.25, \"output\": 10}".to_owned();
            let hint = Some("US dollars for a million tokens; `cacheRead` and `cacheWrite` where they differ from `input`".to_owned());
            e.push(FieldError { path, got: Got::Quoted(quote(value)), expected, hint });
            continue;
        };
        let mut row = Fields::new(&path, row);
        let input = row.required("input", EXPECTED, e, dollars);
        let output = row.required("output", EXPECTED, e, dollars);
        let cache_read = row.read("cacheRead", EXPECTED, e, dollars);
        let cache_write = row.read("cacheWrite", EXPECTED, e, dollars);
        row.finish(e);
        // One that lacks something has said so.
        if let (Some(input), Some(output)) = (input, output) {
            prices.0.insert(model.clone(), Price { input, cache_read, cache_write, output });
        }
    }
    prices
}

fn dollars(value: &Value) -> Option<f64> {
    amount(value).filter(|dollars| *dollars >= 0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::prices::Price;
    use crate::task::Task;

    #[test]
    fn prices_are_read_and_written_alike() {
        let document = json!({"agent": {"type": "x"}, "prices": {"a/b-1": {"input": 1, "cacheRead": "0.25", "output": 10.5}, "*": {"input": 0, "output": 0}}});
        let task = Task::from_value(&document).unwrap();
        assert_eq!(task.prices.0["a/b-1"], Price { input: 1.0, cache_read: Some(0.25), cache_write: None, output: 10.5 });
        assert_eq!(Task::from_value(&serde_json::to_value(&task).unwrap()).unwrap(), task);
    }

    #[test]
    fn every_wrong_price_is_named() {
        let document =
            json!({"agent": {"type": "x"}, "prices": {"a": 3, "b": {"input": -1, "outputs": 2}, "c": {"input": 1, "output": "much"}}});
        let wrong: Vec<String> = Task::from_value(&document).unwrap_err().iter().map(ToString::to_string).collect();
        let amount = "US dollars for a million tokens, 0 or more";
        let expected = [
            "`prices.a`: expected an object such as {\"input\": 1.25, \"output\": 10}, got `3` (US dollars for a million tokens; `cacheRead` \
             and `cacheWrite` where they differ from `input`)"
                .to_owned(),
            format!("`prices.b.input`: expected {amount}, got `-1`"),
            format!("`prices.b.output`: expected {amount}"),
            "`prices.b.outputs`: expected no such field (did you mean `prices.b.output`?)".to_owned(),
            format!("`prices.c.output`: expected {amount}, got `much`"),
        ];
        assert_eq!(wrong, expected);
        assert!(Task::from_value(&json!({"agent": {"type": "x"}, "prices": []})).is_err());
    }
}
