//! What is written and started for Cursor's CLI: the whole plan as people review it, and what it cannot take.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

mod planned;

use agent_sdk::agent::{Agent, Plugin, RepositoryFile, Surroundings};
use agent_sdk::agents::cursor::Cursor;
use agent_sdk::task::Task;
use planned::{plan, plugin, shown, surroundings};
use serde_json::json;

#[test]
fn a_task_with_everything() {
    let task = json!({
        "agent": {"type": "cursor", "model": "composer-2.5", "effort": "high", "resume": "-0000", "extraArgs": ["--header=x: y"]},
        "prompt": "/review it",
        "instructions": "Be kind.",
        "limits": {"maxCostUsd": 1, "maxOutputTokens": 100, "maxRetries": 2, "maxTurns": 9},
        "mcpServers": {
            "probe": {"command": "probe", "args": ["-v"], "env": {"KEY": "sekret"}},
            "sky": {"type": "http", "url": "http://sky/mcp", "headers": {"Authorization": "Bearer sekret"}},
        },
    });
    let plan = plan(&Cursor, &task, &surroundings("CURSOR_API_KEY"), &[plugin("kit", &["sew"], &["tailor"])]).unwrap();
    assert!(!plan.args.iter().any(|arg| arg.contains("sekret") || arg.contains("review")), "{:?}", plan.args);
    insta::assert_snapshot!(shown(&plan));
}

#[test]
fn what_it_cannot_take_is_said() {
    let agent = json!({"type": "cursor", "endpoint": "http://gateway", "extraArgs": ["--api-key=x", "--output-format", "text"]});
    let errors = plan(&Cursor, &json!({"agent": agent, "prompt": "x"}), &surroundings("CURSOR_API_KEY"), &[]).unwrap_err();
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["agent.endpoint", "agent.extraArgs[0]", "agent.extraArgs[1]"]);
    assert!(errors.iter().all(|error| !error.hint.is_empty()));
}

#[test]
fn two_plugins_at_one_place_are_an_error_that_names_both() {
    let plugins: [Plugin; 2] = [plugin("one", &["sew"], &["tailor"]), plugin("two", &["sew"], &["tailor"])];
    let errors =
        plan(&Cursor, &json!({"agent": {"type": "cursor"}, "prompt": "x"}), &surroundings("CURSOR_API_KEY"), &plugins).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(
        ["/plugins/one/agents/tailor.md", "/plugins/two/agents/tailor.md"].iter().all(|path| errors[0].problem.contains(path)),
        "{}",
        errors[0]
    );
}

#[test]
fn what_the_repository_starts_with_the_key_is_told() {
    let mut here = surroundings("CURSOR_API_KEY");
    here.repository_files.insert(".cursor/mcp.json".into(), RepositoryFile::File(b"{}".to_vec()));
    let task = json!({"agent": {"type": "cursor"}, "prompt": "x"});
    assert!(plan(&Cursor, &task, &here, &[]).unwrap().warnings[0].contains("`.cursor/mcp.json` starts inherits `CURSOR_API_KEY`"));
    assert!(Task::from_value(&task).is_ok() && Cursor.secret_variables() == ["CURSOR_API_KEY"]);
}

#[test]
fn for_later_what_only_arguments_would_carry_is_told() {
    let later = Surroundings { for_later: true, ..surroundings("CURSOR_API_KEY") };
    let task = json!({"agent": {"type": "cursor", "model": "composer-2.5", "effort": "high", "extraArgs": ["--header=x: y"]}});
    let fields = ["agent.model", "agent.extraArgs"];
    let told = fields.map(|field| format!("Cursor's CLI has no file for `{field}`, so whoever starts it has to say it"));
    assert_eq!(plan(&Cursor, &task, &later, &[]).unwrap().warnings, told);
}
