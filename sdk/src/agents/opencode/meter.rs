//! Usage, step by step.
//!
//! Each step of a session tells its tokens when it is over: the main session's by the stream, all sessions' by the ledger. A step is one
//! and the same by its part's id, whoever tells of it first. OpenCode's `input` is without the cache's tokens, whichever provider was
//! asked, and its `output` without the reasoning's. A step that is broken off tells nothing, so the total is never more than what was
//! billed.

use super::wire::Tokens;
use crate::agents::recent::Recent;
use crate::usage::{CostSource, Usage, UsageByModel};

/// The running total of one run.
#[derive(Default)]
pub(super) struct Meter {
    /// The steps that were counted, with what is not on a model's account yet.
    counted: Recent<Option<Usage>>,
    total: Usage,
    by_model: UsageByModel,
}

/// Tokens by the project's definition.
fn usage(tokens: &Tokens, cost: Option<f64>) -> Usage {
    let sum = |parts: [Option<u64>; 3]| parts.into_iter().flatten().reduce(u64::saturating_add);
    let usage = Usage {
        input_tokens: sum([tokens.input, tokens.cache_read, tokens.cache_write]),
        cache_read_tokens: tokens.cache_read,
        cache_write_tokens: tokens.cache_write,
        output_tokens: sum([tokens.output, tokens.reasoning, None]),
        // 0 is also what it says where the provider does not tell.
        reasoning_tokens: tokens.reasoning.filter(|count| *count > 0),
        ..Usage::default()
    };
    // Tokens for nothing are tokens whose price it does not know.
    let cost = cost.filter(|cost| *cost > 0.0);
    Usage { cost_usd: cost, cost_source: cost.map(|_| CostSource::Agent), ..usage }
}

impl Meter {
    /// Counts a step, and puts it on a model's account once that is known. True if it was not counted before.
    pub(super) fn step(&mut self, id: &str, model: Option<&str>, tokens: &Tokens, cost: Option<f64>) -> bool {
        let is_new = !self.counted.contains(id);
        if is_new {
            let usage = usage(tokens, cost);
            self.total = self.total.plus(&usage);
            self.counted.insert(id, Some(usage));
        }
        let open = self.counted.get_mut(id).filter(|open| open.is_some());
        if let (Some(model), Some(open)) = (model, open)
            && let Some(usage) = open.take()
        {
            let of_model = self.by_model.entry(model.to_owned()).or_default();
            *of_model = of_model.plus(&usage);
        }
        is_new
    }

    /// All of it, so far.
    pub(super) fn total(&self) -> Usage {
        self.total
    }

    /// The same by model.
    pub(super) fn by_model(&self) -> UsageByModel {
        self.by_model.clone()
    }
}
