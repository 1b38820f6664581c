//! Kodelet: <https://github.com/jingkaihe/kodelet>.
//!
//! What to write and start is in `plan`, which of a repository's files configure it in `trust`, what its stream means in `stream`, why it
//! ended in `reasons`. No registry that the tests may use has its program, so it was not run: all of this comes from its documentation and
//! its public source. The fixtures, made after these, name their sources.
//!
//! Its JSON stream (`kodelet run --headless`) ended with 0.5.24-beta: later versions leave it out, and there it fails with `unknown flag`.

mod plan;
mod reasons;
mod stream;
mod trust;

use crate::agent::{Agent, Detail, Finding, Plan, PlanError, PlanRequest, RepositoryPath, Seen, StreamReader};

/// Kodelet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kodelet;

impl Agent for Kodelet {
    fn name(&self) -> &str {
        "kodelet"
    }

    fn about(&self) -> &str {
        "Kodelet (the program `kodelet`, up to 0.5.24-beta), by its documentation and source"
    }

    fn held_against(&self) -> &[&str] {
        &["0.5.24-beta"]
    }

    fn secret_variables(&self) -> &[&str] {
        &["ANTHROPIC_API_KEY", "OPENAI_API_KEY"]
    }

    fn repository_config(&self) -> &[RepositoryPath] {
        trust::REPOSITORY_CONFIG
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
        plan::plan(request)
    }

    fn reader(&self, _detail: Detail) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::default())
    }

    fn judge(&self, seen: &Seen<'_>) -> Option<Finding> {
        reasons::judge(seen)
    }
}
