//! Inputs.

use super::read::{code, control, did_its_task, field, not_started, premise, record, started, story};
use crate::suite::check::{Check, Judged, Seen};
use crate::suite::evidence::{AgentEvent, Evidence};
use crate::suite::fake::AGENT;
use crate::suite::scenario::stage::FOREIGN;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "ENV-001", scenarios: &["happy"], judge: prompt_variable },
    Check { id: "ENV-002", scenarios: &["prompt-file"], judge: prompt_file },
    Check { id: "ENV-003", scenarios: &["prompt-mebibyte"], judge: prompt_mebibyte },
    Check { id: "ENV-004", scenarios: &["prompt-odd"], judge: prompt_exact },
    Check { id: "ENV-005", scenarios: &["prompt-missing"], judge: missing_prompt },
    Check { id: "ENV-006", scenarios: &["prompt-missing", "inputs-wrong", "happy"], judge: wrong_input_no_agent },
    Check { id: "ENV-007", scenarios: &["inputs-wrong"], judge: every_wrong_input },
    Check { id: "ENV-008", scenarios: &["unknown-variables"], judge: unknown_variables },
    Check { id: "ENV-009", scenarios: &["task-document", "task-document-yaml"], judge: task_document },
    Check { id: "ENV-010", scenarios: &["variable-wins", "task-document"], judge: variable_wins },
    Check { id: "ENV-011", scenarios: &["happy"], judge: platform_variables },
];

/// The prompt came to the agent, whole.
fn prompt_came(seen: &Seen<'_>) -> Judged {
    started(seen)?;
    let found = record(seen, AGENT, |event| match event {
        AgentEvent::StdinEnded { bytes, prompt } => Some((*bytes, *prompt)),
        _ => None,
    });
    match found {
        Some((_, Some(_))) => Ok(()),
        Some((bytes, None)) => Err(seen.broken(
            "the whole prompt on stdin, in an argument, or in a file that one names",
            format!("it was in none of them; stdin had {bytes} bytes"),
        )),
        None => Err(seen.broken("stdin comes to its end", format!("it did not, so the agent still waits for its prompt; {}", story(seen)))),
    }
}

fn prompt_variable(evidence: &Evidence) -> Judged {
    prompt_came(&evidence.run("happy")?)
}

fn prompt_file(evidence: &Evidence) -> Judged {
    prompt_came(&evidence.run("prompt-file")?)
}

fn prompt_mebibyte(evidence: &Evidence) -> Judged {
    prompt_came(&evidence.run("prompt-mebibyte")?)
}

fn prompt_exact(evidence: &Evidence) -> Judged {
    prompt_came(&evidence.run("prompt-odd")?)
}

fn missing_prompt(evidence: &Evidence) -> Judged {
    code(&evidence.run("prompt-missing")?, 65)
}

fn wrong_input_no_agent(evidence: &Evidence) -> Judged {
    control(evidence)?;
    not_started(&evidence.run("prompt-missing")?)?;
    not_started(&evidence.run("inputs-wrong")?)
}

fn every_wrong_input(evidence: &Evidence) -> Judged {
    let seen = evidence.run("inputs-wrong")?;
    let said = field(&seen, "message")?;
    let unnamed: Vec<_> = seen.known("wrong").split(' ').filter(|name| !said.contains(name)).collect();
    seen.expect(
        unnamed.is_empty(),
        format!("a message that names {}", seen.known("wrong")),
        format!("without {}: {said}", unnamed.join(", ")),
    )
}

fn unknown_variables(evidence: &Evidence) -> Judged {
    did_its_task(&evidence.run("unknown-variables")?)
}

fn task_document(evidence: &Evidence) -> Judged {
    prompt_came(&evidence.run("task-document")?)?;
    prompt_came(&evidence.run("task-document-yaml")?)
}

fn variable_wins(evidence: &Evidence) -> Judged {
    premise(prompt_came(&evidence.run("task-document")?), "the image reads no task document that a variable could win over")?;
    prompt_came(&evidence.run("variable-wins")?)
}

fn platform_variables(evidence: &Evidence) -> Judged {
    let seen = evidence.run("happy")?;
    let (name, value) = FOREIGN;
    let found = started(&seen)?.env.get(name);
    seen.expect(found.is_some_and(|found| found == value), format!("{name}={value}"), format!("{found:?}"))
}
