//! What is written and started for Kodelet: the whole plan as people review it, and what it cannot take.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

mod planned;

use agent_sdk::agent::{RepositoryFile, Surroundings};
use agent_sdk::agents::kodelet::Kodelet;
use planned::{plan, plugin, shown, surroundings};
use serde_json::json;

#[test]
fn a_task_with_everything() {
    let task = json!({
        "agent": {"type": "kodelet", "model": "anthropic/claude-sonnet-5", "effort": "high", "endpoint": "http://gateway", "resume": "0000"},
        "prompt": "- do it",
        "instructions": "Be kind.",
        "limits": {"maxTurns": 7, "maxCostUsd": 1, "maxRetries": 2},
        "mcpServers": {
            "probe": {"command": "probe", "args": ["-v"], "env": {"KEY": "sekret"}},
            "sky": {"type": "sse", "url": "http://sky/mcp", "headers": {"Authorization": "Bearer sekret"}},
        },
    });
    let mut here = surroundings("ANTHROPIC_API_KEY");
    for path in ["kodelet-config.yaml", ".kodelet/extensions"] {
        here.repository_files.insert(path.into(), RepositoryFile::Other);
    }
    let plan = plan(&Kodelet, &task, &here, &[plugin("kit", &["sew"], &["tailor"])]).unwrap();
    assert!(!plan.args.iter().any(|arg| arg.contains("sekret") || arg.contains("do it")), "{:?}", plan.args);
    insta::assert_snapshot!(shown(&plan));
}

#[test]
fn the_models_name_or_the_only_key_says_the_provider() {
    for (key, model, arguments) in [
        ("OPENAI_API_KEY", Some("gpt-5.5"), &["--provider=openai", "--model=gpt-5.5"][..]),
        ("OPENAI_API_KEY", Some("openai/gpt-5.5"), &["--provider=openai", "--model=gpt-5.5"]),
        ("ANTHROPIC_API_KEY", Some("claude-sonnet-5"), &["--provider=anthropic", "--model=claude-sonnet-5"]),
        ("OPENAI_API_KEY", Some("accounts/x/kimi"), &["--provider=openai", "--model=accounts/x/kimi"]),
        ("ANTHROPIC_API_KEY", None, &["--provider=anthropic"]),
        ("OPENAI_API_KEY", None, &["--provider=openai"]),
    ] {
        let mut task = json!({"agent": {"type": "kodelet"}, "prompt": "x"});
        if let Some(model) = model {
            task["agent"]["model"] = model.into();
        }
        let plan = plan(&Kodelet, &task, &surroundings(key), &[]).unwrap();
        assert_eq!(plan.args[3..], *arguments, "{key} {model:?}");
    }
}

#[test]
fn the_runners_own_flags_are_not_repeated() {
    let task = json!({"agent": {"type": "kodelet", "extraArgs": ["--log-level=debug", "--provider=google"]}, "prompt": "x"});
    let errors = plan(&Kodelet, &task, &surroundings("OPENAI_API_KEY"), &[]).unwrap_err();
    assert_eq!((errors.len(), errors[0].field.as_str()), (1, "agent.extraArgs[1]"));
}

#[test]
fn an_endpoint_with_the_version_that_is_added_is_refused() {
    for (model, endpoint) in [("gpt-5.5", "http://gateway/v1"), ("claude-sonnet-5", "http://gateway/v1/")] {
        let task = json!({"agent": {"type": "kodelet", "model": model, "endpoint": endpoint}, "prompt": "x"});
        let errors = plan(&Kodelet, &task, &surroundings("OPENAI_API_KEY"), &[]).unwrap_err();
        assert_eq!((errors.len(), errors[0].field.as_str(), errors[0].hint.as_str()), (1, "agent.endpoint", "leave `/v1` out"));
    }
}

#[test]
fn for_later_what_only_arguments_and_variables_would_carry_is_told() {
    let later = Surroundings { for_later: true, ..surroundings("OPENAI_API_KEY") };
    let task =
        json!({"agent": {"type": "kodelet", "model": "gpt-5.5", "effort": "high", "endpoint": "http://gateway"}, "instructions": "x"});
    let warnings = plan(&Kodelet, &task, &later, &[]).unwrap().warnings;
    for field in ["agent.model", "agent.effort", "agent.endpoint"] {
        assert!(warnings.iter().any(|warning| warning.contains(&format!("`{field}`"))), "{field}: {warnings:?}");
    }
    assert!(!warnings.iter().any(|warning| warning.contains("instructions") || warning.contains("extraArgs")), "{warnings:?}");
}
