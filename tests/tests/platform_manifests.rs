//! `agent-runner manifest --task`: what it prints is what the platforms' own schemas accept, and what kubectl understands all of.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use agent_tests::schemas::{of_cluster, packaged, problems};
use agent_tests::{probe, skip};
use serde_json::{Value, json};

/// As much as there is to say.
const TASK: &str = r#"
agent: {type: claude, model: opus, endpoint: https://gateway.example}
prompt: |
  Fix issue 42. Add a test.
  Then run `make $(TARGET)`.
workspace: {repo: https://github.com/acme/app, ref: main, branch: fix-42, baseBranch: main}
git: {tokenFile: /run/secrets/git/token, userName: Robot}
instructions: Be kind.
setupCommand: [make, deps]
limits: {timeout: 90m, maxCostUsd: 2.5, maxTurns: 40}
sinks: {outputs: [{name: summary, path: summary.md, default: none}]}
"#;

fn manifest(platform: &str, more: &[&str]) -> Output {
    manifest_of(TASK, platform, more)
}

fn manifest_of(document: &str, platform: &str, more: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let task = directory.path().join("task.yaml");
    std::fs::write(&task, document).unwrap();
    let own = ["--for", platform, "--image", "registry.example/claude", "--secret", "ANTHROPIC_API_KEY=anthropic/api-key"];
    let token = ["--secret-file", "/run/secrets/git/token=git-token/GITHUB_TOKEN"];
    Command::new(probe::runner()).arg("manifest").arg("--task").arg(task).args(own).args(token).args(more).output().unwrap()
}

fn documents(platform: &str, more: &[&str]) -> (String, Vec<Value>) {
    let output = manifest(platform, more);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let documents = parsed(&text);
    (text, documents)
}

fn parsed(text: &str) -> Vec<Value> {
    text.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

/// Every way to get the runner.
const RUNNERS: &[&[&str]] = &[
    &[],
    &["--runner-image", "registry.example/agent-runner"],
    &["--runner-image", "registry.example/agent-runner", "--runner-from", "image-volume"],
];

fn accepted(schema: &Value, document: &Value) {
    let problems = problems(schema, document);
    assert!(problems.is_empty(), "{problems:#?}\n{document:#}");
    // And it is looked at: a field that nobody knows is refused, as deep as the containers are.
    let mut wrong = document.clone();
    wrong["spec"]["noSuchField"] = json!(1);
    assert!(!agent_tests::schemas::problems(schema, &wrong).is_empty());
}

#[test]
fn kubernetes_accepts_jobs_and_pods() {
    for (platform, kind) in [("job", "Job"), ("pod", "Pod")] {
        let schema = packaged("kubernetes.json", kind);
        for more in RUNNERS {
            let (_, documents) = documents(platform, more);
            assert_eq!(documents.len(), 1);
            accepted(&schema, &documents[0]);
        }
    }
}

#[test]
fn argo_accepts_its_template() {
    let schema = packaged("argo.json", "WorkflowTemplate");
    for more in RUNNERS {
        // Its models know no image volumes yet.
        if more.contains(&"image-volume") && !schema["definitions"]["Volume"]["properties"]["image"].is_object() {
            continue;
        }
        let (_, documents) = documents("argo", more);
        accepted(&schema, &documents[0]);
    }
}

#[test]
fn tekton_accepts_its_task_and_run() {
    for (number, kind) in ["Task", "TaskRun"].into_iter().enumerate() {
        let Some(schema) = of_cluster("tekton.dev", kind, "v1") else { return };
        for more in RUNNERS {
            let (_, documents) = documents("tekton", more);
            assert_eq!(documents[number]["kind"], kind);
            accepted(&schema, &documents[number]);
        }
    }
}

#[test]
fn kelos_accepts_its_task_and_workspace() {
    for (number, kind) in ["Workspace", "Task"].into_iter().enumerate() {
        let Some(schema) = of_cluster("kelos.dev", kind, "v1alpha2") else { return };
        let (_, documents) = documents("kelos", &[]);
        assert_eq!(documents[number]["kind"], kind);
        accepted(&schema, &documents[number]);
    }
    // Without a repository there is no Workspace, and more in the Task.
    let Some(schema) = of_cluster("kelos.dev", "Task", "v1alpha2") else { return };
    let output = manifest_of("agent: {type: claude}\nprompt: Look.\ngit: {tokenFile: /run/secrets/git/token}\n", "kelos", &[]);
    let documents = parsed(&String::from_utf8(output.stdout).unwrap());
    assert_eq!((documents.len(), &documents[0]["kind"]), (1, &json!("Task")), "{}", String::from_utf8_lossy(&output.stderr));
    accepted(&schema, &documents[0]);
}

/// Nothing prints these: they are written by hand.
#[test]
fn kubeopencode_accepts_what_its_page_says_to_paste() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kubeopencode.md")).unwrap();
    let block = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let documents = parsed(block);
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1]["spec"]["templateRef"]["name"], documents[0]["metadata"]["name"]);
    for (document, kind) in documents.iter().zip(["AgentTemplate", "Task"]) {
        assert_eq!(document["kind"], kind);
        let Some(schema) = of_cluster("kubeopencode.io", kind, "v1alpha1") else { return };
        accepted(&schema, document);
    }
}

