//! How a run ends: grace for whoever cleans up, an end for whoever does not, wherever it went; and orphans by the thousand.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use agent_sdk::{termination::TerminationMessage, verdict::Reason};
use agent_tests::{
    probe::{self, Running},
    sandbox::{Place, is_alive, namespaces_work, only_child, sandbox},
    skip::skip,
};
use nix::{
    libc,
    sys::{
        signal::{SIGINT, SIGKILL, SIGTERM, kill},
        stat::Mode,
    },
    unistd::{Pid, geteuid, mkfifo},
};

/// Long enough that a test which waits for it fails.
const FOR_EVER: &str = "1000s";

/// Somebody who ignores TERM has this.
const SHORT: &str = "100ms";

fn probe_program() -> std::path::PathBuf {
    probe::program("init_probe")
}

#[test]
fn a_hundred_thousand_orphans_leave_no_zombie() {
    for place in Place::all() {
        let running = Running::start(place.exec(probe_program()).args(["orphans", "100000", "8"]));
        let (code, seen) = running.finish_within(Duration::from_secs(600));
        assert_eq!((code, seen), (0, vec!["zombies:0".to_owned()]), "{place:?}");
    }
}

#[test]
fn whoever_cleans_up_on_term_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    for place in Place::all() {
        for how in ["group", "session"] {
            let file = directory.path().join(format!("{place:?}-{how}"));
            let mut command = place.exec(probe_program());
            command.env("AGENT_GRACE", FOR_EVER).arg("straggler").arg(&file).arg(how);
            let mut running = Running::start(&mut command);
            running.expect("ready");
            kill(place.init_of(running.child.id()), SIGTERM).unwrap();
            let (code, _) = running.finish();
            assert_eq!(code, 128 + libc::SIGTERM, "{place:?} {how}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "done", "{place:?} {how}");
        }
    }
}

#[test]
fn whoever_is_left_by_a_program_that_leaves_cleans_up_too() {
    let directory = tempfile::tempdir().unwrap();
    for place in Place::all() {
        for how in ["group-alone", "session-alone"] {
            let file = directory.path().join(format!("{place:?}-{how}"));
            let mut command = place.exec(probe_program());
            command.env("AGENT_GRACE", FOR_EVER).arg("straggler").arg(&file).arg(how);
            assert_eq!(probe::code(&probe::output(&mut command)), 5, "{place:?} {how}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "done", "{place:?} {how}");
        }
    }
}

#[test]
fn a_proc_that_hides_init_hides_nobody_of_the_tree() {
    if !namespaces_work() || !geteuid().is_root() {
        return skip("a `/proc` that hides needs a PID namespace and another user (root)");
    }
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path(), 0o777);
    let file = directory.path().join("file");
    let mut command = sandbox(&["--user", "1879048188", "--proc", "hidden"], probe::runner());
    command.args(["exec", "--"]).arg(probe_program()).arg("straggler").arg(&file).arg("session-alone").env("AGENT_GRACE", FOR_EVER);
    assert_eq!(probe::code(&probe::output(&mut command)), 5);
    assert_eq!(fs::read_to_string(&file).unwrap(), "done");
}

#[test]
fn a_proc_of_another_namespace_is_not_believed() {
    if !namespaces_work() {
        return skip("no PID namespace may be made here");
    }
    let directory = tempfile::tempdir().unwrap();
    let message = directory.path().join("message");
    let mut command = sandbox(&["--proc", "foreign"], probe::runner());
    command.args(["exec", "--"]).arg(probe_program()).args(["exit", "5"]).env("AGENT_GRACE", SHORT).env("AGENT_TERMINATION_LOG", &message);
    assert_eq!(probe::code(&probe::output(&mut command)), 5);
    let message = TerminationMessage::parse(&fs::read(message).unwrap()).unwrap();
    assert!(!message.warnings.iter().any(|warning| warning.contains("could not be ended")), "{:?}", message.warnings);
}

#[test]
fn what_comes_when_the_program_has_ended_is_not_why_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    for place in Place::all() {
        let message = directory.path().join(format!("{place:?}"));
        let mut command = place.exec("sh");
        // It says that it was asked, and lives on until the grace is over.
        command.args(["-c", "(trap 'echo asked' TERM; echo ready; while :; do sleep 0.1; done) & read x < $FIFO; exit 3"]);
        command.env("AGENT_GRACE", "6s").env("AGENT_TERMINATION_LOG", &message);
        let fifo = directory.path().join(format!("{place:?}-fifo"));
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let mut running = Running::start(command.env("FIFO", &fifo));
        running.expect("ready");
        fs::write(&fifo, "\n").unwrap();
        running.expect("asked");
        kill(place.init_of(running.child.id()), SIGTERM).unwrap();
        assert_eq!(running.finish().0, 3, "{place:?}");
        let message = TerminationMessage::parse(&fs::read(message).unwrap()).unwrap();
        assert_eq!(message.reason, Reason::AgentFailed, "{place:?}");
    }
}

