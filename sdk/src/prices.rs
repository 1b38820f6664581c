//! What models cost, where the user says it: for agents that tell tokens and no cost, and for prices that nobody but the user knows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::StreamSummary;
use crate::usage::{CostSource, Usage};

/// The name that stands for every model without a row of its own.
pub const ANY: &str = "*";

/// Prices are said for so many tokens, as providers say them.
const TOKENS: f64 = 1e6;

/// What a model costs, in US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Price {
    /// Prompt tokens that the provider's cache neither gave nor took.
    #[schemars(range(min = 0.0))]
    pub input: f64,
    /// Prompt tokens that the cache gave; absent means as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub cache_read: Option<f64>,
    /// Prompt tokens that were written to the cache; absent means as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub cache_write: Option<f64>,
    /// Generated tokens, reasoning included.
    #[schemars(range(min = 0.0))]
    pub output: f64,
}

impl Price {
    /// What these tokens cost; nothing, if the agent told only one of the two kinds.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> Option<f64> {
        let (input, output) = (usage.input_tokens?, usage.output_tokens?);
        let (read, written) = (usage.cache_read_tokens.unwrap_or(0), usage.cache_write_tokens.unwrap_or(0));
        let plain = input.saturating_sub(read.saturating_add(written));
        let parts = [
            (plain, self.input),
            (read, self.cache_read.unwrap_or(self.input)),
            (written, self.cache_write.unwrap_or(self.input)),
            (output, self.output),
        ];
        // Exact up to 2^53 tokens.
        Some(parts.iter().map(|(tokens, price)| *tokens as f64 * price).sum::<f64>() / TOKENS)
    }
}

/// What models cost, by their names as the agent tells them; `*` stands for every other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Prices(pub BTreeMap<String, Price>);

/// A model without a price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`prices` has no row for {}, and none for `*`: what the run costs is not known by it", named(model.as_deref()))]
pub struct Unpriced {
    /// Its name, if the agent told one.
    pub model: Option<String>,
}

fn named(model: Option<&str>) -> String {
    model.map_or_else(|| "a model that the agent does not name".to_owned(), |name| format!("the model `{name}`"))
}

impl Prices {
    /// Whether nobody gave any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the cost by this table into what a stream has said, in the place of what the agent may have said of it, where all that was used
    /// has a price. `asked` is the model that the task names, for agents that name none.
    ///
    /// # Errors
    /// A model that was used has no price: nothing was changed.
    pub fn apply(&self, summary: &mut StreamSummary, asked: Option<&str>) -> Result<(), Unpriced> {
        if self.is_empty() {
            return Ok(());
        }
        let mut by_model = summary.usage_by_model.clone();
        let mut cost = None;
        for (model, usage) in by_model.iter_mut().filter(|(_, usage)| is_used(usage)) {
            // Where only one of the two kinds of tokens is known of a model, what all of them cost is not known.
            let Some(part) = self.price(Some(model))?.of(usage) else { return Ok(()) };
            *usage = priced(*usage, part);
            cost = Some(cost.unwrap_or(0.0) + part);
        }
        if cost.is_none() && is_used(&summary.usage) {
            cost = self.price(summary.model.as_deref().or(asked))?.of(&summary.usage);
        }
        if let Some(cost) = cost {
            summary.usage = priced(summary.usage, cost);
            summary.usage_by_model = by_model;
        }
        Ok(())
    }

    fn price(&self, model: Option<&str>) -> Result<&Price, Unpriced> {
        let own = model.and_then(|name| self.0.get(name));
        own.or_else(|| self.0.get(ANY)).ok_or_else(|| Unpriced { model: model.map(str::to_owned) })
    }
}

fn is_used(usage: &Usage) -> bool {
    [usage.input_tokens, usage.output_tokens].iter().flatten().any(|tokens| *tokens > 0)
}

