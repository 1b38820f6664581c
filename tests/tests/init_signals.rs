//! What a signal does, what a program is started with, and the code that comes back: tini's, dumb-init's and catatonit's
//! own lists, as an ordinary process and as PID 1.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::fd::IntoRawFd,
    process::{Command, Stdio},
    thread,
};

use agent_tests::{
    probe::{self, Running},
    sandbox::{Place, only_child},
};
use nix::{libc, sys::signal::kill, unistd::Pid};

const ENDS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

fn probe_program() -> std::path::PathBuf {
    probe::program("init_probe")
}

/// Everything that can be caught, except SIGCHLD, which is about init's own children.
fn catchable() -> BTreeSet<i32> {
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    let mut signals: BTreeSet<i32> = (1..=31).chain(real_time).collect();
    for uncaught in [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD] {
        signals.remove(&uncaught);
    }
    signals
}

fn send(to: Pid, signal: i32) {
    // SAFETY: kill takes two integers.
    assert_eq!(unsafe { libc::kill(to.as_raw(), signal) }, 0, "signal {signal}");
}

#[test]
fn every_catchable_signal_reaches_the_whole_group() {
    for place in Place::all() {
        for end in ENDS {
            let mut running = Running::start(place.exec(probe_program()).arg("signals").stdin(Stdio::null()));
            let mut ready = [running.expect(""), running.expect("")];
            ready.sort();
            assert_eq!(ready, ["child ready", "parent ready"]);
            let init = place.init_of(running.child.id());
            for signal in catchable().into_iter().filter(|signal| !ENDS.contains(signal)) {
                send(init, signal);
                let mut got = [running.expect(""), running.expect("")];
                got.sort();
                assert_eq!(got, [format!("child {signal}"), format!("parent {signal}")], "{place:?}");
            }
            send(init, end);
            let (code, seen) = running.finish();
            assert_eq!(code, 0, "{place:?}, signal {end}");
            for name in ["child", "parent"] {
                assert!(seen.contains(&format!("{name} {end}")), "{place:?}: {seen:?}");
            }
        }
    }
}

#[test]
fn every_exit_code_comes_back() {
    for place in Place::all() {
        for code in 0..=255 {
            let output = probe::output(place.exec(probe_program()).args(["exit", &code.to_string()]));
            assert_eq!(probe::code(&output), code, "{place:?}");
        }
    }
}

#[test]
fn a_deadly_signal_comes_back_as_128_plus_its_number() {
    // these do not kill: ignored, or stops
    let harmless = [libc::SIGCONT, libc::SIGURG, libc::SIGWINCH, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let deadly: Vec<i32> = catchable().into_iter().filter(|signal| !harmless.contains(signal)).chain([libc::SIGKILL]).collect();
    for place in Place::all() {
        for signal in &deadly {
            let output = probe::output(place.exec(probe_program()).args(["die", &signal.to_string()]));
            assert_eq!(probe::code(&output), 128 + signal, "{place:?}");
            assert!(output.stdout.is_empty(), "signal {signal} did not kill");
        }
    }
}

#[test]
fn what_cannot_be_started_is_126_or_127_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, executable).unwrap();
    let script = script.to_str().unwrap();
    let cases = [
        ("no-such-program-anywhere", 127, "`no-such-program-anywhere` was not found", "PATH is"),
        ("/no/such/file", 127, "`/no/such/file` was not found", "not a file in this image"),
        ("/etc/passwd", 126, "`/etc/passwd` cannot be executed", "chmod a+x /etc/passwd"),
        ("/etc", 126, "`/etc` cannot be executed", "chmod"),
        (script, 126, "needs `/no/such/interpreter`", "install `/no/such/interpreter`"),
        ("", 127, "`` was not found", "PATH is"),
    ];
    for place in Place::all() {
        for (program, code, message, hint) in cases {
            let output = probe::output(&mut place.exec(program));
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(probe::code(&output), code, "{place:?} `{program}`: {text}");
            assert!(text.contains(message) && text.contains("\n\nhint: ") && text.contains(hint), "{text}");
        }
    }
}

#[test]
fn a_program_starts_with_a_clean_slate() {
    for place in Place::all() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = place.exec(probe_program());
        // a descriptor that a careless parent lets through
        let leaked = fs::File::open("/dev/null").unwrap().into_raw_fd();
        // SAFETY: our own descriptor; the child of this test inherits it by this.
        assert_eq!(unsafe { libc::fcntl(leaked, libc::F_SETFD, 0) }, 0);
        command.arg("state").current_dir(&directory).env_clear().env("ONE", "1").env("TWO", "a b");
        let output = probe::output(&mut command);
        // SAFETY: the descriptor made above; nobody else has it.
        drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(leaked) });
        assert_eq!(probe::code(&output), 0);
        let own_score = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let expected = format!(
            "fds:[0, 1, 2]\ncwd:{}\nleads its group:true\noom_score_adj:{}\nenv:[\"ONE=1\", \"PWD={}\", \"TWO=a b\"]\n",
            directory.display(),
            own_score.trim(),
            directory.display(),
        );
        // the word for its results, a home and a committer's name are what the runner adds, and where it starts
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (before, variables) = text.trim_end().split_once("env:[").unwrap();
        let added = ["AGENT_NONCE=", "AGENT_RESULTS_DIR=", "GIT_CONFIG_", "HOME="];
        let kept = variables
            .trim_end_matches(']')
            .split(", ")
            .filter(|pair| !added.iter().any(|name| pair.trim_start_matches('"').starts_with(name)));
        let text = format!("{before}env:[{}]\n", kept.collect::<Vec<_>>().join(", "));
        assert_eq!(text, expected, "{place:?}");
    }
}

