//! Two runs in one workspace: the second waits for the first to end, or works beside it, and never takes up what that works in.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_runner::workspace::{WhenHeld, WorkspaceError};
use agent_tests::git_servers::silent;
use agent_tests::probe::{output, runner};
use agent_tests::repo::{Job, Source, git_ok};
use agent_tests::runs::wait_until;

/// The job on the directory as it is, as after a clone that somebody else made.
fn as_it_is(job: Job) -> Job {
    let mut job = job;
    job.workspace.repo = None;
    job
}

#[test]
fn a_workspace_in_which_a_run_works_is_not_taken_up_by_another() {
    let (root, source) = Source::alone();
    let job = || Job::of(&source, root.path()).on("work");
    // Whoever cloned, took up, or found it.
    let begin: [&dyn Fn() -> Job; 3] = [&job, &job, &|| as_it_is(job())];
    for begin in begin {
        let mut first = begin().begin().unwrap();
        let lock = first.dir.join(".git/index.lock");
        fs::write(&lock, "").unwrap();
        for mut second in [job(), as_it_is(job()), job().on("other")] {
            second.when_held = WhenHeld::Wait(Duration::ZERO);
            let error = second.run().unwrap_err();
            assert_eq!(error.reason().as_str(), "WorkspaceConflict");
            assert!(error.to_string().contains("another run works in it"), "{error}");
        }
        // A command that is run beside it finds the directory so, whatever its own repository would be.
        let mut of_another = job();
        of_another.workspace.repo = Some("https://git.invalid/another".to_owned());
        for mut beside in [job(), as_it_is(job()), of_another] {
            beside.when_held = WhenHeld::Share;
            assert!(beside.run().unwrap().is_shared);
        }
        assert!(lock.exists(), "what the first run's git holds locked is its own");
        assert_eq!(git_ok(&first.dir, ["symbolic-ref", "--short", "HEAD"]), "work");
        drop(first.take_hold());
        let second = job().run().unwrap();
        assert!(!lock.exists() && second.taken_up, "{:?}", second.notes);
        assert_eq!(git_ok(&second.dir, ["status", "--porcelain"]), "");
    }
}

#[test]
fn the_end_of_the_other_run_is_waited_for() {
    let (root, source) = Source::alone();
    let mut first = Job::of(&source, root.path()).run().unwrap();
    let waiting = || Job { when_held: WhenHeld::Wait(Duration::from_secs(600)), ..Job::of(&source, root.path()) };
    let is_told = |job: &Job| job.progress.lock().unwrap().iter().any(|line| line.starts_with("Held"));
    for cancelled in [true, false] {
        assert!(first.take_hold().is_none());
        first = Job::of(&source, root.path()).begin().unwrap();
        let second = waiting();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| second.run());
            wait_until("it waits", || is_told(&second));
            if cancelled {
                second.cancel.store(true, Ordering::Relaxed);
                assert!(matches!(running.join().unwrap(), Err(WorkspaceError::Cancelled)));
                drop(first.take_hold());
            } else {
                drop(first.take_hold());
                assert!(running.join().unwrap().unwrap().taken_up);
            }
        });
        assert_eq!(second.progress.lock().unwrap().iter().filter(|line| line.starts_with("Held")).count(), 1);
    }
}

#[test]
fn whoever_comes_while_another_run_clones_waits_for_what_becomes_of_it() {
    let (root, source) = Source::alone();
    let server = silent();
    let dir = root.path().join("clone");
    let first = Job::new(&format!("git://{}/r.git", server.address()), &dir);
    let second = Job::new(source.bare.to_str().unwrap(), &dir);
    std::thread::scope(|scope| {
        let cloning = scope.spawn(|| first.run());
        wait_until("it clones", || !first.progress.lock().unwrap().is_empty());
        let waiting = scope.spawn(|| second.run());
        wait_until("it waits", || second.progress.lock().unwrap().iter().any(|line| line.starts_with("Held")));
        first.cancel.store(true, Ordering::Relaxed);
        assert!(matches!(cloning.join().unwrap(), Err(WorkspaceError::Cancelled)));
        let prepared = waiting.join().unwrap().unwrap();
        assert_eq!((prepared.taken_up, prepared.head), (false, Some(source.rev("main"))));
    });
}

/// What `exec` on a directory ends with, and says: its script looks, has another `exec` look in the same directory, and looks again.
fn looked_at_thrice(dir: &Path, more: &[&str], first: &str) -> Vec<String> {
    let runner = runner().to_str().unwrap();
    let look = "echo \"[$(ls -A .claude | tr '\\n' ' ')]\"";
    let script = format!("{first} {look}; {runner} exec -- sh -c '{}'; {look}", look.replace('\'', "'\\''"));
    let mut command = Command::new(runner);
    command.current_dir(dir).args(["exec", "--type", "claude"]).args(more).args(["--", "sh", "-c", &script]).env_remove("AGENT_TYPE");
    let output = output(&mut command);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen: Vec<String> = lines.lines().filter(|line| line.starts_with('[')).map(str::to_owned).collect();
    assert_eq!(seen.len(), 3, "{lines}\n{}", String::from_utf8_lossy(&output.stderr));
    seen
}

#[test]
fn a_command_beside_an_agent_gives_it_nothing_back_that_was_set_aside() {
    // A repository.
    let (root, source) = Source::alone();
    source.commit(".claude/CLAUDE.md", "base");
    git_ok(&source.work, ["checkout", "-q", "-b", "turned"]);
    source.commit(".claude/settings.json", "{}");
    source.push();
    let turned = Job::of(&source, root.path()).on("turned").run().unwrap();
    assert_eq!(looked_at_thrice(&turned.dir, &["--base-branch", "main"], ""), ["[CLAUDE.md ]"; 3]);
    // A directory that is none.
    let plain = root.path().join("plain");
    fs::create_dir_all(plain.join(".claude")).unwrap();
    fs::write(plain.join(".claude/CLAUDE.md"), "").unwrap();
    fs::write(plain.join(".claude/settings.json"), "{}").unwrap();
    // Also if its agent makes one of it.
    for first in ["", "git init -q;"] {
        assert_eq!(looked_at_thrice(&plain, &[], first), ["[CLAUDE.md ]"; 3], "{first}");
    }
    // When the run is over it is all there again.
    assert!(plain.join(".claude/settings.json").exists() && !plain.join(".agent-runner").exists());
}
