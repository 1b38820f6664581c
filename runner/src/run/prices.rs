//! What a stream has said, with what it cost by the task's prices.

use std::borrow::Cow;

use agent_sdk::agent::StreamSummary;
use agent_sdk::task::Task;

use crate::stream::clean::clean_line;

/// The longest warning about a model: how long its name is, is the agent's to say.
const LONGEST: usize = 300;

/// The summary with the cost by the task's prices, where all models that were used have one; else a warning that one of them has none.
pub fn by_prices<'s>(summary: &'s StreamSummary, task: &Task) -> (Cow<'s, StreamSummary>, Option<String>) {
    if task.prices.is_empty() {
        return (Cow::Borrowed(summary), None);
    }
    let mut summary = summary.clone();
    let unpriced = task.prices.apply(&mut summary, task.agent.model.as_deref()).err();
    (Cow::Owned(summary), unpriced.map(|unpriced| clean_line(&unpriced.to_string(), LONGEST)))
}

/// Of a run that is over: a warning, if there were prices and no tokens to apply them to. Of a run that failed that says nothing.
pub fn without_effect(summary: &StreamSummary, task: &Task) -> Option<String> {
    let usage = &summary.usage;
    let is_unknown = usage.input_tokens.is_none() || usage.output_tokens.is_none();
    let succeeded = summary.end.as_ref().is_some_and(|end| end.succeeded);
    let is_unused = !task.prices.is_empty() && succeeded && is_unknown;
    is_unused.then(|| "`prices` has no effect: the agent did not tell its tokens".to_owned())
}
