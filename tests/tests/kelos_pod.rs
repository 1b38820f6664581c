//! What needs no agent of a pod as Kelos' controller builds it: wrong inputs, the setup command, a Session's setup, and the filter for
//! images that keep Kelos' own script.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use agent_tests::kelos::{Outputs, Pod};
use agent_tests::probe;
use agent_tests::repo::{Source, git_ok};
use serde_json::json;

#[test]
fn wrong_inputs_are_one_error_before_anything_starts() {
    let Some(pod) = Pod::new("claude-code") else { return };
    let marker = pod.path("home/started");
    let setup = json!(["touch", marker]);
    let pod = pod.prompt(None).with("KELOS_MCP_SERVERS", "{").with("KELOS_SETUP_COMMAND", setup.to_string());
    let ended = pod.run();
    assert_eq!((ended.code, ended.message["reason"].as_str()), (65, Some("InvalidTask")), "{ended}");
    for part in [
        "2 inputs are wrong",
        "KELOS_MCP_SERVERS: expected JSON",
        "prompt: expected",
        "hint: Kelos gives it as the container's one argument",
    ] {
        assert!(ended.log.contains(part), "{part}: {ended}");
        assert!(ended.message["message"].as_str().unwrap().contains(part), "{part}: {ended}");
    }
    assert!(!marker.exists(), "{ended}");
    // A worker's log may hold an earlier task's block, which must not pass for this one's.
    assert!(ended.log.ends_with("---KELOS_OUTPUTS_START---\n---KELOS_OUTPUTS_END---\n") && ended.outputs.is_empty(), "{ended}");
}

#[test]
fn an_agent_that_kelos_does_not_know_is_named() {
    let Some(pod) = Pod::new("claude") else { return };
    let ended = pod.run();
    assert_eq!(ended.code, 65, "{ended}");
    assert!(ended.log.contains("KELOS_AGENT_TYPE: expected one of `claude-code`"), "{ended}");
}

#[test]
fn the_setup_commands_code_is_the_tasks_and_its_banners_stand_around_it() {
    for (command, code) in [(json!(["sh", "-c", "echo from setup; exit 7"]), 7), (json!(["/no/such/program"]), 127)] {
        let Some(pod) = Pod::new("claude-code") else { return };
        let ended = pod.with("KELOS_SETUP_COMMAND", command.to_string()).run();
        ended.assert(code, "SetupFailed");
        let start = ended.log.find("\n---KELOS_SETUP_COMMAND_START---\n").expect("a banner");
        let end = ended.log.find(&format!("\n---KELOS_SETUP_COMMAND_FAILED--- exit={code}\n")).expect("a banner");
        assert!(code != 7 || ended.log[start..end].contains("from setup"), "{ended}");
        assert_eq!(ended.message["phase"], "setup", "{ended}");
    }
}

#[test]
fn a_sessions_setup_needs_neither_prompt_nor_node_nor_a_shell() {
    let Some(pod) = Pod::new("claude-code") else { return };
    let made = pod.path("home/made");
    let touch = Path::new("/usr/bin/touch").canonicalize().unwrap();
    let pod = pod
        .prompt(None)
        .with("KELOS_SESSION_SETUP_ONLY", "1")
        .with("PATH", "/nonexistent")
        .with("KELOS_AGENTS_MD", "Be kind.")
        .with("KELOS_SETUP_COMMAND", json!([touch, made]).to_string());
    let ended = pod.run();
    ended.assert(0, "Completed");
    assert!(made.exists() && ended.log.contains("\n---KELOS_SETUP_COMMAND_DONE---\n"), "{ended}");
    assert!(pod.files("home").values().any(|(_, content)| content == b"Be kind."), "{:?}", pod.files("home").keys());
}

