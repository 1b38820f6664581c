//! Any image becomes an agent image: an init container installs the runner into a volume, and the images that mount it know nothing of us.
//! Debian, one with musl and busybox for Alpine's place, and one with nothing but the agent.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent_conformance::model::{Record, Scenario, ScriptedModel};
use agent_tests::clis;
use agent_tests::containers::{Container, Ended, image, podman_ok};
use agent_tests::runs::{Counted, KEY, Origin};

/// The container of a pod whose init container has installed the runner: the volume is there, and the command is ours.
fn pod(image: &str) -> Option<Container> {
    let runner = agent_tests::containers::image("runner")?;
    let pod = Container::of(image);
    fs::create_dir(pod.path("volume")).unwrap();
    let volume = format!("{}:/runner", pod.path("volume").display());
    // As the README's Job has it: the image's PATH finds the command, and its root is written nowhere.
    let installed =
        podman_ok(&["run", "--rm", "--read-only", "--volume", &volume, "--entrypoint", "agent-runner", &runner, "install", "/runner/"]);
    assert_eq!(installed, "/runner/agent-runner");
    assert_eq!(fs::metadata(pod.path("volume/agent-runner")).unwrap().permissions().mode() & 0o777, 0o755);
    let volume = format!("{volume}:ro");
    Some(pod.options(&["--volume", &volume, "--entrypoint", "/runner/agent-runner", "--tmpfs=/tmp:rw,mode=1777", "--read-only"]))
}

/// A run of an agent in it, on a clone that needs neither git nor a shell in the image.
fn run(pod: Container, agent: &str, scenario: &str) -> (Container, Ended) {
    let (origin, model) = (Origin::start(), ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap());
    let pod = pod
        .options(&["--user", "4711:4711", "--cap-drop=all", "--security-opt=no-new-privileges"])
        .with(clis::key_variable(agent), KEY)
        .with("AGENT_TYPE", agent)
        .with("AGENT_ENDPOINT", &model.base_url())
        .with("AGENT_MAX_RETRIES", "1")
        .with("AGENT_PROMPT", "Please do it.")
        .with("AGENT_REPO", &origin.url())
        .with("AGENT_BRANCH", "work")
        .with("AGENT_WORKSPACE_DIR", "/workspace/repo");
    let ended = pod.run();
    ended.assert("succeeded", "Completed", 0);
    let requests = model.requests().iter().map(Record::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(ended.tokens(), Counted::billed(model.bill().finished), "{requests}\n{ended}");
    assert_eq!(ended.parameter("commit"), Some(pod.git("repo", &["rev-parse", "work"]).as_str()), "{ended}");
    assert_eq!(fs::read_to_string(pod.path("workspace/repo/file3.txt")).unwrap(), "content 3\n");
    (pod, ended)
}

/// A program of this machine, at a path inside.
fn with_program(pod: Container, program: &Path, inside: &str) -> Container {
    pod.options(&["--volume", &format!("{}:{inside}:ro", program.display())])
}

#[test]
fn debian_without_git_runs_claude() {
    let (Some(image), Some(claude)) = (image("stand-in/debian"), clis::newest("claude")) else { return };
    let Some(pod) = pod(&image) else { return };
    run(with_program(pod, &claude.program, "/usr/local/bin/claude"), "claude", "text-only");
}

/// The loader, the C library and the shell are others than those the runner was built with: it has its own.
#[test]
fn an_image_with_musl_and_busybox_runs_claude() {
    let Some(image) = image("stand-in/musl") else { return };
    let libraries = podman_ok(&["run", "--rm", &image, "sh", "-c", "ls /lib/ld-musl-*; ls /lib64 /lib/*/libc.so.6 2>/dev/null; true"]);
    assert!(libraries.starts_with("/lib/ld-musl-") && libraries.lines().count() == 1, "there is glibc as well:\n{libraries}");
    let Some(pod) = pod(&image) else { return };
    run(pod, "claude", "text-only");
}

#[test]
fn an_image_with_nothing_but_the_agent_runs_codex() {
    let Some(codex) = clis::newest("codex") else { return };
    let Some(_) = image("runner") else { return };
    let context = tempfile::tempdir().unwrap();
    // Its program is mounted, not copied: it has 300 MB.
    fs::write(context.path().join("Dockerfile"), "FROM scratch\nLABEL nothing=else\n").unwrap();
    let name = "localhost/agent-runner-tests/nothing-but-codex";
    podman_ok(&["build", "--quiet", "--tag", name, context.path().to_str().unwrap()]);
    let Some(pod) = pod(name) else { return };
    let pod = with_program(pod, &codex.program, "/codex");
    run(pod.with("AGENT_PROGRAM", "/codex").with("AGENT_MODEL", "gpt-5.5"), "codex", "text-only");
}
