//! The termination message's file, with real processes: killed at any instant, two at once, read meanwhile.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_runner::sinks::{TerminationFile, TerminationSink, Written, write_last_words};
use agent_sdk::agent::ProcessEnd;
use agent_sdk::results::key;
use agent_sdk::termination::{Death, TerminationMessage};
use agent_sdk::verdict::Reason;
use agent_tests::sinks::{judge, message};
use nix::libc;

const WRITER: &str = env!("CARGO_BIN_EXE_sink-writer");

/// A child that is not left behind when a test fails.
struct Hammer(Child);

impl Hammer {
    fn start(path: &Path, writer: u64) -> Self {
        let mut child =
            Command::new(WRITER).args(["hammer", path.to_str().unwrap(), &writer.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        assert_eq!(self.0.wait().unwrap().signal(), Some(libc::SIGKILL), "it lived until it was killed");
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        // Ended already where the test succeeded.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn killed_at_any_of_200_instants_it_leaves_one_whole_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("termination-log");
    fs::write(&path, "").unwrap();
    let mut lengths = std::collections::BTreeSet::new();
    let mut padded = 0;
    for round in 0..200_u64 {
        let hammer = Hammer::start(&path, round);
        // Not waiting for anything: the instant of death is to be an arbitrary one, within some hundred writes.
        let instant = Instant::now() + Duration::from_micros(round.wrapping_mul(7919) % 2000);
        while Instant::now() < instant {
            std::hint::spin_loop();
        }
        hammer.kill();
        let bytes = fs::read(&path).unwrap();
        let (writer, _) = judge(&bytes);
        assert_eq!(writer, round);
        padded += u32::from(bytes.ends_with(b" "));
        lengths.insert(bytes.len());
    }
    eprintln!("{} different lengths, {padded} of 200 between the write and the cut", lengths.len());
    assert!(lengths.len() > 20, "the messages were long and short: {lengths:?}");
}

#[test]
fn killed_before_the_write_it_leaves_the_old_message_and_after_it_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("termination-log");
    // Longer than the new one, so that something is to be cut.
    let longer = (0..).find(|step| message(1, *step).len() > message(2, 1).len()).unwrap();
    for (call, stands) in [("pwrite64", (1, longer)), ("ftruncate", (2, 1))] {
        let old = message(1, longer);
        fs::write(&path, &old).unwrap();
        let status = Command::new(WRITER).args(["die-at", call, path.to_str().unwrap(), "2"]).status().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGSYS), "it died of its call to {call}");
        let bytes = fs::read(&path).unwrap();
        assert_eq!(judge(&bytes), stands);
        assert_eq!(bytes.len(), old.len(), "nothing was cut");
    }
}

/// Reads the file as a polite reader does, with a shared lock.
fn read_locked(file: &mut File) -> Vec<u8> {
    file.lock_shared().unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    file.unlock().unwrap();
    bytes
}

#[test]
fn a_reader_with_a_lock_never_sees_half_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("termination-log");
    fs::write(&path, "").unwrap();
    let hammer = Hammer::start(&path, 1);
    let mut file = File::open(&path).unwrap();
    let mut steps = std::collections::BTreeSet::new();
    for _ in 0..5_000 {
        steps.insert(judge(&read_locked(&mut file)).1);
    }
    hammer.kill();
    assert!(steps.len() > 16, "the writer went on meanwhile: {} steps", steps.len());
}

#[test]
fn two_writers_at_once_never_mix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("termination-log");
    fs::write(&path, message(9, 9)).unwrap();
    let start = |writer: &str| Command::new(WRITER).args(["some", path.to_str().unwrap(), writer, "1000"]).spawn().unwrap();
    let mut writers = [start("1"), start("2")];
    let mut file = File::open(&path).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while writers.iter_mut().any(|writer| writer.try_wait().unwrap().is_none()) {
        seen.insert(judge(&read_locked(&mut file)).0);
    }
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success());
    }
    let (writer, step) = judge(&fs::read(&path).unwrap());
    assert!([1, 2].contains(&writer) && step == 1000, "the last write always counts: {writer} {step}");
    assert!(seen.contains(&1) && seen.contains(&2), "both wrote: {seen:?}");
}

#[test]
fn gives_way_to_a_lock_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("termination-log");
    fs::write(&path, message(1, 1)).unwrap();
    let holder = File::open(&path).unwrap();
    holder.lock().unwrap();
    let mut file = TerminationFile::new(&path);
    let mut gave_way = 0;
    while file.write_interim(message(1, 2).as_bytes()).unwrap() == Written::GaveWay {
        assert_eq!(judge(&fs::read(&path).unwrap()), (1, 1));
        gave_way += 1;
        assert!(gave_way < 100);
    }
    assert!(gave_way > 0);
    assert_eq!(judge(&fs::read(&path).unwrap()), (1, 2));
    assert_eq!(file.write_last(message(1, 3).as_bytes()).unwrap(), Written::Whole);
    assert_eq!(judge(&fs::read(&path).unwrap()), (1, 3));
}

#[test]
fn what_others_wrote_into_the_file_is_gone_at_the_next_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("termination-log");
    for garbage in [&b"done!\n"[..], b"{\"status\":\"succeeded\"}", &[0; 4096], &[b'x'; 100_000], b"\xff\xfe"] {
        let file = TerminationFile::new(&path);
        file.write_last(message(1, 1).as_bytes()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(garbage);
        fs::write(&path, &bytes).unwrap();
        file.write_last(message(1, 2).as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), message(1, 2));
    }
}

#[test]
fn a_missing_file_is_created_readable_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("message");
    TerminationFile::new(&path).write_last(message(1, 1).as_bytes()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), message(1, 1));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn at_most_one_write_a_second_and_the_latest_follows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("message");
    let mut sink = TerminationSink::new(TerminationFile::new(&path));
    let start = Instant::now();
    for step in 1..=50 {
        sink.offer(message(1, step).into_bytes(), start).unwrap();
    }
    assert_eq!(judge(&fs::read(&path).unwrap()), (1, 1));
    let deadline = sink.deadline().unwrap();
    assert_eq!(deadline, start + Duration::from_secs(1));
    sink.tick(deadline).unwrap();
    assert_eq!(judge(&fs::read(&path).unwrap()), (1, 50));
    assert_eq!(sink.deadline(), None);
    sink.offer(message(1, 51).into_bytes(), deadline).unwrap();
    sink.finish(message(1, 52).as_bytes()).unwrap();
    assert_eq!(judge(&fs::read(&path).unwrap()), (1, 52));
    assert_eq!(sink.deadline(), None, "nothing older comes after the last");
}

#[test]
fn the_last_words_stand_where_the_runner_wrote_and_keep_what_it_knew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("message");
    fs::write(&path, "").unwrap();
    Hammer::start(&path, 7).kill();
    let previous = fs::read(&path).unwrap();
    let (_, step) = judge(&previous);
    let (words, written) =
        write_last_words(&path, 4096, &previous, Death { end: ProcessEnd::Signaled(9), out_of_memory: true, phase: None });
    assert_eq!(written.unwrap(), Written::Whole);
    assert_eq!((words.exit_code, words.reason), (137, Reason::OutOfMemory));
    let message = TerminationMessage::parse(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((message.reason, message.exit_code, message.signal), (Reason::OutOfMemory, 137, Some(9)));
    assert_eq!(message.parameters[key::INPUT_TOKENS], step.to_string());
}
