//! What the real Claude Code CLI makes of a task's configuration: seen in the requests that the model gets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use agent_conformance::model::Scenario;
use agent_tests::claude::ClaudeRun;
use agent_tests::http_mcp::HttpMcp;
use agent_tests::probe;
use agent_tests::runs::{KEY, Origin, Wanted, wanted};
use serde_json::{Value, json};

const COMPLETED: Wanted<'_> = wanted("succeeded", "Completed", 0, false);

const INSTRUCTIONS: &str = "The instructions of the platform are blue-heron-41.";
const REPOSITORY: &str = "The instructions of the repository are red-kite-52.";
const SKILL: &str = "Use this for anything about grey-gull-63.";
const SUB_AGENT: &str = "Asks about green-finch-74.";

fn write(path: &std::path::Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn instructions_skills_sub_agents_and_mcp_tools_are_in_the_model_s_requests() {
    let origin = Origin::with(|source| drop(source.commit("CLAUDE.md", &format!("{REPOSITORY}\n"))));
    let Some(mut run) = ClaudeRun::on(&origin, Scenario::builtin("mcp-call").unwrap().with("server", "probe").unwrap()) else { return };
    let remote = HttpMcp::start();
    let (plugins, log) = (run.scene.path("plugins"), run.scene.path("echo-mcp.log"));
    write(&plugins.join("birds/skills/gulls/SKILL.md"), &format!("---\nname: gulls\ndescription: {SKILL}\n---\nLook up.\n"));
    write(&plugins.join("birds/agents/finch.md"), &format!("---\nname: finch\ndescription: {SUB_AGENT}\n---\nYou ask.\n"));
    let servers = json!({"mcpServers": {
        "probe": {"command": probe::program("echo-mcp"), "args": [], "env": {"ECHO_MCP_LOG": log}},
        "remote": {"type": "http", "url": remote.url(), "headers": {"Authorization": "Bearer of-the-mcp-server", "X-Probe": "a b"}},
    }});
    run = run.with("AGENT_INSTRUCTIONS", INSTRUCTIONS).with("AGENT_PLUGIN_DIR", &plugins).with("AGENT_MCP_SERVERS", servers.to_string());
    let ended = run.scene.run();
    ended.assert(COMPLETED);

    let questions = run.questions();
    for text in [INSTRUCTIONS, REPOSITORY, SKILL, SUB_AGENT, "birds:gulls", "birds:finch"] {
        assert!(questions[0].mentions(text), "`{text}` is not in the model's first request\n{ended}");
    }
    for tool in ["mcp__probe__echo", "mcp__remote__echo"] {
        assert!(questions[0].tools.iter().any(|offered| offered == tool), "{:?}\n{ended}", questions[0].tools);
    }
    assert!(questions[1].mentions("echo: hello from the scripted model"), "{}", run.requests());
    // The log is there because the server got its variable; its first line names the others.
    let log = fs::read_to_string(log).unwrap();
    let environment: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let names: Vec<_> = environment["environment"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.contains(&"ECHO_MCP_LOG") && !names.contains(&"ANTHROPIC_API_KEY"), "{names:?}");
    assert!(log.contains(r#""tools/call""#), "{log}");
    let seen = remote.seen();
    assert!(seen.iter().any(|call| call.method == "tools/list"), "{seen:?}");
    let posts = || seen.iter().filter(|call| !call.method.is_empty());
    let has = |name: &str, value: &str| posts().all(|call| call.headers.get(name).is_some_and(|header| header == value));
    assert!(has("authorization", "Bearer of-the-mcp-server") && has("x-probe", "a b"), "{seen:?}");
    // Nothing of it is in the repository.
    assert_eq!(run.scene.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_tool_of_an_http_mcp_server_is_called_and_its_answer_passed_on() {
    let scenario = Scenario::builtin("mcp-call").unwrap().with("server", "remote").unwrap();
    let remote = HttpMcp::start();
    let servers = json!({"mcpServers": {"remote": {"url": remote.url()}}});
    let Some(run) = ClaudeRun::playing(scenario).map(|run| run.with("AGENT_MCP_SERVERS", servers.to_string())) else { return };
    let ended = run.scene.run();
    ended.assert(COMPLETED);
    assert!(run.questions()[1].mentions("over http: hello from the scripted model"), "{}\n{ended}", run.requests());
}

#[test]
fn a_prompt_of_a_mebibyte_arrives_whole() {
    let Some(mut run) = ClaudeRun::of("text-only") else { return };
    let prompt: String = (0..).map(|line| format!("line {line} ü\n")).take(90_000).collect();
    assert!(prompt.len() > 1 << 20);
    let file = run.scene.path("prompt.md");
    fs::write(&file, &prompt).unwrap();
    run.scene = run.scene.without("AGENT_PROMPT");
    let run = run.with("AGENT_PROMPT_FILE", file);
    let ended = run.scene.run();
    ended.assert(COMPLETED);
    assert!(run.questions()[0].mentions(prompt.trim_end()), "the prompt is not whole in the request\n{ended}");
}

#[test]
fn prompts_arrive_as_they_are() {
    let prompts = [
        "-p is where this begins",
        "--help",
        r#"He said "don't", and $HOME, `id`, \n and %s."#,
        "first\n\n\tsecond\r\nthird",
        "/help is no command here",
        "/",
        "@README.md #1 !ls \u{1F980} \u{202E}x",
    ];
    for prompt in prompts {
        let Some(run) = ClaudeRun::of("text-only").map(|run| run.with("AGENT_PROMPT", prompt)) else { return };
        let ended = run.scene.run();
        ended.assert(COMPLETED);
        assert!(run.questions()[0].mentions(prompt), "{prompt:?}\n{ended}");
    }
}

#[test]
fn the_shell_that_the_model_uses_does_not_have_the_key() {
    let scenario = Scenario::builtin("success")
        .unwrap()
        .with("command", "echo begin; env; tr '\\0' '\\n' < /proc/$PPID/environ; echo finish")
        .unwrap();
    let Some(run) = ClaudeRun::playing(scenario) else { return };
    let ended = run.scene.run();
    ended.assert(COMPLETED);
    let question = &run.questions()[1];
    assert!(question.mentions("begin") && question.mentions("AGENT_NONCE=") && question.mentions("finish"), "{ended}");
    assert!(!question.mentions(KEY), "the key is in the environment of the model's shell, or of the CLI");
}
