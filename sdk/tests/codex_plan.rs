//! What is written and started for Codex: the whole plan as people review it, and what must hold for every plan.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::PathBuf;

use agent_sdk::agent::{Agent, FileContent, Installed, Plan, PlanError, PlanRequest, Plugin, RepositoryFile, Surroundings};
use agent_sdk::agents::codex::Codex;
use agent_sdk::task::Task;
use serde_json::{Value, json};

fn surroundings() -> Surroundings {
    Surroundings {
        env: [("HOME", "/home/agent"), ("CODEX_API_KEY", "sk-secret")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        home: "/home/agent".into(),
        work_tree: "/workspace/repo".into(),
        workdir: "/workspace/repo".into(),
        private_dir: "/tmp/agent-runner-1".into(),
        ..Surroundings::default()
    }
}

fn plan_in(task: &Value, surroundings: &Surroundings) -> Result<Plan, Vec<PlanError>> {
    let task = Task::from_value(task).unwrap();
    let agents = [("tailor".to_owned(), b"---\ndescription: Sews.\n---\nYou sew.\n".to_vec())].into();
    let plugin = Plugin { name: "kit".into(), dir: "/plugins/kit".into(), skills: vec!["sew".into()], agents };
    Codex.plan(&PlanRequest { task: &task, surroundings, plugins: &[plugin] })
}

fn plan(task: &Value) -> Result<Plan, Vec<PlanError>> {
    plan_in(task, &surroundings())
}

fn shown(plan: &Plan) -> String {
    let mut text = format!("{} {}\n", plan.program, plan.args.join("\n  "));
    for (name, value) in &plan.env {
        writeln!(text, "{name} = {}", value.as_deref().unwrap_or("(taken away)")).unwrap();
    }
    writeln!(text, "stdin: {:?}", String::from_utf8_lossy(&plan.stdin)).unwrap();
    for file in &plan.files {
        let content = match &file.content {
            FileContent::Replace(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            FileContent::MergeToml(fields) => format!("merged: {:#}", Value::Object(fields.clone())),
            FileContent::Section(text) => format!("section: {text}"),
            FileContent::Install(wanted) => {
                let each = wanted.iter().map(|(to, what)| match what {
                    Installed::File(bytes) => format!("{}: {}", to.display(), String::from_utf8_lossy(bytes)),
                    Installed::Tree(from) => format!("{}: copy of {}", to.display(), from.display()),
                });
                each.collect::<Vec<_>>().join("\n")
            }
            other => format!("{other:?}"),
        };
        writeln!(text, "--- {}{}\n{}", file.path.display(), if file.private { " (private)" } else { "" }, content.trim_end()).unwrap();
    }
    plan.ledgers.iter().for_each(|ledger| writeln!(text, "ledger: {ledger:?}").unwrap());
    plan.warnings.iter().for_each(|warning| writeln!(text, "warning: {warning}").unwrap());
    text
}

fn everything() -> Value {
    json!({
        "agent": {"type": "codex", "model": "gpt-5.5", "effort": "high", "endpoint": "http://user:sk-secret@gateway:8080", "resume": "0000", "extraArgs": ["--color=never"]},
        "prompt": "Do it.",
        "instructions": "Be kind.",
        "limits": {"maxTurns": 7, "maxRetries": 3},
        "mcpServers": {
            "a": {"type": "stdio", "command": "server", "args": ["-v"], "env": {"TOKEN": "sk-secret"}},
            "b": {"type": "http", "url": "http://b/mcp", "headers": {"Authorization": "Bearer sk-secret"}}
        }
    })
}

#[test]
fn a_task_with_everything() {
    insta::assert_snapshot!(shown(&plan(&everything()).unwrap()));
}

#[test]
fn only_instructions_of_a_repository_deep_in_its_tree() {
    let mut surroundings = surroundings();
    surroundings.workdir = "/workspace/repo/a/b".into();
    surroundings.env.insert("CODEX_HOME".into(), "/state/codex".into());
    surroundings.env.insert("CODEX_AUTH_JSON".into(), "{\"tokens\": {\"access_token\": \"sk-\nsecret\"}}".into());
    surroundings.env.remove("CODEX_API_KEY");
    let file = |text: &str| RepositoryFile::File(text.as_bytes().to_vec());
    surroundings.repository_files = [("AGENTS.md", file("Of the root.\n")), ("a/b/AGENTS.md", file("Of the place.\n"))]
        .map(|(path, file)| (PathBuf::from(path), file))
        .into();
    let task = json!({"agent": {"type": "codex", "endpoint": "http://gateway/"}, "prompt": "- do it", "trust": "instructions"});
    insta::assert_snapshot!(shown(&plan_in(&task, &surroundings).unwrap()));
}

#[test]
fn secrets_stand_in_private_files_only() {
    let plan = plan(&everything()).unwrap();
    let public = plan.files.iter().filter(|file| !file.private).map(|file| format!("{:?}", file.content));
    let open = format!("{:?} {:?} {:?} {:?}", plan.args, plan.env, plan.warnings, public.collect::<Vec<_>>());
    assert!(!open.contains("sk-secret"), "{open}");
}

#[test]
fn values_that_begin_with_a_dash_cannot_become_flags() {
    let task = json!({"agent": {"type": "codex", "model": "-p", "effort": "\" x=1", "resume": "--last"}, "prompt": "x"});
    let args = plan(&task).unwrap().args;
    assert!(args.contains(&"--model=-p".to_owned()), "{args:?}");
    assert!(args.contains(&"--config=model_reasoning_effort=\"\\\" x=1\"".to_owned()), "{args:?}");
    assert_eq!(args[args.len() - 4..], ["resume", "--", "--last", "-"]);
}

#[test]
fn everything_that_it_cannot_take_is_told_at_once() {
    let task = json!({
        "agent": {"type": "codex", "endpoint": "http://gateway/v1", "extraArgs": ["--profile=mine"]},
        "prompt": "x".repeat((1 << 20) + 1),
        "mcpServers": {"old": {"type": "sse", "url": "http://c/sse"}}
    });
    let fields: Vec<String> = plan(&task).unwrap_err().into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["agent.endpoint", "prompt", "agent.extraArgs[0]", "mcpServers.old"]);
}

#[test]
fn for_later_everything_stands_where_codex_looks_by_itself() {
    let mut surroundings = Surroundings { for_later: true, ..surroundings() };
    surroundings.env = [("OPENAI_API_KEY".to_owned(), "sk-secret".to_owned())].into();
    let task = json!({
        "agent": {"type": "codex", "model": "gpt-5.5", "effort": "high", "endpoint": "http://gateway"},
        "mcpServers": {"a": {"command": "server", "env": {"TOKEN": "x"}}}
    });
    let plan = plan_in(&task, &surroundings).unwrap();
    assert!(plan.files.iter().all(|file| file.path.starts_with("/home/agent/.codex")), "{plan:#?}");
    let config = plan.files.iter().find(|file| file.path.ends_with("config.toml")).unwrap();
    assert!(config.private && config.path == std::path::Path::new("/home/agent/.codex/config.toml"), "{config:?}");
    let FileContent::MergeToml(fields) = &config.content else { panic!("{config:?}") };
    insta::assert_snapshot!(format!("{:#}", Value::Object(fields.clone())));
}

#[test]
fn a_limit_of_cost_is_told_to_have_no_effect() {
    let task = json!({"agent": {"type": "codex"}, "prompt": "x", "limits": {"maxCostUsd": 1, "maxTurns": 5}});
    assert_eq!(
        plan(&task).unwrap().warnings,
        ["Codex does not say what a run costs: `limits.maxCostUsd` has no effect; with `prices` it has"]
    );
}
