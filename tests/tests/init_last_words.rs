//! What is said of a runner that was killed, and by whom: init, from the memory that both share.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use agent_sdk::{termination::TerminationMessage, verdict::Phase};
use agent_tests::{
    probe::{self, Running},
    runs::wait_until,
    sandbox::{Place, only_child},
};
use nix::{
    libc,
    sys::signal::{SIGKILL, kill},
    unistd::Pid,
};

fn speaker(place: Place, file: &std::path::Path, how: &str) -> std::process::Command {
    let mut command = place.command(probe::program("init_speaker"));
    command.arg(file).arg(how).arg("--");
    command
}

#[test]
fn a_crash_leaves_what_was_said_last() {
    let directory = tempfile::tempdir().unwrap();
    let cases = [
        ("abort", 134, "signal 6 (SIGABRT)"),
        ("fault", 139, "signal 11 (SIGSEGV)"),
        ("panic", 70, "exit code 70"),
        ("leave", 9, "exit code 9"),
    ];
    for place in Place::all() {
        for (how, code, end) in cases {
            let file = directory.path().join(format!("{place:?}-{how}"));
            let output = probe::output(&mut speaker(place, &file, how));
            assert_eq!(probe::code(&output), code, "{place:?} {how}: {output:?}");
            // once: nobody was left, who could have written over it
            let said = fs::read_to_string(&file).unwrap();
            assert_eq!(said, format!("second; budget 2048; {end}; memory false\n"), "{place:?} {how}");
        }
    }
}

#[test]
fn a_runner_that_has_said_all_is_not_spoken_for() {
    let directory = tempfile::tempdir().unwrap();
    for place in Place::all() {
        let file = directory.path().join(format!("{place:?}"));
        let output = probe::output(&mut speaker(place, &file, "close"));
        assert_eq!(probe::code(&output), 134);
        assert!(!file.exists());
        let output = probe::output(speaker(place, &file, "run").arg(probe::program("init_probe")).args(["exit", "3"]));
        assert_eq!(probe::code(&output), 3);
        assert!(!file.exists());
    }
}

#[test]
fn a_killed_runner_is_spoken_for_and_its_tree_ended_in_order() {
    let directory = tempfile::tempdir().unwrap();
    for place in Place::all() {
        for how in ["group", "session"] {
            let words = directory.path().join(format!("words-{place:?}-{how}"));
            let cleaned = directory.path().join(format!("cleaned-{place:?}-{how}"));
            let mut command = speaker(place, &words, "run");
            command.arg(probe::program("init_probe")).arg("straggler").arg(&cleaned).arg(how);
            let mut running = Running::start(&mut command);
            running.expect("ready");
            let runner = only_child(place.init_of(running.child.id()));
            kill(runner, SIGKILL).unwrap();
            assert_eq!(running.finish().0, 128 + libc::SIGKILL, "{place:?} {how}");
            let line = "second; budget 2048; signal 9 (SIGKILL); memory false\n";
            // at once, and again when those who could have written over it were gone
            assert_eq!(fs::read_to_string(&words).unwrap(), line.repeat(2), "{place:?} {how}");
            assert_eq!(fs::read_to_string(&cleaned).unwrap(), "done", "{place:?} {how}");
        }
    }
}

/// A run whose setup command says that it is there, and stays.
fn in_setup(directory: &Path) -> Child {
    let mut command = Command::new(probe::runner());
    command.current_dir(directory).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", directory);
    command
        .env("AGENT_TYPE", "native")
        .env("AGENT_PROGRAM", "/bin/true")
        .env("AGENT_PROMPT", "do it")
        .env("AGENT_TERMINATION_LOG", directory.join("message"));
    command.env("AGENT_SETUP_COMMAND", r#"["sh", "-c", "touch there; exec sleep 1000"]"#).env("AGENT_GRACE", "10s");
    fs::create_dir(directory.join("tmp")).unwrap();
    command.env("TMPDIR", directory.join("tmp"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the setup command", || directory.join("there").exists());
    child
}

fn phase(directory: &Path) -> Option<Phase> {
    TerminationMessage::parse(&fs::read(directory.join("message")).unwrap()).unwrap().phase
}

#[test]
fn a_runner_that_is_killed_in_setup_is_said_to_have_come_so_far() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = in_setup(directory.path());
    kill(only_child(Pid::from_raw(child.id() as i32)), SIGKILL).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGKILL));
    assert_eq!(phase(directory.path()), Some(Phase::Setup));
}

#[test]
fn the_private_files_of_a_killed_runner_go_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = in_setup(directory.path());
    let left = || fs::read_dir(directory.path().join("tmp")).unwrap().count();
    assert_eq!(left(), 1);
    kill(only_child(Pid::from_raw(child.id() as i32)), SIGKILL).unwrap();
    child.wait().unwrap();
    assert_eq!(left(), 0);
}

#[test]
fn a_setup_that_takes_long_is_in_the_message_of_a_container_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = in_setup(directory.path());
    let init = Pid::from_raw(child.id() as i32);
    wait_until("the phase in the file", || phase(directory.path()) == Some(Phase::Setup));
    // Init first: then nobody writes last words.
    let runner = only_child(init);
    kill(init, SIGKILL).unwrap();
    child.wait().unwrap();
    // It ends the setup command and itself, since it has lost its parent; what stands is what stood.
    assert_eq!(phase(directory.path()), Some(Phase::Setup));
    wait_until("the end of the runner", || !agent_tests::sandbox::is_alive(runner));
}