#[test]
fn a_signal_after_the_deadline_is_not_why_the_setup_ended() {
    let directory = tempfile::tempdir().unwrap();
    let message = directory.path().join("message");
    let setup = serde_json::json!(["sh", "-c", "trap 'echo asked' TERM; while :; do sleep 0.1; done"]).to_string();
    // What a setup command prints goes to stderr.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(probe::runner());
    command.args(["setup", "--type", "native", "--program", "true", "--timeout", "6s", "--grace", "1s", "--setup-command", &setup]);
    let mut running = Running::start(command.env("AGENT_TERMINATION_LOG", &message).current_dir(directory.path()));
    running.expect("asked");
    kill(Place::Plain.init_of(running.child.id()), SIGTERM).unwrap();
    assert_eq!(running.finish().0, 124);
    let message = TerminationMessage::parse(&fs::read(message).unwrap()).unwrap();
    assert_eq!(message.reason, Reason::DeadlineExceeded);
}

#[test]
fn an_agent_that_calls_itself_done_when_it_is_cancelled_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let agent = directory.path().join("agent");
    let script =
        "#!/bin/sh\ntrap 'echo \"{\\\"type\\\":\\\"ended\\\",\\\"succeeded\\\":true}\"' TERM\necho ready\nwhile :; do sleep 0.1; done\n";
    fs::write(&agent, script).unwrap();
    open_to_all(&agent, 0o755);
    let message = directory.path().join("message");
    let mut command = Command::new(probe::runner());
    command.args(["run", "--type", "native", "--prompt", "x", "--linger", "10ms", "--grace", "1s", "--program"]).arg(agent);
    let mut running = Running::start(command.env("AGENT_TERMINATION_LOG", &message).current_dir(directory.path()));
    running.expect("ready");
    kill(Place::Plain.init_of(running.child.id()), SIGTERM).unwrap();
    assert_eq!(running.finish().0, 143);
    let message = TerminationMessage::parse(&fs::read(message).unwrap()).unwrap();
    assert_eq!(message.reason, Reason::Cancelled);
}

#[test]
fn a_grandchild_that_holds_the_pipe_and_ignores_term_is_ended() {
    for place in Place::all() {
        for how in ["group", "session", "leaderless"] {
            let mut command = place.exec(probe_program());
            let running = Running::start(command.env("AGENT_GRACE", SHORT).args(["holder", how]));
            let (code, seen) = running.finish();
            assert_eq!(code, 6, "{place:?} {how}");
            let [line] = &seen[..] else { panic!("{seen:?}") };
            if place == Place::Plain {
                let holder = line.strip_prefix("holder ").unwrap().parse().unwrap();
                assert!(!is_alive(Pid::from_raw(holder)), "{how}: {holder} is alive");
            }
        }
    }
}

#[test]
fn a_second_term_or_int_drops_the_grace() {
    for place in Place::all() {
        for (first, second) in [(SIGTERM, SIGTERM), (SIGINT, SIGTERM), (SIGTERM, SIGINT)] {
            let mut command = place.exec(probe_program());
            let mut running = Running::start(command.env("AGENT_GRACE", FOR_EVER).args(["deaf"]));
            running.expect("ready");
            let init = place.init_of(running.child.id());
            kill(init, first).unwrap();
            // it says so when it has it: two signals of a kind at once would be one
            running.expect(&format!("got {}", first as i32));
            kill(init, second).unwrap();
            let (code, _) = running.finish();
            assert_eq!(code, 128 + libc::SIGKILL, "{place:?} {first} {second}");
        }
    }
}

#[test]
fn a_deaf_program_is_killed_when_the_grace_is_over() {
    for place in Place::all() {
        let mut command = place.exec(probe_program());
        let mut running = Running::start(command.env("AGENT_GRACE", SHORT).args(["deaf"]));
        running.expect("ready");
        kill(place.init_of(running.child.id()), SIGTERM).unwrap();
        assert_eq!(running.finish().0, 128 + libc::SIGKILL, "{place:?}");
    }
}

