//! A program to be started by the runner: it shows what it was started with, and behaves well or badly as told.
//!
//! What it says goes to stdout, a line at a time. It says `ready` when it is in the state that the test is about, so that no
//! test needs to wait for a time.

#![allow(clippy::unwrap_used, reason = "a fixture: whatever is unexpected here is a failed test")]

use std::{
    env, fs,
    io::{Read, Write, stdin, stdout},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::{Command, exit},
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::{
        signal::{SigHandler, SigSet, SigmaskHow, Signal, raise, signal, sigprocmask},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, getpgrp, getpid, getppid, pause, pipe, setsid},
};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["exit", code] => exit(number(code)),
        ["die", signal] => die(number(signal)),
        ["state"] => show_state(),
        ["signals"] => show_signals(),
        ["wait"] => wait_for_a_signal(),
        ["deaf"] => hear_and_stay(),
        ["orphans", count, workers] => leave_orphans(number(count), number(workers)),
        ["straggler", file, how] => leave_straggler(file, how),
        ["holder", how] => leave_holder(how),
        ["storm"] => storm(),
        ["size"] => show_size(),
        ["stop"] => stop_and_go_on(),
        ["flood", lines] => flood(number(lines)),
        ["digest"] => digest_stdin(),
        ["root-for-good"] => become_root_for_good(),
        ["session-leader", ..] => lead_a_session(&arguments[1..]),
        _ => panic!("init_probe knows no {arguments:?}"),
    }
}

fn number(text: &str) -> i32 {
    text.parse().unwrap()
}

fn say(line: impl std::fmt::Display) {
    // one write per line, so that lines of several processes do not mix
    stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
    stdout().flush().unwrap();
}

/// Forks; true in the child.
fn is_child() -> bool {
    // SAFETY: this program has no threads.
    matches!(unsafe { fork() }.unwrap(), ForkResult::Child)
}

fn die(number: i32) {
    // SAFETY: the default action runs no code of ours.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        // a core file would be litter
        libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
        libc::raise(number);
    }
    say("still alive");
}

/// What an exec leaves to a program.
fn show_state() {
    // the directory that is being read has a descriptor itself
    let mut open: Vec<i32> =
        fs::read_dir("/proc/self/fd").unwrap().map(|entry| number(entry.unwrap().file_name().to_str().unwrap())).collect();
    open.sort_unstable();
    open.pop();
    say(format!("fds:{open:?}"));
    say(format!("cwd:{}", env::current_dir().unwrap().display()));
    say(format!("leads its group:{}", getpgrp() == getpid()));
    say(format!("oom_score_adj:{}", fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim()));
    let mut variables: Vec<String> = env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    variables.sort();
    say(format!("env:{variables:?}"));
}

/// Says the number of every signal that comes, and so does a child in the same group. TERM, INT, QUIT and HUP end both.
fn show_signals() {
    let all = SigSet::all();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None).unwrap();
    let name = if is_child() { "child" } else { "parent" };
    say(format!("{name} ready"));
    loop {
        let mut signal = 0;
        // SAFETY: both are valid for the call.
        unsafe { libc::sigwait(all.as_ref(), &raw mut signal) };
        // the parent's own child
        if signal == libc::SIGCHLD {
            continue;
        }
        say(format!("{name} {signal}"));
        if [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP].contains(&signal) {
            exit(0);
        }
    }
}

/// Lives until a signal ends it, as most programs do.
fn wait_for_a_signal() {
    say(format!("ready {}", getpid()));
    loop {
        pause();
    }
}

/// Hears TERM, INT and HUP, says so, and does not care.
fn hear_and_stay() {
    let heard: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&heard), None).unwrap();
    say("ready");
    loop {
        let signal = heard.wait().unwrap();
        say(format!("got {}", signal as i32));
    }
}

/// Leaves `count` grandchildren without a parent, from several workers at once, and ends when all of them are dead and
/// buried.
fn leave_orphans(count: i32, workers: i32) {
    let (reader, writer) = pipe().unwrap();
    for worker in 0..workers {
        if is_child() {
            drop(reader);
            for _ in 0..count / workers + i32::from(worker < count % workers) {
                if is_child() {
                    // the orphan holds the pipe until it is dead; it has no time to do anything else
                    let alone = is_child();
                    // SAFETY: ends this process, at once.
                    unsafe { libc::_exit(i32::from(!alone)) };
                }
                // exactly one, so the number of processes stays small
                waitpid(None, None).unwrap();
            }
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
    }
    drop(writer);
    // the end of the pipe: none of them is alive
    fs::File::from(reader).read_to_end(&mut Vec::new()).unwrap();
    for _ in 0..workers {
        waitpid(None, None).unwrap();
    }
    let init = parent_of(getppid());
    let started = Instant::now();
    let mut zombies = count_zombies(init);
    while zombies > 0 && started.elapsed() < Duration::from_secs(30) {
        thread::yield_now();
        zombies = count_zombies(init);
    }
    say(format!("zombies:{zombies}"));
}

fn count_zombies(parent: i32) -> usize {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| stat.rsplit(") ").next().unwrap().starts_with(&format!("Z {parent} ")))
        .count()
}

fn parent_of(pid: Pid) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    number(stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap())
}

