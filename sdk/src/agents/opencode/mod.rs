//! OpenCode: <https://opencode.ai/docs/cli/#run>.
//!
//! What to write and start is in `plan`, its providers and their keys in `providers`, what of a repository counts in `trust`, what its
//! stream means in `stream` (lines), `wire` (their types) and `meter` (usage), why it ended in `reasons`. `watch.js` is a plugin that runs
//! within OpenCode: what its stream leaves out (sub-agents, retries, its end) is told by it, in a ledger. Held against the versions named
//! by [`Agent::held_against`]; the recorded streams of the first are the fixtures.

mod meter;
mod plan;
mod providers;
mod reasons;
mod stream;
mod trust;
mod wire;

use crate::agent::{Agent, Detail, Finding, Plan, PlanError, PlanRequest, RepositoryPath, Seen, StreamReader};

/// OpenCode.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenCode;

impl Agent for OpenCode {
    fn name(&self) -> &str {
        "opencode"
    }

    fn about(&self) -> &str {
        "OpenCode (the program `opencode`); models are named PROVIDER/MODEL"
    }

    fn held_against(&self) -> &[&str] {
        &["1.18.33", "1.18.18", "1.17.19"]
    }

    fn secret_variables(&self) -> &[&str] {
        providers::SECRET_VARIABLES
    }

    fn repository_config(&self) -> &[RepositoryPath] {
        trust::REPOSITORY_CONFIG
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
        plan::plan(request)
    }

    fn reader(&self, detail: Detail) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(detail))
    }

    fn judge(&self, seen: &Seen<'_>) -> Option<Finding> {
        reasons::judge(seen)
    }
}