#[test]
fn no_signal_is_ignored_blocked_or_caught_in_a_program_without_a_runtime() {
    for place in Place::all() {
        // the worst that a parent may leave behind: signals ignored, signals blocked
        let mut command = place.exec("/bin/cat");
        let mut ignored = nix::sys::signal::SigSet::empty();
        ignored.add(nix::sys::signal::SIGUSR1);
        // SAFETY: system calls only, between fork and exec.
        unsafe {
            std::os::unix::process::CommandExt::pre_exec(&mut command, move || {
                libc::signal(libc::SIGUSR2, libc::SIG_IGN);
                libc::signal(libc::SIGPIPE, libc::SIG_IGN);
                nix::sys::signal::sigprocmask(nix::sys::signal::SigmaskHow::SIG_BLOCK, Some(&ignored), None)?;
                Ok(())
            });
        }
        let output = probe::output(command.arg("/proc/self/status"));
        let text = String::from_utf8_lossy(&output.stdout);
        for field in ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"] {
            assert!(text.contains(&format!("{field}:\t0000000000000000\n")), "{place:?}: {text}");
        }
    }
}

#[test]
fn stdin_and_stdout_pass_byte_for_byte() {
    for place in Place::all() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 253) as u8).collect();
        let mut child = place.exec("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let sent = bytes.clone();
        let writer = thread::spawn(move || stdin.write_all(&sent));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(probe::code(&output), 0);
        assert!(output.stdout == bytes, "{} bytes came of {}", output.stdout.len(), bytes.len());
    }
}

#[test]
fn a_reader_that_leaves_does_not_hurt_the_program() {
    for place in Place::all() {
        let mut command = place.exec(probe_program());
        let mut child = command.args(["flood", "4096"]).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{place:?}");
    }
}

#[test]
fn a_signal_for_nobody_is_not_fatal() {
    for place in Place::all() {
        // the group ends by the first of the two, and the second finds nobody (ESRCH)
        let mut running = Running::start(place.exec(probe_program()).arg("wait"));
        running.expect("ready");
        let init = place.init_of(running.child.id());
        for _ in 0..50 {
            // may find the init itself gone
            let _ = kill(init, nix::sys::signal::SIGUSR1);
        }
        let (code, _) = running.finish();
        assert_eq!(code, 128 + libc::SIGUSR1, "{place:?}");
    }
}

/// Only the older architectures have it.
#[cfg(target_arch = "x86_64")]
const EPOLL_WAIT: i64 = libc::SYS_epoll_wait;
#[cfg(not(target_arch = "x86_64"))]
const EPOLL_WAIT: i64 = libc::SYS_epoll_pwait;

#[test]
fn nothing_wakes_an_idle_init() {
    let mut running = Running::start(Place::Plain.exec(probe_program()).arg("wait"));
    running.expect("ready");
    let init = Place::Plain.init_of(running.child.id());
    let runner = only_child(init);
    // asleep for good: init in sigtimedwait without a time, the runner in epoll without one (-1, an int)
    let sleep_of = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let is = |text: &str, call: i64, argument: usize, values: [&str; 2]| {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        fields.first() == Some(&call.to_string().as_str()) && fields.get(argument).is_some_and(|value| values.contains(value))
    };
    let forever = ["0xffffffff", "0xffffffffffffffff"];
    let started = std::time::Instant::now();
    loop {
        let (one, two) = (sleep_of(init), sleep_of(runner));
        let in_epoll = is(&two, EPOLL_WAIT, 4, forever) || is(&two, libc::SYS_epoll_pwait, 4, forever);
        if is(&one, libc::SYS_rt_sigtimedwait, 3, ["0x0"; 2]) && in_epoll {
            break;
        }
        assert!(started.elapsed() < probe::TOO_LONG, "init: {one}, runner: {two}");
        thread::yield_now();
    }
    send(init, libc::SIGTERM);
    assert_eq!(running.finish().0, 128 + libc::SIGTERM);
}

#[test]
fn bad_usage_is_64() {
    for arguments in [&["exec"][..], &["exec", "--"], &["exec", "true"]] {
        let output = probe::output(Command::new(probe::runner()).args(arguments));
        assert_eq!(probe::code(&output), 64, "{arguments:?}");
    }
}

/// A shell's `trap '' CHLD`, and many a daemon, leave it so to what they start.
#[test]
fn a_sigchld_that_our_parent_ignored_keeps_no_end_from_us() {
    let mut command = Command::new("env");
    command.arg("--ignore-signal=CHLD").arg(probe::runner()).args(["exec", "--", "sh", "-c", "exit 3"]).stdin(Stdio::null());
    assert_eq!(Running::start(&mut command).finish().0, 3);
}

/// `nohup` says so, and a shell that goes sends it all the same.
#[test]
fn a_hangup_that_our_parent_ignores_ends_nothing() {
    let mut command = Command::new("env");
    let script = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    command.arg("--ignore-signal=HUP").arg(probe::runner()).args(["exec", "--", "sh", "-c", script]).stdin(Stdio::null());
    let mut running = Running::start(&mut command);
    running.expect("ready");
    let init = Pid::from_raw(running.child.id() as i32);
    send(init, libc::SIGHUP);
    // Of what waits the lowest number comes first.
    send(init, libc::SIGUSR1);
    assert_eq!(running.finish().0, 7);
}