fn priced(usage: Usage, cost: f64) -> Usage {
    Usage { cost_usd: Some(cost), cost_source: Some(CostSource::PriceTable), ..usage }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price { input: 2.0, cache_read: Some(0.5), cache_write: None, output: 10.0 };

    fn usage(input: u64, read: u64, written: u64, output: u64) -> Usage {
        Usage {
            input_tokens: Some(input),
            cache_read_tokens: Some(read),
            cache_write_tokens: Some(written),
            output_tokens: Some(output),
            ..Usage::default()
        }
    }

    fn prices(names: &[&str]) -> Prices {
        Prices(names.iter().map(|name| ((*name).to_owned(), PRICE)).collect())
    }

    /// Within what adding floats may leave.
    fn is(cost: Option<f64>, wanted: f64) -> bool {
        cost.is_some_and(|cost| (cost - wanted).abs() < 1e-9)
    }

    #[test]
    fn each_part_of_a_prompt_has_its_own_price() {
        // 700,000 plain, 200,000 read, 100,000 written as plain ones, 50,000 generated.
        assert!(is(PRICE.of(&usage(1_000_000, 200_000, 100_000, 50_000)), 1.4 + 0.1 + 0.2 + 0.5));
        assert_eq!(PRICE.of(&Usage { input_tokens: Some(5), ..Usage::default() }), None);
        // More from the cache than there is in all: an agent that counts otherwise costs no negative sum.
        assert!(is(PRICE.of(&usage(10, 1_000_000, 0, 0)), 0.5));
    }

    #[test]
    fn the_total_is_priced_by_the_model_that_answers_or_else_was_asked() {
        let mut summary = StreamSummary { usage: usage(1_000_000, 0, 0, 0), ..StreamSummary::default() };
        assert_eq!(prices(&["a"]).apply(&mut summary, Some("b")), Err(Unpriced { model: Some("b".into()) }));
        assert_eq!(summary.usage.cost_usd, None);
        assert_eq!(prices(&["a"]).apply(&mut summary, None), Err(Unpriced { model: None }));
        prices(&["b"]).apply(&mut summary, Some("b")).unwrap();
        assert!(is(summary.usage.cost_usd, 2.0) && summary.usage.cost_source == Some(CostSource::PriceTable));
        summary.model = Some("c".into());
        assert!(prices(&["b"]).apply(&mut summary, Some("b")).is_err());
        prices(&[ANY]).apply(&mut summary, None).unwrap();
    }

    #[test]
    fn every_model_that_was_used_has_to_have_a_price() {
        let by_model = [("a", usage(1_000_000, 0, 0, 0)), ("b", usage(0, 0, 0, 100_000)), ("idle", Usage::default())];
        let agent_s = Usage { cost_usd: Some(9.0), cost_source: Some(CostSource::Agent), ..usage(1_000_000, 0, 0, 100_000) };
        let told = StreamSummary {
            usage: agent_s,
            usage_by_model: by_model.map(|(name, usage)| (name.to_owned(), usage)).into(),
            ..StreamSummary::default()
        };
        let mut summary = told.clone();
        assert_eq!(prices(&["a"]).apply(&mut summary, Some("a")), Err(Unpriced { model: Some("b".into()) }));
        assert_eq!(summary, told);
        prices(&["a", "b"]).apply(&mut summary, None).unwrap();
        assert!(is(summary.usage.cost_usd, 3.0) && is(summary.usage_by_model["b"].cost_usd, 1.0), "{summary:?}");
        assert_eq!((summary.usage.input_tokens, summary.usage_by_model["idle"]), (Some(1_000_000), Usage::default()));
    }

    #[test]
    fn no_table_changes_nothing() {
        let told = StreamSummary { usage: usage(1, 0, 0, 1), ..StreamSummary::default() };
        let mut summary = told.clone();
        Prices::default().apply(&mut summary, None).unwrap();
        assert_eq!(summary, told);
    }
}
