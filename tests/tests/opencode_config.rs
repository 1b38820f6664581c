//! What a task configures reaches the real OpenCode, and through it the model: seen in the model's requests.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::{Record, Scenario, ScriptedModel};
use agent_tests::clis;
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::http_mcp::HttpMcp;
use agent_tests::probe;
use agent_tests::runs::Counted;
use agent_tests::stage::{KEY, Stage, described, offers, questions, spy};
use agent_tests::told::{Everything, two_servers};
use serde_json::{Value, json};

fn model(scenario: &str) -> ScriptedModel {
    ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap()
}

fn stage(model: &ScriptedModel) -> Option<Stage> {
    Some(Stage::new("opencode", model)?.variable("AGENT_MODEL", "anthropic/claude-sonnet-4-5"))
}

/// The text of the user's last message.
fn prompt_of(question: &Record) -> String {
    let body = question.json();
    let message = body["messages"].as_array().unwrap().iter().rfind(|message| message["role"] == "user").unwrap().clone();
    match &message["content"] {
        Value::String(text) => text.clone(),
        content => content.as_array().unwrap().iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("|"),
    }
}

#[test]
fn instructions_skills_and_sub_agents_of_task_and_repository_are_in_the_first_question() {
    let model = model("text-only");
    let Some(stage) = stage(&model) else { return };
    stage.file("AGENTS.md", "REPOSITORY-SAYS\n");
    stage.file(".claude/skills/mend/SKILL.md", &described("mend", "REPOSITORY-SKILL"));
    stage.home_file(".config/opencode/AGENTS.md", "USER-SAYS\n");
    stage.other_file("plugins/kit/skills/sew/SKILL.md", &described("sew", "PLUGIN-SKILL"));
    // As it is written for another agent, whose tools and models this one does not know.
    let agent = "---\nname: tailor\ndescription: \"PLUGIN-AGENT: sews\"\ntools: Read, Bash\nmodel: sonnet\n---\nSew.\n";
    stage.other_file("plugins/kit/agents/tailor.md", agent);
    let plugins = stage.path("plugins");
    let stage = stage.variable("AGENT_INSTRUCTIONS", "TASK-SAYS").variable("AGENT_PLUGIN_DIR", plugins).variable("AGENT_EFFORT", "max");
    stage.run().expect_success();
    let first = questions(&model).remove(0);
    for told in ["REPOSITORY-SAYS", "USER-SAYS", "TASK-SAYS", "REPOSITORY-SKILL", "PLUGIN-SKILL", "PLUGIN-AGENT"] {
        assert!(first.mentions(told), "{told}");
    }
    assert_eq!(first.model.as_deref(), Some("claude-sonnet-4-5"));
    assert!(first.json()["thinking"]["budget_tokens"].as_u64().is_some_and(|budget| budget > 10_000), "{}", first.json()["thinking"]);
    let directory = stage.path("home/.config/opencode");
    let config = |name: &str| directory.join(name);
    let files = |name: &str| std::fs::read_to_string(config(name)).unwrap();
    let before = (files("AGENTS.md"), files("skills/kit:sew/SKILL.md"), files("agents/tailor.md"));
    // The repository's tree is as it was.
    assert!(!stage.path("workspace/.opencode").exists());

    // Once more: the same files, nothing added.
    stage.run().expect_success();
    assert_eq!((files("AGENTS.md"), files("skills/kit:sew/SKILL.md"), files("agents/tailor.md")), before);

    // Without them: what the first run installed is gone, and what the user had is there.
    let stage = stage.without("AGENT_INSTRUCTIONS").without("AGENT_PLUGIN_DIR");
    stage.run().expect_success();
    let last = questions(&model).pop().unwrap();
    for (told, is_told) in [("USER-SAYS", true), ("TASK-SAYS", false), ("PLUGIN-SKILL", false), ("PLUGIN-AGENT", false)] {
        assert_eq!(last.mentions(told), is_told, "{told}");
    }
    assert!(!config("skills/kit:sew").exists() && !config("agents/tailor.md").exists());
    saw("opencode", Ability::Instructions, Support::Yes);
    saw("opencode", Ability::RepositoryInstructions, Support::Yes);
    saw("opencode", Ability::Skills, Support::Yes);
    saw("opencode", Ability::SubAgents, Support::Yes);
    saw("opencode", Ability::Model, Support::Yes);
    saw("opencode", Ability::Effort, Support::Yes);
}

