//! Claude Code: <https://code.claude.com/docs/en/headless>.
//!
//! What to write and start is in `plan`, what of a repository counts in `trust`, what its stream means in `stream` (lines), `wire` (their
//! types) and `meter` (usage), why it ended in `reasons`. Held against the versions named by [`Agent::held_against`], whose recorded
//! streams are the fixtures.

mod meter;
mod plan;
mod quick;
mod reasons;
mod stream;
mod trust;
mod wire;

use crate::agent::{Agent, Detail, Finding, Plan, PlanError, PlanRequest, RepositoryPath, Seen, StreamReader};

/// Claude Code.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claude;

impl Agent for Claude {
    fn name(&self) -> &str {
        "claude"
    }

    fn about(&self) -> &str {
        "Claude Code by Anthropic (the program `claude`)"
    }

    fn held_against(&self) -> &[&str] {
        &["2.1.330", "2.1.237", "2.1.197"]
    }

    fn secret_variables(&self) -> &[&str] {
        plan::SECRET_VARIABLES
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
