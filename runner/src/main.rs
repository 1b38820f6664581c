//! The binary. Whatever starts programs runs below init, which is forked before anything else happens; the rest needs no second process.

use std::process::ExitCode;

use agent_runner::cli::{needs_init, with_default_command};
use agent_runner::commands::{plain, supervised};
use agent_runner::dialects;
use agent_runner::init::{Options, enter};
use agent_runner::run::last_words;

fn main() -> ExitCode {
    let args = with_default_command(dialects::command_line(std::env::args_os().collect()));
    if !needs_init(&args) {
        return plain::run(args);
    }
    let options = Options {
        last_words: last_words::write,
        parent_death: None,
        // For what a runner leaves behind that died before it knew its task.
        grace: agent_sdk::task::Limits::default().grace.as_duration(),
    };
    enter(options, |side| supervised::run(side, args))
}
