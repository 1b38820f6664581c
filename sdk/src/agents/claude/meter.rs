//! Usage while the run goes on, and at its end.
//!
//! # What is counted live
//! Each message of a model carries the usage that stood at the *start* of its stream: its prompt tokens are final, its generated
//! tokens are not (1 or so). One message is printed once per content block, so it is counted by its id. The live total is therefore
//! exact for the prompt and a **lower bound** for what was generated: never more than what was billed. Messages of sub-agents that
//! the stream does not show, and attempts that the provider billed but that broke off, are missing until the end.
//! With `--include-partial-messages`, which is given where the task limits what is generated, those tokens are exact too.
//!
//! # What counts at the end
//! `result.modelUsage`, summed over all models: it has sub-agents and side models in it, where `result.usage` has neither. Newer versions
//! count in it what a resumed session had used before, and say beside it what is new: `model_usage_since_last_result`.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::wire::{Count, Final, MessageUsage, ModelUsage};
use crate::usage::{CostSource, Usage, UsageByModel};

/// Messages interleave only with those of sub-agents that run at the same time: far fewer than this.
const REMEMBERED_MESSAGES: usize = 256;

/// One message that was counted.
struct Counted {
    id: u64,
    parent: Option<u64>,
    /// Its place in the meter's list of models.
    model: usize,
    output: u64,
}

/// The running total of one run.
#[derive(Default)]
pub(super) struct Meter {
    recent: VecDeque<Counted>,
    /// The models that answered: one, or a few.
    models: Vec<String>,
    /// What the last `result` line said.
    settled: Usage,
    settled_by_model: UsageByModel,
    /// That, and what came after it.
    total: Usage,
    by_model: UsageByModel,
}

/// Nothing, said so.
const NOTHING: Usage = Usage {
    input_tokens: Some(0),
    cache_read_tokens: Some(0),
    cache_write_tokens: Some(0),
    output_tokens: Some(0),
    reasoning_tokens: None,
    cost_usd: Some(0.0),
    cost_source: Some(CostSource::Agent),
};

/// What a message changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// It was not seen before.
    pub(super) new: bool,
    /// The total is another one now.
    pub(super) changed: bool,
    /// It cost nothing at all.
    pub(super) empty: bool,
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// The prompt tokens by the project's definition: the Messages API leaves cache reads and writes out of `input_tokens`.
fn prompt_tokens(fresh: Count, read: Count, written: Count) -> Option<u64> {
    [fresh.0, read.0, written.0].into_iter().flatten().reduce(u64::saturating_add)
}

fn message_usage(usage: &MessageUsage) -> Usage {
    Usage {
        input_tokens: prompt_tokens(usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens),
        cache_read_tokens: usage.cache_read_input_tokens.0,
        cache_write_tokens: usage.cache_creation_input_tokens.0,
        output_tokens: usage.output_tokens.0,
        ..Usage::default()
    }
}

fn model_usage(usage: &ModelUsage) -> Usage {
    Usage {
        input_tokens: prompt_tokens(usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens),
        cache_read_tokens: usage.cache_read_input_tokens.0,
        cache_write_tokens: usage.cache_creation_input_tokens.0,
        output_tokens: usage.output_tokens.0,
        reasoning_tokens: None,
        cost_usd: usage.cost_usd.0,
        cost_source: usage.cost_usd.0.map(|_| CostSource::Agent),
    }
}

impl Meter {
    /// Counts a message, or what is new about it.
    pub(super) fn message(&mut self, id: &str, parent: Option<&str>, model: &str, usage: &MessageUsage) -> Seen {
        let id = hash(id);
        let usage = message_usage(usage);
        let output = usage.output_tokens.unwrap_or(0);
        if let Some(known) = self.recent.iter_mut().rev().find(|known| known.id == id) {
            let more = output.saturating_sub(known.output);
            if more > 0 {
                known.output = output;
                let model = known.model;
                self.add(model, &Usage { output_tokens: Some(more), ..Usage::default() });
            }
            return Seen { new: false, changed: more > 0, empty: false };
        }
        if self.recent.len() == REMEMBERED_MESSAGES {
            self.recent.pop_front();
        }
        let model = self.models.iter().position(|known| known == model).unwrap_or_else(|| {
            self.models.push(model.to_owned());
            self.models.len() - 1
        });
        self.recent.push_back(Counted { id, parent: parent.map(hash), model, output });
        self.add(model, &usage);
        Seen { new: true, changed: !usage.is_empty(), empty: usage.input_tokens.unwrap_or(0) == 0 && output == 0 }
    }

    /// Counts what the message that began last, within this call of a sub-agent or outside of any, has generated so far.
    pub(super) fn latest(&mut self, parent: Option<&str>, usage: &MessageUsage) -> bool {
        let parent = parent.map(hash);
        let output = usage.output_tokens.0.unwrap_or(0);
        let Some(known) = self.recent.iter_mut().rev().find(|known| known.parent == parent) else { return false };
        let more = output.saturating_sub(known.output);
        if more == 0 {
            return false;
        }
        known.output = output;
        let model = known.model;
        self.add(model, &Usage { output_tokens: Some(more), ..Usage::default() });
        true
    }

    fn add(&mut self, model: usize, usage: &Usage) {
        self.total = self.total.plus(usage);
        let Some(model) = self.models.get(model).filter(|model| !model.is_empty()) else { return };
        match self.by_model.get_mut(model) {
            Some(of_model) => *of_model = of_model.plus(usage),
            None => drop(self.by_model.insert(model.clone(), *usage)),
        }
    }

    /// Takes the program's own total in place of what was counted. True if it had one.
    pub(super) fn settle(&mut self, end: &Final<'_>) -> bool {
        let (news, whole) = (end.model_usage_since_last_result.0.as_ref(), end.model_usage.0.as_ref());
        let by_model: UsageByModel =
            news.or(whole).into_iter().flatten().map(|(model, of_model)| (model.clone(), model_usage(of_model))).collect();
        // A run that never got an answer has an empty `modelUsage`, and zeros in `usage`: the program's word that nothing was billed.
        let no_model = whole.is_none_or(BTreeMap::is_empty);
        let mut total = if !by_model.is_empty() {
            Usage::sum(by_model.values())
        } else if no_model {
            message_usage(&end.usage)
        } else {
            NOTHING
        };
        if total.is_empty() {
            return false;
        }
        let cost = if news.is_some() { total.cost_usd.or(Some(0.0)) } else { end.total_cost_usd.0 };
        if cost.is_some() {
            total.cost_usd = cost;
            total.cost_source = Some(CostSource::Agent);
        }
        if news.is_some() {
            self.settled = self.settled.plus(&total);
            for (model, usage) in by_model {
                let of_model = self.settled_by_model.entry(model).or_default();
                *of_model = of_model.plus(&usage);
            }
        } else {
            self.settled = total;
            self.settled_by_model = by_model;
        }
        self.total = self.settled;
        self.by_model.clone_from(&self.settled_by_model);
        true
    }

    /// All of it, so far.
    pub(super) fn total(&self) -> Usage {
        self.total
    }

    /// The same by model.
    pub(super) fn by_model(&self) -> &UsageByModel {
        &self.by_model
    }
}
