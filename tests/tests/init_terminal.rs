//! A person at a terminal: `^C`, `^Z`, `fg`, `bg`, the size of the window, and a session whose leader dies.

use std::{fs, os::unix::process::ExitStatusExt, process::Command};

use agent_tests::{
    probe,
    pty::Terminal,
    sandbox::{Place, children, is_alive, only_child},
};
use nix::{
    libc,
    sys::signal::{SIGTERM, kill},
    unistd::Pid,
};

fn probe_program() -> std::path::PathBuf {
    probe::program("init_probe")
}

/// A bash with job control, in which `run PROGRAM …` is the runner.
fn shell() -> Terminal {
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "-i"]).env("PS1", "$ ").env("PROBE", probe_program());
    command.env("RUNNER", probe::runner()).env_remove("HISTFILE").env("TERM", "dumb");
    let mut terminal = Terminal::start(&mut command);
    terminal.expect("$ ");
    // the words are split, so that the screen does not show them before they are said
    terminal.type_in("run() { \"$RUNNER\" exec -- \"$@\"; }; echo sh''ell\n");
    terminal.expect("shell");
    terminal
}

#[test]
fn control_c_is_130_and_exit_0_is_0() {
    for place in Place::all() {
        let mut terminal = Terminal::start(place.exec(probe_program()).arg("wait"));
        terminal.expect("ready");
        terminal.type_in("\x03");
        assert_eq!(terminal.finish().0.code(), Some(130), "{place:?}");

        let mut command = place.exec("bash");
        command.args(["--norc", "--noprofile", "-i"]).env("PS1", "$ ").env("TERM", "dumb");
        let mut terminal = Terminal::start(&mut command);
        terminal.expect("$ ");
        terminal.type_in("exit 0\n");
        let (status, screen) = terminal.finish();
        assert_eq!(status.code(), Some(0), "{place:?}: {screen}");
        // what bash says when the foreground was not handed over
        assert!(!screen.contains("no job control"), "{place:?}: {screen}");
    }
}

#[test]
fn the_size_of_the_window_passes() {
    for place in Place::all() {
        let mut terminal = Terminal::start(place.exec(probe_program()).arg("size"));
        terminal.expect("size 80x24");
        terminal.resize(132, 50);
        terminal.expect("size 132x50");
        terminal.type_in("\x03");
        assert_eq!(terminal.finish().0.code(), Some(130), "{place:?}");
    }
}

#[test]
fn job_control_works_in_a_shell_under_us() {
    for place in Place::all() {
        let mut command = place.exec("bash");
        command.args(["--norc", "--noprofile", "-i"]).env("PS1", "$ ").env("PROBE", probe_program());
        let mut terminal = Terminal::start(command.env("TERM", "dumb"));
        terminal.expect("$ ");
        let shell = terminal.foreground();
        terminal.type_in("\"$PROBE\" wait\n");
        terminal.expect("ready");
        terminal.type_in("\x1a");
        terminal.expect("Stopped");
        terminal.type_in("bg; jobs -r; echo bac''kground\n");
        terminal.expect("Running");
        terminal.expect("background");
        terminal.type_in("fg\n");
        terminal.expect("wait");
        // bash says the name first and hands the terminal over then; a ^C before that would be the shell's own
        let asked = std::time::Instant::now();
        while terminal.foreground() == shell {
            assert!(asked.elapsed() < probe::TOO_LONG, "fg hands the terminal over to nobody");
            std::thread::yield_now();
        }
        terminal.type_in("\x03");
        terminal.expect("$ ");
        terminal.type_in("echo \"code $?\"; exit 7\n");
        terminal.expect("code 130");
        assert_eq!(terminal.finish().0.code(), Some(7), "{place:?}");
    }
}

