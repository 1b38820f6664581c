//! Everything that a task can configure, in one task: one start of a real CLI shows what of it reaches the model.
//!
//! Where a CLI looks for a repository's instructions, what it calls its tools and where its effort stands is for each CLI's own test.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use agent_conformance::model::{Record, Scenario, ScriptedModel};
use serde_json::{Value, json};

use crate::clis::{self, Cli};
use crate::http_mcp::HttpMcp;
use crate::probe;
use crate::stage::{KEY, Stage, described, questions};

/// The model calls a tool of a stdio server and one of an HTTP server, and then what is asked `besides`.
///
/// # Panics
/// `besides` is not what a scenario's answers consist of.
#[must_use]
pub fn two_servers(besides: &[Value]) -> Scenario {
    let servers =
        [json!({"mcp": {"tool": "echo", "input": {"text": "by stdio"}}}), json!({"mcp": {"tool": "weather", "input": {"text": "here"}}})];
    let contents = servers.iter().chain(besides).cloned().chain([json!({"text": "Done."})]);
    let turns: Vec<Value> = contents.map(|content| json!({"reply": {"content": [content], "usage": {"input": 10, "output": 5}}})).collect();
    Scenario::from_json(&json!({"name": "two-servers", "turns": turns}).to_string()).unwrap()
}

/// A task with a prompt of 200 KiB that begins like an option, instructions, a plugin's skill and sub-agent, a model, an effort, and an
/// MCP server of each kind, on a repository that has instructions of its own.
#[derive(Debug)]
pub struct Everything {
    cli: Cli,
    scripted: ScriptedModel,
    stage: Stage,
    server: HttpMcp,
    prompt: String,
    model: String,
}

impl Everything {
    /// For a CLI of any version, which finds the repository's instructions in this file.
    #[must_use]
    pub fn of(cli: &Cli, instructions: &str, model: &str, effort: &str) -> Self {
        let scripted = ScriptedModel::start(two_servers(&[])).unwrap();
        let (stage, server) = (Stage::of(cli, &scripted), HttpMcp::start());
        stage.file(instructions, "REPOSITORY-SAYS\n");
        stage.other_file("plugins/kit/skills/sew/SKILL.md", &described("sew", "PLUGIN-SKILL"));
        stage.other_file("plugins/kit/agents/tailor.md", &described("tailor", "PLUGIN-AGENT"));
        let servers = json!({"mcpServers": {
            "probe": {
                "command": probe::program("echo-mcp"),
                "args": ["an argument", "--flag"],
                "env": {"ECHO_MCP_LOG": stage.path("home/mcp-log"), "OF_THE_TASK": "x"},
            },
            "sky": {"type": "http", "url": server.url(), "headers": {"X-Of-The-Task": "a value"}},
        }});
        let lines = (0..).flat_map(|number: u32| format!("line {number}\n").into_bytes()).map(char::from);
        let prompt: String = "- fix the \"bug\"\n- and 'another' one\n".chars().chain(lines).take(200 << 10).collect();
        stage.other_file("prompt.txt", &prompt);
        let (plugins, file) = (stage.path("plugins"), stage.path("prompt.txt"));
        let stage = stage
            .without("AGENT_PROMPT")
            .variable("AGENT_PROMPT_FILE", file)
            .variable("AGENT_INSTRUCTIONS", "TASK-SAYS")
            .variable("AGENT_PLUGIN_DIR", plugins)
            .variable("AGENT_MCP_SERVERS", servers.to_string())
            .variable("AGENT_MODEL", model)
            .variable("AGENT_EFFORT", effort);
        Self { cli: cli.clone(), scripted, stage, server, prompt, model: model.to_owned() }
    }

    /// Runs it, holds what every CLI passes on, and gives the model's questions.
    ///
    /// # Panics
    /// Something did not reach the model, or a server.
    #[must_use]
    pub fn run(self) -> Vec<Record> {
        self.stage.run().expect_success();
        let (questions, version) = (questions(&self.scripted), &self.cli.version);
        for told in ["REPOSITORY-SAYS", "TASK-SAYS", "PLUGIN-SKILL", "PLUGIN-AGENT"] {
            assert!(questions[0].mentions(told), "{version}: {told}");
        }
        assert!(questions[0].mentions(self.prompt.trim_end()), "{version}: the prompt is not whole");
        // One CLI serves many providers, and has the provider's name before the model's.
        let asked = questions[0].model.as_deref().unwrap();
        assert_eq!(self.model.rsplit('/').next(), Some(asked), "{version}");
        for answer in ["echo: by stdio", "it rains by http"] {
            assert!(questions.last().unwrap().mentions(answer), "{version}: {answer}");
        }
        assert!(questions.iter().all(|question| question.saw_key(KEY)), "{version}");
        self.assert_servers();
        questions
    }

    /// What the two servers were given: all that the task says, and not the key.
    fn assert_servers(&self) {
        let version = &self.cli.version;
        let log = std::fs::read_to_string(self.stage.path("home/mcp-log")).unwrap();
        let started: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        assert_eq!(started["arguments"], json!(["an argument", "--flag"]), "{version}");
        let names = started["environment"].as_array().unwrap();
        let key = json!(clis::key_variable(self.cli.agent));
        assert!(names.contains(&json!("OF_THE_TASK")) && !names.contains(&key), "{version}: {names:?}");
        let asked = self.server.asked();
        let called = asked.iter().find(|asked| asked.message["method"] == "tools/call").unwrap();
        assert!(called.headers.iter().any(|header| header == "x-of-the-task: a value"), "{version}: {called:?}");
    }
}
