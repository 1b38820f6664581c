//! Secrets, and what a hostile agent leaves.

use super::read::{control, last_block, message_at_hand, record, started, unwanted_parameter};
use super::str::has_events;
use crate::suite::check::{Check, Finding, Judged, Seen};
use crate::suite::evidence::{Ability, AgentEvent, Evidence};
use crate::suite::fake::{AGENT, contains};
use crate::suite::scenario::stage::TOKEN;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "SEC-001", scenarios: &["happy"], judge: token_not_in_environment },
    Check { id: "SEC-002", scenarios: &["secret-echo", "happy"], judge: message_without_secrets },
    Check { id: "SEC-003", scenarios: &["secret-echo", "happy"], judge: log_without_secrets },
    Check { id: "SEC-004", scenarios: &["secret-echo", "happy"], judge: sinks_without_secrets },
    Check { id: "SEC-005", scenarios: &["happy"], judge: private_files },
    Check { id: "SEC-006", scenarios: &["happy"], judge: environ_closed },
    Check { id: "SEC-007", scenarios: &["gateway", "happy"], judge: no_early_network },
    Check { id: "SEC-008", scenarios: &["claims", "happy"], judge: links_not_followed },
];

fn token_not_in_environment(evidence: &Evidence) -> Judged {
    control(evidence)?;
    let seen = evidence.run("happy")?;
    let start = started(&seen)?;
    let token = evidence.about.canaries.get(TOKEN).map_or("", String::as_str);
    let variable = start.env.iter().find(|(_, value)| value.contains(token)).map(|(name, _)| name.as_str());
    seen.expect(variable.is_none(), "no variable with the token", format!("`{}` has it", variable.unwrap_or_default()))?;
    seen.expect(!start.args.iter().any(|arg| arg.contains(token)), "no argument with the token", "one has it")
}

/// The scenario in which the agent says its secrets, if it really said them.
fn echoed(evidence: &Evidence) -> Result<Seen<'_>, Finding> {
    control(evidence)?;
    let seen = evidence.run("secret-echo")?;
    started(&seen)?;
    Ok(seen)
}

/// None of the canaries stands in these bytes.
fn hold_no_secret(evidence: &Evidence, seen: &Seen<'_>, place: &str, bytes: &[u8]) -> Judged {
    let held = evidence.about.canaries.iter().find(|(_, canary)| contains(bytes, canary.as_bytes()));
    seen.expect(held.is_none(), format!("no secret in {place}"), format!("the {} stands there", held.map_or("", |(name, _)| name.as_str())))
}

fn message_without_secrets(evidence: &Evidence) -> Judged {
    let seen = echoed(evidence)?;
    message_at_hand(&seen)?;
    hold_no_secret(evidence, &seen, "the termination message", seen.termination.as_deref().unwrap_or_default())
}

fn log_without_secrets(evidence: &Evidence) -> Judged {
    let seen = echoed(evidence)?;
    seen.expect(contains(&seen.stdout, b"At last: "), "what the agent said on stdout", "it is not there")?;
    hold_no_secret(evidence, &seen, "stdout", &seen.stdout)?;
    hold_no_secret(evidence, &seen, "stderr", &seen.stderr)
}

fn sinks_without_secrets(evidence: &Evidence) -> Judged {
    let seen = echoed(evidence)?;
    let files =
        [("the result file", &seen.run.result_file, true), ("the events file", &seen.run.events_file, has_events(evidence).is_ok())];
    for (place, bytes, is_due) in files {
        if bytes.is_none() && !is_due {
            continue;
        }
        let bytes = bytes.as_deref().ok_or_else(|| Finding::NotTestable(format!("{place} is not there")))?;
        hold_no_secret(evidence, &seen, place, bytes)?;
    }
    if let Some(block) = last_block(&seen.stdout) {
        let text: String = block.entries.into_values().collect();
        hold_no_secret(evidence, &seen, "the marker block", text.as_bytes())?;
    }
    seen.run.results.iter().try_for_each(|(name, bytes)| hold_no_secret(evidence, &seen, &format!("the result `{name}`"), bytes))
}

fn private_files(evidence: &Evidence) -> Judged {
    control(evidence)?;
    let seen = evidence.run("happy")?;
    let files = record(&seen, AGENT, |event| match event {
        AgentEvent::SecretFiles { files } => Some(files),
        _ => None,
    });
    let Some(files) = files else { return Err(Finding::NotTestable("the agent could not look for files".into())) };
    let open: Vec<_> = files.iter().filter(|(_, mode)| **mode & 0o077 != 0).map(|(path, mode)| format!("{path} ({mode:o})")).collect();
    seen.expect(open.is_empty(), "files with secrets that only their owner can read", open.join(", "))
}

fn environ_closed(evidence: &Evidence) -> Judged {
    if !evidence.about.abilities.contains(&Ability::PidNamespace) {
        return Err(Finding::NotObservable(format!("the engine `{}` cannot {}", evidence.about.engine, Ability::PidNamespace.about())));
    }
    control(evidence)?;
    let seen = evidence.run("happy")?;
    let readable = record(&seen, AGENT, |event| match event {
        AgentEvent::InitEnvironment { readable } => Some(*readable),
        _ => None,
    });
    seen.expect(readable == Some(false), "/proc/1/environ is closed to the agent", "the agent could read it")
}

fn no_early_network(evidence: &Evidence) -> Judged {
    control(evidence)?;
    let seen = evidence.run("gateway")?;
    started(&seen)?;
    let asked: Vec<_> = seen.facts.model.iter().map(|request| request.request.as_str()).collect();
    let found = format!("{} of them; asked was: {}", seen.facts.model_connections, asked.join(", "));
    seen.expect(seen.facts.model_connections == 0 && asked.is_empty(), "no connection, since the suite's agent makes none", found)
}

fn links_not_followed(evidence: &Evidence) -> Judged {
    control(evidence)?;
    let seen = evidence.run("claims")?;
    started(&seen)?;
    let read = unwanted_parameter(&seen, "linked")?;
    seen.expect(read.is_none(), "no result of what a link leads to", format!("`linked` is {read:?}"))?;
    seen.expect(seen.facts.untouched == Some(true), "the file behind a link is as it was", "it was written")
}
