//! The guide to manifests, followed to the letter: its manifest is checked, its stream replayed, its agent run; and what people are told
//! whose manifest is wrong or missing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use agent_tests::probe::runner;
use serde_json::Value;

/// A block of the guide, by the words after its fence.
fn of_the_guide(fence: &str) -> String {
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agent-manifest.md")).unwrap();
    let start = guide.find(&format!("```{fence}\n")).unwrap() + fence.len() + 4;
    guide[start..start + guide[start..].find("```").unwrap()].to_owned()
}

/// A directory with the guide's manifest and recording, and with a program `smith` that prints what the guide says it does.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    let at = |name: &str| desk.path().join(name);
    std::fs::create_dir(at("agents")).unwrap();
    std::fs::create_dir(at("work")).unwrap();
    std::fs::write(at("agents/smith.toml"), of_the_guide("toml manifest")).unwrap();
    std::fs::write(at("stream.jsonl"), of_the_guide("json stream")).unwrap();
    let program = format!("#!/bin/sh\ncat > {0}/prompt\necho \"$* $SMITH_URL\" > {0}/args\ncat {0}/stream.jsonl\n", desk.path().display());
    std::fs::write(at("smith"), program).unwrap();
    std::fs::set_permissions(at("smith"), PermissionsExt::from_mode(0o755)).unwrap();
    desk
}

fn run(desk: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let path = std::env::join_paths(std::iter::once(desk.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let mut command = Command::new(runner());
    command.args(args).current_dir(desk).env_clear().env("PATH", path.unwrap()).env("HOME", desk);
    command.env("AGENT_TERMINATION_LOG", desk.join("termination-log")).envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn message(desk: &Path) -> Value {
    let bytes = std::fs::read(desk.join("termination-log")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn the_check_shows_what_would_be_started() {
    let desk = desk();
    let output = run(desk.path(), &["manifest", "check", "agents/smith.toml"], &[]);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for part in [
        "smith: Agent Smith by Example",
        "lacks: effort, resume, skills, sub-agents, mcp-sse",
        "  starts  smith run --json --yes --model MODEL\n",
        "  starts  smith run --json --yes\n",
        "  sets    SMITH_URL=https://gateway.example/v1\n",
        "  writes  /home/agent/.smith/RULES.md with a section INSTRUCTIONS\n",
        "  warns   `smith` cannot be given `effort`; it is left out\n",
    ] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
}

#[test]
fn the_check_names_every_wrong_field_with_its_line() {
    let desk = desk();
    let wrong = of_the_guide("toml manifest").replace("program =", "progam =").replace("\"/session\"", "\"session\"");
    std::fs::write(desk.path().join("wrong.toml"), wrong).unwrap();
    let output = run(desk.path(), &["manifest", "check", "wrong.toml"], &[]);
    assert_eq!(output.status.code(), Some(65));
    let told = told(&output);
    assert!(told.contains("wrong.toml: line 7: `command.progam` is not known (did you mean `command.program`?)"), "{told}");
    assert!(told.contains("2 things are wrong with `wrong.toml`"), "{told}");
    let gone = run(desk.path(), &["manifest", "check", "gone.toml"], &[]);
    assert_eq!(gone.status.code(), Some(66), "{}", self::told(&gone));
}

#[test]
fn a_recorded_stream_is_replayed_by_its_manifest() {
    let desk = desk();
    let output = run(desk.path(), &["replay", "stream.jsonl", "--manifest", "agents/smith.toml"], &[]);
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    assert_eq!((&outcome["agent"], &outcome["reason"]), (&"smith".into(), &"Completed".into()), "{outcome:#}");
    assert_eq!((&outcome["usage"]["inputTokens"], &outcome["usage"]["outputTokens"]), (&1200.into(), &60.into()), "{outcome:#}");
    assert_eq!(outcome["message"], "the agent is done");
}

#[test]
fn the_guides_agent_runs_by_its_name_and_by_its_path() {
    let desk = desk();
    let agents = desk.path().join("agents");
    let manifest = agents.join("smith.toml");
    for (kind, dir) in [("smith", agents.to_str().unwrap()), (manifest.to_str().unwrap(), "/nowhere")] {
        let env = [
            ("AGENT_TYPE", kind),
            ("AGENT_MANIFEST_DIR", dir),
            ("AGENT_MODEL", "small-3"),
            ("AGENT_ENDPOINT", "http://gateway:8080"),
            ("AGENT_INSTRUCTIONS", "Be kind."),
            ("AGENT_WORKSPACE_DIR", "work"),
            ("AGENT_RESULT_FILE", "result.json"),
            ("SMITH_KEY", "the-key-of-smith"),
        ];
        let output = run(desk.path(), &["run", "--prompt", "- Do it."], &env);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let message = message(desk.path());
        assert_eq!((&message["status"], &message["reason"]), (&"succeeded".into(), &"Completed".into()), "{message:#}");
        let said = ["input-tokens", "cache-read-tokens", "output-tokens", "session-id", "model", "agent-version", "turns"];
        let said = said.map(|key| message["parameters"][key].as_str().unwrap_or("absent").to_owned());
        assert_eq!(said, ["1200", "200", "60", "s-1", "small-3", "1.4.0", "1"], "{message:#}");
        let read = |name: &str| std::fs::read_to_string(desk.path().join(name)).unwrap();
        assert_eq!(
            (read("prompt").as_str(), read("args").as_str()),
            ("- Do it.", "run --json --yes --model small-3 http://gateway:8080/v1\n")
        );
        assert!(read(".smith/RULES.md").contains("Be kind."));
        let outcome: Value = serde_json::from_str(&read("result.json")).unwrap();
        assert_eq!(outcome["agent"], "smith", "{outcome:#}");
    }
}

#[test]
fn the_doctor_knows_manifests() {
    let desk = desk();
    let dir = desk.path().join("agents");
    let dir = dir.to_str().unwrap();
    let good = told(&run(desk.path(), &["doctor", "--type", "smith", "--manifest-dir", dir], &[]));
    assert!(good.contains("ok    agent `smith`: ") && good.contains("none of SMITH_KEY is set"), "{good}");
    std::fs::write(desk.path().join("agents/wrong.toml"), "name = 1").unwrap();
    let wrong = run(desk.path(), &["doctor", "--type", "wrong", "--manifest-dir", dir], &[]);
    assert_eq!(wrong.status.code(), Some(69));
    assert!(told(&wrong).contains("line 1: `name` expected a text"), "{}", told(&wrong));
}

#[test]
fn a_task_for_an_agent_that_is_not_there_is_told_what_is() {
    let desk = desk();
    let dir = desk.path().join("agents");
    let env = [("AGENT_TYPE", "smiht"), ("AGENT_MANIFEST_DIR", dir.to_str().unwrap()), ("AGENT_PROMPT", "p")];
    let output = run(desk.path(), &["run"], &env);
    assert_eq!(output.status.code(), Some(65), "{}", told(&output));
    let message = message(desk.path());
    let text = message["message"].as_str().unwrap();
    assert!(text.contains("`smith`") && text.contains("`claude`") && text.contains("smiht.toml"), "{text}");

    std::fs::write(dir.join("wrong.toml"), "name = 1").unwrap();
    let output = run(desk.path(), &["run", "--type", "wrong"], &env);
    assert_eq!(output.status.code(), Some(69), "{}", told(&output));
}
