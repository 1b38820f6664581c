//! What init does when the runner is dead: the last message that it published becomes the last words.

use agent_sdk::agent::ProcessEnd;
use agent_sdk::termination;
use agent_sdk::verdict::Phase;

use super::failure::Failure;
use super::journal::Journal;
use super::report::{self, Ending};
use crate::init::{Death, Slot};
use crate::inputs::Inputs;
use crate::log;
use crate::process::ExitStatus;
use crate::sinks::write_last_words;

/// Reports that there can be no runner; the code to leave with.
#[must_use]
pub fn no_runner(problem: &str) -> u8 {
    log::start();
    let inputs = Inputs::read();
    let mut journal = Journal::new(None, super::nonce(), inputs.dialect);
    let code = report::conclude(&mut journal, &inputs, Ending::Failed(Failure::NoRunner(problem.to_owned())));
    log::flush();
    code
}

/// Writes them. Called twice: at once, and again when nobody is left who could write over them. The code to leave with, which they name.
#[must_use]
pub fn write(slot: &Slot, death: Death) -> u8 {
    let end = match death.status {
        ExitStatus::Exited(code) => ProcessEnd::Exited(code),
        ExitStatus::Signalled(signal) => ProcessEnd::Signaled(signal),
    };
    let phase = slot.phase.and_then(|number| Phase::ALL.get(usize::from(number)).copied());
    let death = termination::Death { end, out_of_memory: death.out_of_memory, phase };
    let (words, written) = write_last_words(&slot.path, slot.budget, &slot.message, death);
    // Where the runner's log was; whether anybody reads it or not.
    log::print(&format!("agent-runner: {}\n", words.message));
    if let Err(error) = written {
        log::print(&format!("agent-runner: {}\n", error.warning()));
    }
    log::flush();
    words.exit_code
}