#[test]
fn a_stopped_program_ends_too() {
    for place in Place::all() {
        let mut command = place.exec(probe_program());
        let mut running = Running::start(command.env("AGENT_GRACE", FOR_EVER).arg("wait"));
        running.expect("ready");
        let init = place.init_of(running.child.id());
        let agent = only_child(only_child(init));
        kill(agent, nix::sys::signal::SIGSTOP).unwrap();
        kill(init, SIGTERM).unwrap();
        assert_eq!(running.finish().0, 128 + libc::SIGTERM, "{place:?}");
    }
}

#[test]
fn a_fork_storm_under_a_limit_of_processes_is_ended() {
    if !namespaces_work() || !geteuid().is_root() {
        return skip("a storm needs a PID namespace and a user of its own (root)");
    }
    // the limit counts per user, and this one has no other processes
    let mut command = sandbox(&["--user", "1879048190", "--processes", "150"], probe::runner());
    command.args(["exec", "--"]).arg(probe_program()).arg("storm").env("AGENT_GRACE", SHORT);
    let mut running = Running::start(&mut command);
    running.expect("full");
    let init = Place::PidOne.init_of(running.child.id());
    kill(init, SIGTERM).unwrap();
    // it holds our stdout too, so this would not end if one of them lived
    assert_eq!(running.finish().0, 128 + libc::SIGKILL);
}

#[test]
fn a_program_that_we_may_not_signal_does_not_hold_us() {
    if !namespaces_work() || !geteuid().is_root() {
        return skip("a program of another user needs root");
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    open_to_all(directory.path(), 0o755);
    let rooted = directory.path().join("rooted");
    // Not by our own hands: a process that another test forks meanwhile would keep it open, and what is being written does not start.
    assert!(Command::new("cp").arg(probe_program()).arg(&rooted).status().unwrap().success());
    open_to_all(&rooted, 0o4755);
    let mut command = sandbox(&["--user", "65534"], probe::runner());
    command.args(["exec", "--"]).arg(&rooted).arg("root-for-good").env("AGENT_GRACE", SHORT);
    let mut running = Running::start(&mut command);
    running.expect("ready");
    let init = Place::PidOne.init_of(running.child.id());
    kill(init, SIGTERM).unwrap();
    assert_eq!(running.finish().0, 128 + libc::SIGKILL);
}

#[test]
fn the_end_of_init_ends_the_run_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("straggler");
    let mut command = Place::Plain.exec(probe_program());
    command.env("AGENT_GRACE", FOR_EVER).arg("straggler").arg(&file).arg("group");
    let mut running = Running::start(&mut command);
    running.expect("ready");
    let init = Place::Plain.init_of(running.child.id());
    kill(init, SIGKILL).unwrap();
    // the end of the pipe: nobody is left who could write
    running.expect_end();
    assert_eq!(fs::read_to_string(&file).unwrap(), "done");
}

#[test]
fn the_end_of_inits_parent_ends_the_run_where_that_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("words");
    // `sh` does something after it, so that it stays and is the parent
    let mut command = Command::new("sh");
    command.args(["-c", "\"$@\" & echo \"init $!\"; wait; :", "sh"]);
    command.arg(probe::program("init_speaker")).arg(&file).args(["parent", "--"]);
    command.arg(probe_program()).arg("wait").stdin(Stdio::null());
    let mut running = Running::start(&mut command);
    running.expect("ready");
    running.child.kill().unwrap();
    running.expect_end();
}

#[test]
fn whoever_came_from_outside_is_spared() {
    if !namespaces_work() {
        return skip("no PID namespace may be made here");
    }
    let mut running = Running::start(Place::PidOne.exec(probe_program()).arg("wait"));
    running.expect("ready");
    let init = Place::PidOne.init_of(running.child.id());
    // as `kubectl exec` does it: parent 0 for those within
    let mut guest = Command::new("nsenter");
    guest.args(["--pid", "--mount", "--target", &init.to_string()]);
    guest.arg(probe_program()).arg("deaf");
    let mut guest = Running::start(&mut guest);
    guest.expect("ready");
    kill(init, SIGTERM).unwrap();
    assert_eq!(running.finish().0, 128 + libc::SIGTERM);
    // the namespace has ended and so has the guest, by the kernel's KILL; but nobody had asked it before to end
    guest.expect_end();
    assert!(!guest.seen.iter().any(|line| line.starts_with("got")), "{:?}", guest.seen);
}

#[allow(clippy::unwrap_used, reason = "a part of a test")]
fn open_to_all(path: &std::path::Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).unwrap();
}
