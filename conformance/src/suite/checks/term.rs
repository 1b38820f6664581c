//! The termination message.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::read::{code, control, did_its_task, field, message, message_at_hand, started, status};
use super::schema;
use crate::suite::check::{Check, Finding, Judged, Seen};
use crate::suite::evidence::{Ended, Evidence};

pub(super) const CHECKS: &[Check] = &[
    Check { id: "TERM-001", scenarios: &["happy"], judge: one_object },
    Check { id: "TERM-002", scenarios: ENDS, judge: by_schema },
    Check { id: "TERM-003", scenarios: &["happy", "budget"], judge: budget },
    Check { id: "TERM-004", scenarios: ENDS, judge: exit_code },
    Check { id: "TERM-005", scenarios: ENDS, judge: status_of_reason },
    Check { id: "TERM-006", scenarios: &["budget"], judge: cut_is_named },
    Check { id: "TERM-007", scenarios: &["killed"], judge: valid_when_killed },
    Check { id: "TERM-008", scenarios: &["unwritable", "happy"], judge: unwritable },
    Check { id: "TERM-009", scenarios: &["forger"], judge: last_writer },
    Check { id: "TERM-010", scenarios: &["prompt-missing"], judge: every_path },
    Check { id: "TERM-011", scenarios: &["small-budget"], judge: small_budget },
];

/// Scenarios that end in different ways.
const ENDS: &[&str] = &["happy", "agent-exits", "prompt-missing"];

/// What the table of reasons says: the status of each.
static STATUSES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let rows: Vec<BTreeMap<String, Value>> = serde_json::from_str(include_str!("../../../../spec/v1/reasons.json")).unwrap_or_default();
    let text = |row: &BTreeMap<String, Value>, name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    rows.iter().filter_map(|row| Some((text(row, "reason")?, text(row, "status")?))).collect()
});

fn each(evidence: &Evidence, judge: impl Fn(&Seen<'_>, &Value) -> Judged) -> Judged {
    ENDS.iter().try_for_each(|scenario| {
        let seen = evidence.run(scenario)?;
        judge(&seen, &message_at_hand(&seen)?)
    })
}

fn one_object(evidence: &Evidence) -> Judged {
    message(&evidence.run("happy")?).map(drop)
}

fn by_schema(evidence: &Evidence) -> Judged {
    each(evidence, |seen, message| {
        let faults = schema::faults(&schema::TERMINATION, message);
        seen.expect(faults.is_empty(), "a message by the schema", faults)
    })
}

fn budget(evidence: &Evidence) -> Judged {
    control(evidence)?;
    ["happy", "budget"].into_iter().try_for_each(|scenario| {
        let seen = evidence.run(scenario)?;
        message_at_hand(&seen)?;
        let (length, budget) = (seen.termination.as_ref().map_or(0, Vec::len), seen.known("budget").parse().unwrap_or(4096));
        seen.expect(length <= budget, format!("at most {budget} bytes"), format!("{length} bytes"))
    })
}

fn exit_code(evidence: &Evidence) -> Judged {
    each(evidence, |seen, message| {
        let said = &message["exitCode"];
        let agree = matches!(seen.facts.ended, Ended::Code(code) if said.as_u64() == Some(u64::from(code)));
        seen.expect(agree, format!("`exitCode` as it was: {}", seen.facts.ended), format!("`exitCode` {said}"))
    })
}

fn status_of_reason(evidence: &Evidence) -> Judged {
    each(evidence, |seen, _| {
        let (status, reason) = (field(seen, "status")?, field(seen, "reason")?);
        match STATUSES.get(&reason) {
            None => Err(seen.broken("a reason of the closed list", format!("`{reason}`"))),
            Some(wanted) => {
                seen.expect(status == *wanted, format!("status `{wanted}`, as the reason is `{reason}`"), format!("`{status}`"))
            }
        }
    })
}

fn cut_is_named(evidence: &Evidence) -> Judged {
    let seen = evidence.run("budget")?;
    started(&seen)?;
    let message = message_at_hand(&seen)?;
    let cut: Vec<&str> = message["cut"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    let named = |name: &str| cut.contains(&"*") || cut.contains(&format!("parameters.{name}").as_str());
    // Each is far longer than the budget, so none can be whole.
    let silent: Vec<_> = ["first", "second", "third"].into_iter().filter(|name| !named(name)).collect();
    seen.expect(silent.is_empty(), "the names of what was cut", format!("`cut` is {cut:?}, without {}", silent.join(", ")))
}

fn valid_when_killed(evidence: &Evidence) -> Judged {
    let seen = evidence.run("killed")?;
    started(&seen)?;
    if seen.facts.ended != Ended::Killed {
        return Err(Finding::NotTestable(format!("it ended before it could be killed: {}", seen.facts.ended)));
    }
    let faults = schema::faults(&schema::TERMINATION, &message(&seen)?);
    seen.expect(faults.is_empty(), "a message by the schema", faults)?;
    status(&seen, "failed")
}

fn unwritable(evidence: &Evidence) -> Judged {
    control(evidence)?;
    let seen = evidence.run("unwritable")?;
    started(&seen)?;
    code(&seen, 0)
}

fn last_writer(evidence: &Evidence) -> Judged {
    let seen = evidence.run("forger")?;
    did_its_task(&seen)?;
    if seen.run.records("forger").next().is_none() {
        return Err(Finding::NotTestable("the agent could leave no process that forges".into()));
    }
    let value = message(&seen)?;
    let forged = value["message"] == "forged" || value["parameters"]["forged"].is_string();
    seen.expect(!forged, "the runner's own message", "the one that was forged")
}

fn every_path(evidence: &Evidence) -> Judged {
    let seen = evidence.run("prompt-missing")?;
    message(&seen)?;
    status(&seen, "failed")
}

fn small_budget(evidence: &Evidence) -> Judged {
    let seen = evidence.run("small-budget")?;
    started(&seen)?;
    let message = message(&seen)?;
    let whole = ["status", "reason"].iter().all(|name| message[name].is_string()) && message["exitCode"].is_u64();
    let fact = ["commit", "branch"].iter().any(|name| message["parameters"][name].is_string());
    let length = seen.termination.as_ref().map_or(0, Vec::len);
    seen.expect(whole && fact && length <= 512, "status, reason, exit code and a fact in 512 bytes", format!("{length} bytes: {message}"))
}
