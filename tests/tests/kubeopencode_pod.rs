//! A whole Task of KubeOpenCode: its init containers fill the workspace, the real OpenCode works in it, and the controller's collector
//! reads the termination message.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::symlink;

use agent_conformance::model::{Scenario, ScriptedModel};
use agent_tests::clis;
use agent_tests::kubeopencode::{Ended, Pod};
use agent_tests::repo::git_ok;
use agent_tests::runs::{Counted, KEY};
use serde_json::json;

/// The workspace as the init containers leave it.
fn prepared() -> Option<Pod> {
    let pod = Pod::new()?;
    symlink(clis::newest("opencode")?.program, pod.path("tools/opencode")).unwrap();
    pod.config_map("configmap-files", "workspace-task.md", "Please do it.\n");
    let (url, root, workspace, from) =
        (format!("file://{}", pod.source.bare.display()), pod.text("git"), pod.text("workspace"), pod.text("configmap-files"));
    let ended = pod.init("git-init", &[("GIT_REPO", url.as_str()), ("GIT_ROOT", &root), ("GIT_WORKSPACE_DIR", &workspace)]);
    assert_eq!(ended.code, 0, "{}", ended.log);
    let files = json!([{"key": "workspace-task.md", "targetPath": pod.path("workspace/task.md")}]).to_string();
    let ended = pod.init("context-init", &[("WORKSPACE_DIR", workspace.as_str()), ("CONFIGMAP_PATH", &from), ("FILE_MAPPINGS", &files)]);
    assert_eq!(ended.code, 0, "{}", ended.log);
    Some(pod)
}

fn worker(pod: &Pod, model: &ScriptedModel, more: &[(&str, &str)]) -> Ended {
    let url = model.base_url();
    let env = [
        ("ANTHROPIC_API_KEY", KEY),
        ("AGENT_ENDPOINT", url.as_str()),
        ("AGENT_MODEL", "anthropic/claude-sonnet-4-5"),
        ("AGENT_MAX_RETRIES", "1"),
        ("OPENCODE_PERMISSION", r#"{"*":"allow"}"#),
    ];
    pod.worker(&[&env[..], more].concat())
}

#[test]
fn a_tasks_outputs_are_what_the_collector_reads() {
    let Some(pod) = prepared() else { return };
    let command =
        "mkdir -p .outputs && printf ' https://forge/pr/7\\n' > .outputs/pr && echo x > new && git add new && git commit -qm work";
    let model = ScriptedModel::start(Scenario::builtin("success").unwrap().with("command", command).unwrap()).unwrap();
    let spec = json!({"parameters": [
        {"name": "pr-url", "path": ".outputs/pr"},
        {"name": "summary", "path": ".outputs/summary", "default": "none was written"},
        {"name": "absent", "path": ".outputs/absent"},
    ]})
    .to_string();
    let config = json!({"username": "of-the-controller"}).to_string();
    let ended = worker(&pod, &model, &[("OUTPUT_SPEC", &spec), ("OPENCODE_CONFIG_CONTENT", &config)]);
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert!(ended.log.contains("the platform speaks kubeopencode"), "{}", ended.log);
    let outputs = ended.outputs();
    assert_eq!(outputs["pr-url"], "https://forge/pr/7");
    assert_eq!(outputs["summary"], "none was written");
    assert!(!outputs.contains_key("absent"));
    assert_eq!(outputs["commit"], git_ok(&pod.path("workspace"), ["-c", "safe.directory=*", "rev-parse", "HEAD"]));
    assert_eq!(Counted::of_message(&ended.message).input, Counted::billed(model.bill().finished).input, "{}", ended.log);
    assert!(model.requests().iter().any(|request| request.mentions("Please do it.")), "{}", ended.log);
    assert!(!ended.log.contains(KEY), "{}", ended.log);
}

#[test]
fn outputs_over_the_limit_are_shortened_and_none_is_lost() {
    let Some(pod) = prepared() else { return };
    let command = "mkdir -p .outputs && head -c 9000 /dev/zero | tr '\\0' x > .outputs/report && echo short > .outputs/summary";
    let model = ScriptedModel::start(Scenario::builtin("success").unwrap().with("command", command).unwrap()).unwrap();
    let spec = r#"{"parameters":[{"name":"report","path":".outputs/report"},{"name":"summary","path":".outputs/summary"}]}"#;
    let ended = worker(&pod, &model, &[("OUTPUT_SPEC", spec)]);
    assert_eq!(ended.code, 0, "{}", ended.log);
    // What the kubelet keeps of a message in a pod of six containers.
    assert!(ended.message.to_string().len() <= 2048);
    assert_eq!(ended.outputs()["summary"], "short");
    assert!(ended.outputs()["report"].starts_with("xxx"), "{}", ended.message);
    assert!(ended.message["cut"].to_string().contains("parameters.report"), "{}", ended.message);
}

#[test]
fn an_error_of_opencode_with_code_0_is_no_success() {
    let Some(pod) = prepared() else { return };
    let model = ScriptedModel::start(Scenario::builtin("http-403").unwrap()).unwrap();
    let ended = worker(&pod, &model, &[]);
    assert_eq!((ended.code, ended.message["reason"].as_str()), (77, Some("PermissionDenied")), "{}", ended.log);
}

#[test]
fn a_task_without_its_file_is_told_where_it_comes_from() {
    let Some(pod) = prepared() else { return };
    fs::remove_file(pod.path("workspace/task.md")).unwrap();
    let model = ScriptedModel::start(Scenario::builtin("success").unwrap()).unwrap();
    let ended = worker(&pod, &model, &[("OUTPUT_SPEC", "{")]);
    assert_eq!((ended.code, ended.message["reason"].as_str()), (65, Some("InvalidTask")), "{}", ended.log);
    for part in ["task.md: cannot read", "OUTPUT_SPEC: expected JSON"] {
        assert!(ended.log.contains(part), "{part}: {}", ended.log);
    }
}
