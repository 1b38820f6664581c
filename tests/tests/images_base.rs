//! What is the same in all images, and the images of people's own agents: tried in real containers of the base and of the two examples.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_tests::containers::{Container, Ended, HARDENED, RANDOM_UID, UID, image, podman, podman_ok, rebuilt};
use agent_tests::probe;
use agent_tests::runs::{Origin, wait_until};
use agent_tests::skip::skip;

/// A shell command in the base, as a command that the runner follows.
fn shell(image: &str, script: &str) -> Container {
    Container::of(image).args(&["exec", "--", "sh", "-euc", script])
}

#[test]
fn the_runner_is_pid_1_and_its_home_and_path_can_be_used_by_every_user() {
    let Some(image) = image("base") else { return };
    for user in [UID, RANDOM_UID] {
        // The runner is two processes, and PID 1 is one of them; a program that a setup command installs is found.
        let script = r#"
            grep -q agent-runner /proc/1/cmdline
            printf '#!/bin/sh\necho found' >"$HOME/.local/bin/from-the-setup-command"; chmod +x "$HOME/.local/bin/from-the-setup-command"
            from-the-setup-command; touch "$HOME/file" /workspace/file
            echo "as $(id -u):$(id -g)""#;
        let ended = shell(&image, script).options(&["--user", user]).run();
        ended.assert("succeeded", "Completed", 0);
        assert!(ended.log.contains("found\n") && ended.log.contains(&format!("as {user}\n")), "{ended}");
    }
}

#[test]
fn nothing_of_the_hardened_root_can_be_written_and_no_capability_is_left() {
    let Some(image) = image("base") else { return };
    let script = "grep '^Cap' /proc/self/status; grep NoNewPrivs /proc/self/status; touch /usr/file 2>&1 || echo read-only";
    let ended = shell(&image, script).options(HARDENED).run();
    ended.assert("succeeded", "Completed", 0);
    let capabilities = ended.log.lines().filter(|line| line.starts_with("Cap"));
    assert!(capabilities.clone().count() == 5 && capabilities.into_iter().all(|line| line.ends_with("0000000000000000")), "{ended}");
    assert!(ended.log.contains("NoNewPrivs:\t1") && ended.log.contains("Read-only file system"), "{ended}");
}

#[test]
fn no_program_becomes_another_user_and_every_name_of_the_runner_is_the_runner() {
    let Some(image) = image("base") else { return };
    let script = r"
        find / -xdev -type f -perm /6000 -print
        for name in /kelos_entrypoint.sh /kelos/kelos-capture /kubeopencode; do test $(readlink -f $name) = /usr/local/bin/agent-runner; done
        echo looked";
    // As root, who may look into every directory.
    let ended = shell(&image, script).options(&["--user", "0:0"]).run();
    ended.assert("succeeded", "Completed", 0);
    assert_eq!(ended.log.lines().filter(|line| line.starts_with('/')).collect::<Vec<_>>(), Vec::<&str>::new(), "{ended}");
    assert!(ended.log.contains("looked"), "{ended}");
}

/// Nothing that is built differs from one build to the next. Where Debian has moved on since the image at hand was made, that one is made
/// anew too.
#[test]
fn the_same_sources_give_the_same_layers() {
    let Some(image) = image("base") else { return };
    let layers = |image: &str| podman_ok(&["image", "inspect", "--format", "{{.RootFS.Layers}}", image]);
    let packages = |image: &str| podman_ok(&["run", "--rm", "--entrypoint", "dpkg-query", image, "--show"]);
    let anew = rebuilt("base", "localhost/agent-runner-tests-anew");
    // What Debian has brought since the tests' image was built is no fault of the sources.
    let again = (packages(&image) != packages(&anew)).then(|| rebuilt("base", "localhost/agent-runner-tests-anew-2"));
    assert_eq!(layers(again.as_deref().unwrap_or(&image)), layers(&anew));
    for made in again.iter().chain([&anew]) {
        podman_ok(&["rmi", made]);
    }
}

