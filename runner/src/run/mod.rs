//! One run: the phases in order, and the one report at the end of every path.
//!
//! [`run`] is the whole: it takes an [`Order`], drives it through the phases, and reports. Whatever happens, a bad variable, a failed
//! clone, a panic, a signal, ends in [`report::conclude`]; there is no other exit.

pub mod failure;
pub mod follower;
pub mod identity;
pub mod journal;
pub mod last_words;
pub mod ledgers;
pub mod limits;
pub mod look;
pub mod phases;
pub mod place;
pub mod prices;
pub mod report;
pub mod verdict;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use agent_sdk::marker::Nonce;

use crate::init::RunnerSide;
use crate::inputs::Inputs;
use crate::sinks::marker::fresh_nonce;
use failure::Failure;
use journal::Journal;
use report::Ending;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Order {
    /// What the platform gave.
    pub inputs: Inputs,
    /// How far to go.
    pub extent: Extent,
}

/// How far to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// The whole task.
    Agent,
    /// Everything but the agent.
    Setup,
    /// The workspace only.
    Clone,
    /// This command in the agent's place.
    Command(Vec<OsString>),
}

/// Does it, reports, and returns the exit code.
#[must_use]
pub fn run(mut side: RunnerSide, order: &Order) -> u8 {
    let mut journal = begin(&mut side, &order.inputs);
    let driven = catch_unwind(AssertUnwindSafe(|| drive(&mut journal, &side, order)));
    let ending = driven.unwrap_or_else(|panic| {
        // Nobody who could write over the report may outlive it.
        side.tree().kill_now();
        Ending::Failed(Failure::Fault(format!("the runner panicked: {}", panic_text(panic.as_ref()))))
    });
    report::conclude(&mut journal, &order.inputs, ending)
}

/// Refuses a command line that cannot be read, with the same report as everything else.
#[must_use]
pub fn refuse(mut side: RunnerSide, inputs: &Inputs, problem: String) -> u8 {
    let mut journal = begin(&mut side, inputs);
    report::conclude(&mut journal, inputs, Ending::Failed(Failure::Usage(problem)))
}

/// A journal, and a log, that show nothing of what is known for a secret before the task is: its errors quote what was given.
fn begin(side: &mut RunnerSide, inputs: &Inputs) -> Journal {
    let journal = Journal::new(side.take_board(), nonce(), inputs.dialect);
    crate::log::hide(&journal.secrets);
    for secret in crate::secrets::of_environment(&inputs.env, None) {
        // What cannot be hidden is told when the task's own are gathered.
        let _ = journal.secrets.add(&secret);
    }
    journal
}

fn drive(journal: &mut Journal, side: &RunnerSide, order: &Order) -> Ending {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let ending = runtime.block_on(phases::drive(journal, side, order));
            // A clone that does not let itself be interrupted must not keep the container.
            runtime.shutdown_background();
            ending.unwrap_or_else(Ending::Failed)
        }
        Err(error) => Ending::Failed(Failure::Fault(format!("no event loop: {error}"))),
    }
}

/// A word that nobody can guess. Should the kernel refuse (a seccomp profile may), the standard library's hash keys are random too.
pub(crate) fn nonce() -> Nonce {
    use std::hash::{BuildHasher, Hasher};
    fresh_nonce().unwrap_or_else(|_| {
        let mut bytes = [0; 16];
        for half in bytes.chunks_mut(8) {
            half.copy_from_slice(&std::hash::RandomState::new().build_hasher().finish().to_le_bytes());
        }
        Nonce::from_random(bytes)
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
