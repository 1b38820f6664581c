//! A process that writes sinks, to be killed, raced and walled in by the tests in `tests/sinks_*.rs`.
//!
//! ```text
//! sink-writer hammer PATH WRITER            numbered messages for ever, as fast as it can; prints `ready` after the first
//! sink-writer some PATH WRITER STEPS        so many, and then the last one until it stands
//! sink-writer die-at SYSCALL PATH WRITER    one message, dying of SIGSYS when it calls `pwrite64` or `ftruncate`
//! sink-writer all TERMINATION RESULT DIR EVENTS          every sink once; prints the warnings, a line each
//! sink-writer all-read-only TERMINATION RESULT DIR EVENTS    the same, with the termination message's directory mounted read-only
//! sink-writer all-full TERMINATION RESULT DIR EVENTS         the same, with a full file system mounted there
//! sink-writer events-limited PATH           an event, and two more when no file may grow by more than ten bytes; prints the warnings
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use agent_runner::sinks::{EventsFile, TerminationFile, Writers, Written};
use agent_sdk::event::Event;
use agent_sdk::task::Sinks;
use agent_tests::sinks::{message, outcome};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

/// Says that the machine does not allow what is asked.
const NOT_ALLOWED: u8 = 77;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["hammer", path, writer] => hammer(path, number(writer)),
        ["some", path, writer, steps] => some(path, number(writer), number(steps)),
        ["die-at", call, path, writer] => die_at(call, path, number(writer)),
        ["events-limited", path] => events_limited(path),
        ["all", paths @ ..] => return all(paths),
        [mode @ ("all-read-only" | "all-full"), paths @ ..] => {
            let dir = Path::new(paths[0]).parent().expect("a directory");
            if let Err(error) = if *mode == "all-full" { mount_full(dir) } else { mount_read_only(dir) } {
                eprintln!("{error}");
                return ExitCode::from(NOT_ALLOWED);
            }
            return all(paths);
        }
        _ => panic!("see the head of this file: {args:?}"),
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).expect("the test reads stdout");
}

fn hammer(path: &str, writer: u64) {
    // Made before, so that nearly all the time is spent in the system calls, where death is of interest.
    let messages: Vec<String> = (0..32).map(|step| message(writer, step)).collect();
    let mut ready = false;
    for message in messages.iter().cycle() {
        // A new one each time has the patience of its first write. A run writes once a second; at this pace patience would be gone in
        // microseconds.
        let mut file = TerminationFile::new(path);
        let written = file.write_interim(message.as_bytes()).expect("the file can be written");
        if !ready && written == Written::Whole {
            ready = true;
            say("ready");
        }
    }
}

fn some(path: &str, writer: u64, steps: u64) {
    for step in 0..steps {
        TerminationFile::new(path).write_interim(message(writer, step).as_bytes()).expect("the file can be written");
    }
    // Until it stands: a run's last write gives up a lock that is held for long, and these two never let go of it for long.
    let last = message(writer, steps);
    while TerminationFile::new(path).write_interim(last.as_bytes()).expect("the file can be written") != Written::Whole {}
}

fn die_at(call: &str, path: &str, writer: u64) {
    let call = match call {
        "pwrite64" => libc::SYS_pwrite64,
        "ftruncate" => libc::SYS_ftruncate,
        other => panic!("{other} is not foreseen"),
    };
    let message = message(writer, 1);
    forbid(u32::try_from(call).expect("a small number"));
    TerminationFile::new(path).write_last(message.as_bytes()).expect("the file can be written");
}

/// From now on this system call kills the process, in the middle of whatever it does.
fn forbid(call: u32) {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: u16::try_from(code).expect("16 bits"), jt, jf, k };
    let mut program = [
        // The number of the call is the first field of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: both calls change only this process; `program` and the filter behind it live until the kernel has copied them.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
    };
    assert!(!failed, "seccomp: {}", io::Error::last_os_error());
}

fn events_limited(path: &str) {
    let mask = |text: &str| text.to_owned();
    let mut file = EventsFile::open(path).expect("the file can be written");
    let mut add = |text: &str| {
        file.append(&Event::Text { text: text.to_owned(), parent: None }, &mask);
        if let Err(error) = file.idle() {
            say(&error.warning());
        }
    };
    add("the first");
    // A write beyond the limit is cut short and then fails, as on a full disk, once the signal that goes with it is ignored.
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.expect("a signal that can be ignored");
    let limit = std::fs::metadata(path).expect("the file").len() + 10;
    setrlimit(Resource::RLIMIT_FSIZE, limit, limit).expect("a lower limit");
    add("the second");
    add("the third");
}

fn all(paths: &[&str]) -> ExitCode {
    let [termination, result, dir, events] = paths else { panic!("four paths") };
    let sinks = Sinks {
        termination_log: termination.into(),
        result_file: Some(result.into()),
        results_dir: Some(dir.into()),
        events_file: Some(events.into()),
        ..Sinks::default()
    };
    let mask = |text: &str| text.replace("s3cr3t-\"value", "***");
    let (mut writers, mut warnings) = Writers::new(&sinks, None, None, Box::new(mask));
    let event = Event::Text { text: "a s3cr3t-\"value in a text".to_owned(), parent: None };
    let written = EventsFile::open(*events).and_then(|mut file| {
        file.append(&event, &mask);
        file.idle()
    });
    warnings.extend(written.err().map(|error| format!("events file: {}", error.warning())));
    let mut outcome = outcome(1, 1);
    outcome.answer = Some("an answer with a s3cr3t-\"value".to_owned());
    warnings.iter().for_each(|warning| say(warning));
    writers.finish(&mut outcome, &say);
    ExitCode::SUCCESS
}

/// A mount namespace of our own.
fn leave_mounts() -> nix::Result<()> {
    let user = if nix::unistd::geteuid().is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    unshare(CloneFlags::CLONE_NEWNS | user)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
}

const NONE: Option<&str> = None;

/// From now on `dir` is read-only, for this process.
fn mount_read_only(dir: &Path) -> nix::Result<()> {
    leave_mounts()?;
    mount(Some(dir), dir, NONE, MsFlags::MS_BIND, NONE)?;
    mount(NONE, dir, NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, NONE)
}

/// From now on `dir` is a file system without room, for this process.
fn mount_full(dir: &Path) -> nix::Result<()> {
    leave_mounts()?;
    mount(Some("full"), dir, Some("tmpfs"), MsFlags::empty(), Some("size=64k"))?;
    let mut filler = File::create(dir.join("filler")).expect("room for a name");
    let full = loop {
        if let Err(error) = filler.write_all(&[b'x'; 512]) {
            break error;
        }
    };
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    Ok(())
}
