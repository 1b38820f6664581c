//! Usage while the run goes on, and at its end.
//!
//! # What is counted live
//! The stream says nothing of usage before its last line. The session's files, which Gemini writes beside it, have the tokens of each
//! answer of the main conversation and of sub-agents; the telemetry file, those of the calls that choose a model or make a summary. Answers
//! that broke off are in neither: the live total is never more than what was billed.
//!
//! # What counts at the end
//! `result.stats`: all models, sub-agents and side models included. It has no count of reasoning, but its total includes it. A prompt's
//! tokens for tools that the service itself runs would be taken for reasoning there; Gemini CLI's requests have no such tools beside its
//! search.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::wire::{Attributes, MessageTokens, Stats};
use crate::usage::{Usage, UsageByModel};

/// The running total of one run.
#[derive(Default)]
pub(super) struct Meter {
    /// Answers that were counted, or that an earlier run left.
    known: BTreeSet<u64>,
    by_model: UsageByModel,
    settled: Option<Usage>,
}

fn usage(input: Option<u64>, tool: Option<u64>, cached: Option<u64>, said: Option<u64>, thoughts: Option<u64>) -> Usage {
    let sum = |a: Option<u64>, b: Option<u64>| [a, b].into_iter().flatten().reduce(u64::saturating_add);
    Usage {
        input_tokens: sum(input, tool),
        cache_read_tokens: cached,
        output_tokens: sum(said, thoughts),
        reasoning_tokens: thoughts,
        ..Usage::default()
    }
}

fn usage_of(stats: &Stats) -> Usage {
    let said = stats.output_tokens.unwrap_or(0);
    let generated = stats.total_tokens.unwrap_or(0).saturating_sub(stats.input_tokens.unwrap_or(0));
    Usage {
        input_tokens: stats.input_tokens,
        cache_read_tokens: stats.cached,
        // A gateway may leave the total out.
        output_tokens: stats.output_tokens.map(|said| generated.max(said)),
        reasoning_tokens: stats.total_tokens.map(|_| generated.saturating_sub(said)),
        ..Usage::default()
    }
}

impl Meter {
    /// Counts an answer of a session's file, once. Says whether the total is another one now.
    pub(super) fn message(&mut self, file: &Path, id: &str, earlier: bool, model: &str, tokens: MessageTokens) -> bool {
        let mut hasher = DefaultHasher::new();
        (file, id).hash(&mut hasher);
        // A message is written again when its tools have answered.
        if !self.known.insert(hasher.finish()) || earlier {
            return false;
        }
        self.add(model, &usage(tokens.input, tokens.tool, tokens.cached, tokens.output, tokens.thoughts))
    }

    /// Counts an answer beside the conversations. Says whether the total is another one now.
    pub(super) fn side_answer(&mut self, answer: &Attributes) -> bool {
        let used = usage(
            answer.input_token_count,
            answer.tool_token_count,
            answer.cached_content_token_count,
            answer.output_token_count,
            answer.thoughts_token_count,
        );
        self.add(answer.model.as_deref().unwrap_or_default(), &used)
    }

    fn add(&mut self, model: &str, used: &Usage) -> bool {
        // The final count has it already; the files are read once more after it.
        if self.settled.is_some() {
            return false;
        }
        let entry = self.by_model.entry(model.to_owned()).or_default();
        *entry = entry.plus(used);
        true
    }

    /// Takes the agent's own final count in place of all others.
    pub(super) fn settle(&mut self, stats: &Stats) {
        self.settled = Some(usage_of(stats));
        if let Some(models) = &stats.models {
            self.by_model = models.iter().map(|(model, stats)| (model.clone(), usage_of(stats))).collect();
        }
    }

    pub(super) fn total(&self) -> Usage {
        self.settled.unwrap_or_else(|| Usage::sum(self.by_model.values()))
    }

    /// By model; one that was asked in vain is left out.
    pub(super) fn by_model(&self) -> UsageByModel {
        let asked = |usage: &Usage| usage.input_tokens.unwrap_or(0) + usage.output_tokens.unwrap_or(0) > 0;
        self.by_model.iter().filter(|(_, usage)| asked(usage)).map(|(model, usage)| (model.clone(), *usage)).collect()
    }
}
