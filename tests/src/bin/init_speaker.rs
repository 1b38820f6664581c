//! A runner in the small, for what happens when a runner is killed: it publishes last words and then does as it is told.
//!
//! `init_speaker FILE HOW [-- COMMAND [ARGUMENT]...]`. Init appends what it has to say to the file, a line each time.

#![allow(clippy::unwrap_used, reason = "a fixture: whatever is unexpected here is a failed test")]

use std::{
    env,
    ffi::OsString,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    process::{abort, exit},
    time::Duration,
};

use agent_runner::{
    init::{self, Death, Options, RunnerSide, Slot},
    process::{Ending, ExecOptions, Launch, Signals, copy::Copy, exec},
};

fn main() {
    let mut arguments = env::args_os().skip(1);
    let file = PathBuf::from(arguments.next().unwrap());
    let how = arguments.next().unwrap().into_string().unwrap();
    let command: Vec<OsString> = arguments.skip(1).collect();
    let parent_death = how.contains("parent").then_some(nix::sys::signal::SIGTERM);
    let no_runner = |problem: &str| panic!("{problem}");
    let options = Options { last_words, clear: |_, _| {}, no_runner, parent_death, grace: Duration::from_secs(20) };
    init::enter(options, move |side| run(side, &file, &how, &command))
}

fn last_words(said: &Slot, death: Death) -> u8 {
    let mut file = OpenOptions::new().append(true).create(true).open(&said.path).unwrap();
    let message = String::from_utf8_lossy(&said.message);
    let budget = said.budget;
    file.write_all(format!("{message}; budget {budget}; {}; memory {}\n", death.status, death.out_of_memory).as_bytes()).unwrap();
    death.status.code()
}

fn run(mut side: RunnerSide, file: &Path, how: &str, command: &[OsString]) -> u8 {
    let mut board = side.take_board().unwrap();
    board.publish(file, 4096, b"first", Duration::from_secs(20)).unwrap();
    board.publish(file, 2048, b"second", Duration::from_secs(20)).unwrap();
    match how {
        "abort" => abort(),
        "panic" => panic!("as told"),
        "leave" => exit(9),
        "close" => {
            board.close();
            abort();
        }
        "fault" => {
            // SAFETY: none: this is the crash that the test is about.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let launch = Launch::new(command[0].clone(), command[1..].iter().cloned());
    let options = ExecOptions { grace: Duration::from_secs(20), ending: Ending::default() };
    let finished = runtime.block_on(async {
        let mut signals = Signals::install().unwrap();
        exec(&side, &mut signals, &launch, &options, &mut Copy::new()).await.unwrap()
    });
    board.close();
    finished.code()
}
