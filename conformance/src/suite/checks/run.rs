//! Processes, signals, and exit codes.

use super::read::{code, did_its_task, reason, record, started, status, story, succeeded};
use crate::suite::check::{Check, Finding, Judged};
use crate::suite::evidence::{AgentEvent, Ended, Evidence};
use crate::suite::fake::AGENT;
use crate::suite::scenario::ends::IN_GRACE;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "RUN-001", scenarios: &["happy"], judge: success },
    Check { id: "RUN-002", scenarios: &["agent-exits"], judge: agent_exit_code },
    Check { id: "RUN-003", scenarios: &["agent-dies"], judge: agent_killed },
    Check { id: "RUN-004", scenarios: &["signal"], judge: signal_forwarded },
    Check { id: "RUN-005", scenarios: &["signal"], judge: cancelled },
    Check { id: "RUN-006", scenarios: &["interrupt"], judge: interrupted },
    Check { id: "RUN-007", scenarios: &["signal-ignored"], judge: grace },
    Check { id: "RUN-008", scenarios: &["orphan"], judge: escaped_processes },
    Check { id: "RUN-009", scenarios: &["zombies"], judge: reaping },
    Check { id: "RUN-010", scenarios: &["happy"], judge: stdin_end },
    Check { id: "RUN-011", scenarios: &["happy"], judge: signal_state },
    Check { id: "RUN-012", scenarios: &["timeout"], judge: timeout },
    Check { id: "RUN-013", scenarios: &["agent-missing"], judge: agent_not_found },
    Check { id: "RUN-014", scenarios: &["held-open"], judge: stdout_held_open },
    Check { id: "RUN-015", scenarios: &["lingering"], judge: lingering },
];

const TERM: i32 = 15;
/// Signals 32 and 33, which the C library keeps for itself and lets no program set. Whoever started the engine may have left them ignored,
/// and that says nothing about the image.
const OF_THE_C_LIBRARY: u64 = 0b11 << 31;
/// The grace of the scenario `signal-ignored`, and what a busy machine may add to it.
const GRACE_MS: u64 = 6_000 + 8_000;

fn success(evidence: &Evidence) -> Judged {
    succeeded(&evidence.run("happy")?)
}

fn agent_exit_code(evidence: &Evidence) -> Judged {
    let seen = evidence.run("agent-exits")?;
    started(&seen)?;
    code(&seen, 17)
}

fn agent_killed(evidence: &Evidence) -> Judged {
    let seen = evidence.run("agent-dies")?;
    started(&seen)?;
    code(&seen, 134)
}

fn signal_forwarded(evidence: &Evidence) -> Judged {
    let seen = evidence.run("signal")?;
    started(&seen)?;
    let came = record(&seen, AGENT, |event| matches!(event, AgentEvent::Signal { signal: TERM }).then_some(()));
    seen.expect(came.is_some(), "SIGTERM at the agent", format!("it never came; {}", story(&seen)))
}

fn cancelled(evidence: &Evidence) -> Judged {
    let seen = evidence.run("signal")?;
    code(&seen, 143)?;
    status(&seen, "cancelled")
}

fn interrupted(evidence: &Evidence) -> Judged {
    let seen = evidence.run("interrupt")?;
    code(&seen, 130)?;
    status(&seen, "cancelled")
}

fn grace(evidence: &Evidence) -> Judged {
    let seen = evidence.run("signal-ignored")?;
    started(&seen)?;
    let in_time = seen.facts.after_signal_ms.is_some_and(|after| after <= GRACE_MS);
    let ended = matches!(seen.facts.ended, Ended::Code(_));
    let after = seen.facts.after_signal_ms.unwrap_or_default();
    seen.expect(ended && in_time, "an end within the grace of 6 s", format!("{}, {after} ms after SIGTERM", seen.facts.ended))?;
    if record(&seen, AGENT, |event| matches!(event, AgentEvent::Signal { signal: TERM }).then_some(())).is_none() {
        return Err(Finding::NotTestable("SIGTERM never came to the agent, so it could not ignore it".into()));
    }
    let lived = record(&seen, AGENT, |event| matches!(event, AgentEvent::Mark { name } if name == IN_GRACE).then_some(()));
    seen.expect(lived.is_some(), "an agent that still lives 3 s after SIGTERM, which is half of its grace", "it was dead by then")
}

fn escaped_processes(evidence: &Evidence) -> Judged {
    let seen = evidence.run("orphan")?;
    started(&seen)?;
    if seen.run.records("orphan").next().is_none() {
        return Err(Finding::NotTestable(format!("the agent could leave no process; {}", story(&seen))));
    }
    let came = record(&seen, "orphan", |event| matches!(event, AgentEvent::Signal { signal: TERM }).then_some(()));
    seen.expect(came.is_some(), "SIGTERM at the process that was left", "it was killed without, or outlived the container")
}

fn reaping(evidence: &Evidence) -> Judged {
    let seen = evidence.run("zombies")?;
    started(&seen)?;
    let left = record(&seen, AGENT, |event| match event {
        AgentEvent::Zombies { left } => Some(*left),
        _ => None,
    });
    match left {
        Some(0) => Ok(()),
        Some(left) => Err(seen.broken("no zombies below PID 1", format!("{left} after ten seconds"))),
        None => Err(seen.broken("an agent that can count zombies", story(&seen))),
    }
}

fn stdin_end(evidence: &Evidence) -> Judged {
    let seen = evidence.run("happy")?;
    started(&seen)?;
    let ended = record(&seen, AGENT, |event| matches!(event, AgentEvent::StdinEnded { .. }).then_some(()));
    seen.expect(ended.is_some(), "stdin comes to its end", format!("it did not; {}", story(&seen)))
}

fn signal_state(evidence: &Evidence) -> Judged {
    let seen = evidence.run("happy")?;
    let start = started(&seen)?;
    let (blocked, ignored) = (start.blocked & !OF_THE_C_LIBRARY, start.ignored & !OF_THE_C_LIBRARY);
    let masks = format!("blocked {blocked:#x}, ignored {ignored:#x}");
    seen.expect(blocked == 0 && ignored == 0, "no signal blocked, none ignored", masks)
}

fn timeout(evidence: &Evidence) -> Judged {
    let seen = evidence.run("timeout")?;
    started(&seen)?;
    code(&seen, 124)?;
    status(&seen, "timed-out")
}

fn agent_not_found(evidence: &Evidence) -> Judged {
    let seen = evidence.run("agent-missing")?;
    code(&seen, 69)?;
    reason(&seen, "AgentNotFound")
}

fn stdout_held_open(evidence: &Evidence) -> Judged {
    did_its_task(&evidence.run("held-open")?)
}

fn lingering(evidence: &Evidence) -> Judged {
    succeeded(&evidence.run("lingering")?)
}
