//! A step of a Tekton Task: what Tekton reads of it, by a reader written from its documentation
//! (<https://tekton.dev/docs/pipelines/tasks/#emitting-results>).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use agent_tests::repo::git_ok;
use agent_tests::volumes::Container;
use serde_json::{Value, json};

/// What the kubelet keeps of a container's message; a step whose results do not fit has failed.
const MESSAGE: usize = 4096;

/// What Tekton's entrypoint makes of the files after a step: those that the Task declares and that are there, beside its own entries.
fn read(results: &Path, declared: &[&str]) -> Value {
    let found = declared.iter().filter_map(|name| Some((name, fs::read_to_string(results.join(name)).ok()?)));
    let mut entries: Vec<Value> = found.map(|(key, value)| json!({"key": key, "value": value, "type": 1})).collect();
    entries.push(json!({"key": "StartedAt", "value": "2026-08-01T12:00:00.000Z", "type": 3}));
    entries.push(json!({"key": "ExitCode", "value": "0", "type": 3}));
    let message = Value::from(entries);
    assert!(message.to_string().len() <= MESSAGE, "{} bytes: {message:#}", message.to_string().len());
    message
}

fn value<'a>(message: &'a Value, key: &str) -> Option<&'a str> {
    message.as_array().unwrap().iter().find(|entry| entry["key"] == key)?["value"].as_str()
}

#[test]
fn the_directory_alone_makes_results_of_a_run() {
    let Some(mut container) = Container::new() else { return };
    let results = container.volume("/tekton/results");
    let output = container.run(&[]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("the platform speaks tekton"), "{log}");
    let message = read(&results, &["commit", "branch", "status", "output-tokens", "pr"]);
    let head = git_ok(container.workspace(), ["-c", "safe.directory=*", "rev-parse", "HEAD"]);
    assert_eq!(value(&message, "commit"), Some(head.as_str()), "{message:#}");
    assert_eq!((value(&message, "branch"), value(&message, "status")), (Some("main"), Some("succeeded")), "{message:#}");
    assert!(value(&message, "output-tokens").is_some_and(|tokens| tokens.parse::<u64>().is_ok()), "{message:#}");
    assert_eq!(value(&message, "pr"), None, "what there is not has no file");
}

/// What the step before it left is Tekton's already.
#[test]
fn results_of_a_step_before_stay() {
    let Some(mut container) = Container::new() else { return };
    let results = container.volume("/tekton/results");
    fs::write(results.join("digest"), "sha256:0").unwrap();
    assert_eq!(container.run(&[]).status.code(), Some(0));
    assert_eq!(value(&read(&results, &["digest", "commit"]), "digest"), Some("sha256:0"));
}

#[test]
fn all_results_together_fit_the_one_message() {
    let Some(mut container) = Container::new() else { return };
    let results = container.volume("/tekton/results");
    let script = r#"cd "$AGENT_RESULTS_DIR"
        echo short > title
        i=0; while [ $i -lt 400 ]; do echo "line \"$i\" <of> the summary"; i=$((i+1)); done > summary
        cp summary report"#;
    let container = container.with("AGENT_TYPE", "command");
    let output = container.run(&["exec", "--", "/usr/bin/sh", "-c", script]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{log}");
    let names: Vec<String> = fs::read_dir(&results).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let message = read(&results, &names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(value(&message, "title"), Some("short"), "no short one is cut for a long one's sake: {message:#}");
    for name in ["summary", "report"] {
        let text = value(&message, name).unwrap();
        assert!(text.starts_with("line \"0\" <of> the summary\n") && text.ends_with('…') && text.len() > 400, "{name}: {text}");
    }
    assert!(log.contains("/tekton/results`: shortened") && log.contains("report, summary"), "{log}");
}
