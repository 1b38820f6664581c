//! Limits that nothing feeds. The runner holds a limit by what an agent's stream says; of a stream that does not say it, the limit would be
//! a word without effect, and nobody would know.

use crate::agents::manifest::rules;
use crate::task::{Limits, Task};

/// A limit that the runner holds by what a stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Cost,
    Turns,
    OutputTokens,
    Retries,
}

use Limit::{Cost, OutputTokens, Retries, Turns};

impl Limit {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Cost, Turns, OutputTokens, Retries];

    fn is_set(self, limits: &Limits) -> bool {
        match self {
            Cost => limits.max_cost_usd.is_some(),
            Turns => limits.max_turns.is_some(),
            OutputTokens => limits.max_output_tokens.is_some(),
            Retries => limits.max_retries.is_some(),
        }
    }

    /// The task's field, and what a stream does not say that cannot feed it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Cost => ("maxCostUsd", "what a run costs"),
            Turns => ("maxTurns", "how often it asks the model"),
            OutputTokens => ("maxOutputTokens", "what it generates while it goes on"),
            Retries => ("maxRetries", "what it repeats"),
        }
    }

    /// Its placeholder in a manifest.
    pub(super) fn placeholder(self) -> &'static str {
        match self {
            Cost => "max-cost-usd",
            Turns => "max-turns",
            OutputTokens => "max-output-tokens",
            Retries => "max-retries",
        }
    }
}

/// What an agent of this name, or a format of streams, never says. Those that are not here say all of it, or hold it themselves.
const UNSAID: &[(&str, &[Limit])] = &[
    ("codex", &[Cost]),
    // Its tokens come at the end.
    ("cursor", &[Cost, OutputTokens, Retries]),
    ("gemini", &[Cost]),
    ("kodelet", &[Cost, OutputTokens, Retries]),
    (crate::agents::command::NAME, &Limit::ALL),
    (rules::NONE, &Limit::ALL),
    (rules::TEXT, &Limit::ALL),
];

/// What a format of streams does not say of somebody else's agent: of the built-in one a flag has it held or told, or a file beside the
/// stream tells it.
const UNSAID_ALONE: &[(&str, &[Limit])] = &[("claude", &[Cost, OutputTokens]), ("gemini", &[Cost, OutputTokens, Retries])];

/// What a format of streams never says, where nothing but the stream is read.
pub(super) fn unsaid_alone(format: &str) -> &'static [Limit] {
    UNSAID_ALONE.iter().find(|(name, _)| *name == format).map_or_else(|| unsaid(format), |(_, unsaid)| unsaid)
}

/// What an agent, or a format of streams, never says.
pub(super) fn unsaid(format: &str) -> &'static [Limit] {
    UNSAID.iter().find(|(name, _)| *name == format).map_or(&[], |(_, unsaid)| unsaid)
}

/// A warning for each of these limits that the task sets.
pub(super) fn without_effect<'a>(who: &'a str, task: &'a Task, unfed: &'a [Limit]) -> impl Iterator<Item = String> + 'a {
    // Of tokens that are told while the run goes on, a price makes the cost.
    let can_be_priced = move |limit: Limit| limit == Cost && !unfed.contains(&OutputTokens);
    let is_fed = move |limit: Limit| can_be_priced(limit) && !task.prices.is_empty();
    unfed.iter().filter(move |limit| limit.is_set(&task.limits) && !is_fed(**limit)).map(move |limit| {
        let (field, what) = limit.words();
        let hint = if can_be_priced(*limit) { "; with `prices` it has" } else { "" };
        format!("{who} does not say {what}: `limits.{field}` has no effect{hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_that_is_set_and_that_nothing_feeds_is_told_by_its_name() {
        let mut task = Task::from_value(&serde_json::json!({"agent": {"type": "x"}})).unwrap();
        assert_eq!(without_effect("It", &task, &Limit::ALL).count(), 0);
        task.limits =
            Limits { max_cost_usd: Some(1.0), max_turns: Some(2), max_output_tokens: Some(3), max_retries: Some(0), ..Limits::default() };
        let told: Vec<String> = without_effect("It", &task, &Limit::ALL).collect();
        assert_eq!(told.len(), 4);
        for (warning, field) in told.iter().zip(["maxCostUsd", "maxTurns", "maxOutputTokens", "maxRetries"]) {
            assert!(warning.starts_with("It does not say ") && warning.ends_with(&format!("`limits.{field}` has no effect")), "{warning}");
        }
        assert_eq!(without_effect("It", &task, unsaid("claude")).count(), 0);
    }

    #[test]
    fn prices_feed_the_limit_on_cost_where_tokens_are_told_in_time() {
        let document = serde_json::json!({"agent": {"type": "x"}, "limits": {"maxCostUsd": 1}});
        let mut task = Task::from_value(&document).unwrap();
        let told: Vec<String> = without_effect("It", &task, unsaid("codex")).collect();
        assert_eq!(told, ["It does not say what a run costs: `limits.maxCostUsd` has no effect; with `prices` it has"]);
        task.prices.0.insert("*".into(), crate::prices::Price { input: 1.0, cache_read: None, cache_write: None, output: 1.0 });
        assert_eq!(without_effect("It", &task, unsaid("codex")).count(), 0);
        assert_eq!(without_effect("It", &task, unsaid("cursor")).count(), 1);
    }

    #[test]
    fn formats_that_leave_something_unsaid_are_formats() {
        let names: Vec<String> = crate::agents::all().iter().map(|agent| agent.name().to_owned()).collect();
        let others = [rules::TEXT, rules::NONE];
        assert!(UNSAID.iter().all(|(name, _)| names.iter().any(|known| known == name) || others.contains(name)));
    }
}
