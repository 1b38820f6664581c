//! A Session as Kelos prepares it: the runner only sets up, and somebody else starts the real CLI later, by hand, with none of the runner's
//! arguments. What the task configured is there all the same.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Stdio;

use agent_conformance::model::{Record, Scenario, ScriptedModel};
use agent_tests::clis;
use agent_tests::kelos::{KINDS, Kind, Pod, UID};
use agent_tests::probe;
use agent_tests::runs::KEY;
use agent_tests::sandbox::sandbox;
use serde_json::json;

/// How a person starts it, and what Gemini has no file for.
fn by_hand(kind: &Kind, model: &ScriptedModel) -> (&'static [&'static str], Vec<(&'static str, String)>) {
    match kind.agent {
        "claude" => (&["--dangerously-skip-permissions", "-p", "Please do it."], vec![]),
        "codex" => (&["exec", "--dangerously-bypass-approvals-and-sandbox", "Please do it."], vec![]),
        "gemini" => (
            &["--yolo", "--prompt=Please do it."],
            vec![("GOOGLE_GEMINI_BASE_URL", model.base_url()), ("GEMINI_CLI_TRUST_WORKSPACE", "true".into())],
        ),
        "opencode" => {
            (&["run", "Please do it."], vec![("OPENCODE_DISABLE_MODELS_FETCH", "1".into()), ("npm_config_offline", "true".into())])
        }
        other => panic!("nobody knows how to start {other}"),
    }
}

#[test]
fn an_agent_that_is_started_by_hand_asks_the_endpoint_with_all_that_the_task_configured() {
    for kind in KINDS {
        let model = ScriptedModel::start(Scenario::builtin("mcp-call").unwrap()).unwrap();
        let (Some(cli), Some(pod)) = (clis::newest(kind.agent), Pod::newest(kind, &model)) else { continue };
        let servers = json!({"mcpServers": {"probe": {"command": probe::program("echo-mcp")}}});
        pod.file("plugins/kit/skills/sew/SKILL.md", "---\nname: sew\ndescription: PLUGIN-SKILL\n---\nSew.\n");
        let plugins = pod.path("plugins");
        let pod = pod
            .with("KELOS_MCP_SERVERS", servers.to_string())
            .with("KELOS_AGENTS_MD", "TASK-SAYS\n")
            .with("KELOS_PLUGIN_DIR", plugins)
            .with("KELOS_SESSION_SETUP_ONLY", "1")
            .prompt(None);
        // Its default is a model that calls tools in a manner of its own.
        let name = kind.model.or((kind.agent == "codex").then_some("gpt-5.5"));
        let pod = name.into_iter().fold(pod, |pod, name| pod.with("KELOS_MODEL", name));
        pod.run().assert(0, "Completed");
        assert!(model.requests().is_empty(), "{}: only set up, and yet it asked", kind.kelos);

        let (args, more) = by_hand(kind, &model);
        let output = sandbox(&["--user", &UID.to_string()], &cli.program)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", pod.path("home"))
            .env("TMPDIR", pod.path("tmp"))
            .env(kind.key, KEY)
            .envs(clis::shortcuts(kind.agent))
            .envs(more)
            .current_dir(pod.path("repo"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = format!("{}\n{output:?}", kind.kelos);
        let questions: Vec<_> = model.requests().into_iter().filter(Record::is_question).collect();
        let first = questions.first().unwrap_or_else(|| panic!("the endpoint was not asked: {said}"));
        assert!(output.status.success(), "{said}");
        assert!(first.saw_key(KEY), "{said}");
        assert!(first.mentions("TASK-SAYS"), "{said}");
        assert!(questions.iter().any(|question| question.mentions("echo: hello from the scripted model")), "{said}");
        if let Some(name) = name {
            assert!(name.ends_with(first.model.as_deref().unwrap_or("nothing")), "{:?} {said}", first.model);
        }
        assert!(first.mentions("PLUGIN-SKILL"), "{said}");
    }
}
