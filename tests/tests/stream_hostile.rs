//! Hostile streams through the follower: lines of 256 MiB in bounded memory, and bytes that are no text.
//!
//! Memory is that of a whole process, so each case runs in a child: this program, started again with the case in its environment.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;

use agent_runner::stream::{Follower, Log, Secrets, capture};
use agent_sdk::agent::{StreamReader, StreamSummary};
use agent_sdk::event::Event;

/// Says in which case a child is, and where its report goes.
const CASE: &str = "STREAM_HOSTILE_REPORT";

/// How much the peak may grow while a stream passes: buffers, one line of 256 KiB and what is parsed of it, with room for the allocator.
const GROWTH_LIMIT_KIB: u64 = 4 << 10;

const LINE: usize = 256 << 20;

/// Sums up `n` over all lines that are JSON objects.
#[derive(Default)]
struct Summing(StreamSummary);

impl StreamReader for Summing {
    fn read_line(&mut self, line: &[u8], _emit: &mut dyn FnMut(Event)) {
        match serde_json::from_slice::<serde_json::Value>(line) {
            Ok(value) => self.0.turns = Some(self.0.turns.unwrap_or(0) + value["n"].as_u64().unwrap_or(0)),
            Err(_) => self.0.malformed_lines += 1,
        }
    }

    fn summary(&self) -> &StreamSummary {
        &self.0
    }
}

/// The child's part: not a test of its own, and nothing when run as one.
#[test]
fn child_captures_its_stdin() {
    let Ok(report) = std::env::var(CASE) else { return };
    let secrets = Secrets::new();
    secrets.add(b"sk-ant-0123456789abcdef").unwrap();
    let null = File::options().write(true).open("/dev/null").unwrap();
    let mut input = File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let follower = Follower::new(Box::new(Summing::default()), Log::Raw, &secrets);
    let before = peak_kib();
    let done = capture(follower, &mut input, null.as_fd());
    assert!(done.input_error.is_none() && done.output_error.is_none());
    let (n, bad) = (done.summary.turns.unwrap_or(0), done.summary.malformed_lines);
    fs::write(report, format!("{} {} {n} {bad}", peak_kib() - before, done.counts.bytes)).unwrap();
}

/// The most memory that this process ever held (proc(5), `VmHWM`).
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Report {
    growth_kib: u64,
    bytes: u64,
    sum: u64,
    malformed: u64,
}

/// Pipes `head`, then `body` until it is 256 MiB, then `tail`, through a child.
fn follow_in_child(head: &str, body: &str, tail: &str) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_captures_its_stdin", "--test-threads=1"])
        .env(CASE, &report)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = File::from(OwnedFd::from(child.stdin.take().unwrap()));
    let block = body.repeat((1 << 20) / body.len());
    let (head, tail) = (head.to_owned(), tail.to_owned());
    let writer = thread::spawn(move || {
        stdin.write_all(head.as_bytes())?;
        for _ in 0..LINE.div_ceil(block.len()) {
            stdin.write_all(block.as_bytes())?;
        }
        stdin.write_all(tail.as_bytes())
    });
    assert!(child.wait().unwrap().success());
    writer.join().unwrap().unwrap();
    let text = fs::read_to_string(&report).unwrap();
    let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    assert!(numbers[1] >= LINE as u64, "all of it was forwarded");
    Report { growth_kib: numbers[0], bytes: numbers[1], sum: numbers[2], malformed: numbers[3] }
}

#[track_caller]
fn assert_bounded(report: &Report) {
    assert!(report.growth_kib <= GROWTH_LIMIT_KIB, "{} KiB for {} bytes", report.growth_kib, report.bytes);
}

#[test]
fn what_stands_behind_a_text_of_256_mib_is_read_in_bounded_memory() {
    let report = follow_in_child("{\"n\":1}\n{\"text\":\"", "so \\\"it\\\" goes \\u00e9\\n", "\",\"n\":2}\n{\"n\":4}");
    assert_bounded(&report);
    assert_eq!((report.sum, report.malformed), (7, 0));
}

#[test]
fn what_stands_behind_an_array_of_256_mib_is_read_in_bounded_memory() {
    let report = follow_in_child("{\"n\":1}\n{\"list\":[", "[1, 22],", "0],\"n\":2}\n{\"n\":4}\n");
    assert_bounded(&report);
    assert_eq!((report.sum, report.malformed), (7, 0));
}

#[test]
fn an_object_of_256_mib_is_malformed_in_bounded_memory() {
    let report = follow_in_child("{\"n\":1}\n{", "\"k\":1,", "\"n\":2}\n{\"n\":4}\n");
    assert_bounded(&report);
    assert_eq!((report.sum, report.malformed), (5, 1));
}

#[test]
fn a_line_of_256_mib_without_any_quote_is_malformed_in_bounded_memory() {
    let report = follow_in_child("{\"n\":1}\n", "no json at all ", "\n{\"n\":4}\n");
    assert_bounded(&report);
    assert_eq!((report.sum, report.malformed), (5, 1));
}

#[test]
fn nulls_without_any_newline_are_one_malformed_line_in_bounded_memory() {
    let report = follow_in_child("", "\0", "");
    assert_bounded(&report);
    assert_eq!((report.sum, report.malformed), (0, 1));
}

#[test]
fn bytes_that_are_no_text_pass_as_they_came() {
    let mut stream =
        b"{\"n\":1}\n\xff\xfe\0\0\n\x1b[2J\x1b]0;x\x07\n\r\n\n{\"text\":\"\xed\xa0\x80\",\"n\":2}\n---RESULTS-START---\n::error::no\n"
            .to_vec();
    stream.extend((0..=255).cycle().take(100_000));
    let file = tempfile::tempfile().unwrap();
    let follower = Follower::new(Box::new(Summing::default()), Log::Raw, &Secrets::new());
    let done = capture(follower, &mut &*stream, file.as_fd());
    let mut written = Vec::new();
    let mut file = file;
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut written).unwrap();
    assert!(written == stream, "{} bytes became {}", stream.len(), written.len());
    assert_eq!(done.counts.lines, stream.split(|byte| *byte == b'\n').count() as u64);
}
