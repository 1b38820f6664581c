//! What is written and started for OpenCode: the whole plan as people review it, and what must hold for every plan.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use agent_sdk::agent::{Agent, FileContent, Plan, PlanError, PlanRequest, Plugin, RepositoryFile, Surroundings};
use agent_sdk::agents::opencode::OpenCode;
use agent_sdk::task::Task;
use serde_json::{Value, json};

fn surroundings() -> Surroundings {
    Surroundings {
        env: [("HOME", "/home/agent"), ("ANTHROPIC_API_KEY", "sk-secret"), ("OPENAI_API_KEY", "sk-secret-2")]
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
    let agent = b"---\nname: tailor\ndescription: \"Sews: well\"\ntools: Read\nmodel: sonnet\n---\nSew.\n".to_vec();
    let plugin =
        Plugin { name: "kit".into(), dir: "/plugins/kit".into(), skills: vec!["sew".into()], agents: [("tailor".into(), agent)].into() };
    OpenCode.plan(&PlanRequest { task: &task, surroundings, plugins: &[plugin] })
}

fn shown(plan: &Plan) -> String {
    let mut text = format!("{} {}\n", plan.program, plan.args.join("\n  "));
    for (name, value) in &plan.env {
        writeln!(text, "{name} = {}", value.as_deref().unwrap_or("(taken away)")).unwrap();
    }
    writeln!(text, "stdin: {:?}", String::from_utf8_lossy(&plan.stdin)).unwrap();
    for file in &plan.files {
        let content = match &file.content {
            FileContent::Replace(_) if file.path.ends_with("watch.js") => "the plugin".into(),
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
        "agent": {"type": "opencode", "model": "anthropic/claude-sonnet-4-5", "effort": "high", "endpoint": "http://gateway:8080", "resume": "ses_0"},
        "prompt": "- Do \"it\".",
        "instructions": "Be kind.",
        "mcpServers": {
            "a": {"type": "stdio", "command": "server", "args": ["-v"], "env": {"TOKEN": "sk-secret"}},
            "b": {"type": "http", "url": "http://b/mcp", "headers": {"Authorization": "Bearer sk-secret"}},
            "c": {"type": "sse", "url": "http://c/sse"}
        }
    })
}

#[test]
fn a_task_with_everything() {
    insta::assert_snapshot!(shown(&plan_in(&everything(), &surroundings()).unwrap()));
}

#[test]
fn only_instructions_of_a_repository_in_a_subdirectory() {
    let mut surroundings = surroundings();
    surroundings.workdir = "/workspace/repo/sub".into();
    surroundings.repository_files = [
        ("AGENTS.md", RepositoryFile::File(b"x".to_vec())),
        ("CLAUDE.md", RepositoryFile::File(b"x".to_vec())),
        ("opencode.json", RepositoryFile::File(b"{}".to_vec())),
        ("sub/CLAUDE.md", RepositoryFile::File(b"x".to_vec())),
        ("sub/.opencode/skills", RepositoryFile::Directory),
    ]
    .map(|(path, file)| (path.into(), file))
    .into();
    let task = json!({"agent": {"type": "opencode"}, "prompt": "Do it.", "trust": "instructions"});
    insta::assert_snapshot!(shown(&plan_in(&task, &surroundings).unwrap()));
}

#[test]
fn no_secret_is_seen_by_others() {
    let mut task = everything();
    task["agent"]["endpoint"] = json!("http://user:sk-secret@gateway");
    let plan = plan_in(&task, &surroundings()).unwrap();
    assert!(!format!("{:?} {:?}", plan.args, plan.env).contains("sk-secret"), "{plan:#?}");
    for file in &plan.files {
        let holds = matches!(&file.content, FileContent::Replace(bytes) if String::from_utf8_lossy(bytes).contains("sk-secret"));
        assert!(!holds || (file.private && file.path.starts_with("/tmp/agent-runner-1")), "{file:?}");
    }
}

#[test]
fn what_the_platform_configured_stays_under_what_is_ours() {
    let mut surroundings = surroundings();
    let given = json!({"plugin": ["theirs"], "permission": {"bash": "deny"}, "provider": {"anthropic": {"options": {"baseURL": "http://theirs", "timeout": 5}}}});
    surroundings.env.insert("OPENCODE_CONFIG_CONTENT".into(), given.to_string());
    let plan = plan_in(&everything(), &surroundings).unwrap();
    let content: Value = serde_json::from_str(plan.env["OPENCODE_CONFIG_CONTENT"].as_deref().unwrap()).unwrap();
    assert_eq!(content["provider"]["anthropic"]["options"], json!({"baseURL": "http://gateway:8080/v1", "timeout": 5}));
    assert_eq!((&content["plugin"][0], &content["permission"]["bash"]), (&json!("theirs"), &json!("deny")));
    surroundings.env.insert("OPENCODE_CONFIG_CONTENT".into(), "{ // no".into());
    assert_eq!(plan_in(&everything(), &surroundings).unwrap_err()[0].field, "OPENCODE_CONFIG_CONTENT");
}

#[test]
fn nothing_is_installed_at_a_start_unless_the_platform_wants_it() {
    let offline = |name: &str, value: &str| {
        let mut surroundings = surroundings();
        surroundings.env.insert(name.into(), value.into());
        let plan = plan_in(&everything(), &surroundings).unwrap();
        let overlay = plan.files.iter().find(|file| file.path.ends_with("overlay.json")).unwrap();
        let FileContent::Replace(overlay) = &overlay.content else { panic!("{overlay:?}") };
        let is_hidden = String::from_utf8_lossy(overlay).contains("npm_config_offline");
        assert_eq!(plan.env.contains_key("npm_config_offline"), is_hidden, "programs that the agent starts inherit it");
        plan.env.get("npm_config_offline").cloned().flatten()
    };
    assert_eq!(offline("OTHER", "x").as_deref(), Some("true"));
    assert_eq!(offline("npm_config_offline", "false"), None);
    assert_eq!(offline("NPM_CONFIG_OFFLINE", ""), None);
    assert_eq!(offline("OPENCODE_CONFIG_CONTENT", r#"{"plugin": ["theirs"]}"#), None);
    assert_eq!(offline("OPENCODE_CONFIG_CONTENT", r#"{"autoupdate": true}"#).as_deref(), Some("true"));
}

#[test]
fn an_endpoint_is_said_as_its_provider_wants_it() {
    for (model, url) in
        [("anthropic/m", "http://g/v1"), ("openai/m", "http://g/v1"), ("google/m", "http://g/v1beta"), ("own/m/n", "http://g/v1")]
    {
        let task = json!({"agent": {"type": "opencode", "model": model, "endpoint": "http://g/"}, "prompt": "x"});
        let plan = plan_in(&task, &surroundings()).unwrap();
        let content: Value = serde_json::from_str(plan.env["OPENCODE_CONFIG_CONTENT"].as_deref().unwrap()).unwrap();
        let (provider, name) = model.split_once('/').unwrap();
        assert_eq!(content["provider"][provider]["options"]["baseURL"], url, "{content}");
        assert!(content["provider"][provider]["models"][name].is_object(), "{content}");
        assert_eq!(content["provider"][provider]["npm"].is_string(), provider == "own", "{content}");
    }
    for endpoint in ["http://g/v1", "http://g/v1beta"] {
        let task = json!({"agent": {"type": "opencode", "endpoint": endpoint}, "prompt": "x"});
        assert_eq!(plan_in(&task, &surroundings()).unwrap_err()[0].field, "agent.endpoint");
    }
}

#[test]
fn for_later_everything_stands_where_opencode_looks_by_itself() {
    let mut surroundings = Surroundings { for_later: true, ..surroundings() };
    surroundings.env.insert("OPENCODE_CONFIG_DIR".into(), "/state/opencode".into());
    let plan = plan_in(&everything(), &surroundings).unwrap();
    assert!(plan.files.iter().all(|file| file.path.starts_with("/state/opencode")), "{plan:#?}");
    let config = plan.files.iter().find(|file| file.path == Path::new("/state/opencode/opencode.json")).unwrap();
    let FileContent::MergeJson(fields) = &config.content else { panic!("{config:?}") };
    assert_eq!(fields["mcp"]["a"]["environment"]["TOKEN"], "sk-secret");
    assert_eq!(fields["provider"]["anthropic"]["options"], json!({"baseURL": "http://gateway:8080/v1"}));
    assert_eq!(fields["model"], "anthropic/claude-sonnet-4-5");
    assert!(config.private);

    // A key stays where it is: only the variable's name is written.
    surroundings.env.remove("ANTHROPIC_API_KEY");
    surroundings.env.insert("OPENCODE_API_KEY".into(), "sk-secret-3".into());
    let plan = plan_in(&everything(), &surroundings).unwrap();
    let config = format!("{:?}", plan.files.iter().find(|file| file.path.ends_with("opencode.json")).unwrap());
    assert!(config.contains("{env:OPENCODE_API_KEY}") && !config.contains("sk-secret-"), "{config}");
}
