//! Tokens and what was billed for them, in one definition for every protocol.
//!
//! `input_tokens` are all prompt tokens, cache reads and writes included; `output_tokens` are all generated tokens,
//! reasoning included. A protocol that says it otherwise on the wire (Anthropic's `input_tokens` excludes the cache)
//! is translated where it is spoken, never here.
//!
//! **An answer that was cut** bills what the wire had said by then. For a stream that is: nothing before the first
//! event; the prompt, and the few output tokens that the first event admits to, after it; all of it once the final
//! usage event has left. That is what a real provider can know that its client knows, and the difference is kept:
//! [`Charge::finished`] tells whether the final usage was said. Clients differ in what they make of an unfinished
//! answer (Claude Code counts nothing for it), so [`Bill`] has both sums.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::record::Record;
use super::scenario::Usage;

/// Counts of tokens, as the project defines them for every agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tokens {
    /// All prompt tokens, cache reads and writes included.
    pub input_tokens: u64,
    /// The part of the prompt that was read from the cache.
    pub cache_read_tokens: u64,
    /// The part of the prompt that was written to the cache.
    pub cache_write_tokens: u64,
    /// All generated tokens, reasoning included.
    pub output_tokens: u64,
    /// The part of the output that was reasoning.
    pub reasoning_tokens: u64,
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input + usage.cache_read + usage.cache_write,
            cache_read_tokens: usage.cache_read,
            cache_write_tokens: usage.cache_write,
            output_tokens: usage.output,
            reasoning_tokens: usage.reasoning,
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        self.input_tokens += more.input_tokens;
        self.cache_read_tokens += more.cache_read_tokens;
        self.cache_write_tokens += more.cache_write_tokens;
        self.output_tokens += more.output_tokens;
        self.reasoning_tokens += more.reasoning_tokens;
    }
}

/// What one answer was billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Charge {
    /// The model that the request named.
    pub model: String,
    /// What was billed so far.
    pub tokens: Tokens,
    /// Whether the answer's final usage was said; false for an answer that was cut before it.
    pub finished: bool,
}

/// The sum over requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bill {
    /// Everything, answers that were cut included.
    pub total: Tokens,
    /// Only the answers whose final usage was said.
    pub finished: Tokens,
    /// `total` by the model that was asked.
    pub by_model: BTreeMap<String, Tokens>,
    /// How many answers were billed.
    pub answers: usize,
    /// How many of them were cut before their final usage.
    pub unfinished: usize,
}

impl Bill {
    /// Adds up what `records` were billed.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut bill = Self::default();
        for charge in records.into_iter().filter_map(|record| record.billed.as_ref()) {
            bill.add(charge);
        }
        bill
    }

    fn add(&mut self, charge: &Charge) {
        self.total += charge.tokens;
        *self.by_model.entry(charge.model.clone()).or_default() += charge.tokens;
        self.answers += 1;
        if charge.finished {
            self.finished += charge.tokens;
        } else {
            self.unfinished += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(model: &str, usage: Usage, finished: bool) -> Charge {
        Charge { model: model.into(), tokens: usage.into(), finished }
    }

    #[test]
    fn input_tokens_include_what_the_cache_read_and_wrote() {
        let usage = Usage { input: 1000, output: 50, cache_read: 200, cache_write: 30, reasoning: 10 };
        assert_eq!(
            Tokens::from(usage),
            Tokens { input_tokens: 1230, cache_read_tokens: 200, cache_write_tokens: 30, output_tokens: 50, reasoning_tokens: 10 }
        );
    }

    #[test]
    fn a_cut_answer_counts_in_the_total_and_not_in_what_finished() {
        let mut bill = Bill::default();
        bill.add(&charge("big", Usage { input: 10, output: 4, ..Usage::default() }, true));
        bill.add(&charge("big", Usage { input: 10, output: 1, cache_read: 5, ..Usage::default() }, false));
        bill.add(&charge("small", Usage { input: 7, output: 3, ..Usage::default() }, true));
        assert_eq!((bill.total.input_tokens, bill.total.output_tokens), (32, 8));
        assert_eq!((bill.finished.input_tokens, bill.finished.output_tokens), (17, 7));
        assert_eq!((bill.answers, bill.unfinished), (3, 1));
        assert_eq!(bill.by_model["big"].input_tokens, 25);
        assert_eq!(bill.by_model["small"].output_tokens, 3);
        assert_eq!(bill.by_model.len(), 2);
    }
}
