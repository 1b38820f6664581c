//! `command`: any program at all. Nothing is known of its stream but the runner's own marker blocks; its exit code is its verdict.

use crate::agent::{Agent, Detail, Finding, Plan, PlanError, PlanRequest, RepositoryPath, Seen, StreamReader, StreamSummary};
use crate::agents::limits;
use crate::event::Event;

/// The name of the kind.
pub const NAME: &str = "command";

/// The agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Command;

impl Agent for Command {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "any program (AGENT_PROGRAM); its exit code is its verdict"
    }

    fn held_against(&self) -> &[&str] {
        &[]
    }

    fn secret_variables(&self) -> &[&str] {
        &[]
    }

    fn repository_config(&self) -> &[RepositoryPath] {
        &[]
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
        let mut plan = super::native::Native.plan(request)?;
        plan.warnings.extend(limits::without_effect("The program", request.task, limits::unsaid(NAME)));
        Ok(plan)
    }

    fn reader(&self, _detail: Detail) -> Box<dyn StreamReader> {
        Box::new(Reader::default())
    }

    fn judge(&self, _seen: &Seen<'_>) -> Option<Finding> {
        None
    }
}

/// Understands nothing, and says so of no line: text is what such a program prints.
#[derive(Debug, Default)]
struct Reader {
    summary: StreamSummary,
}

impl StreamReader for Reader {
    fn read_line(&mut self, _line: &[u8], _emit: &mut dyn FnMut(Event)) {}

    fn summary(&self) -> &StreamSummary {
        &self.summary
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::Surroundings;
    use crate::task::Task;

    #[test]
    fn limits_that_its_stream_cannot_feed_are_told() {
        let limits = json!({"maxCostUsd": 1, "maxTurns": 2, "maxOutputTokens": 3, "maxRetries": 4});
        let task = Task::from_value(&json!({"agent": {"type": "command", "program": "x"}, "prompt": "x", "limits": limits})).unwrap();
        let plan = Command.plan(&PlanRequest { task: &task, surroundings: &Surroundings::default(), plugins: &[] }).unwrap();
        assert_eq!(plan.warnings.len(), 4);
        assert!(plan.warnings.iter().all(|warning| warning.ends_with("has no effect")), "{:?}", plan.warnings);
    }
}