#[test]
fn mcp_tools_are_listed_and_called_with_their_variables_and_headers_and_without_the_key() {
    let model = ScriptedModel::start(two_servers(&[json!({"shell": spy("shell")})])).unwrap();
    let Some(stage) = stage(&model) else { return };
    let (server, log) = (HttpMcp::start(), stage.path("home/mcp-log"));
    let servers = json!({"mcpServers": {
        "probe": {"command": probe::program("echo-mcp"), "args": ["an argument", "--flag"], "env": {"ECHO_MCP_LOG": log, "OF_THE_TASK": "secret-of-the-server"}},
        "sky": {"type": "http", "url": server.url(), "headers": {"X-Of-The-Task": "a value"}},
    }});
    let stage = stage.variable("AGENT_MCP_SERVERS", servers.to_string()).variable("OPENAI_API_KEY", "sk-of-another-provider");
    stage.run().expect_success();
    let questions = questions(&model);
    for tool in ["probe_echo", "sky_weather"] {
        assert!(offers(&questions[0], tool), "{:?}", questions[0].tools);
    }
    assert!(questions[1].mentions("echo: by stdio") && questions[2].mentions("it rains by http"));
    assert!(questions.iter().all(|question| question.saw_key(KEY)));
    let log = std::fs::read_to_string(log).unwrap();
    let environment: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let names = environment["environment"].as_array().unwrap();
    assert!(names.contains(&json!("OF_THE_TASK")), "{names:?}");
    assert!(!names.contains(&json!("ANTHROPIC_API_KEY")) && !names.contains(&json!("OPENAI_API_KEY")), "{names:?}");
    let called = server.asked().into_iter().find(|asked| asked.message["method"] == "tools/call").unwrap();
    assert!(called.headers.iter().any(|header| header == "x-of-the-task: a value"), "{called:?}");
    // The model's shell sees neither the key nor the servers' secrets, and neither does who looks at its parent.
    let seen = stage.traces("spy-");
    assert!(
        seen["shell"].contains("OPENCODE=1") && !seen["shell"].contains(KEY) && !seen["shell"].contains("secret-of-the-server"),
        "{seen:?}"
    );
    // What keeps OpenCode from installing anything at its start does not keep the task from it.
    assert!(seen["shell"].lines().all(|variable| variable != "npm_config_offline=true"), "{seen:?}");
    saw("opencode", Ability::McpStdio, Support::Yes);
    saw("opencode", Ability::McpHttp, Support::Yes);
    saw("opencode", Ability::HiddenKey, Support::Yes);
}

/// `OPENCODE_CONFIG`, `OPENCODE_CONFIG_CONTENT` and `OPENCODE_PERMISSION` are how KubeOpenCode configures it.
#[test]
fn what_a_platform_configures_by_variables_stays() {
    let model = model("success");
    let Some(stage) = stage(&model) else { return };
    stage.other_file("platform.md", "PLATFORM-SAYS\n");
    stage.other_file("more.md", "CONTENT-SAYS\n");
    stage.other_file("opencode.json", &json!({"instructions": [stage.path("platform.md")]}).to_string());
    let content = json!({"instructions": [stage.path("more.md")]}).to_string();
    let config = stage.path("opencode.json");
    let stage = stage
        .variable("OPENCODE_CONFIG", config)
        .variable("OPENCODE_CONFIG_CONTENT", content)
        .variable("OPENCODE_PERMISSION", json!({"bash": "deny"}).to_string());
    stage.run().expect_success();
    let first = questions(&model).remove(0);
    assert!(first.mentions("PLATFORM-SAYS") && first.mentions("CONTENT-SAYS"));
    assert!(!first.tools.contains(&"bash".to_owned()), "{:?}", first.tools);
}

