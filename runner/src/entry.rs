//! Where a program begins that is a runner: this project's own binary, or anybody's with agents of their own.
//!
//! Whatever starts programs runs below init, which is forked before anything else happens; the rest needs no second process.

use std::process::ExitCode;

use agent_sdk::agent::Agent;

use crate::cli::{needs_init, with_default_command};
use crate::commands::{plain, supervised};
use crate::init::{Options, enter};
use crate::run::{last_words, place};
use crate::{agents, dialects};

/// All of `main` of a runner that has these agents beside the built-in ones. Call it first: it forks, which no thread may be there for.
///
/// ```no_run
/// # use agent_sdk::agents::native::Native;
/// # const MINE: Native = Native;
/// fn main() -> std::process::ExitCode {
///     agent_runner::main_with(&[&MINE])
/// }
/// ```
#[must_use]
pub fn main_with(own: &'static [&'static dyn Agent]) -> ExitCode {
    agents::add(own);
    let args = with_default_command(dialects::command_line(std::env::args_os().collect()));
    if !needs_init(&args) {
        return plain::run(args);
    }
    let options = Options {
        last_words: last_words::write,
        clear: place::clear,
        no_runner: last_words::no_runner,
        parent_death: None,
        // For what a runner leaves behind that died before it knew its task.
        grace: agent_sdk::task::Limits::default().grace.as_duration(),
    };
    enter(options, |side| supervised::run(side, args))
}
