//! What a task configures reaches the real Gemini CLI, and through it the model: seen in the model's requests.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent_conformance::model::{Record, Scenario, ScriptedModel};
use agent_tests::clis::{self, Cli};
use agent_tests::coverage::{Ability, Support, saw};
use agent_tests::http_mcp::HttpMcp;
use agent_tests::probe;
use agent_tests::runs::Counted;
use agent_tests::stage::{KEY, Stage, described, offers, questions};
use agent_tests::told::Everything;
use serde_json::{Value, json};

fn model(scenario: &str) -> ScriptedModel {
    ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap()
}

fn stage(model: &ScriptedModel) -> Option<Stage> {
    Some(Stage::new("gemini", model)?.variable("AGENT_MODEL", "gemini-2.5-pro"))
}

/// The texts of the user's messages before the model first speaks, where it runs and what is wanted.
fn told(question: &Record) -> Vec<String> {
    let body = question.json();
    let contents = body["contents"].as_array().unwrap().iter().take_while(|content| content["role"] != "model");
    contents
        .flat_map(|content| content["parts"].as_array().unwrap().iter().filter_map(|part| part["text"].as_str().map(str::to_owned)))
        .collect()
}

#[test]
fn instructions_skills_and_sub_agents_of_task_and_repository_are_in_the_first_question() {
    let model = model("text-only");
    let Some(gemini) = stage(&model) else { return };
    gemini.file("GEMINI.md", "REPOSITORY-SAYS\n");
    gemini.file("AGENTS.md", "AGENTS-SAYS\n");
    gemini.file("CLAUDE.md", "CLAUDE-SAYS\n");
    gemini.file(".gemini/skills/mend/SKILL.md", &described("mend", "REPOSITORY-SKILL"));
    gemini.home_file(".gemini/GEMINI.md", "USER-SAYS\n");
    gemini.other_file("plugins/kit/skills/sew/SKILL.md", &described("sew", "PLUGIN-SKILL"));
    gemini.other_file("plugins/kit/agents/tailor.md", &described("tailor", "PLUGIN-AGENT"));
    let plugins = gemini.path("plugins");
    let gemini = gemini.variable("AGENT_INSTRUCTIONS", "TASK-SAYS").variable("AGENT_PLUGIN_DIR", plugins);
    gemini.run().expect_success();
    let first = &questions(&model)[0];
    let all =
        ["REPOSITORY-SAYS", "AGENTS-SAYS", "CLAUDE-SAYS", "USER-SAYS", "TASK-SAYS", "REPOSITORY-SKILL", "PLUGIN-SKILL", "PLUGIN-AGENT"];
    for told in all {
        assert!(first.mentions(told), "{told}");
    }
    // What the user wrote stands, and a later run without plugins and instructions has neither, nor leaves their files.
    let gemini = gemini.without("AGENT_INSTRUCTIONS").without("AGENT_PLUGIN_DIR");
    gemini.run().expect_success();
    let second = questions(&model).pop().unwrap();
    assert!(second.mentions("USER-SAYS") && !second.mentions("TASK-SAYS") && !second.mentions("PLUGIN-SKILL"));
    assert!(!gemini.path("home/.gemini/extensions/agent-runner-kit").exists());
    saw("gemini", Ability::Instructions, Support::Yes);
    saw("gemini", Ability::RepositoryInstructions, Support::Yes);
    saw("gemini", Ability::Skills, Support::Yes);
    saw("gemini", Ability::SubAgents, Support::Yes);
}

/// The files below a directory and what stands in them.
fn files(dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files(&entry, found);
        } else {
            found.insert(entry.display().to_string(), std::fs::read(&entry).unwrap());
        }
    }
}