#[test]
fn any_prompt_reaches_the_model_as_it_is() {
    let model = model("text-only");
    let Some(mut stage) = stage(&model) else { return };
    let large: String = (0..).map(|number| format!("line {number} — ünïcode\n")).take(60_000).collect();
    assert!(large.len() > 1 << 20);
    stage.other_file("prompt.txt", &large);
    let prompts = ["- fix the \"bug\"\n- and 'another' one", "/foo is broken", "--help"];
    for prompt in prompts {
        stage = stage.variable("AGENT_PROMPT", prompt);
        stage.run().expect_success();
    }
    let file = stage.path("prompt.txt");
    stage.without("AGENT_PROMPT").variable("AGENT_PROMPT_FILE", file).run().expect_success();
    let seen: Vec<String> = questions(&model).iter().map(prompt_of).collect();
    assert_eq!(seen[..3], prompts);
    assert!(seen[3].trim_end() == large.trim_end(), "{} bytes of {}", seen[3].len(), large.len());
    saw("opencode", Ability::AnyPrompt, Support::Yes);
    saw("opencode", Ability::LongPrompt, Support::Yes);
}

#[test]
fn an_mcp_tool_by_server_sent_events_is_called_with_its_headers() {
    let model = ScriptedModel::start(Scenario::builtin("mcp-call").unwrap().with("tool", "weather").unwrap()).unwrap();
    let Some(stage) = stage(&model) else { return };
    let server = HttpMcp::start();
    let servers = json!({"mcpServers": {"sky": {"type": "sse", "url": server.sse_url(), "headers": {"X-Of-The-Task": "a value"}}}});
    stage.variable("AGENT_MCP_SERVERS", servers.to_string()).run().expect_success();
    let questions = questions(&model);
    assert!(offers(&questions[0], "sky_weather"), "{:?}", questions[0].tools);
    assert!(questions[1].mentions("it rains by http"));
    let called = server.asked().into_iter().find(|asked| asked.message["method"] == "tools/call").unwrap();
    assert!(called.headers.iter().any(|header| header == "x-of-the-task: a value"), "{called:?}");
    saw("opencode", Ability::McpSse, Support::Yes);
}

#[test]
fn a_session_that_is_resumed_goes_on_and_costs_only_what_is_new() {
    let first_model = model("text-only");
    let Some(stage) = stage(&first_model) else { return };
    let stage = stage.variable("AGENT_PROMPT", "REMEMBER-THIS");
    let first = stage.run();
    let session = first.expect_success().parameter("session-id").unwrap().to_owned();
    let model = model("text-only");
    let stage = stage.variable("AGENT_ENDPOINT", model.base_url()).variable("AGENT_RESUME", session.clone());
    let second = stage.variable("AGENT_PROMPT", "And now?").run();
    assert_eq!(second.expect_success().parameter("session-id"), Some(session.as_str()));
    assert!(questions(&model)[0].mentions("REMEMBER-THIS"));
    assert_eq!(second.tokens(), Counted::billed(model.bill().finished), "{second:#?}");
    saw("opencode", Ability::Resume, Support::Yes);
}

/// What a task configures, all at once, with every other version that is pinned.
#[test]
fn older_versions_are_told_everything_too() {
    for cli in clis::older("opencode") {
        let questions = Everything::of(&cli, "AGENTS.md", "anthropic/claude-sonnet-4-5", "max").run();
        let thinking = &questions[0].json()["thinking"];
        assert!(thinking["budget_tokens"].as_u64().is_some_and(|budget| budget > 10_000), "{} {thinking}", cli.version);
        for tool in ["probe_echo", "sky_weather"] {
            assert!(offers(&questions[0], tool), "{} {tool}: {:?}", cli.version, questions[0].tools);
        }
    }
}
