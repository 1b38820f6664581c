//! Runs of a real CLI that a signal ends: while the model is asked, and while a tool runs.
//!
//! What an agent tells of its tokens until then is for each agent's own test.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use agent_conformance::model::Kind;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::agent_run::AgentRun;
use crate::clis::{self, Cli};
use crate::runs::{Ended, PATIENCE, in_parallel, wanted};
use crate::sandbox::{Place, is_alive};

/// Waits until the tool of `tool-sleep` runs; its process id, in its own namespace.
///
/// # Panics
/// It does not come to run.
#[must_use]
pub fn tool(run: &AgentRun) -> Pid {
    let records = run.model.wait_for_mark("tool", PATIENCE).unwrap();
    let mark = records.iter().find(|record| matches!(&record.kind, Kind::Mark(mark) if mark == "tool")).unwrap();
    Pid::from_raw(mark.path.split_once("?pid=").unwrap().1.parse().unwrap())
}

/// Signals while the model is asked.
///
/// # Panics
/// It ended otherwise than it should.
pub fn in_question(run: &AgentRun, signal: Signal) -> Ended {
    let started = run.scene.start();
    run.model.wait_for_question(PATIENCE).unwrap();
    started.signal(signal);
    let ended = started.finish();
    assert_cancelled(run, &ended, signal);
    ended
}

/// Signals while the tool of `tool-sleep` runs.
///
/// # Panics
/// It ended otherwise than it should, or the tool is alive.
pub fn in_tool(run: &AgentRun, signal: Signal) -> Ended {
    let started = run.scene.start();
    let tool = tool(run);
    // In a namespace the number is another one; there as here nobody with the run's environment is left.
    let tool = (run.scene.place() == Place::Plain).then_some(tool);
    assert!(tool.is_none_or(is_alive));
    started.signal(signal);
    let ended = started.finish();
    assert_cancelled(run, &ended, signal);
    // The CLIs leave it alive; the runner does not.
    assert!(!tool.is_some_and(is_alive), "{ended}");
    ended
}

/// What all ends by a signal have in common.
///
/// # Panics
/// It ended otherwise.
pub fn assert_cancelled(run: &AgentRun, ended: &Ended, signal: Signal) {
    ended.assert(wanted("cancelled", "Cancelled", 128 + signal as i32, true));
    assert_eq!((&ended.message["signal"], &ended.message["origin"]), (&(signal as i32).into(), &"signal".into()), "{ended}");
    run.assert_within_the_bill(ended);
}

/// One signal at both times with every other version that is pinned, in turn: two at a time, since a run also waits.
///
/// # Panics
/// One of them ended otherwise than it should.
pub fn with_older(agent: &str, run: impl Fn(&Cli, &str) -> AgentRun + Sync) {
    let clis = clis::older(agent);
    let signals = [Signal::SIGTERM, Signal::SIGINT];
    let cells: Vec<_> = clis.iter().zip(signals.into_iter().cycle()).collect();
    in_parallel(2, &cells, |(cli, signal)| {
        in_question(&run(cli, "silence"), *signal);
        in_tool(&run(cli, "tool-sleep"), *signal);
    });
}
