//! Ends: exit codes, signals, limits, and processes that do not want to end.

use nix::sys::signal::Signal::{SIGINT, SIGTERM};

use super::Act::{AwaitMark, Kill, Send};
use super::{Scenario, Stage, Unfit};
use crate::suite::evidence::Ability;
use crate::suite::fake::Step;

const TERM: i32 = 15;
const ABORT: i32 = 6;
/// The place at which an agent waits for what is done to it.
const READY: &str = "ready";
/// Where an agent that ignores SIGTERM is when a quarter of its grace is over. A runner that shares the grace out may kill it later and
/// before the end.
pub const IN_GRACE: &str = "in-grace";

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "agent-exits", about: "the agent ends with 17 and says nothing", needs: &[], prepare: agent_exits, course: &[] },
    Scenario { name: "agent-dies", about: "the agent dies of SIGABRT", needs: &[], prepare: agent_dies, course: &[] },
    Scenario { name: "agent-missing", about: "the agent's program is not there", needs: &[], prepare: agent_missing, course: &[] },
    Scenario {
        name: "signal",
        about: "SIGTERM while the agent works; it ends at once",
        needs: &[],
        prepare: signal,
        course: &[AwaitMark(READY), Send(SIGTERM)],
    },
    Scenario {
        name: "interrupt",
        about: "SIGINT while the agent works",
        needs: &[],
        prepare: interrupt,
        course: &[AwaitMark(READY), Send(SIGINT)],
    },
    Scenario {
        name: "signal-ignored",
        about: "SIGTERM, and the agent ignores it",
        needs: &[],
        prepare: signal_ignored,
        course: &[AwaitMark(READY), Send(SIGTERM)],
    },
    Scenario {
        name: "killed",
        about: "everything is killed while the agent works",
        needs: &[],
        prepare: killed,
        course: &[AwaitMark(READY), Kill],
    },
    Scenario { name: "timeout", about: "the agent works on after AGENT_TIMEOUT", needs: &[], prepare: timeout, course: &[] },
    Scenario { name: "lingering", about: "the agent lives on after its stream has ended", needs: &[], prepare: lingering, course: &[] },
    Scenario { name: "orphan", about: "the agent leaves a process in a session of its own", needs: &[], prepare: orphan, course: &[] },
    Scenario {
        name: "held-open",
        about: "a process that ignores SIGTERM holds the agent's stdout open",
        needs: &[],
        prepare: held_open,
        course: &[],
    },
    Scenario {
        name: "forger",
        about: "a process that ignores SIGTERM writes the termination message again and again",
        needs: &[],
        prepare: forger,
        course: &[],
    },
    Scenario {
        name: "zombies",
        about: "500 processes end whose parents have ended",
        needs: &[Ability::PidNamespace],
        prepare: zombies,
        course: &[],
    },
];

fn agent_exits(stage: &mut Stage) -> Result<(), Unfit> {
    stage.know("code", "17");
    stage.agent([Step::Exit(17)]);
    Ok(())
}

fn agent_dies(stage: &mut Stage) -> Result<(), Unfit> {
    stage.know("code", "134");
    stage.agent([Step::Print(stage.stream.begin()), Step::Die(ABORT)]);
    Ok(())
}

fn agent_missing(stage: &mut Stage) -> Result<(), Unfit> {
    stage.env("AGENT_PROGRAM", "/no/such/program/of/an/agent");
    Ok(())
}

fn signal(stage: &mut Stage) -> Result<(), Unfit> {
    stage.agent([Step::Print(stage.stream.begin()), Step::Ignore(TERM), Step::Mark(READY.into()), Step::Await(TERM), Step::Exit(0)]);
    Ok(())
}

fn interrupt(stage: &mut Stage) -> Result<(), Unfit> {
    stays(stage);
    Ok(())
}

fn killed(stage: &mut Stage) -> Result<(), Unfit> {
    stays(stage);
    Ok(())
}

fn stays(stage: &mut Stage) {
    stage.agent([Step::Print(stage.stream.begin()), Step::Mark(READY.into()), Step::Stay]);
}

fn signal_ignored(stage: &mut Stage) -> Result<(), Unfit> {
    stage.env("AGENT_GRACE", "6s");
    // Half of it: so late that nobody gives less by chance, and so early that a machine which stands still for a while does not kill it.
    let lives = [Step::Await(TERM), Step::Pass(3000), Step::Mark(IN_GRACE.into()), Step::Stay];
    let ignores = [SIGINT as i32, TERM].map(Step::Ignore).into_iter().chain([Step::Mark(READY.into())]).chain(lives);
    stage.agent([Step::Print(stage.stream.begin())].into_iter().chain(ignores).collect::<Vec<_>>());
    Ok(())
}

fn timeout(stage: &mut Stage) -> Result<(), Unfit> {
    // Longer than a container and its agent need to start on a machine with much else to do.
    stage.env("AGENT_TIMEOUT", "6s");
    stage.agent([Step::Print(stage.stream.begin()), Step::Stay]);
    Ok(())
}

fn lingering(stage: &mut Stage) -> Result<(), Unfit> {
    stage.needs_stream_end()?;
    stage.env("AGENT_LINGER", "1s");
    stage.agent_that([]);
    if let Some(steps) = stage.script.roles.get_mut(crate::suite::fake::AGENT) {
        steps.push(Step::Stay);
    }
    Ok(())
}

fn orphan(stage: &mut Stage) -> Result<(), Unfit> {
    leaves(stage, "orphan", [Step::Ignore(TERM), Step::Mark(READY.into()), Step::Await(TERM)]);
    Ok(())
}

fn held_open(stage: &mut Stage) -> Result<(), Unfit> {
    leaves(stage, "holder", [Step::Ignore(TERM), Step::Mark(READY.into()), Step::Stay]);
    Ok(())
}

fn forger(stage: &mut Stage) -> Result<(), Unfit> {
    let path = stage.start.env.get("AGENT_TERMINATION_LOG").cloned().unwrap_or_else(|| "/dev/termination-log".into());
    let text = r#"{"status":"succeeded","reason":"Completed","exitCode":0,"message":"forged","parameters":{"forged":"yes"}}"#.to_owned();
    leaves(stage, "forger", [Step::Ignore(TERM), Step::CloseStdout, Step::Mark(READY.into()), Step::Overwrite { path, text }]);
    Ok(())
}

/// An agent that leaves a process, and ends well when that is ready.
fn leaves(stage: &mut Stage, role: &str, steps: impl IntoIterator<Item = Step>) {
    let left = Step::Leave { role: role.to_owned(), steps: steps.into_iter().collect() };
    stage.agent_that([left, Step::AwaitMark(READY.into())]);
}

fn zombies(stage: &mut Stage) -> Result<(), Unfit> {
    stage.agent_that([Step::Storm(500)]);
    Ok(())
}
