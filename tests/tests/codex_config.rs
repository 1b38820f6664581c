//! What a task configures reaches the real Codex, and through it the model: seen in the model's requests.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent_conformance::model::{Record, Scenario, ScriptedModel};
use agent_tests::clis;
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::http_mcp::HttpMcp;
use agent_tests::probe;
use agent_tests::stage::{KEY, Stage, described, offers, questions};
use agent_tests::told::Everything;
use serde_json::{Value, json};

/// A model that can start sub-agents.
const TEAM_MODEL: &str = "gpt-6.1-sol";
/// A model that finds the tools of MCP servers by a search.
const PLAIN_MODEL: &str = "gpt-5.5";

fn model(scenario: &str) -> ScriptedModel {
    ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap()
}

/// The user's last message: the prompt.
fn prompt_of(question: &Record) -> String {
    let body = question.json();
    let message = body["input"].as_array().unwrap().iter().rfind(|item| item["role"] == "user");
    message.unwrap()["content"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn instructions_skills_and_sub_agents_of_task_and_repository_are_in_the_first_question() {
    for cli in clis::newest("codex").into_iter().chain(clis::older("codex")) {
        let model = model("text-only");
        let codex = Stage::of(&cli, &model);
        codex.file("AGENTS.md", "REPOSITORY-SAYS\n");
        codex.file(".agents/skills/mend/SKILL.md", &described("mend", "REPOSITORY-SKILL"));
        codex.home_file(".codex/AGENTS.md", "USER-SAYS\n");
        codex.other_file("plugins/kit/skills/sew/SKILL.md", &described("sew", "PLUGIN-SKILL"));
        codex.other_file("plugins/kit/agents/tailor.md", &described("tailor", "PLUGIN-AGENT"));
        let plugins = codex.path("plugins");
        let codex = codex.variable("AGENT_INSTRUCTIONS", "TASK-SAYS").variable("AGENT_PLUGIN_DIR", plugins);
        let codex = codex.variable("AGENT_MODEL", TEAM_MODEL);
        codex.run().expect_success();
        let first = &questions(&model)[0];
        for told in ["REPOSITORY-SAYS", "USER-SAYS", "TASK-SAYS", "REPOSITORY-SKILL", "PLUGIN-SKILL"] {
            assert!(first.mentions(told), "{}: {told}", cli.version);
        }
        let agent = std::fs::read_to_string(codex.path("home/.codex/agents/tailor.toml")).unwrap();
        assert_eq!(agent, "name = \"tailor\"\ndescription = \"PLUGIN-AGENT\"\ndeveloper_instructions = \"Do it.\"\n");
        assert!(first.mentions("PLUGIN-AGENT"), "{}: the sub-agent is not offered", cli.version);
        let user = std::fs::read_to_string(codex.path("home/.codex/AGENTS.md")).unwrap();
        assert!(user.starts_with("USER-SAYS\n"), "{user}");
    }
    saw("codex", Ability::Instructions, Support::Yes);
    saw("codex", Ability::RepositoryInstructions, Support::Yes);
    saw("codex", Ability::Skills, Support::Yes);
    saw("codex", Ability::SubAgents, Support::Partly("with models that can start them: gpt-6 and newer".into()));
}

/// Every file below a directory but what the CLI itself keeps there, with its mode and content.
fn configuration(home: &Path) -> BTreeMap<String, (u32, String)> {
    let mut files = BTreeMap::new();
    for place in ["AGENTS.md", "agent-runner.config.toml", "config.toml", "auth.json", "skills/kit:sew/SKILL.md", "agents/tailor.toml"] {
        let path = home.join(place);
        if let Ok(content) = std::fs::read_to_string(&path) {
            files.insert(place.to_owned(), (path.metadata().unwrap().permissions().mode() & 0o777, content));
        }
    }
    files
}

#[test]
fn a_second_run_writes_the_same_and_takes_back_what_is_gone() {
    let model = model("text-only");
    let Some(codex) = Stage::new("codex", &model) else { return };
    codex.home_file(".codex/config.toml", "# mine\nmodel = \"gpt-5.5\"\n");
    codex.other_file("plugins/kit/skills/sew/SKILL.md", &described("sew", "PLUGIN-SKILL"));
    codex.other_file("plugins/kit/agents/tailor.md", &described("tailor", "PLUGIN-AGENT"));
    let plugins = codex.path("plugins");
    let servers = json!({"mcpServers": {"probe": {"command": probe::program("echo-mcp"), "env": {"TOKEN": "secret-of-the-task"}}}});
    let auth = "{\"tokens\": {\"id_token\": \"a\nb\"}}";
    let with = codex
        .variable("AGENT_PLUGIN_DIR", plugins)
        .variable("AGENT_INSTRUCTIONS", "TASK-SAYS")
        .variable("AGENT_MCP_SERVERS", servers.to_string())
        .variable("CODEX_AUTH_JSON", auth);
    with.run().expect_success();
    let home = with.path("home/.codex");
    let once = configuration(&home);
    with.run().expect_success();
    assert_eq!(once, configuration(&home));
    assert_eq!(once["config.toml"].1, "# mine\nmodel = \"gpt-5.5\"\n", "the user's own configuration is touched");
    let (mode, ours) = &once["agent-runner.config.toml"];
    assert!(*mode == 0o600 && ours.contains("secret-of-the-task"), "{mode:o} {ours}");
    assert_eq!(once["auth.json"].0, 0o600);
    assert_eq!(serde_json::from_str::<Value>(&once["auth.json"].1).unwrap()["tokens"]["id_token"], "a\nb");
    assert!(once.contains_key("skills/kit:sew/SKILL.md") && once.contains_key("agents/tailor.toml"), "{once:?}");
    let of_the_tree =
        std::process::Command::new("git").args(["status", "--porcelain"]).current_dir(with.path("workspace")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&of_the_tree.stdout), "", "something was written into the repository");

    let without = with.without("AGENT_PLUGIN_DIR").without("AGENT_INSTRUCTIONS").without("AGENT_MCP_SERVERS");
    without.run().expect_success();
    let after = configuration(&home);
    assert!(!after.contains_key("skills/kit:sew/SKILL.md") && !after.contains_key("agents/tailor.toml"), "{after:?}");
    assert!(!after["agent-runner.config.toml"].1.contains("secret-of-the-task"), "{after:?}");
    let told: Vec<bool> = questions(&model).iter().map(|question| question.mentions("TASK-SAYS")).collect();
    assert_eq!(told, [true, true, false]);
}

#[test]
fn the_configuration_directory_may_be_elsewhere() {
    let model = model("text-only");
    let Some(codex) = Stage::new("codex", &model) else { return };
    let elsewhere = std::fs::canonicalize(codex.path("home")).unwrap().join("elsewhere/codex");
    let codex = codex.variable("CODEX_HOME", elsewhere.clone()).variable("AGENT_INSTRUCTIONS", "TASK-SAYS");
    codex.run().expect_success();
    assert!(questions(&model)[0].mentions("TASK-SAYS"));
    assert!(elsewhere.join("agent-runner.config.toml").exists());
}

#[test]
fn model_and_effort_are_asked_for() {
    for cli in clis::newest("codex").into_iter().chain(clis::older("codex")) {
        let model = model("text-only");
        Stage::of(&cli, &model).variable("AGENT_MODEL", PLAIN_MODEL).variable("AGENT_EFFORT", "high").run().expect_success();
        let first = &questions(&model)[0];
        assert_eq!((first.model.as_deref(), &first.json()["reasoning"]["effort"]), (Some(PLAIN_MODEL), &"high".into()), "{}", cli.version);
    }
    saw("codex", Ability::Model, Support::Yes);
    saw("codex", Ability::Effort, Support::Yes);
}

/// Whether the tool of an MCP server is listed: to a model that looks for tools once it has looked, to one that writes code only in the
/// code's own world, where calling it is the proof.
fn is_listed(questions: &[Record], asked: &str, tool: &str) -> bool {
    asked == TEAM_MODEL || questions.iter().any(|question| offers(question, tool))
}

#[test]
fn a_stdio_mcp_tool_is_found_and_called_with_its_arguments_and_variables() {
    for asked in [PLAIN_MODEL, TEAM_MODEL] {
        let model = model("mcp-call");
        let Some(codex) = Stage::new("codex", &model) else { return };
        let log = codex.path("home/mcp-log");
        let servers = json!({"mcpServers": {"probe": {
            "command": "sh", "args": ["-c", "printf %s \"$1\" > \"$HOME/mcp-argument\"; exec \"$0\"", probe::program("echo-mcp"), "an argument"],
            "env": {"ECHO_MCP_LOG": log, "OF_THE_TASK": "x"},
        }}});
        let codex = codex.variable("AGENT_MCP_SERVERS", servers.to_string()).variable("AGENT_MODEL", asked);
        codex.run().expect_success();
        assert!(is_listed(&questions(&model), asked, "mcp__probe.echo"), "{asked}");
        assert!(questions(&model).last().unwrap().mentions("echo: hello from the scripted model"), "{asked}");
        let log = std::fs::read_to_string(log).unwrap();
        let started: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        let names = started["environment"].as_array().unwrap();
        assert!(names.contains(&json!("OF_THE_TASK")) && !names.contains(&json!("CODEX_API_KEY")), "{names:?}");
        assert_eq!(std::fs::read_to_string(codex.path("home/mcp-argument")).unwrap(), "an argument");
    }
    saw("codex", Ability::McpStdio, Support::Yes);
}

#[test]
fn an_http_mcp_tool_is_found_and_called_with_its_headers() {
    for asked in [PLAIN_MODEL, TEAM_MODEL] {
        let model = ScriptedModel::start(Scenario::builtin("mcp-call").unwrap().with("tool", "weather").unwrap()).unwrap();
        let Some(codex) = Stage::new("codex", &model) else { return };
        let server = HttpMcp::start();
        let servers = json!({"mcpServers": {"sky": {"type": "http", "url": server.url(), "headers": {"X-Of-The-Task": "a value"}}}});
        codex.variable("AGENT_MCP_SERVERS", servers.to_string()).variable("AGENT_MODEL", asked).run().expect_success();
        assert!(is_listed(&questions(&model), asked, "mcp__sky.weather"), "{asked}");
        assert!(questions(&model).last().unwrap().mentions("it rains by http"), "{asked}");
        let asked = server.asked();
        let called = asked.iter().find(|asked| asked.message["method"] == "tools/call").unwrap();
        assert!(called.headers.iter().any(|header| header == "x-of-the-task: a value"), "{called:?}");
    }
    saw("codex", Ability::McpHttp, Support::Yes);
}

#[test]
fn what_it_cannot_take_is_an_error_before_it_starts() {
    let model = model("text-only");
    let Some(codex) = Stage::new("codex", &model) else { return };
    let servers = json!({"mcpServers": {"old": {"type": "sse", "url": "http://127.0.0.1:1/sse"}}});
    let ended = codex.variable("AGENT_MCP_SERVERS", servers.to_string()).run();
    assert_eq!(ended.outcome["reason"], "InvalidTask", "{ended:#?}");
    assert!(ended.stderr.contains("mcpServers.old") && ended.stderr.contains("server-sent events"), "{}", ended.stderr);
    assert!(model.requests().is_empty());
    saw("codex", Ability::McpSse, Support::No("the CLI has no such transport: an error that says so".into()));
}

#[test]
fn two_plugins_that_come_to_the_same_place_are_an_error_that_names_both() {
    let model = model("text-only");
    let Some(codex) = Stage::new("codex", &model) else { return };
    codex.other_file("plugins/alpha/skills/bravo:charlie/SKILL.md", &described("one", "ONE"));
    codex.other_file("plugins/alpha:bravo/skills/charlie/SKILL.md", &described("two", "TWO"));
    let plugins = codex.path("plugins");
    let ended = codex.variable("AGENT_PLUGIN_DIR", plugins).run();
    assert!(ended.code != Some(0) && ended.outcome["status"] == "failed", "{ended:#?}");
    for named in ["alpha/skills/bravo:charlie", "alpha:bravo/skills/charlie"] {
        assert!(ended.stderr.contains(named), "{named}: {}", ended.stderr);
    }
    assert!(model.requests().is_empty());
}

#[test]
fn any_prompt_reaches_the_model_as_it_is() {
    let model = model("text-only");
    let Some(mut codex) = Stage::new("codex", &model) else { return };
    let prompts = ["- fix the bug\n- and \"another\" one", "--help", "/foo is broken", "!ls", "see @nothing.md", "a\r\nb", "# title"];
    for prompt in prompts {
        codex = codex.variable("AGENT_PROMPT", prompt);
        codex.run().expect_success();
    }
    let seen: Vec<String> = questions(&model).iter().map(prompt_of).collect();
    assert_eq!(seen, prompts);
    saw("codex", Ability::AnyPrompt, Support::Yes);
}

#[test]
fn long_prompts_arrive_whole_and_one_that_is_too_long_is_an_error() {
    let model = model("text-only");
    let Some(mut codex) = Stage::new("codex", &model) else { return };
    for size in [200 << 10, 1 << 20] {
        let prompt: String = (0..).flat_map(|number: u32| format!("line {number}\n").into_bytes()).take(size).map(char::from).collect();
        codex.other_file("prompt.txt", &prompt);
        let file = codex.path("prompt.txt");
        codex = codex.without("AGENT_PROMPT").variable("AGENT_PROMPT_FILE", file);
        codex.run().expect_success();
        assert!(prompt_of(questions(&model).last().unwrap()).trim_end() == prompt.trim_end(), "{size}");
    }
    codex.other_file("prompt.txt", &"x".repeat((1 << 20) + 1));
    let ended = codex.run();
    assert!(ended.outcome["reason"] == "InvalidTask" && ended.stderr.contains("1048577 characters"), "{ended:#?}");
    saw("codex", Ability::LongPrompt, Support::Yes);
}

#[test]
fn the_model_s_shell_does_not_have_the_key() {
    for cli in clis::newest("codex").into_iter().chain(clis::older("codex")) {
        let scenario = Scenario::builtin("success").unwrap().with("command", "env > \"$HOME/spy-shell\"").unwrap();
        let model = ScriptedModel::start(scenario).unwrap();
        let codex = Stage::of(&cli, &model).variable("AGENT_MODEL", PLAIN_MODEL);
        codex.run().expect_success();
        assert!(questions(&model).iter().all(|question| question.saw_key(KEY)));
        let seen = codex.traces("spy-");
        assert!(seen["shell"].contains("CODEX_CI=1") && !seen["shell"].contains(KEY), "{}: {seen:?}", cli.version);
    }
    let why = "not from a program of the same user that looks for it in `/proc`";
    saw("codex", Ability::HiddenKey, Support::Partly(why.into()));
}

/// What a task configures, all at once, with every other version that is pinned.
#[test]
fn older_versions_are_told_everything_too() {
    for cli in clis::older("codex") {
        let questions = Everything::of(&cli, "AGENTS.md", TEAM_MODEL, "high").run();
        assert_eq!(questions[0].json()["reasoning"]["effort"], "high", "{}", cli.version);
        for tool in ["mcp__probe.echo", "mcp__sky.weather"] {
            assert!(offers(&questions[0], tool), "{} {tool}: {:?}", cli.version, questions[0].tools);
        }
    }
}
