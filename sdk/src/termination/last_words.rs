//! What init writes when the runner is gone without its own last word.

use std::borrow::Cow;

use crate::agent::ProcessEnd;
use crate::results::key;
use crate::verdict::{Origin, Phase, Reason, Status};

use super::TerminationMessage;
use super::draft::{Draft, Parameter, Small};

// Numbers of signal(7), the same on every Linux that we build for. The SDK has no system calls, so they are spelt out.
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGILL: i32 = 4;
const SIGABRT: i32 = 6;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGSEGV: i32 = 11;
const SIGTERM: i32 = 15;
const SIGSYS: i32 = 31;

/// How the runner died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// What `wait` said.
    pub end: ProcessEnd,
    /// Whether the kernel's memory killer was seen at work (`memory.events` of the control group counted an `oom_kill`).
    pub out_of_memory: bool,
    /// How far the run had come, if further than the message says.
    pub phase: Option<Phase>,
}

/// What is left to say, and the exit code that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWords {
    /// The message, at most as long as the budget.
    pub message: String,
    /// The exit code that it names, with which the container has to end for the message to be true.
    pub exit_code: u8,
    /// The reason that it names.
    pub reason: Reason,
}

impl Death {
    /// Why the run ended, whose doing it was, and the container's exit code.
    #[must_use]
    pub fn verdict(self) -> (Reason, Origin, u8) {
        let code = self.end.code();
        // A platform retries by the code.
        let fault = Reason::RunnerFault.code_rule().exit_code(None, None);
        match self.end {
            ProcessEnd::Signaled(_) if self.out_of_memory => (Reason::OutOfMemory, Origin::Signal, code),
            // Faults of the program itself, not somebody's wish.
            ProcessEnd::Signaled(SIGILL | SIGABRT | SIGBUS | SIGFPE | SIGSEGV | SIGSYS) => (Reason::RunnerFault, Origin::Runner, fault),
            // The runner handles these; that it died of one means that it was not ready yet, or had been told twice.
            ProcessEnd::Signaled(SIGHUP | SIGINT | SIGQUIT | SIGTERM) => (Reason::Cancelled, Origin::Signal, code),
            ProcessEnd::Signaled(_) => (Reason::Killed, Origin::Signal, code),
            // It exited, but never said why: a fault, whatever the code says.
            ProcessEnd::Exited(_) => (Reason::RunnerFault, Origin::Runner, fault),
        }
    }
}

/// Turns the last message that the runner published into the one to write now that it is dead.
///
/// Phase (unless the run had come further), agent, parameters, usage and the names of what had been cut stay; status, reason, origin,
/// signal and exit code are those of the death. A previous message that was already final is not believed: the container ends with the code
/// of the death, so its message says so too, and quotes what the earlier one said. `previous` that is empty or not a message gives one
/// without a past.
///
/// `previous` is best taken from memory that only init and the runner share: the file can be written by the agent too.
#[must_use]
pub fn last_words(previous: &[u8], death: Death, budget: usize) -> LastWords {
    let (reason, origin, exit_code) = death.verdict();
    let mut before = TerminationMessage::parse(previous).ok();
    if let (Some(before), Some(phase)) = (&mut before, death.phase) {
        before.phase = Some(phase);
    }
    let message = sentence(before.as_ref(), death);
    let signal = match death.end {
        ProcessEnd::Signaled(signal) => Some(signal),
        ProcessEnd::Exited(_) => None,
    };
    let draft = draft(before.as_ref(), reason, origin, exit_code, signal, &message);
    LastWords { message: draft.fit(budget), exit_code, reason }
}

/// One sentence: how it died, where, and what it had said if that was final.
fn sentence(before: Option<&TerminationMessage>, death: Death) -> String {
    let how = match death.end {
        ProcessEnd::Signaled(signal) if death.out_of_memory => format!("memory ran out: the kernel killed the runner (signal {signal})"),
        ProcessEnd::Signaled(signal) => format!("the runner was killed by signal {signal}"),
        ProcessEnd::Exited(code) => format!("the runner exited with code {code} without a last word"),
    };
    let phase = before.and_then(|before| before.phase).map(|phase| format!(" in phase `{}`", phase.as_str())).unwrap_or_default();
    match before.filter(|before| before.reason != Reason::Killed) {
        None => format!("{how}{phase}"),
        Some(before) => {
            let said = before.message.as_deref().unwrap_or("");
            format!("{how} after it had written its outcome ({}, {}): {said}", before.status.as_str(), before.reason.as_str())
        }
    }
}

fn draft<'a>(
    before: Option<&'a TerminationMessage>,
    reason: Reason,
    origin: Origin,
    exit_code: u8,
    signal: Option<i32>,
    message: &'a str,
) -> Draft<'a> {
    let known = before
        .into_iter()
        .flat_map(|before| key::ALL.iter().filter_map(|key| before.parameters.get_key_value(*key)))
        .map(|pair| (pair, false));
    let others = before
        .into_iter()
        .flat_map(|before| before.parameters.iter().filter(|(key, _)| !key::ALL.contains(&key.as_str())))
        .map(|pair| (pair, true));
    let parameters = known
        .chain(others)
        .map(|((name, value), shortenable)| Parameter { name, value: Cow::Borrowed(value.as_str()), shortenable })
        .collect();
    let status: Status = reason.status();
    Draft {
        status,
        reason,
        exit_code,
        phase: before.and_then(|before| before.phase),
        origin: Some(origin),
        retry: Some(reason.retry()),
        message,
        parameters,
        small: Small {
            agent: before.and_then(|before| before.agent.as_deref()),
            agent_exit_code: before.and_then(|before| before.agent_exit_code),
            signal,
            // Whatever was counted, the end was not seen.
            usage_complete: before.and_then(|before| before.usage_complete).map(|_| false),
            claims: before.map(|before| before.claims.iter().map(String::as_str).collect()).unwrap_or_default(),
            interface_version: Some(crate::INTERFACE_VERSION),
            hint: Some(reason.hint()).filter(|hint| !hint.is_empty()),
            warnings: before.map_or(&[], |before| &before.warnings),
        }
        .into_fields(),
        answer: before.and_then(|before| before.answer.as_deref()),
        // What had been cut stays cut, but message and hint are new.
        cut: before
            .map(|before| before.cut.iter().map(String::as_str).filter(|name| !matches!(*name, "message" | "hint")).collect())
            .unwrap_or_default(),
        result_file: before.and_then(|before| before.result_file.as_deref()),
        result_sha256: before.and_then(|before| before.result_sha256.as_deref()),
    }
}