/// Git was taken out of its package without perl: what an agent does with it still works, by https too.
#[test]
fn git_works_without_perl() {
    let Some(image) = image("base") else { return };
    let origin = Origin::start();
    let script = format!(
        r"
        ! dpkg-query --status perl 2>/dev/null; ! dpkg-query --status git 2>/dev/null
        git -c advice.detachedHead=false clone --quiet {url} repo; cd repo
        git config user.name A; git config user.email a@b; git config protocol.file.allow always
        git checkout --quiet -b work; echo more >>file1.txt; printf 'y\n' | git add --patch >/dev/null; git commit --quiet --message more
        git submodule --quiet add {url} sub; git submodule status; git commit --quiet --message sub
        git stash list; git rebase --quiet --root; git format-patch --stdout HEAD~1 | git apply --check --reverse; git bisect log || true
        git log --oneline | wc -l; git merge --quiet origin/main --allow-unrelated-histories --no-edit --strategy ours
        git push --quiet file:///tmp/none HEAD 2>&1 | grep -q 'does not appear to be a git repository'
        git ls-remote https://127.0.0.1:1/nobody.git 2>&1 | grep 'Failed to connect\|Could not connect'
        find /usr/lib/git-core -xtype l",
        url = origin.url()
    );
    let ended = shell(&image, &script).run();
    ended.assert("succeeded", "Completed", 0);
    assert!(ended.log.contains("unable to access 'https://127.0.0.1:1/nobody.git/'"), "{ended}");
}

/// The kernel's own kill, in a container that may have so much memory and no more: the agent's program takes it all, and the runner lives
/// to say so.
#[test]
fn a_real_kill_for_memory_is_told_as_one() {
    let Some(image) = image("base") else { return };
    let limits = ["--memory=96m", "--memory-swap=96m"];
    let probe = podman(&["run", "--rm", limits[0], limits[1], "--entrypoint", "true", &image]).output().unwrap();
    if !probe.status.success() {
        skip(&format!("no memory limit can be set here: {}", String::from_utf8_lossy(&probe.stderr)));
        return;
    }
    // It reads a line that has no end into memory.
    let ended = Container::of(&image)
        .options(&limits)
        .with("AGENT_PROGRAM", "/usr/bin/tail")
        .with("AGENT_EXTRA_ARGS", r#"["/dev/zero"]"#)
        .with("AGENT_PROMPT", "Take it all.")
        .run();
    ended.assert("failed", "OutOfMemory", 137);
}

/// KILL from outside, as an eviction ends: the last known state stands in the message.
#[test]
fn a_container_that_is_killed_at_once_leaves_a_valid_message() {
    let Some(image) = image("base") else { return };
    let container = shell(&image, "echo begun; sleep 1000");
    let started = container.start();
    // The message is written at most once a second; what it said last is what is left.
    wait_until("a message that says where it is", || {
        let message = std::fs::read(container.path("termination")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&message).is_ok_and(|message| message["phase"] == "agent")
    });
    started.kill("KILL");
    let ended = started.finish();
    assert_eq!(ended.code, 137, "{ended}");
    assert_eq!(ended.message["phase"], "agent", "{ended}");
}

fn greets(ended: &Ended, container: &Container) {
    ended.assert("succeeded", "Completed", 0);
    assert_eq!(container.git("repo", &["show", "work:GREETING.md"]), "Hello, world.");
    let commit = container.git("repo", &["rev-parse", "work"]);
    assert_eq!((ended.parameter("commit"), ended.parameter("commits")), (Some(commit.as_str()), Some("1")), "{ended}");
    assert_eq!((ended.parameter("input-tokens"), ended.parameter("output-tokens")), (Some("12"), Some("3")), "{ended}");
    assert!(ended.log.contains("The greeting is there."), "{ended}");
}

#[test]
fn the_examples_of_agents_of_ones_own_do_a_task() {
    let Some(_) = image("base") else { return };
    for example in ["images/example-custom", "images/example-rust"] {
        let Some(image) = image(example) else { return };
        let origin = Origin::start();
        let container = Container::of(&image)
            .options(HARDENED)
            .with("AGENT_PROMPT", "Hello, world.")
            .with("AGENT_REPO", &origin.url())
            .with("AGENT_BRANCH", "work")
            .with("AGENT_WORKSPACE_DIR", "/workspace/repo");
        greets(&container.run(), &container);
    }
}

/// The runner of the Rust example is one like ours: its own agent, and all that are built in.
#[test]
fn a_runner_with_an_agent_of_its_own_has_the_others_too() {
    let runner = probe::runner().with_file_name("example-runner");
    let output = std::process::Command::new(runner).args(["version", "--json"]).output().unwrap();
    let versions: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(versions["agents"]["greeter"], serde_json::json!(["1.0"]));
    assert!(versions["agents"]["claude"].is_array(), "{versions}");
}