/// Where skills of all plugins go to one directory; Gemini has an extension for each plugin.
#[test]
fn two_plugins_that_come_to_the_same_place_are_an_error_that_names_both() {
    for kelos in ["claude-code", "codex", "opencode"] {
        let Some(pod) = Pod::new(kelos) else { return };
        let sources = ["plugins/alpha/skills/bravo:charlie", "plugins/alpha:bravo/skills/charlie"];
        sources.iter().for_each(|source| pod.file(&format!("{source}/SKILL.md"), "---\nname: charlie\ndescription: x\n---\nDo it.\n"));
        let plugins = pod.path("plugins");
        let ended = pod.prompt(None).with("KELOS_PLUGIN_DIR", plugins).with("KELOS_SESSION_SETUP_ONLY", "1").run();
        assert!(ended.code != 0 && ended.message["status"] == "failed", "{kelos}: {ended}");
        assert!(sources.iter().all(|source| ended.log.contains(source)), "{kelos}: {ended}");
    }
}

#[test]
fn a_tag_or_a_commit_may_be_what_the_work_is_measured_against() {
    let Some(pod) = Pod::new("claude-code") else { return };
    let head = pod.git(&["rev-parse", "HEAD"]);
    for base in [head.as_str(), "of-the-clone"] {
        git_ok(&pod.path("repo"), ["-c", "safe.directory=*", "tag", "-f", "of-the-clone"]);
        let Some(other) = Pod::new("claude-code") else { return };
        fs::remove_dir_all(other.path("repo")).unwrap();
        let copied = Command::new("cp").arg("-a").arg(pod.path("repo")).arg(other.path("repo")).status();
        assert!(copied.unwrap().success());
        let ended = other.prompt(None).with("KELOS_SESSION_SETUP_ONLY", "1").with("KELOS_BASE_BRANCH", base).run();
        ended.assert(0, "Completed");
        assert_eq!(ended.outputs.get("base-branch"), Some(base), "{ended}");
        assert_eq!(ended.outputs.get("base-commit"), Some(head.as_str()), "{ended}");
    }
}

