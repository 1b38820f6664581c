//! What is written and started for Gemini CLI: the whole plan as people review it, and what must hold for every plan.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use agent_sdk::agent::{Agent, FileContent, Plan, PlanError, PlanRequest, Plugin, RepositoryFile, Surroundings};
use agent_sdk::agents::gemini::Gemini;
use agent_sdk::task::Task;
use serde_json::{Value, json};

fn surroundings() -> Surroundings {
    Surroundings {
        env: [("HOME", "/home/agent"), ("GEMINI_API_KEY", "sk-secret"), ("HTTPS_PROXY", "http://proxy:3128")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        home: "/home/agent".into(),
        work_tree: "/workspace/repo".into(),
        workdir: "/workspace/repo".into(),
        private_dir: "/tmp/agent-runner-1".into(),
        ..Surroundings::default()
    }
}

fn plugin(name: &str, skills: &[&str], agents: &[&str]) -> Plugin {
    Plugin {
        name: name.into(),
        dir: format!("/plugins/{name}").into(),
        skills: skills.iter().map(|name| (*name).to_owned()).collect(),
        agents: agents.iter().map(|name| ((*name).to_owned(), Vec::new())).collect(),
    }
}

fn plan_in(task: &Value, surroundings: &Surroundings, plugins: &[Plugin]) -> Result<Plan, Vec<PlanError>> {
    let task = Task::from_value(task).unwrap();
    Gemini.plan(&PlanRequest { task: &task, surroundings, plugins })
}

fn plan(task: &Value) -> Plan {
    plan_in(task, &surroundings(), &[plugin("kit", &["sew"], &["tailor"])]).unwrap()
}

fn shown(plan: &Plan) -> String {
    let mut text = format!("{} {}\n", plan.program, plan.args.join("\n  "));
    for (name, value) in &plan.env {
        writeln!(text, "{name} = {:?}", value.as_deref().unwrap_or("(taken away)")).unwrap();
    }
    writeln!(text, "stdin: {:?}", String::from_utf8_lossy(&plan.stdin)).unwrap();
    for file in &plan.files {
        let content = match &file.content {
            FileContent::Replace(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            FileContent::MergeJson(fields) => format!("merged: {:#}", Value::Object(fields.clone())),
            other => format!("{other:#?}"),
        };
        writeln!(text, "--- {}{}\n{}", file.path.display(), if file.private { " (private)" } else { "" }, content.trim_end()).unwrap();
    }
    plan.ledgers
        .iter()
        .for_each(|ledger| writeln!(text, "read along: {}/**{}{}", ledger.dir.display(), ledger.prefix, ledger.suffix).unwrap());
    plan.warnings.iter().for_each(|warning| writeln!(text, "warning: {warning}").unwrap());
    text
}

fn everything() -> Value {
    json!({
        "agent": {"type": "gemini", "model": "gemini-2.5-pro", "effort": "high", "endpoint": "http://gateway:8080", "resume": "0000",
            "extraArgs": ["--debug"]},
        "prompt": "/Do it.",
        "instructions": "Be brief.",
        "mcpServers": {
            "files": {"command": "serve", "args": ["-x"], "env": {"TOKEN": "s$cret"}},
            "web": {"url": "http://mcp/", "headers": {"Authorization": "Bearer x"}},
        },
        "limits": {"maxTurns": 7, "maxRetries": 2},
    })
}

#[test]
fn everything_that_a_task_can_say() {
    insta::assert_snapshot!(shown(&plan(&everything())));
}

#[test]
fn nothing_but_a_prompt() {
    let plan = plan_in(&json!({"agent": {"type": "gemini"}, "prompt": "Do it."}), &surroundings(), &[]).unwrap();
    insta::assert_snapshot!(shown(&plan));
}

#[test]
fn no_secret_stands_in_argv_or_in_a_file_for_others() {
    let plan = plan(&everything());
    assert!(!plan.args.join(" ").contains("sk-secret") && !plan.args.join(" ").contains("Bearer"));
    for file in plan.files.iter().filter(|file| !file.private) {
        assert!(!format!("{:?}", file.content).contains("Bearer"), "{}", file.path.display());
    }
}

#[test]
fn gemini_s_own_home_is_honoured() {
    let mut surroundings = surroundings();
    surroundings.env.insert("GEMINI_CLI_HOME".into(), "/state".into());
    let plan = plan_in(&everything(), &surroundings, &[]).unwrap();
    assert!(plan.files.iter().any(|file| file.path.starts_with("/state/.gemini")));
    assert!(!plan.files.iter().any(|file| file.path.starts_with("/home")));
}

#[test]
fn what_gemini_cannot_take_is_an_error_that_names_the_field() {
    let fields = |result: Result<Plan, Vec<PlanError>>| result.unwrap_err().into_iter().map(|error| error.to_string()).collect::<Vec<_>>();
    let endpoint = json!({"agent": {"type": "gemini", "endpoint": "http://x/v1beta", "extraArgs": ["-o=text"]}, "prompt": "x"});
    let errors = fields(plan_in(&endpoint, &surroundings(), &[]));
    assert!(errors.len() == 2 && errors[0].contains("agent.endpoint") && errors[1].contains("agent.extraArgs[0]"), "{errors:?}");
    let same = [plugin("kit", &["sew"], &[]), plugin("box", &["sew"], &[])];
    let errors = fields(plan_in(&json!({"agent": {"type": "gemini"}, "prompt": "x"}), &surroundings(), &same));
    assert!(errors[0].contains("`kit`") && errors[0].contains("`box`") && errors[0].contains("`sew`"), "{errors:?}");
    let settings = RepositoryFile::File(br#"{"modelConfigs":{"httpOptions":{"baseUrl":"http://evil"}}}"#.to_vec());
    let hostile = Surroundings { repository_files: [(".gemini/settings.json".into(), settings)].into(), ..surroundings() };
    let errors = fields(plan_in(&json!({"agent": {"type": "gemini"}, "prompt": "x"}), &hostile, &[]));
    assert!(errors[0].contains("httpOptions") && errors[0].contains("trust"), "{errors:?}");
}

#[test]
fn the_key_stays_visible_where_hiding_it_would_hide_more() {
    let mut surroundings = surroundings();
    surroundings.env.insert("GH_TOKEN".into(), "x".into());
    let plan = plan_in(&json!({"agent": {"type": "gemini"}, "prompt": "x"}), &surroundings, &[]).unwrap();
    assert!(plan.warnings[0].contains("`GH_TOKEN`"), "{:?}", plan.warnings);
    assert!(!shown(&plan).contains("environmentVariableRedaction"));
}

#[test]
fn a_proxy_goes_by_both_spellings_of_its_variable() {
    let planned = |names: &[&str]| {
        let env = names.iter().map(|name| ((*name).to_owned(), format!("http://{name}"))).collect();
        let plan = plan_in(&json!({"agent": {"type": "gemini"}, "prompt": "x"}), &Surroundings { env, ..surroundings() }, &[]).unwrap();
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"].map(|name| plan.env.get(name).cloned().flatten())
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(planned(&[]), [some(""), some(""), some(""), some("")]);
    assert_eq!(planned(&["HTTPS_PROXY", "http_proxy"]), [None, some("http://HTTPS_PROXY"), some("http://http_proxy"), None]);
    assert_eq!(planned(&["HTTPS_PROXY", "https_proxy"]), [None, None, some(""), some("")]);
}

#[test]
fn for_later_the_model_is_a_setting_and_what_is_lost_is_told() {
    let later = Surroundings { for_later: true, ..surroundings() };
    let plan = plan_in(&everything(), &later, &[]).unwrap();
    let settings = plan.files.iter().find(|file| file.path.ends_with("settings.json")).unwrap();
    let FileContent::MergeJson(fields) = &settings.content else { panic!("{settings:?}") };
    assert_eq!(fields["model"], json!({"maxSessionTurns": 7, "name": "gemini-2.5-pro"}));
    for lost in ["`files` has a `$`", "`agent.resume`", "`agent.extraArgs`", "GOOGLE_GEMINI_BASE_URL"] {
        assert!(plan.warnings.iter().any(|warning| warning.contains(lost)), "{lost}: {:?}", plan.warnings);
    }
    assert!(!plan.warnings.iter().any(|warning| warning.contains("`web`")), "{:?}", plan.warnings);
}

#[test]
fn a_limit_of_cost_is_told_to_have_no_effect() {
    let task = json!({"agent": {"type": "gemini"}, "prompt": "x", "limits": {"maxCostUsd": 1, "maxOutputTokens": 5}});
    let warnings = plan_in(&task, &surroundings(), &[]).unwrap().warnings;
    assert_eq!(warnings, ["Gemini does not say what a run costs: `limits.maxCostUsd` has no effect; with `prices` it has"]);
}
