//! What is written and started for Claude: the whole plan as people review it, and what must hold for every plan.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::PathBuf;

use agent_sdk::agent::{Agent, FileContent, Plan, PlanError, PlanRequest, Plugin, RepositoryFile, Surroundings};
use agent_sdk::agents::claude::Claude;
use agent_sdk::task::Task;
use serde_json::{Value, json};

fn surroundings() -> Surroundings {
    Surroundings {
        env: [("HOME", "/home/agent"), ("ANTHROPIC_API_KEY", "sk-secret"), ("HTTPS_PROXY", "http://user:sk-secret@proxy:3128")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        home: "/home/agent".into(),
        work_tree: "/workspace/repo".into(),
        workdir: "/workspace/repo".into(),
        private_dir: "/tmp/agent-runner-1".into(),
        ..Surroundings::default()
    }
}

fn plan_in(task: &Value, surroundings: &Surroundings) -> Result<Plan, Vec<PlanError>> {
    let task = Task::from_value(task).unwrap();
    let plugin = Plugin { name: "kit".into(), dir: "/plugins/kit".into(), skills: vec!["sew".into()], agents: [].into() };
    Claude.plan(&PlanRequest { task: &task, surroundings, plugins: &[plugin] })
}

fn plan(task: &Value) -> Result<Plan, Vec<PlanError>> {
    plan_in(task, &surroundings())
}

fn shown(plan: &Plan) -> String {
    let mut text = format!("{} {}\n", plan.program, plan.args.join("\n  "));
    for (name, value) in &plan.env {
        writeln!(text, "{name} = {}", value.as_deref().unwrap_or("(taken away)")).unwrap();
    }
    for (name, secret) in &plan.descriptors {
        writeln!(text, "{name} = descriptor of {} bytes", secret.0.len()).unwrap();
    }
    writeln!(text, "stdin: {:?}", String::from_utf8_lossy(&plan.stdin)).unwrap();
    for file in &plan.files {
        let content = match &file.content {
            FileContent::Replace(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        };
        writeln!(text, "--- {}{}\n{}", file.path.display(), if file.private { " (private)" } else { "" }, content.trim_end()).unwrap();
    }
    plan.warnings.iter().for_each(|warning| writeln!(text, "warning: {warning}").unwrap());
    text
}

fn everything() -> Value {
    json!({
        "agent": {"type": "claude", "model": "sonnet", "effort": "high", "endpoint": "http://gateway:8080", "resume": "0000", "extraArgs": ["--fallback-model=haiku"]},
        "prompt": "Do it.",
        "instructions": "Be kind.",
        "limits": {"maxTurns": 7, "maxCostUsd": 1.5, "maxRetries": 3},
        "mcpServers": {
            "a": {"type": "stdio", "command": "server", "args": ["-v"], "env": {"TOKEN": "sk-secret"}},
            "b": {"type": "http", "url": "http://b/mcp", "headers": {"Authorization": "Bearer sk-secret"}},
            "c": {"type": "sse", "url": "http://c/sse"}
        }
    })
}

#[test]
fn a_task_with_everything() {
    insta::assert_snapshot!(shown(&plan(&everything()).unwrap()));
}

#[test]
fn only_instructions_of_a_repository_with_agents_md_in_a_subdirectory() {
    let mut surroundings = surroundings();
    surroundings.is_root = true;
    surroundings.workdir = "/workspace/repo/sub".into();
    surroundings.repository_files = [
        ("AGENTS.md", RepositoryFile::File(b"x".to_vec())),
        ("CLAUDE.md", RepositoryFile::Other),
        ("sub/AGENTS.md", RepositoryFile::File(b"x".to_vec())),
        (".claude/skills", RepositoryFile::Directory),
    ]
    .map(|(path, file)| (PathBuf::from(path), file))
    .into();
    let task = json!({"agent": {"type": "claude"}, "prompt": "/do it", "trust": "instructions"});
    insta::assert_snapshot!(shown(&plan_in(&task, &surroundings).unwrap()));
}

#[test]
fn secrets_stand_in_private_files_and_descriptors_only() {
    let plan = plan(&everything()).unwrap();
    let public = plan.files.iter().filter(|file| !file.private).map(|file| format!("{:?}", file.content));
    let open = format!("{:?} {:?} {:?} {:?}", plan.args, plan.env, plan.warnings, public.collect::<Vec<_>>());
    assert!(!open.contains("sk-secret"), "{open}");
    assert!(!format!("{:?}", plan.descriptors).contains("sk-secret"));
    assert_eq!(plan.descriptors["CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR"].0, b"sk-secret");
    assert_eq!(plan.env["ANTHROPIC_API_KEY"], None);
}

#[test]
fn values_that_begin_with_a_dash_cannot_become_flags() {
    let task = json!({"agent": {"type": "claude", "model": "-p", "resume": "--settings"}, "prompt": "x"});
    let args = plan(&task).unwrap().args;
    assert!(args.contains(&"--model=-p".to_owned()) && args.contains(&"--resume=--settings".to_owned()), "{args:?}");
}

#[test]
fn what_claude_cannot_take_is_an_error_that_names_the_field() {
    let task = json!({
        "agent": {"type": "claude", "endpoint": "http://gateway/v1", "extraArgs": ["--settings={}", "--setting-sources"]},
        "prompt": "x"
    });
    let errors = plan(&task).unwrap_err();
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["agent.endpoint", "agent.extraArgs[0]", "agent.extraArgs[1]"]);
    assert!(errors.iter().all(|error| !error.hint.is_empty()));
}

#[test]
fn an_effort_that_claude_would_ignore_is_a_warning() {
    let task = json!({"agent": {"type": "claude", "effort": "wild"}, "prompt": "x"});
    assert!(plan(&task).unwrap().warnings[0].contains("`wild`"));
}

#[test]
fn what_the_environment_says_already_stands() {
    let mut surroundings = surroundings();
    surroundings.env.insert("DISABLE_AUTOUPDATER".into(), "0".into());
    let task = json!({"agent": {"type": "claude"}, "prompt": "x"});
    assert!(!plan_in(&task, &surroundings).unwrap().env.contains_key("DISABLE_AUTOUPDATER"));
}

#[test]
fn a_limit_of_generated_tokens_asks_for_what_counts_them() {
    let asks = |limits: Value| {
        let args = plan(&json!({"agent": {"type": "claude"}, "prompt": "x", "limits": limits})).unwrap().args;
        args.contains(&"--include-partial-messages".to_owned())
    };
    assert!(asks(json!({"maxOutputTokens": 100})) && !asks(json!({"maxCostUsd": 1})));
}

#[test]
fn for_later_what_only_arguments_would_carry_is_told() {
    let plan = plan_in(&everything(), &Surroundings { for_later: true, ..surroundings() }).unwrap();
    let told: Vec<_> = ["agent.effort", "agent.resume", "agent.extraArgs", "limits.maxCostUsd"]
        .map(|field| format!("Claude has no file for `{field}`, so whoever starts it has to say it"))
        .into();
    assert_eq!(plan.warnings, told);
}