/// Cursor's CLI cannot be had here: a program that plays a described stream stands in for it.
#[test]
fn cursor_leaves_its_block_and_nothing_in_the_repository() {
    for (recording, code, reason) in [("success", 0, "Completed"), ("usage-limit", 69, "QuotaExceeded")] {
        let Some(pod) = Pod::new("cursor") else { return };
        pod.file("plugins/kit/skills/sew/SKILL.md", "Sew.");
        let (plugins, notes) = (pod.path("plugins"), pod.path("home/notes"));
        let pod = pod
            .with("CURSOR_API_KEY", "cursor-key-of-the-test")
            .with("AGENT_PROGRAM", probe::program("recorded_agent"))
            .with("RECORDING", Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/tests/fixtures/cursor").join(recording))
            .with("RECORDED_NOTES", notes)
            .with("KELOS_MODEL", "composer-2.5")
            .with("KELOS_EFFORT", "high")
            .with("KELOS_AGENTS_MD", "Be kind.")
            .with("KELOS_PLUGIN_DIR", plugins);
        let ended = pod.run();
        ended.assert(code, reason);
        if code == 0 {
            // What the cache gave is in it.
            let tokens = (ended.outputs.get("input-tokens"), ended.outputs.get("output-tokens"));
            assert_eq!(tokens, (Some("38733"), Some("268")), "{ended}");
            assert_eq!(ended.outputs.response().as_deref(), Some("Done: the change is committed."), "{ended}");
        }
        let files = pod.files("home");
        let said = String::from_utf8_lossy(&files[&pod.path("home/.cursor/AGENTS.md")].1).into_owned();
        assert!(said.contains("Be kind.") && said.contains("Use high reasoning effort"), "{said}");
        assert!(files.contains_key(&pod.path("home/.cursor/skills/kit:sew/SKILL.md")), "{:?}", files.keys());
        assert_eq!(pod.git(&["status", "--porcelain"]), "", "{ended}");
        assert!(String::from_utf8_lossy(&files[&pod.path("home/notes")].1).contains("--model=composer-2.5"));
    }
}

/// An agent's shell has Kelos' variables in its environment: what it starts by `exec` is not that agent.
#[test]
fn a_command_in_a_pod_is_no_agent_and_needs_no_setup() {
    let filter = Filter::new();
    let made = filter.0.path().join("made");
    let output = Command::new(probe::runner())
        .args(["exec", "--", "/bin/sh", "-c", "echo done"])
        .current_dir(filter.0.path().join("work"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("KELOS_AGENT_TYPE", "claude-code")
        .env("KELOS_BASE_BRANCH", "main")
        .env("KELOS_SETUP_COMMAND", json!(["touch", made]).to_string())
        .env("AGENT_TERMINATION_LOG", filter.0.path().join("termination"))
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"done\n".as_slice()), "{output:?}");
    assert!(!made.exists());
    let message = fs::read_to_string(filter.0.path().join("termination")).unwrap();
    assert!(message.contains("\"base-branch\":\"main\""), "{message}");
}

/// A repository, and the filter in it.
struct Filter(tempfile::TempDir);

impl Filter {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = Source::new(directory.path(), "origin.git");
        assert!(source.work.is_dir());
        symlink(probe::runner(), directory.path().join("kelos-capture")).unwrap();
        Self(directory)
    }

    fn run(&self, kind: &str, stream: &[u8]) -> Output {
        let mut child = Command::new(self.0.path().join("kelos-capture"))
            .current_dir(self.0.path().join("work"))
            .env_clear()
            .env("KELOS_AGENT_TYPE", kind)
            .env("AGENT_TERMINATION_LOG", self.0.path().join("termination"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let stream = stream.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(&stream).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }
}

fn recording(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/tests/fixtures/claude-2.1.197");
    fs::read(fixtures.join(name).with_extension("jsonl")).unwrap()
}

#[test]
fn the_filter_forwards_all_and_prints_the_block() {
    let filter = Filter::new();
    let stream = recording("success");
    let output = filter.run("claude-code", &stream);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(&stream));
    let after = String::from_utf8(output.stdout[stream.len()..].to_vec()).unwrap();
    assert!(after.starts_with("---KELOS_OUTPUTS_START---\nbranch: main\n") && after.ends_with("\n---KELOS_OUTPUTS_END---\n"), "{after}");
    let outputs = Outputs::read(&after);
    let head = git_ok(&filter.0.path().join("work"), ["rev-parse", "HEAD"]);
    assert_eq!((outputs.get("commit"), outputs.get("input-tokens")), (Some(head.as_str()), Some("2430")), "{after}");
    assert_eq!(outputs.response().as_deref(), Some("Done: mock change committed."), "{after}");
}

#[test]
fn the_filter_fails_when_the_result_is_no_normal_completion() {
    let filter = Filter::new();
    for name in ["err401", "maxturns3", "refusal", "empty"] {
        let Ok(stream) = std::panic::catch_unwind(|| recording(name)) else { panic!("no recording {name}") };
        let output = filter.run("claude-code", &stream);
        assert!(!output.status.success(), "{name}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).ends_with("\n---KELOS_OUTPUTS_END---\n"), "{name}");
    }
    // Killed in mid-task: its own script would have called that a success.
    let stream = recording("success");
    let cut = stream.len() / 2;
    let output = filter.run("claude-code", &stream[..cut]);
    assert!(!output.status.success() && output.stdout.starts_with(&stream[..cut]), "{output:?}");
}

#[test]
fn the_filter_forwards_all_also_where_it_cannot_read_it() {
    let stream = b"half a line \xff\0".repeat(5000);
    let output = Filter::new().run("somebody-else", &stream);
    assert!(!output.status.success() && output.stdout.starts_with(&stream), "{}", String::from_utf8_lossy(&output.stderr));
}
