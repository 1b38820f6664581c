//! A step of an Argo workflow: output parameters as files, and the file in which Argo reads how far the step has come
//! (<https://argo-workflows.readthedocs.io/en/latest/progress/>).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use agent_tests::repo::git_ok;
use agent_tests::volumes::Container;

const PROGRESS: &str = "/var/run/argo/progress";

/// Argo's `N/M`.
fn progress(text: &str) -> (u64, u64) {
    let (behind, all) = text.trim_end().split_once('/').unwrap_or_else(|| panic!("`{text}` is not N/M"));
    let (behind, all) = (behind.parse().unwrap(), all.parse().unwrap());
    assert!(behind <= all && all > 0, "{text}");
    (behind, all)
}

#[test]
fn output_parameters_are_files_and_the_progress_ends_at_all() {
    let Some(mut container) = Container::new() else { return };
    let argo = container.volume("/var/run/argo");
    let outputs = container.volume("/outputs");
    let container = container.with("ARGO_NODE_ID", "n-1").with("ARGO_PROGRESS_FILE", PROGRESS).with("AGENT_RESULTS_DIR", "/outputs");
    let output = container.run(&[]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("the platform speaks argo"), "{log}");
    let (behind, all) = progress(&fs::read_to_string(argo.join("progress")).unwrap());
    assert_eq!(behind, all);
    let head = git_ok(container.workspace(), ["-c", "safe.directory=*", "rev-parse", "HEAD"]);
    assert_eq!(fs::read_to_string(outputs.join("commit")).unwrap(), head);
    assert_eq!(fs::read_to_string(outputs.join("reason")).unwrap(), "Completed");
}

#[test]
fn the_progress_while_the_agent_works_is_neither_nothing_nor_all() {
    let Some(mut container) = Container::new() else { return };
    container.volume("/var/run/argo");
    let container = container.with("ARGO_PROGRESS_FILE", PROGRESS);
    let output = container.run(&["exec", "--", "/usr/bin/cat", PROGRESS]);
    let (behind, all) = progress(&String::from_utf8_lossy(&output.stdout));
    assert!(0 < behind && behind < all, "{output:?}");
}

#[test]
fn a_progress_file_that_cannot_be_written_is_one_warning() {
    let Some(container) = Container::new() else { return };
    let output = container.with("ARGO_PROGRESS_FILE", PROGRESS).run(&[]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert_eq!(log.matches("progress file: ").count(), 1, "{log}");
}

#[test]
fn a_task_that_is_wrong_leaves_its_reason_in_the_log_and_the_progress_at_its_end() {
    let Some(mut container) = Container::new() else { return };
    let argo = container.volume("/var/run/argo");
    let container = container.with("ARGO_PROGRESS_FILE", PROGRESS).with("AGENT_TIMEOUT", "soon");
    assert_eq!(container.run(&[]).status.code(), Some(65));
    let (behind, all) = progress(&fs::read_to_string(argo.join("progress")).unwrap());
    assert_eq!(behind, all, "a step that has ended is not under way");
}