/// A grandchild that cleans up after itself on TERM: it takes its time, and then writes `done` to a file.
fn leave_straggler(file: &str, how: &str) {
    let (mut ready, tell) = pair();
    if is_child() {
        if how.contains("session") {
            setsid().unwrap();
        }
        let term: SigSet = [Signal::SIGTERM].into_iter().collect();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&term), None).unwrap();
        drop(tell);
        term.wait().unwrap();
        // the time that cleaning up takes; and a program that is part of it must not be ended by the same TERM
        let status = Command::new("/bin/sleep").arg("0.3").status();
        let word = if status.is_ok_and(|status| status.success()) { "done" } else { "disturbed" };
        fs::write(file, word).unwrap();
        exit(0);
    }
    drop(tell);
    ready.read_to_end(&mut Vec::new()).unwrap();
    if how.contains("alone") {
        exit(5);
    }
    wait_for_a_signal();
}

/// A pipe whose reader ends when the last writer has let go.
fn pair() -> (fs::File, OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    (reader.into(), writer)
}

/// A grandchild that ignores TERM and keeps stdout open.
fn leave_holder(how: &str) {
    let (mut ready, tell) = pair();
    if is_child() {
        if how != "group" {
            setsid().unwrap();
        }
        for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            // SAFETY: ignoring runs no code of ours.
            unsafe { signal(ignored, SigHandler::SigIgn) }.unwrap();
        }
        if how == "leaderless" {
            live_without_a_leader(tell);
        }
        hold(tell);
    }
    drop(tell);
    ready.read_to_end(&mut Vec::new()).unwrap();
    exit(6);
}

fn hold(tell: OwnedFd) -> ! {
    say(format!("holder {}", getpid()));
    drop(tell);
    loop {
        pause();
    }
}

/// Goes on in a thread when the first one has ended: the process table then shows the state of a zombie.
fn live_without_a_leader(tell: OwnedFd) -> ! {
    thread::spawn(move || {
        while !fs::read_to_string(format!("/proc/{}/stat", getpid())).unwrap().contains(") Z ") {
            thread::yield_now();
        }
        hold(tell);
    });
    // SAFETY: ends this thread alone, by the raw call; nothing of its stack is used any more, since what the other one needs was moved
    // there.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("this thread has ended");
}

/// Forks for ever, each in a session of its own and deaf to TERM, and dies to be an orphan's parent.
fn storm() {
    for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // SAFETY: ignoring runs no code of ours.
        unsafe { signal(ignored, SigHandler::SigIgn) }.unwrap();
    }
    let first = getpid();
    let mut is_full = false;
    loop {
        // SAFETY: this program has no threads.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                // fails for nobody who was just forked
                let _ = setsid();
            }
            Ok(ForkResult::Parent { .. }) => {
                // SAFETY: no children of interest; who comes now is reaped by the kernel.
                unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            }
            Err(_) if getpid() == first => {
                if !is_full {
                    say("full");
                }
                is_full = true;
            }
            // a third of us makes place for others, and orphans
            Err(_) if getpid().as_raw() % 3 == 0 => exit(0),
            Err(_) => thread::yield_now(),
        }
    }
}

/// Says the terminal's size, now and whenever it changes.
fn show_size() {
    let change: SigSet = [Signal::SIGWINCH].into_iter().collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&change), None).unwrap();
    loop {
        // SAFETY: all zeroes is a valid winsize.
        let mut size: libc::winsize = unsafe { std::mem::zeroed() };
        // SAFETY: the call fills the winsize.
        let answer = unsafe { libc::ioctl(stdin().as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
        assert_eq!(answer, 0);
        say(format!("size {}x{}", size.ws_col, size.ws_row));
        change.wait().unwrap();
    }
}

/// Stops itself as an editor does on `^Z`, and says when it was continued.
fn stop_and_go_on() {
    say("before");
    raise(Signal::SIGTSTP).unwrap();
    say("after");
}

/// Writes so many lines of 1 KiB and leaves.
fn flood(lines: i32) {
    let mut line = [b'x'; 1024];
    line[1023] = b'\n';
    for _ in 0..lines {
        stdout().write_all(&line).unwrap();
    }
}

/// Says how many bytes came and their sum.
fn digest_stdin() {
    let mut bytes = Vec::new();
    stdin().read_to_end(&mut bytes).unwrap();
    let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
    say(format!("{} bytes, sum {sum}", bytes.len()));
}

/// For a copy of this program with the setuid bit: takes root in all three ids, so that who started it may not signal it.
fn become_root_for_good() {
    nix::unistd::setuid(0.into()).unwrap();
    for ignored in [Signal::SIGTERM, Signal::SIGINT] {
        // SAFETY: ignoring runs no code of ours.
        unsafe { signal(ignored, SigHandler::SigIgn) }.unwrap();
    }
    wait_for_a_signal();
}

/// Leads a session on the terminal at stdin, starts a program in its foreground that uses none of it, and dies; the kernel
/// then hangs up. The program's process id and ready line come through `FILE`.
fn lead_a_session(rest: &[&str]) {
    let [file, program, arguments @ ..] = rest else { panic!("session-leader FILE PROGRAM [ARGUMENT]...") };
    let log = fs::File::create(file).unwrap();
    Command::new(program).args(arguments).stdin(std::process::Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log).spawn().unwrap();
    // until it is up
    let started = Instant::now();
    while !fs::read_to_string(file).unwrap().contains("ready") {
        assert!(started.elapsed() < Duration::from_secs(30), "the program does not start");
        thread::yield_now();
    }
    exit(0);
}
