//! `native`: any program that prints the interface's own events, one JSON object a line. The shortest way to an agent of one's own.
//!
//! It gets the prompt on stdin, and what else the task says by the same variables that the platform would use.
//! `agent-runner demo` is such an agent. The line that ends its stream is `{"type":"ended","succeeded":true}`.

use crate::agent::{
    Agent, Detail, FileContent, FileWrite, Finding, Plan, PlanError, PlanRequest, ProcessEnd, ReasonPattern, RepositoryPath, Seen,
    StreamEnd, StreamError, StreamReader, StreamSummary, match_reason,
};
use crate::agents::lines;
use crate::event::Event;
use crate::verdict::Reason;

/// The agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Native;

impl Agent for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn about(&self) -> &'static str {
        "any program (AGENT_PROGRAM) that prints this interface's events, one JSON object a line"
    }

    fn held_against(&self) -> &[&str] {
        &[crate::INTERFACE_VERSION]
    }

    fn secret_variables(&self) -> &[&str] {
        &[]
    }

    fn repository_config(&self) -> &[RepositoryPath] {
        &[]
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
        let task = request.task;
        let Some(program) = task.agent.program.clone() else {
            return Err(vec![PlanError {
                field: "agent.program".into(),
                problem: "the agent `native` is any program, so it has to be named".into(),
                hint: "set AGENT_PROGRAM".into(),
            }]);
        };
        let mut plan = Plan {
            program,
            args: task.agent.extra_args.clone(),
            stdin: task.prompt.clone().unwrap_or_default().into_bytes(),
            ..Plan::default()
        };
        let settings = [
            ("AGENT_MODEL", &task.agent.model),
            ("AGENT_EFFORT", &task.agent.effort),
            ("AGENT_ENDPOINT", &task.agent.endpoint),
            ("AGENT_RESUME", &task.agent.resume),
        ];
        for (name, value) in settings {
            plan.env.insert(name.into(), value.clone());
        }
        if let Some(text) = &task.instructions {
            add_file(&mut plan, request, "AGENT_INSTRUCTIONS_FILE", "instructions.md", text.clone().into_bytes());
        }
        if !task.mcp_servers.is_empty() {
            let text = serde_json::json!({ "mcpServers": task.mcp_servers }).to_string();
            add_file(&mut plan, request, "AGENT_MCP_SERVERS_FILE", "mcp-servers.json", text.into_bytes());
        }
        if let Some(dir) = &task.plugin_dir {
            plan.env.insert("AGENT_PLUGIN_DIR".into(), Some(dir.display().to_string()));
        }
        Ok(plan)
    }

    fn reader(&self, _detail: Detail) -> Box<dyn StreamReader> {
        Box::new(Reader::default())
    }

    fn judge(&self, seen: &Seen<'_>) -> Option<Finding> {
        let finding = |reason, message: String| Some(Finding { reason, message });
        let last_error = seen.stream.last_error.as_ref();
        match (&seen.stream.end, seen.process) {
            (Some(end), _) if end.succeeded => {
                finding(Reason::Completed, end.message.clone().unwrap_or_else(|| "the agent is done".into()))
            }
            (Some(end), _) => {
                let message = end.message.clone().or_else(|| last_error.map(|error| error.message.clone()));
                let reason = end.reason.or_else(|| last_error?.reason);
                finding(reason.unwrap_or(Reason::AgentFailed), message.unwrap_or_else(|| "the agent says that it failed".into()))
            }
            (None, ProcessEnd::Exited(0)) => {
                finding(Reason::TruncatedStream, "the agent exited with code 0 and never said that it was done".into())
            }
            (None, _) => None,
        }
    }
}

fn add_file(plan: &mut Plan, request: &PlanRequest<'_>, variable: &str, name: &str, content: Vec<u8>) {
    let path = request.surroundings.private_dir.join(name);
    plan.env.insert(variable.into(), Some(path.display().to_string()));
    plan.files.push(FileWrite { path, content: FileContent::Replace(content), private: true });
}

/// What is no event of this version as it stands: one with repeated fields, or of a kind that only a newer one knows.
fn odd(line: &[u8]) -> Option<Event> {
    let value = lines::parse(line)?;
    let kind = value.get("type")?.as_str()?.to_owned();
    match serde_json::from_value(value) {
        Ok(event) => Some(event),
        Err(_) if Event::is_known(&kind) => None,
        Err(_) => Some(Event::Unknown { kind }),
    }
}

/// What statuses mean beside those that mean the same of every server.
const TABLE: &[ReasonPattern] = &[ReasonPattern { http_status: Some(401), text: "", reason: Reason::AuthenticationFailed }];

/// An error, and what its status means of every model's server.
fn error_of(message: &str, http_status: Option<u16>) -> StreamError {
    StreamError { http_status, message: message.to_owned(), reason: match_reason(TABLE, http_status, "") }
}