#[test]
fn control_z_stops_us_for_the_shell_above_us() {
    let mut terminal = shell();
    terminal.type_in("run \"$PROBE\" stop\n");
    terminal.expect("before");
    terminal.expect("Stopped");
    terminal.type_in("fg\n");
    terminal.expect("after");
    terminal.expect("$ ");
    // and the same by the keyboard
    terminal.type_in("run sh -c 'echo re\"\"ady; exec cat'\n");
    terminal.expect("ready");
    terminal.type_in("first\n");
    terminal.expect_echo("first");
    terminal.type_in("\x1a");
    terminal.expect("Stopped");
    terminal.expect("$ ");
    terminal.type_in("fg\n");
    // bash names the job when it has let go of the keyboard
    terminal.expect("exec");
    terminal.type_in("second\n");
    terminal.expect_echo("second");
    terminal.type_in("\x04");
    terminal.expect("$ ");
    terminal.type_in("echo \"code $?\"\n");
    terminal.expect("code 0");
    terminal.type_in("exit 0\n");
    assert_eq!(terminal.finish().0.code(), Some(0));
}

#[test]
fn a_run_in_the_background_gets_the_terminal_by_fg() {
    let mut terminal = shell();
    terminal.type_in("run cat &\n");
    // it reads, and is stopped for it as every job in the background is
    terminal.type_in("while ! jobs -s | grep -q run; do :; done; echo sto''pped\n");
    terminal.expect("stopped");
    terminal.expect("$ ");
    terminal.type_in("fg\n");
    // bash names the job when it has let go of the keyboard
    terminal.expect("run cat");
    terminal.type_in("hello\n");
    terminal.expect_echo("hello");
    terminal.type_in("\x03");
    terminal.expect("$ ");
    terminal.type_in("echo \"code $?\"\n");
    terminal.expect("code 130");
    terminal.type_in("exit 0\n");
    assert_eq!(terminal.finish().0.code(), Some(0));
}

#[test]
fn control_z_where_no_shell_can_say_fg_does_not_stop_for_ever() {
    for place in Place::all() {
        let mut terminal = Terminal::start(place.exec(probe_program()).arg("stop"));
        terminal.expect("before");
        terminal.expect("after");
        assert_eq!(terminal.finish().0.code(), Some(0), "{place:?}");
    }
}

#[test]
fn a_hangup_of_our_terminal_ends_the_run() {
    let mut terminal = Terminal::start(Place::Plain.exec(probe_program()).arg("wait"));
    terminal.expect("ready");
    let status = terminal.hang_up();
    assert_eq!(status.code(), Some(128 + libc::SIGHUP), "{:?}", status.signal());
}

#[test]
fn a_session_leader_that_dies_does_not_end_a_run_without_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let mut leader = Command::new(probe_program());
    leader.arg("session-leader").arg(&file).arg(probe::runner()).args(["exec", "--"]).arg(probe_program()).arg("wait");
    let terminal = Terminal::start(&mut leader);
    assert_eq!(terminal.finish().0.code(), Some(0));
    let text = fs::read_to_string(&file).unwrap();
    let agent = Pid::from_raw(text.lines().find_map(|line| line.strip_prefix("ready ")).unwrap().parse().unwrap());
    let init = parent(parent(agent));
    // HUP and CONT have been sent by the time the leader could be waited for; a signal that comes after them is seen after them
    kill(init, nix::sys::signal::SIGWINCH).unwrap();
    assert!(is_alive(init) && is_alive(agent));
    let runner = only_child(init);
    assert_eq!(children(runner), [agent]);
    kill(init, SIGTERM).unwrap();
    let started = std::time::Instant::now();
    while is_alive(init) || is_alive(agent) {
        assert!(started.elapsed() < probe::TOO_LONG, "no end");
        std::thread::yield_now();
    }
}

#[allow(clippy::unwrap_used, reason = "a part of a test")]
fn parent(pid: Pid) -> Pid {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(") ").next().unwrap();
    Pid::from_raw(fields.split(' ').nth(1).unwrap().parse().unwrap())
}

#[test]
fn a_program_that_does_not_start_leaves_the_terminal_to_the_next() {
    let mut command = Command::new("bash");
    // no job control, so this shell takes nothing back by itself
    command.args(["-c", "\"$RUNNER\" exec -- /nonexistent; echo code $?; read line; echo got $line"]).env("RUNNER", probe::runner());
    let mut terminal = Terminal::start(&mut command);
    terminal.expect("code 127");
    terminal.type_in("hello\n");
    terminal.expect("got hello");
    assert_eq!(terminal.finish().0.code(), Some(0));
}
