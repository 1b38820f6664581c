//! The program `scripted-model`, as tests in other languages and people use it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use agent_conformance::model::{Bill, Tokens, builtin};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::http::{ask, question};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_scripted-model"))
}

fn output(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// A server that ends with its test, whatever becomes of it.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program().args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Self { child, address }
    }

    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "standard output is one line");
        status.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, unless the test failed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_tells_its_address_serves_records_and_ends_on_a_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let directory = tempfile::tempdir().unwrap();
        let records = directory.path().join("records");
        let mut model = Running::start(&["--scenario", "success", "--set", "command=make it", "--record", records.to_str().unwrap()]);
        let answer = ask(model.address, &question(0, false)).unwrap().json();
        assert_eq!(answer["content"][0]["input"]["command"], "make it");
        assert_eq!(model.end(signal), Some(0));
        let bill: Bill = serde_json::from_slice(&std::fs::read(records.join("bill.json")).unwrap()).unwrap();
        assert_eq!(bill.answers, 1);
        assert_ne!(bill.finished, Tokens::default());
        assert!(std::net::TcpStream::connect(model.address).is_err());
    }
}

#[test]
fn a_scenario_can_be_a_file_made_from_a_built_in_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mine.toml");
    let shown = String::from_utf8(output(&["--show", "text-only"]).stdout).unwrap();
    std::fs::write(&file, shown.replace("This is a plain answer", "This is my answer")).unwrap();
    let mut model = Running::start(&["--scenario", file.to_str().unwrap()]);
    let answer = ask(model.address, &question(0, false)).unwrap().json();
    assert!(answer["content"][0]["text"].as_str().unwrap().starts_with("This is my answer"));
    assert_eq!(model.end(Signal::SIGTERM), Some(0));
}

#[test]
fn the_list_has_every_scenario_with_its_meaning() {
    let listed = String::from_utf8(output(&["--list"]).stdout).unwrap();
    let names: Vec<&str> = listed.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(names, builtin::names().collect::<Vec<_>>());
    assert!(listed.lines().all(|line| line.split_whitespace().count() > 2), "{listed}");
}

#[test]
fn the_help_teaches_with_an_example() {
    let help = output(&["--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success() && text.contains("ANTHROPIC_BASE_URL=") && text.contains("--record"), "{text}");
}

#[test]
fn what_cannot_be_started_is_said_in_one_line_with_the_remedy() {
    for (arguments, wanted) in [
        (&["--scenario", "sucess"][..], "`sucess`; there is: success"),
        (&["--scenario", "/nonexistent.toml"], "`/nonexistent.toml`: No such file"),
        (&["--set", "comand=x"], "no parameter `comand`; there is: command"),
        (&["--listen", "0.0.0.0:0"], "loopback"),
        (&["--record", "/dev/null/x"], "`/dev/null/x`"),
    ] {
        let output = output(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text.starts_with("scripted-model: ") && text.contains(wanted), "{text}");
        assert!(output.stdout.is_empty());
    }
}
