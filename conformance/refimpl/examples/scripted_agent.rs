//! An agent for the tests of this crate: does what its arguments say, one after the other.
//!
//! `say:TEXT` `print:TEXT` (escapes as in Rust) `error:TEXT` `prompt` (says it) `variable:NAME` (says it) `directory` (says it) `usage`
//! `done` `failed` `left:NAME=TEXT` `linked:NAME=TARGET` `file:PATH=TEXT` `claim:NAME=TEXT` `commit` `leave:FILE` (a process of its own
//! session that writes the file when it gets SIGTERM) `ignore` (SIGTERM) `stay` `exit:CODE` `die:SIGNAL`

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::{ForkResult, fork, setsid};
use serde_json::json;

fn main() {
    for step in std::env::args().skip(1) {
        let (verb, rest) = step.split_once(':').unwrap_or((&step, ""));
        let (name, text) = rest.split_once('=').unwrap_or((rest, ""));
        let results = || PathBuf::from(std::env::var_os("AGENT_RESULTS_DIR").expect("a directory for results"));
        match verb {
            "say" => event(&json!({"type": "text", "text": rest})),
            "print" => print(&unescape(rest)),
            "error" => std::io::stderr().write_all(rest.as_bytes()).expect("stderr"),
            "prompt" => {
                let mut prompt = String::new();
                std::io::stdin().read_to_string(&mut prompt).expect("a prompt");
                event(&json!({"type": "text", "text": prompt}));
            }
            "variable" => event(&json!({"type": "text", "text": std::env::var(rest).unwrap_or_default()})),
            "directory" => event(&json!({"type": "text", "text": std::env::current_dir().expect("a directory")})),
            "usage" => {
                event(&json!({"type": "usage", "complete": true, "usage": {"inputTokens": 12, "cacheReadTokens": 5, "outputTokens": 3}}));
            }
            "done" => event(&json!({"type": "ended", "succeeded": true})),
            "failed" => event(&json!({"type": "ended", "succeeded": false, "detail": rest})),
            "left" => std::fs::write(results().join(name), text).expect("a result"),
            "linked" => std::os::unix::fs::symlink(text, results().join(name)).expect("a link"),
            "file" => std::fs::write(name, text).expect("a file"),
            "claim" => {
                let nonce = std::env::var("AGENT_NONCE").expect("a nonce");
                print(format!("---AGENT_OUTPUTS_START {nonce}---\n{name}: {text}\n---AGENT_OUTPUTS_END {nonce}---\n").as_bytes());
            }
            "commit" => {
                let committed = Command::new("git").args(["commit", "--quiet", "--allow-empty", "-m", "work"]).status();
                assert!(committed.is_ok_and(|status| status.success()), "git commit");
            }
            "leave" => leave(rest),
            "ignore" => handle(SigHandler::SigIgn),
            "stay" => stay(),
            "exit" => std::process::exit(rest.parse().expect("a code")),
            "die" => drop(raise(rest.parse::<Signal>().expect("a signal"))),
            _ => panic!("no such step: {step}"),
        }
    }
}

fn event(event: &serde_json::Value) {
    print(format!("{event}\n").as_bytes());
}

fn print(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).expect("stdout");
}

/// `\n`, `\\` and `\xNN`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match (byte, byte == b'\\') {
            (_, false) => bytes.push(byte),
            _ => match rest.next() {
                Some(b'n') => bytes.push(b'\n'),
                Some(b'x') => {
                    let digits: Vec<u8> = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).expect("two digits"));
                }
                other => bytes.extend(other),
            },
        }
    }
    bytes
}

fn handle(handler: SigHandler) {
    // SAFETY: the handlers used here are the kernel's own.
    unsafe { sigaction(Signal::SIGTERM, &SigAction::new(handler, SaFlags::empty(), SigSet::empty())) }.expect("a handler");
}

fn stay() -> ! {
    loop {
        nix::unistd::pause();
    }
}

/// A process whose parent has ended when this returns, and that waits for SIGTERM.
fn leave(file: &str) {
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    // Before the fork, so that no signal comes too early.
    term.thread_block().expect("a mask");
    // SAFETY: this program has one thread.
    if let ForkResult::Child = unsafe { fork() }.expect("a process") {
        setsid().expect("a session");
        // SAFETY: likewise.
        if let ForkResult::Child = unsafe { fork() }.expect("a process") {
            term.wait().expect("a signal");
            std::fs::write(file, "got SIGTERM").expect("a file");
        }
        std::process::exit(0);
    }
    term.thread_unblock().expect("a mask");
}
