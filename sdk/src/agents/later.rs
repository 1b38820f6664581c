//! An agent that somebody else starts later, with none of the plan's arguments and variables, and with no runner beside it: what only they
//! would carry or hold is told.

use crate::agent::PlanRequest;

/// A warning for each choice of the task that no file of `who`'s has. Arguments, a session to go on with and most limits, no agent has a file for;
/// `more` are others, each with whether the task made it.
pub(super) fn left_to_others<'a>(who: &'a str, request: &PlanRequest<'_>, more: &'a [(&str, bool)]) -> impl Iterator<Item = String> + 'a {
    let agent = &request.task.agent;
    let limits = &request.task.limits;
    let always = [
        ("agent.resume", agent.resume.is_some()),
        ("agent.extraArgs", !agent.extra_args.is_empty()),
        ("limits.timeout", limits.timeout.is_some()),
        ("limits.maxCostUsd", limits.max_cost_usd.is_some()),
        ("limits.maxOutputTokens", limits.max_output_tokens.is_some()),
    ];
    let is_later = request.surroundings.for_later;
    let lost = more.iter().copied().chain(always).filter(move |(_, is_chosen)| is_later && *is_chosen);
    lost.map(move |(field, _)| format!("{who} has no file for `{field}`, so whoever starts it has to say it"))
}
