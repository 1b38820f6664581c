//! Gemini CLI: <https://geminicli.com/docs/cli/headless/>.
//!
//! What to write and start is in `plan`, the settings in `settings`, what of a repository counts in `trust`, what its stream means in
//! `stream` (lines) and `wire` (their types), what its own files tell in `ledgers`, what both say of usage in `meter`, why it ended in
//! `reasons`. Held against the versions named by [`Agent::held_against`].

mod ledgers;
mod meter;
mod plan;
mod reasons;
mod settings;
mod stream;
mod trust;
mod wire;

use crate::agent::{Agent, Detail, Finding, Plan, PlanError, PlanRequest, RepositoryPath, Seen, StreamReader};

/// Gemini CLI.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gemini;

impl Agent for Gemini {
    fn name(&self) -> &str {
        "gemini"
    }

    fn about(&self) -> &str {
        "Gemini CLI by Google (the program `gemini`)"
    }

    fn held_against(&self) -> &[&str] {
        &["0.61.0", "0.55.1", "0.51.0"]
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
