//! Tokens and cost: one definition for every agent.
//!
//! Absent means "the agent did not say"; it is never written as 0.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::results::{ResultValue, key};

/// What a run consumed so far.
///
/// `input_tokens` counts every prompt token, cache reads and cache writes included; `cache_read_tokens` and
/// `cache_write_tokens` are parts of it. `output_tokens` counts every generated token, reasoning included;
/// `reasoning_tokens` is a part of it. Sub-agents and side models are counted in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// All prompt tokens, cache reads and writes included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// The part of `input_tokens` that came from the provider's prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<u64>,
    /// The part of `input_tokens` that was written to the provider's prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// All generated tokens, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// The part of `output_tokens` that was reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Cost in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Who computed `cost_usd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<CostSource>,
}

/// Who computed a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CostSource {
    /// The agent reported it.
    Agent,
    /// A price table that the user gave.
    PriceTable,
}

impl CostSource {
    /// The word used in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::PriceTable => "price-table",
        }
    }
}

fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    }
}

impl Usage {
    /// True if nothing at all is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The part that belongs to a result's key, as text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        match key {
            key::INPUT_TOKENS => self.input_tokens.map(|count| count.to_string()),
            key::CACHE_READ_TOKENS => self.cache_read_tokens.map(|count| count.to_string()),
            key::CACHE_WRITE_TOKENS => self.cache_write_tokens.map(|count| count.to_string()),
            key::OUTPUT_TOKENS => self.output_tokens.map(|count| count.to_string()),
            key::REASONING_TOKENS => self.reasoning_tokens.map(|count| count.to_string()),
            key::COST_USD => self.cost_usd.map(|cost| ResultValue::from(cost).to_string()),
            key::COST_SOURCE => self.cost_source.map(|source| source.as_str().to_owned()),
            _ => None,
        }
    }

    /// The sum of both; a part that neither knows stays absent.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            input_tokens: add(self.input_tokens, other.input_tokens),
            cache_read_tokens: add(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: add(self.cache_write_tokens, other.cache_write_tokens),
            output_tokens: add(self.output_tokens, other.output_tokens),
            reasoning_tokens: add(self.reasoning_tokens, other.reasoning_tokens),
            cost_usd: match (self.cost_usd, other.cost_usd) {
                (None, None) => None,
                (a, b) => Some(a.unwrap_or(0.0) + b.unwrap_or(0.0)),
            },
            cost_source: self.cost_source.or(other.cost_source),
        }
    }

    /// The sum of many, for instance of all models of a run.
    #[must_use]
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Usage>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| sum.plus(one))
    }
}

/// Usage by the name of the model that was billed.
pub type UsageByModel = BTreeMap<String, Usage>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_stays_absent_in_a_sum() {
        let a = Usage { input_tokens: Some(1), ..Usage::default() };
        let b = Usage { input_tokens: Some(2), output_tokens: Some(5), ..Usage::default() };
        let sum = a.plus(&b);
        assert_eq!(sum.input_tokens, Some(3));
        assert_eq!(sum.output_tokens, Some(5));
        assert_eq!(sum.reasoning_tokens, None);
        assert_eq!(serde_json::to_string(&sum).unwrap(), r#"{"inputTokens":3,"outputTokens":5}"#);
    }
}
