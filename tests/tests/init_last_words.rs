//! What is said of a runner that was killed, and by whom: init, from the memory that both share.

use std::fs;

use agent_tests::{
    probe::{self, Running},
    sandbox::{Place, only_child},
};
use nix::{
    libc,
    sys::signal::{SIGKILL, kill},
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
