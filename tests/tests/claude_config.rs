//! What a task configures reaches the real Claude Code, and through it the model: seen in the model's requests.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::{Record, Scenario, ScriptedModel};
use agent_tests::clis::{self, Cli};
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::http_mcp::HttpMcp;
use agent_tests::probe;
use agent_tests::runs::Counted;
use agent_tests::stage::{Stage, described, offers, questions, spy};
use agent_tests::told::Everything;
use serde_json::{Value, json};

fn model(scenario: &str) -> ScriptedModel {
    ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap()
}

/// The texts of the user's message that is the prompt: the last ones before the model first speaks.
fn prompt_of(question: &Record) -> String {
    let body = question.json();
    let messages = body["messages"].as_array().unwrap().iter().filter(|message| message["role"] == "user");
    let mut texts = messages.flat_map(|message| match &message["content"] {
        Value::String(text) => vec![text.clone()],
        content => content.as_array().unwrap().iter().filter_map(|block| block["text"].as_str().map(str::to_owned)).collect(),
    });
    texts.rfind(|text| !text.starts_with("<system-reminder>")).unwrap()
}

#[test]
fn instructions_skills_and_sub_agents_of_task_and_repository_are_in_the_first_question() {
    let model = model("text-only");
    let Some(claude) = Stage::new("claude", &model) else { return };
    claude.file("CLAUDE.md", "REPOSITORY-SAYS\n@docs/more.md\n");
    claude.file("docs/more.md", "REPOSITORY-IMPORTS\n");
    claude.file("AGENTS.md", "AGENTS-SAYS\n");
    claude.file(".claude/skills/mend/SKILL.md", &described("mend", "REPOSITORY-SKILL"));
    claude.home_file(".claude/CLAUDE.md", "USER-SAYS\n");
    claude.other_file("plugins/kit/skills/sew/SKILL.md", &described("sew", "PLUGIN-SKILL"));
    claude.other_file("plugins/kit/agents/tailor.md", &described("tailor", "PLUGIN-AGENT"));
    let plugins = claude.path("plugins");
    let claude = claude.variable("AGENT_INSTRUCTIONS", "TASK-SAYS").variable("AGENT_PLUGIN_DIR", plugins);
    let ended = claude.run();
    ended.expect_success();
    let first = &questions(&model)[0];
    for told in ["REPOSITORY-SAYS", "REPOSITORY-IMPORTS", "USER-SAYS", "TASK-SAYS", "REPOSITORY-SKILL", "PLUGIN-SKILL", "PLUGIN-AGENT"] {
        assert!(first.mentions(told), "{told}");
    }
    // Beside a CLAUDE.md it would be told twice where one imports the other.
    assert!(!first.mentions("AGENTS-SAYS"));
    let init = ended.events.iter().find(|event| event["subtype"] == "init").unwrap();
    assert!(init["skills"].as_array().unwrap().contains(&json!("kit:sew")), "{init}");
    assert!(init["agents"].as_array().unwrap().contains(&json!("kit:tailor")), "{init}");
    assert_eq!(std::fs::read_to_string(claude.path("home/.claude/CLAUDE.md")).unwrap(), "USER-SAYS\n");
    saw("claude", Ability::Instructions, Support::Yes);
    saw("claude", Ability::Skills, Support::Yes);
    saw("claude", Ability::SubAgents, Support::Yes);
}

#[test]
fn agents_md_counts_where_there_is_no_claude_md() {
    let model = model("text-only");
    let Some(claude) = Stage::new("claude", &model) else { return };
    claude.file("AGENTS.md", "AGENTS-SAYS\n@docs/more.md\n");
    claude.file("docs/more.md", "AGENTS-IMPORTS\n");
    claude.run().expect_success();
    let first = &questions(&model)[0];
    assert!(first.mentions("AGENTS-SAYS") && first.mentions("AGENTS-IMPORTS"));
    saw("claude", Ability::RepositoryInstructions, Support::Yes);
}

#[test]
fn a_later_run_in_the_same_home_does_not_keep_the_instructions_of_an_earlier_one() {
    let model = model("text-only");
    let Some(claude) = Stage::new("claude", &model) else { return };
    let claude = claude.variable("AGENT_INSTRUCTIONS", "TASK-SAYS");
    claude.run().expect_success();
    let claude = claude.without("AGENT_INSTRUCTIONS");
    claude.run().expect_success();
    let told: Vec<bool> = questions(&model).iter().map(|question| question.mentions("TASK-SAYS")).collect();
    assert_eq!(told, [true, false]);
}