/// What the model has answered since is no consequence of an error.
fn overcome(summary: &mut StreamSummary) {
    if let Some(error) = &mut summary.last_error {
        error.reason = None;
    }
}

/// Reads the interface's own events.
#[derive(Debug, Default)]
struct Reader {
    summary: StreamSummary,
}

impl StreamReader for Reader {
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event)) {
        let Some(event) = serde_json::from_slice::<Event>(line).ok().or_else(|| odd(line)) else {
            self.summary.malformed_lines += 1;
            emit(Event::Malformed { head: String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned() });
            return;
        };
        let summary = &mut self.summary;
        match &event {
            Event::Started { session_id, model, agent_version } => {
                summary.session_id.clone_from(session_id);
                summary.model.clone_from(model);
                summary.agent_version.clone_from(agent_version);
            }
            Event::Text { text, .. } => {
                summary.retries = 0;
                summary.answer = Some(text.clone());
                overcome(summary);
            }
            Event::ToolCall { .. } => {
                summary.tool_open = true;
                overcome(summary);
            }
            Event::ToolResult { .. } => summary.tool_open = false,
            Event::Usage { usage, .. } => {
                summary.usage = *usage;
                summary.turns = Some(summary.turns.unwrap_or(0) + 1);
            }
            Event::Retry { attempt, http_status, error, .. } => {
                summary.retries = *attempt;
                summary.last_error = Some(error_of(error, *http_status));
            }
            Event::Error { message, http_status } => summary.last_error = Some(error_of(message, *http_status)),
            Event::Ended { succeeded, detail } => {
                summary.end = Some(StreamEnd { succeeded: *succeeded, reason: None, message: detail.clone() });
            }
            Event::Unknown { .. } => summary.unknown_lines += 1,
            Event::Thinking { .. } | Event::SubAgent { .. } | Event::Warning { .. } | Event::Ignored { .. } | Event::Malformed { .. } => {}
        }
        emit(event);
    }

    fn summary(&self) -> &StreamSummary {
        &self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> StreamSummary {
        let mut reader = Native.reader(Detail::Full);
        for line in lines {
            reader.read_line(line.as_bytes(), &mut |_| {});
        }
        reader.summary().clone()
    }

    fn judge(lines: &[&str], process: ProcessEnd) -> Option<Reason> {
        let stream = read(lines);
        Native.judge(&Seen { stream: &stream, process, stderr_tail: "" }).map(|finding| finding.reason)
    }

    #[test]
    fn the_stream_speaks_before_the_exit_code() {
        assert_eq!(judge(&[r#"{"type":"ended","succeeded":true}"#], ProcessEnd::Exited(1)), Some(Reason::Completed));
        assert_eq!(judge(&[r#"{"type":"ended","succeeded":false}"#], ProcessEnd::Exited(0)), Some(Reason::AgentFailed));
        assert_eq!(judge(&[], ProcessEnd::Exited(0)), Some(Reason::TruncatedStream));
        assert_eq!(judge(&[], ProcessEnd::Exited(3)), None);
    }

    #[test]
    fn a_status_is_the_reason_of_an_agent_that_fails_of_it() {
        let error = r#"{"type":"error","message":"slow down","httpStatus":429}"#;
        let ended = r#"{"type":"ended","succeeded":false}"#;
        assert_eq!(judge(&[error, ended], ProcessEnd::Exited(0)), Some(Reason::RateLimited));
        assert_eq!(judge(&[error, r#"{"type":"text","text":"on"}"#, ended], ProcessEnd::Exited(0)), Some(Reason::AgentFailed));
        let retry = read(&[r#"{"type":"retry","attempt":1,"error":"busy","httpStatus":503}"#]);
        assert_eq!(retry.last_error.unwrap().reason, Some(Reason::ServerError));
    }

    #[test]
    fn what_a_newer_version_says_is_unknown_and_its_fields_are_ignored() {
        let summary = read(&[
            r#"{"type":"plan","steps":3}"#,
            r#"{"type":"usage","usage":{"inputTokens":5,"audioTokens":1},"complete":false}"#,
            r#"{"type":"text","words":"no text"}"#,
        ]);
        assert_eq!((summary.unknown_lines, summary.malformed_lines, summary.usage.input_tokens), (1, 1, Some(5)));
    }

    #[test]
    fn what_is_no_event_is_counted_and_harms_nothing() {
        let summary =
            read(&["nonsense", "{}", r#"{"type":"text","text":"hi"}"#, r#"{"type":"usage","usage":{"inputTokens":5},"complete":false}"#]);
        assert_eq!(summary.malformed_lines, 2);
        assert_eq!(summary.answer.as_deref(), Some("hi"));
        assert_eq!(summary.usage.input_tokens, Some(5));
    }
}
