//! A runner with one agent more than agent-runner has: the program `greeter`, whose stdout is lines for people, `said TEXT` and
//! `tokens INPUT OUTPUT`. Everything else, from the clone to the termination message, is the runner's.

use std::process::ExitCode;

use agent_sdk::agent::{
    Agent, Detail, Finding, Plan, PlanError, PlanRequest, RepositoryPath, RepositoryPower, Seen, StreamReader, StreamSummary,
};
use agent_sdk::event::Event;
use agent_sdk::verdict::Reason;

struct Greeter;

impl Agent for Greeter {
    fn name(&self) -> &str {
        "greeter"
    }

    fn about(&self) -> &str {
        "the SDK's example (the program `greeter`)"
    }

    fn held_against(&self) -> &[&str] {
        &["1.0"]
    }

    fn secret_variables(&self) -> &[&str] {
        &["GREETER_KEY"]
    }

    fn repository_config(&self) -> &[RepositoryPath] {
        &[RepositoryPath { path: "GREETER.md", power: RepositoryPower::Instructs }]
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
        let task = request.task;
        let model = task.agent.model.iter().flat_map(|model| ["--model".to_owned(), model.clone()]);
        Ok(Plan {
            program: task.agent.program.clone().unwrap_or_else(|| "greeter".into()),
            args: model.chain(task.agent.extra_args.iter().cloned()).collect(),
            stdin: task.prompt.clone().unwrap_or_default().into_bytes(),
            ..Plan::default()
        })
    }

    fn reader(&self, _detail: Detail) -> Box<dyn StreamReader> {
        Box::new(Reader::default())
    }

    // What is not known here is for the exit code to say.
    fn judge(&self, seen: &Seen<'_>) -> Option<Finding> {
        let line = seen.stderr_tail.lines().find(|line| line.contains("no more greetings today"))?;
        Some(Finding { reason: Reason::QuotaExceeded, message: line.to_owned() })
    }
}

#[derive(Default)]
struct Reader(StreamSummary);

impl StreamReader for Reader {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let line = String::from_utf8_lossy(line);
        match line.split_once(' ') {
            Some(("said", text)) => {
                self.0.answer = Some(text.to_owned());
                emit(Event::Text { text: text.to_owned(), parent: None });
            }
            Some(("tokens", counts)) => {
                let mut counts = counts.split(' ').map(|count| count.parse().ok());
                self.0.usage.input_tokens = counts.next().flatten();
                self.0.usage.output_tokens = counts.next().flatten();
            }
            _ => self.0.unknown_lines += 1,
        }
    }

    fn summary(&self) -> &StreamSummary {
        &self.0
    }
}

fn main() -> ExitCode {
    agent_runner::main_with(&[&Greeter])
}
