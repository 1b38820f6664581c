//! Results: files, marker blocks, and claims.

use serde_json::Value;

use super::read::{control, last_block, message, message_at_hand, parameter_is, premise, quote, started, unwanted_parameter};
use super::schema;
use super::str::{are_events, has_events};
use crate::suite::check::{Check, Finding, Judged, Seen};
use crate::suite::evidence::Evidence;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "OUT-001", scenarios: &["happy"], judge: result_file },
    Check { id: "OUT-002", scenarios: &["happy", "agent-exits"], judge: one_verdict },
    Check { id: "OUT-003", scenarios: &["happy"], judge: results_directory },
    Check { id: "OUT-004", scenarios: &["happy"], judge: marker_block },
    Check { id: "OUT-005", scenarios: &["happy"], judge: marker_nonce_fresh },
    Check { id: "OUT-006", scenarios: &["happy", "happy-again"], judge: nonce },
    Check { id: "OUT-007", scenarios: &["claims"], judge: claims_by_nonce },
    Check { id: "OUT-008", scenarios: &["claims", "happy"], judge: forged_marker },
    Check { id: "OUT-009", scenarios: &["claims", "happy"], judge: fact_wins },
    Check { id: "OUT-010", scenarios: &["claims"], judge: claims_by_file },
    Check { id: "OUT-011", scenarios: &["claims"], judge: declared_outputs },
    Check { id: "OUT-012", scenarios: &["happy"], judge: events_file },
];

fn outcome(seen: &Seen<'_>) -> Result<Value, Finding> {
    let Some(bytes) = &seen.result_file else { return Err(seen.broken("a result file", "there is none")) };
    serde_json::from_slice(bytes).map_err(|error| seen.broken("a result file that is JSON", format!("{error}: {}", quote(bytes))))
}

fn result_file(evidence: &Evidence) -> Judged {
    let seen = evidence.run("happy")?;
    let faults = schema::faults(&schema::OUTCOME, &outcome(&seen)?);
    seen.expect(faults.is_empty(), "an outcome by the schema", faults)
}

fn one_verdict(evidence: &Evidence) -> Judged {
    ["happy", "agent-exits"].into_iter().try_for_each(|scenario| {
        let seen = evidence.run(scenario)?;
        let message = message_at_hand(&seen)?;
        let outcome = premise(outcome(&seen), "there is no result file to agree with")?;
        ["status", "reason", "exitCode"].into_iter().try_for_each(|name| {
            let (there, here) = (&outcome[name], &message[name]);
            seen.expect(there == here, format!("`{name}` {here}, as in the message"), format!("{there} in the result file"))
        })
    })
}

/// The parameters of the message.
fn parameters(seen: &Seen<'_>) -> Result<Vec<(String, String)>, Finding> {
    let message = message_at_hand(seen)?;
    let parameters = message["parameters"].as_object().ok_or_else(|| seen.broken("`parameters` in the message", "none"))?;
    Ok(parameters.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect())
}

fn results_directory(evidence: &Evidence) -> Judged {
    let seen = evidence.run("happy")?;
    let parameters = parameters(&seen)?;
    seen.expect(!parameters.is_empty(), "results", "none in the message")?;
    parameters.iter().try_for_each(|(name, value)| {
        let file = seen.run.results.get(name);
        let actual = file.map_or_else(|| "no such file".to_owned(), |bytes| quote(bytes));
        seen.expect(file.is_some_and(|bytes| bytes == value.as_bytes()), format!("a file `{name}` with {value:?}"), actual)
    })
}

fn marker_block(evidence: &Evidence) -> Judged {
    let seen = evidence.run("happy")?;
    let Some(block) = last_block(&seen.stdout) else {
        let tail = &seen.stdout[seen.stdout.len().saturating_sub(200)..];
        return Err(seen.broken("a marker block as the last lines of stdout", quote(tail)));
    };
    let message = message(&seen)?;
    let verdict = ["status", "reason"].map(|name| (name.to_owned(), message[name].as_str().unwrap_or_default().to_owned()));
    parameters(&seen)?.into_iter().chain(verdict).try_for_each(|(name, value)| {
        let there = block.entries.get(&name);
        seen.expect(there == Some(&value), format!("`{name}: {value}` in the block"), format!("{there:?}"))
    })
}

/// The nonce that the agent was given.
fn given(seen: &Seen<'_>) -> Result<String, Finding> {
    let start = started(seen)?;
    start.env.get("AGENT_NONCE").cloned().ok_or_else(|| seen.broken("`AGENT_NONCE` in the agent's environment", "it is not set"))
}

fn marker_nonce_fresh(evidence: &Evidence) -> Judged {
    let seen = evidence.run("happy")?;
    started(&seen)?;
    let Some(block) = last_block(&seen.stdout) else {
        return Err(Finding::NotTestable("stdout does not end with a marker block".into()));
    };
    let known = seen.run.agent_started().map(|record| format!("{record:?}").contains(&block.nonce));
    seen.expect(known == Some(false), "a nonce that the agent did not know", "one that stood in its environment or arguments")
}

fn nonce(evidence: &Evidence) -> Judged {
    let (first, again) = (evidence.run("happy")?, evidence.run("happy-again")?);
    let nonces = [given(&first)?, given(&again)?];
    let well_formed = |nonce: &String| (16..=64).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
    first.expect(nonces.iter().all(well_formed), "16 to 64 ASCII letters and digits", nonces.join(", "))?;
    first.expect(nonces[0] != nonces[1], "another nonce in each run", format!("{} twice", nonces[0]))
}

fn claims_by_nonce(evidence: &Evidence) -> Judged {
    parameter_is(&evidence.run("claims")?, "said", "by a block\nof two lines")
}

fn forged_marker(evidence: &Evidence) -> Judged {
    control(evidence)?;
    let seen = evidence.run("claims")?;
    started(&seen)?;
    let forged = unwanted_parameter(&seen, "forged")?;
    seen.expect(forged.is_none(), "no result of a block with another nonce", format!("`forged` is {forged:?}"))
}

fn fact_wins(evidence: &Evidence) -> Judged {
    control(evidence)?;
    let seen = evidence.run("claims")?;
    started(&seen)?;
    [("exit-code", "99"), ("branch", "forged"), ("commit", "0000000000000000000000000000000000000000")].into_iter().try_for_each(
        |(name, claimed)| {
            let result = unwanted_parameter(&seen, name)?;
            seen.expect(result.as_deref() != Some(claimed), format!("`{name}` as a fact, or none"), format!("the claim {claimed:?}"))
        },
    )
}

fn claims_by_file(evidence: &Evidence) -> Judged {
    parameter_is(&evidence.run("claims")?, "left", "in a file")
}

fn declared_outputs(evidence: &Evidence) -> Judged {
    let seen = evidence.run("claims")?;
    parameter_is(&seen, "declared", "as declared")?;
    parameter_is(&seen, "defaulted", "by default")
}

fn events_file(evidence: &Evidence) -> Judged {
    has_events(evidence)?;
    let seen = evidence.run("happy")?;
    let Some(bytes) = &seen.run.events_file else { return Err(seen.broken("an events file", "there is none")) };
    let text = String::from_utf8_lossy(bytes);
    are_events(&seen, "the events file", &text.lines().collect::<Vec<_>>())
}