#[test]
fn a_second_run_writes_the_same_files_and_what_holds_secrets_is_private() {
    let model = model("text-only");
    let Some(gemini) = stage(&model) else { return };
    gemini.other_file("plugins/kit/skills/sew/SKILL.md", &described("sew", "PLUGIN-SKILL"));
    let servers = json!({"mcpServers": {"sky": {"url": "http://127.0.0.1:9/", "headers": {"Authorization": "Bearer of-the-test"}}}});
    let plugins = gemini.path("plugins");
    let gemini = gemini.variable("AGENT_INSTRUCTIONS", "TASK-SAYS").variable("AGENT_PLUGIN_DIR", plugins);
    let gemini = gemini.variable("AGENT_MCP_SERVERS", servers.to_string());
    let written = || {
        gemini.run().expect_success();
        let mut found = BTreeMap::new();
        files(&gemini.path("home/.gemini"), &mut found);
        found.retain(|path, _| ["settings.json", "GEMINI.md", "SKILL.md", "gemini-extension.json"].iter().any(|name| path.ends_with(name)));
        found
    };
    let (first, second) = (written(), written());
    assert_eq!(first.len(), 4, "{:?}", first.keys());
    assert_eq!(first, second);
    let mode = std::fs::metadata(gemini.path("home/.gemini/settings.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nothing of it is in the repository's tree.
    let status =
        std::process::Command::new("git").args(["status", "--porcelain", "--ignored"]).current_dir(gemini.path("workspace")).output();
    assert_eq!(String::from_utf8(status.unwrap().stdout).unwrap(), "");
}

#[test]
fn model_and_effort_are_asked_for() {
    for (name, effort, wanted) in [("gemini-2.5-pro", "low", json!(1024)), ("gemini-3-flash-preview", "low", json!("LOW"))] {
        let model = model("text-only");
        let Some(gemini) = stage(&model) else { return };
        gemini.variable("AGENT_MODEL", name).variable("AGENT_EFFORT", effort).run().expect_success();
        let first = &questions(&model)[0];
        assert_eq!(first.model.as_deref(), Some(name));
        let thinking = &first.json()["generationConfig"]["thinkingConfig"];
        let said = if wanted.is_number() { &thinking["thinkingBudget"] } else { &thinking["thinkingLevel"] };
        assert_eq!(said, &wanted, "{thinking}");
    }
    saw("gemini", Ability::Model, Support::Yes);
    saw("gemini", Ability::Effort, Support::Partly("as a setting where a model is named, else as an instruction".into()));
}

#[test]
fn a_stdio_mcp_tool_is_listed_and_called_with_its_variables_and_without_the_key() {
    let model = model("mcp-call");
    let Some(gemini) = stage(&model) else { return };
    let log = gemini.path("home/mcp-log");
    let servers = json!({"mcpServers": {"probe": {
        "command": probe::program("echo-mcp"), "args": ["an argument", "--flag"], "env": {"ECHO_MCP_LOG": log, "OF_THE_TASK": "x"},
    }}});
    let gemini = gemini.variable("AGENT_MCP_SERVERS", servers.to_string());
    gemini.run().expect_success();
    let questions = questions(&model);
    assert!(offers(&questions[0], "mcp_probe_echo"), "{:?}", questions[0].tools);
    assert!(questions[1].mentions("echo: hello from the scripted model"));
    let log = std::fs::read_to_string(log).unwrap();
    let environment: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let names = environment["environment"].as_array().unwrap();
    assert!(names.contains(&json!("OF_THE_TASK")) && !names.contains(&json!("GEMINI_API_KEY")), "{names:?}");
    saw("gemini", Ability::McpStdio, Support::Yes);
}

/// Listed, and called with a header in which a dollar stands before a name: Gemini would put a variable there.
fn call_over_http(server: &HttpMcp, kind: &str, url: &str) -> bool {
    let scenario = Scenario::builtin("mcp-call").unwrap().with("tool", "weather").unwrap();
    let model = ScriptedModel::start(scenario).unwrap();
    let Some(gemini) = stage(&model) else { return false };
    let servers = json!({"mcpServers": {"sky": {"type": kind, "url": url, "headers": {"X-Of-The-Task": "a $HOME value"}}}});
    gemini.variable("AGENT_MCP_SERVERS", servers.to_string()).run().expect_success();
    let questions = questions(&model);
    assert!(offers(&questions[0], "mcp_sky_weather"), "{:?}", questions[0].tools);
    assert!(questions[1].mentions("it rains by http"));
    let asked = server.asked();
    let called = asked.iter().find(|asked| asked.message["method"] == "tools/call").unwrap();
    assert!(called.headers.iter().any(|header| header == "x-of-the-task: a $HOME value"), "{called:?}");
    true
}

#[test]
fn an_http_mcp_tool_is_listed_and_called_with_its_headers() {
    let server = HttpMcp::start();
    if call_over_http(&server, "http", &server.url()) {
        saw("gemini", Ability::McpHttp, Support::Yes);
    }
}

#[test]
fn an_mcp_tool_by_server_sent_events_is_listed_and_called_with_its_headers() {
    let server = HttpMcp::start();
    if call_over_http(&server, "sse", &server.sse_url()) {
        saw("gemini", Ability::McpSse, Support::Yes);
    }
}

#[test]
fn any_prompt_reaches_the_model_as_it_is() {
    let model = model("text-only");
    let Some(mut gemini) = stage(&model) else { return };
    let prompts =
        ["- fix the bug\n- and \"another\" 'one'", "--help", "see @nothing.md", "  space around \n\n", "a\r\nb", "/foo is broken"];
    for prompt in prompts {
        gemini = gemini.variable("AGENT_PROMPT", prompt);
        gemini.run().expect_success();
        let seen = told(questions(&model).last().unwrap());
        let prompt = if prompt.starts_with('/') { format!("\n{prompt}") } else { prompt.to_owned() };
        assert!(seen.contains(&prompt), "{prompt:?} is not in {seen:?}");
    }
    saw(
        "gemini",
        Ability::AnyPrompt,
        Support::Partly("a leading `/` gets a line break before it; the content of a file that is named with `@` is added".into()),
    );
}

#[test]
fn prompts_of_200_kibibytes_and_one_mebibyte_arrive_whole() {
    for size in [200 << 10, 1 << 20] {
        let model = model("text-only");
        let Some(gemini) = stage(&model) else { return };
        let prompt: String =
            (0..).flat_map(|number: u32| format!("line {number} — ünïcode\n").into_bytes()).take(size).map(char::from).collect();
        gemini.other_file("prompt.txt", &prompt);
        let file = gemini.path("prompt.txt");
        gemini.without("AGENT_PROMPT").variable("AGENT_PROMPT_FILE", file).run().expect_success();
        assert!(told(&questions(&model)[0]).contains(&prompt));
    }
    saw("gemini", Ability::LongPrompt, Support::Yes);
}

#[test]
fn the_models_shell_does_not_inherit_the_key() {
    let scenario = Scenario::builtin("success").unwrap().with("command", "env > \"$HOME/spy-shell\"").unwrap();
    let model = ScriptedModel::start(scenario).unwrap();
    let Some(gemini) = stage(&model) else { return };
    gemini.run().expect_success();
    assert!(questions(&model).iter().all(|question| question.saw_key(KEY)));
    let seen = gemini.traces("spy-");
    assert!(seen["shell"].contains("GEMINI_CLI=1") && !seen["shell"].contains(KEY), "{seen:?}");
    let restriction =
        "not inherited, unless the environment holds other secrets; Gemini's own environment has it, where its programs may look";
    saw("gemini", Ability::HiddenKey, Support::Partly(restriction.into()));
}

/// Gemini's shell takes all helpers away; without the runner's nobody could push.
#[test]
fn git_in_the_models_shell_keeps_the_work_tree_s_credential_helper() {
    let command =
        "git config credential.helper of-the-work-tree; git config --get-all credential.helper | tail -n 1 > \"$HOME/spy-helper\"";
    let model = ScriptedModel::start(Scenario::builtin("success").unwrap().with("command", command).unwrap()).unwrap();
    let Some(gemini) = stage(&model) else { return };
    gemini.run().expect_success();
    assert_eq!(gemini.traces("spy-")["helper"], "of-the-work-tree\n");
}

fn resume(cli: &Cli) {
    let model = model("text-only");
    let gemini = Stage::of(cli, &model).variable("AGENT_MODEL", "gemini-2.5-pro").variable("AGENT_PROMPT", "REMEMBER-THIS");
    let first = gemini.run();
    let session = first.expect_success().parameter("session-id").unwrap().to_owned();
    let model = self::model("text-only");
    let gemini = gemini.variable("AGENT_ENDPOINT", model.base_url()).variable("AGENT_RESUME", session.clone());
    let second = gemini.variable("AGENT_PROMPT", "And now?").run();
    assert_eq!(second.expect_success().parameter("session-id"), Some(session.as_str()), "{}", cli.version);
    assert!(questions(&model)[0].mentions("REMEMBER-THIS"), "{}", cli.version);
    let bill = Counted { cache_write: None, ..Counted::billed(model.bill().finished) };
    assert_eq!(second.tokens(), bill, "{} {second:#?}", cli.version);
}

#[test]
fn a_session_that_is_resumed_goes_on_and_costs_only_what_is_new() {
    let Some(newest) = clis::newest("gemini") else { return };
    resume(&newest);
    clis::older("gemini").iter().for_each(resume);
    saw("gemini", Ability::Resume, Support::Yes);
}

/// What a task configures, all at once, with every other version that is pinned.
#[test]
fn older_versions_are_told_everything_too() {
    for cli in clis::older("gemini") {
        let questions = Everything::of(&cli, "AGENTS.md", "gemini-2.5-pro", "low").run();
        assert_eq!(questions[0].json()["generationConfig"]["thinkingConfig"]["thinkingBudget"], 1024, "{}", cli.version);
        for tool in ["mcp_probe_echo", "mcp_sky_weather"] {
            assert!(offers(&questions[0], tool), "{} {tool}: {:?}", cli.version, questions[0].tools);
        }
    }
}
