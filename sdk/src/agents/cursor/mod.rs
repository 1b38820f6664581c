//! Cursor's CLI: <https://cursor.com/docs/cli/headless>.
//!
//! What to write and start is in `plan`, which of a repository's files configure it in `trust`, what its stream means in `stream`, why it
//! ended in `reasons`. The CLI needs an account, so it was not run: all of this comes from its documentation and from streams that others
//! recorded and described. The fixtures, made after these, name their sources.

mod plan;
mod reasons;
mod stream;
mod trust;

use crate::agent::{Agent, Detail, Finding, Plan, PlanError, PlanRequest, RepositoryPath, Seen, StreamReader};

/// Cursor's CLI.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor;

impl Agent for Cursor {
    fn name(&self) -> &str {
        "cursor"
    }

    fn about(&self) -> &str {
        "Cursor's CLI (the program `cursor-agent`), by its documentation and recorded streams"
    }

    fn held_against(&self) -> &[&str] {
        &["2026.08.11-e8db854"]
    }

    fn secret_variables(&self) -> &[&str] {
        &["CURSOR_API_KEY"]
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
