//! An agent that plays a recording: it notes how it was started, prints what the recording has for stdout and stderr, and ends as that did.
//!
//! `RECORDING` is the recording's path without an ending (`.jsonl`, `.stderr`, `.meta.json`), `RECORDED_NOTES` the file for the notes, and
//! `RECORDED_WORK`, if it is set, a file that is made and committed meanwhile.

#![allow(clippy::unwrap_used, reason = "a fixture: whatever is unexpected here is a failed test")]

use std::io::{Read, Write};
use std::process::{Command, exit};
use std::{env, fs};

use serde_json::{Value, json};

fn main() {
    let recording = env::var("RECORDING").unwrap();
    let mut stdin = String::new();
    std::io::stdin().read_to_string(&mut stdin).unwrap();
    let args: Vec<String> = env::args().skip(1).collect();
    let env: serde_json::Map<String, Value> = env::vars().map(|(name, value)| (name, value.into())).collect();
    fs::write(env::var("RECORDED_NOTES").unwrap(), json!({"args": args, "env": env, "stdin": stdin}).to_string()).unwrap();
    if let Ok(file) = env::var("RECORDED_WORK") {
        fs::write(&file, "done\n").unwrap();
        for command in [["add", "-A", "."], ["commit", "-qm", "recorded change"]] {
            assert!(Command::new("git").args(command).stdout(std::io::stderr()).status().unwrap().success());
        }
    }
    let print = |mut to: Box<dyn Write>, ending: &str| {
        let bytes = fs::read(format!("{recording}.{ending}")).unwrap_or_default();
        to.write_all(&bytes).unwrap();
        to.flush().unwrap();
    };
    print(Box::new(std::io::stdout()), "jsonl");
    print(Box::new(std::io::stderr()), "stderr");
    let meta: Value = serde_json::from_slice(&fs::read(format!("{recording}.meta.json")).unwrap()).unwrap();
    match i32::try_from(meta["exit"].as_i64().unwrap()).unwrap() {
        signal if signal < 0 => {
            nix::sys::signal::raise(nix::sys::signal::Signal::try_from(-signal).unwrap()).unwrap();
        }
        code => exit(code),
    }
}
