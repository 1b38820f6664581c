//! Codex by OpenAI: <https://developers.openai.com/codex/noninteractive>.
//!
//! What to write and start is in `plan`, what of a repository counts in `trust`, what its stream means in `stream`, the usage in `meter`
//! (the stream's, and that of the files which Codex writes beside it), why it ended in `reasons`. Held against the versions named by
//! [`Agent::held_against`].

mod meter;
mod plan;
mod reasons;
mod stream;
mod trust;

pub(super) use plan::{codex_home, rollouts};

use crate::agent::{Agent, Detail, Finding, Plan, PlanError, PlanRequest, RepositoryPath, Seen, StreamReader};

/// Codex.
#[derive(Debug, Clone, Copy, Default)]
pub struct Codex;

impl Agent for Codex {
    fn name(&self) -> &str {
        "codex"
    }

    fn about(&self) -> &str {
        "Codex by OpenAI (the program `codex`)"
    }

    fn held_against(&self) -> &[&str] {
        &["0.169.0", "0.158.0", "0.148.0"]
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