/// kubectl's client-side dry run: `set env --local` reads a manifest by Kubernetes' own types and prints it, without asking a server. What
/// it does not know is not in it any more.
#[test]
fn kubectl_knows_every_field() {
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        return skip::skip("kubectl is not here");
    }
    for platform in ["job", "pod"] {
        for more in RUNNERS {
            let (text, documents) = documents(platform, more);
            let mut command = Command::new("kubectl");
            command.args(["set", "env", "--local", "-f", "-", "-o", "json", "DRY_RUN=1"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
            let read: Value = serde_json::from_slice(&output.stdout).unwrap();
            let lost = missing(&documents[0], &read, "");
            assert!(lost.is_empty(), "{lost:#?}\n{read:#}");
        }
    }
}

/// What the first has and the second has not, or has otherwise.
fn missing(wanted: &Value, found: &Value, at: &str) -> Vec<String> {
    match (wanted, found) {
        (Value::Object(fields), Value::Object(others)) => fields
            .iter()
            .flat_map(|(name, value)| {
                others.get(name).map_or_else(|| vec![format!("{at}.{name}")], |other| missing(value, other, &format!("{at}.{name}")))
            })
            .collect(),
        // A variable is added at the end, or in front.
        (Value::Array(items), Value::Array(others)) if items.len() <= others.len() => {
            let is_env = |item: &&Value| item["name"] == "DRY_RUN";
            let others: Vec<&Value> = others.iter().filter(|item| !is_env(item)).collect();
            let pairs = items.iter().zip(others).enumerate();
            pairs.flat_map(|(number, (item, other))| missing(item, other, &format!("{at}[{number}]"))).collect()
        }
        _ if wanted == found => Vec::new(),
        _ => vec![format!("{at}: {wanted} became {found}")],
    }
}

#[test]
fn the_same_is_printed_each_time_and_no_secret_is_in_it() {
    for platform in ["job", "pod", "argo", "tekton", "kelos"] {
        let (first, _) = documents(platform, &[]);
        assert_eq!(documents(platform, &[]).0, first);
        assert!(first.contains("secretKeyRef: {name: anthropic, key: api-key}") || first.contains("name: anthropic"), "{first}");
    }
}

#[test]
fn what_is_wrong_is_named_and_nothing_printed() {
    let output = manifest("tekton", &["--secret", "OPENAI_API_KEY=sk-the-value", "--runner-from", "init", "--name", "Not A Name"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(65), 0), "{said}");
    assert!(said.contains("--secret: expected VARIABLE=SECRET/KEY") && said.contains("--runner-image: expected"), "{said}");
    assert!(!said.contains("sk-the-value"), "{said}");
    let run = |args: &[&str]| Command::new(probe::runner()).arg("manifest").args(args).output().unwrap();
    let missing = run(&["--task", "/no/such/task.yaml", "--image", "x"]);
    assert_eq!(missing.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cannot read `/no/such/task.yaml`"));
    for args in [&[][..], &["--task", "x"], &["--task", "x", "--image", "y", "check", "z"]] {
        assert_eq!(run(args).status.code(), Some(64), "{args:?}");
    }
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("check") && help.contains("--for <PLATFORM>") && Path::new(probe::runner()).exists(), "{help}");
}
