//! Versions of the interface.

use super::read::{code, control, did_its_task, field, message_at_hand, not_started, started};
use crate::suite::check::{Check, Judged};
use crate::suite::evidence::Evidence;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "VER-001", scenarios: &["happy"], judge: default_version },
    Check { id: "VER-002", scenarios: &["version-spoken"], judge: spoken },
    Check { id: "VER-003", scenarios: &["version-unspoken"], judge: unspoken_code },
    Check { id: "VER-004", scenarios: &["version-unspoken"], judge: unspoken_names_both },
    Check { id: "VER-005", scenarios: &["version-unspoken", "happy"], judge: unspoken_no_agent },
    Check { id: "VER-006", scenarios: &["happy"], judge: message_names_version },
];

fn default_version(evidence: &Evidence) -> Judged {
    let seen = evidence.run("happy")?;
    let numbers = |version: &&str| version.split('.').map(|part| part.parse::<u32>().unwrap_or_default()).collect::<Vec<_>>();
    let highest = evidence.about.subject.words("interface").max_by_key(numbers).unwrap_or("one in its label");
    message_at_hand(&seen)?;
    let followed = field(&seen, "interfaceVersion")?;
    seen.expect(followed == highest, format!("version {highest} is followed"), format!("version {followed}"))
}

fn spoken(evidence: &Evidence) -> Judged {
    did_its_task(&evidence.run("version-spoken")?)
}

fn unspoken_code(evidence: &Evidence) -> Judged {
    code(&evidence.run("version-unspoken")?, 76)
}

fn unspoken_names_both(evidence: &Evidence) -> Judged {
    let seen = evidence.run("version-unspoken")?;
    let said = field(&seen, "message")?;
    let asked = seen.known("version");
    let both = said.contains(asked) && evidence.about.subject.words("interface").any(|version| said.contains(version));
    seen.expect(both, format!("a message that names {asked} and a version of the label"), said)
}

fn unspoken_no_agent(evidence: &Evidence) -> Judged {
    control(evidence)?;
    not_started(&evidence.run("version-unspoken")?)
}

fn message_names_version(evidence: &Evidence) -> Judged {
    let seen = evidence.run("happy")?;
    started(&seen)?;
    let value = message_at_hand(&seen)?;
    let cut = value["cut"].as_array().is_some_and(|cut| cut.iter().any(|name| name == "interfaceVersion" || name == "*"));
    seen.expect(cut || value["interfaceVersion"].is_string(), "`interfaceVersion` in the message", value["interfaceVersion"].to_string())
}
