//! The second implementation with a repository: what is fetched, where the work starts, what is reported of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::Case;

fn git(dir: &str, args: &[&str]) -> String {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").args(identity).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with the branches `main` and `other` and the tag `v1`, and a case that clones it.
fn served() -> (Case, String) {
    let case = Case::new();
    let origin = case.path("origin");
    std::fs::create_dir(&origin).unwrap();
    git(&origin, &["init", "--quiet"]);
    for (branch, file) in [("main", "first"), ("other", "second")] {
        git(&origin, &["checkout", "--quiet", "-B", branch]);
        std::fs::write(Path::new(&origin).join(file), file).unwrap();
        git(&origin, &["add", "."]);
        git(&origin, &["commit", "--quiet", "-m", file]);
    }
    git(&origin, &["tag", "-a", "v1", "-m", "v1", "main"]);
    git(&origin, &["checkout", "--quiet", "main"]);
    let url = format!("file://{origin}");
    let work = case.path("work/repo");
    case.set("AGENT_REPO", &url).set("AGENT_WORKSPACE_DIR", &work);
    (case, origin)
}

#[test]
fn the_work_starts_where_the_task_says_and_ends_where_the_agent_left_it() {
    let wanted = ["other", "v1", "COMMIT", ""];
    for wanted in wanted {
        let (case, origin) = served();
        let tip = git(&origin, &["rev-parse", &format!("{}^{{commit}}", if matches!(wanted, "" | "COMMIT") { "main" } else { wanted })]);
        let wanted = if wanted == "COMMIT" { tip.as_str() } else { wanted };
        let ended = case.set("AGENT_REF", wanted).set("AGENT_BRANCH", "work/x").agent(&["directory", "commit", "done"]).run();
        assert_eq!(ended.code, 0, "{wanted}: {}", ended.stderr);
        let parameters = &ended.message()["parameters"];
        let work = case.path("work/repo");
        assert_eq!((&parameters["branch"], &parameters["base-commit"]), (&json!("work/x"), &json!(tip)), "{wanted}");
        assert_eq!(parameters["commit"], json!(git(&work, &["rev-parse", "HEAD"])));
        assert_eq!(git(&work, &["rev-parse", "HEAD~1"]), tip);
        assert_eq!(ended.outcome()["answer"], json!(Path::new(&work).canonicalize().unwrap()));
        assert_eq!(git(&work, &["status", "--porcelain"]), "");
    }
}

#[test]
fn only_what_the_task_names_is_fetched() {
    let (case, origin) = served();
    let ended = case.agent(&["done"]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let has =
        |commit: &str| Command::new("git").args(["cat-file", "-e", commit]).current_dir(case.path("work/repo")).status().unwrap().success();
    assert!(has(&git(&origin, &["rev-parse", "main"])) && !has(&git(&origin, &["rev-parse", "other"])));
}

#[test]
fn a_clone_that_fails_says_why_and_leaves_nothing() {
    for (variable, value, code, reason) in
        [("AGENT_REF", "nowhere", 66, "RefNotFound"), ("AGENT_REPO", "file:///nowhere", 66, "RepositoryNotFound")]
    {
        let (case, _) = served();
        let ended = case.set(variable, value).agent(&["done"]).run();
        assert_eq!((ended.code, &ended.message()["reason"]), (code, &json!(reason)), "{}", ended.stderr);
        assert!(!Path::new(&case.path("work/repo")).exists());
        assert!(!ended.stdout_text().contains("\"ended\""));
    }
}