#[test]
fn the_configuration_directory_may_be_elsewhere() {
    let model = model("text-only");
    let Some(claude) = Stage::new("claude", &model) else { return };
    let elsewhere = std::fs::canonicalize(claude.path("tmp")).unwrap().join("config");
    let claude = claude.variable("CLAUDE_CONFIG_DIR", elsewhere.clone()).variable("AGENT_INSTRUCTIONS", "TASK-SAYS");
    claude.run().expect_success();
    assert!(questions(&model)[0].mentions("TASK-SAYS"));
    assert!(elsewhere.join("rules/agent-runner.md").exists() && !claude.path("home/.claude/rules").exists());
}

#[test]
fn model_and_effort_are_asked_for() {
    let model = model("text-only");
    let Some(claude) = Stage::new("claude", &model) else { return };
    claude.variable("AGENT_MODEL", "claude-sonnet-5").variable("AGENT_EFFORT", "low").run().expect_success();
    let first = &questions(&model)[0];
    assert_eq!(first.model.as_deref(), Some("claude-sonnet-5"));
    assert_eq!(first.json()["output_config"]["effort"], "low");
    saw("claude", Ability::Model, Support::Yes);
    saw("claude", Ability::Effort, Support::Yes);
}

#[test]
fn a_stdio_mcp_tool_is_listed_and_called_with_its_variables() {
    let model = model("mcp-call");
    let Some(claude) = Stage::new("claude", &model) else { return };
    let log = claude.path("home/mcp-log");
    let servers = json!({"mcpServers": {"probe": {
        "command": probe::program("echo-mcp"), "args": ["an argument", "--flag"], "env": {"ECHO_MCP_LOG": log, "OF_THE_TASK": "x"},
    }}});
    let claude = claude.variable("AGENT_MCP_SERVERS", servers.to_string());
    claude.run().expect_success();
    let questions = questions(&model);
    // Newer versions offer it once the model has searched for it.
    assert!(questions.iter().any(|question| offers(question, "mcp__probe__echo")), "{:?}", questions[0].tools);
    assert!(questions.last().unwrap().mentions("echo: hello from the scripted model"));
    let log = std::fs::read_to_string(log).unwrap();
    let environment: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let names = environment["environment"].as_array().unwrap();
    assert!(names.contains(&json!("OF_THE_TASK")) && !names.contains(&json!("ANTHROPIC_API_KEY")), "{names:?}");
    // What may hold secrets is gone with the run.
    assert_eq!(
        std::fs::read_dir(claude.path("tmp"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("agent-runner-"))
            .count(),
        0
    );
    saw("claude", Ability::McpStdio, Support::Yes);
}

#[test]
fn an_http_mcp_tool_is_listed_and_called_with_its_headers() {
    let scenario = Scenario::builtin("mcp-call").unwrap().with("tool", "weather").unwrap();
    let model = ScriptedModel::start(scenario).unwrap();
    let Some(claude) = Stage::new("claude", &model) else { return };
    let server = HttpMcp::start();
    let servers = json!({"mcpServers": {"sky": {"type": "http", "url": server.url(), "headers": {"X-Of-The-Task": "a value"}}}});
    claude.variable("AGENT_MCP_SERVERS", servers.to_string()).run().expect_success();
    let questions = questions(&model);
    // Newer versions offer it once the model has searched for it.
    assert!(questions.iter().any(|question| offers(question, "mcp__sky__weather")), "{:?}", questions[0].tools);
    assert!(questions.last().unwrap().mentions("it rains by http"));
    let asked = server.asked();
    let called = asked.iter().find(|asked| asked.message["method"] == "tools/call").unwrap();
    assert!(called.headers.iter().any(|header| header == "x-of-the-task: a value"), "{called:?}");
    saw("claude", Ability::McpHttp, Support::Yes);
}

#[test]
fn an_mcp_tool_by_server_sent_events_is_listed_and_called_with_its_headers() {
    let scenario = Scenario::builtin("mcp-call").unwrap().with("tool", "weather").unwrap();
    let model = ScriptedModel::start(scenario).unwrap();
    let Some(claude) = Stage::new("claude", &model) else { return };
    let server = HttpMcp::start();
    let servers = json!({"mcpServers": {"sky": {"type": "sse", "url": server.sse_url(), "headers": {"X-Of-The-Task": "a value"}}}});
    claude.variable("AGENT_MCP_SERVERS", servers.to_string()).run().expect_success();
    let questions = questions(&model);
    assert!(questions.iter().any(|question| offers(question, "mcp__sky__weather")), "{:?}", questions[0].tools);
    assert!(questions.last().unwrap().mentions("it rains by http"));
    let asked = server.asked();
    let called = asked.iter().find(|asked| asked.message["method"] == "tools/call").unwrap();
    assert!(called.headers.iter().any(|header| header == "x-of-the-task: a value"), "{called:?}");
    saw("claude", Ability::McpSse, Support::Yes);
}

#[test]
fn any_prompt_reaches_the_model_as_it_is() {
    let model = model("text-only");
    let Some(mut claude) = Stage::new("claude", &model) else { return };
    let prompts = ["- fix the bug\n- and \"another\" one", "--help", "!ls", "see @nothing.md", "  space around \n\n", "a\r\nb", "# title"];
    for prompt in prompts {
        claude = claude.variable("AGENT_PROMPT", prompt);
        claude.run().expect_success();
    }
    let seen: Vec<String> = questions(&model).iter().map(prompt_of).collect();
    assert_eq!(seen, prompts);
    saw("claude", Ability::AnyPrompt, Support::Yes);
}

/// The CLI takes it for a command, and an unknown one ends with code 0 and no model call.
#[test]
fn a_prompt_that_begins_with_a_slash_is_text() {
    let model = model("text-only");
    let Some(mut claude) = Stage::new("claude", &model) else { return };
    for prompt in ["/foo is broken", "/clear", "/etc/hosts\nis wrong"] {
        claude = claude.variable("AGENT_PROMPT", prompt);
        claude.run().expect_success();
        assert_eq!(prompt_of(questions(&model).last().unwrap()), format!("\n{prompt}"));
    }
    assert_eq!(questions(&model).len(), 3);
    saw("claude", Ability::AnyPrompt, Support::Partly("a leading `/` gets a line break before it, or it would be a command".into()));
}

#[test]
fn a_prompt_of_one_mebibyte_arrives_whole() {
    let model = model("text-only");
    let Some(claude) = Stage::new("claude", &model) else { return };
    let prompt: String =
        (0..).flat_map(|number: u32| format!("line {number} — ünïcode\n").into_bytes()).take(1 << 20).map(char::from).collect();
    claude.other_file("prompt.txt", &prompt);
    let file = claude.path("prompt.txt");
    claude.without("AGENT_PROMPT").variable("AGENT_PROMPT_FILE", file).run().expect_success();
    assert!(prompt_of(&questions(&model)[0]) == prompt);
    saw("claude", Ability::LongPrompt, Support::Yes);
}

#[test]
fn neither_the_models_shell_nor_its_parent_has_the_key_in_its_environment() {
    let scenario = Scenario::builtin("success").unwrap().with("command", &spy("shell")).unwrap();
    let model = ScriptedModel::start(scenario).unwrap();
    let Some(claude) = Stage::new("claude", &model) else { return };
    claude.run().expect_success();
    assert!(questions(&model).iter().all(|question| question.saw_key(agent_tests::stage::KEY)));
    let seen = claude.traces("spy-");
    assert!(seen["shell"].contains("CLAUDECODE=1"), "{seen:?}");
    assert!(!seen["shell"].contains(agent_tests::stage::KEY));
    saw("claude", Ability::HiddenKey, Support::Yes);
}

#[test]
fn a_session_that_is_resumed_goes_on_and_costs_only_what_is_new() {
    let Some(newest) = clis::newest("claude") else { return };
    resume(&newest);
    clis::older("claude").iter().for_each(resume);
    saw("claude", Ability::Resume, Support::Yes);
}

fn resume(cli: &Cli) {
    let model = model("text-only");
    let claude = Stage::of(cli, &model);
    let claude = claude.variable("AGENT_PROMPT", "REMEMBER-THIS");
    let first = claude.run();
    let session = first.expect_success().parameter("session-id").unwrap().to_owned();
    let model = self::model("text-only");
    let claude = claude.variable("AGENT_ENDPOINT", model.base_url()).variable("AGENT_RESUME", session.clone());
    let second = claude.variable("AGENT_PROMPT", "And now?").run();
    assert_eq!(second.expect_success().parameter("session-id"), Some(session.as_str()));
    assert!(questions(&model)[0].mentions("REMEMBER-THIS"));
    assert_eq!(second.tokens(), Counted::billed(model.bill().finished), "{second:#?}");
}

/// What a task configures, all at once, with every other version that is pinned.
#[test]
fn older_versions_are_told_everything_too() {
    for cli in clis::older("claude") {
        let questions = Everything::of(&cli, "CLAUDE.md", "claude-sonnet-5", "low").run();
        assert_eq!(questions[0].json()["output_config"]["effort"], "low", "{}", cli.version);
        // Newer versions offer them once the model has searched for them.
        for tool in ["mcp__probe__echo", "mcp__sky__weather"] {
            assert!(questions.iter().any(|question| offers(question, tool)), "{} {tool}", cli.version);
        }
    }
}
