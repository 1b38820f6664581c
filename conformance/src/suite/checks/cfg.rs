//! Set-up, and the circumstances that platforms make.

use super::read::{code, control, did_its_task, not_started, reason, started, story};
use crate::suite::check::{Check, Finding, Judged};
use crate::suite::evidence::{AgentEvent, Evidence};
use crate::suite::fake::SETUP;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "CFG-001", scenarios: &["setup"], judge: setup_command },
    Check { id: "CFG-002", scenarios: &["setup-fails"], judge: setup_fails },
    Check { id: "CFG-003", scenarios: &["setup-fails", "happy"], judge: setup_fails_no_agent },
    Check { id: "CFG-004", scenarios: &["any-user"], judge: any_user },
    Check { id: "CFG-005", scenarios: &["read-only-root"], judge: read_only_root },
    Check { id: "CFG-006", scenarios: &["no-capabilities"], judge: no_capabilities },
];

fn setup_command(evidence: &Evidence) -> Judged {
    let seen = evidence.run("setup")?;
    let records = &seen.run.facts.records;
    let position = |role: &str| records.iter().position(|record| record.role == role && matches!(record.event, AgentEvent::Started { .. }));
    let Some(at) = position(SETUP) else { return Err(seen.broken("the setup command is run", format!("it was not; {}", story(&seen)))) };
    if let AgentEvent::Started { args, cwd, .. } = &records[at].event {
        let wanted: Vec<String> = serde_json::from_str(seen.known("setup")).unwrap_or_default();
        seen.expect(args.get(1..) == wanted.get(1..), format!("arguments {wanted:?}"), format!("{args:?}"))?;
        let workspace = seen.facts.env.get("AGENT_WORKSPACE_DIR").cloned().unwrap_or_default();
        seen.expect(*cwd == workspace, format!("in the workspace, {workspace}"), cwd.clone())?;
    }
    let started = position(crate::suite::fake::AGENT);
    seen.expect(
        started.is_some_and(|agent| at < agent),
        "the agent is started after it",
        if started.is_some() { "before" } else { "never" },
    )
}

fn setup_fails(evidence: &Evidence) -> Judged {
    let seen = evidence.run("setup-fails")?;
    code(&seen, 43)?;
    reason(&seen, "SetupFailed")
}

fn setup_fails_no_agent(evidence: &Evidence) -> Judged {
    control(evidence)?;
    let seen = evidence.run("setup-fails")?;
    if seen.run.records(SETUP).next().is_none() {
        return Err(Finding::NotTestable("the image does not run the setup command".into()));
    }
    not_started(&seen)
}

fn any_user(evidence: &Evidence) -> Judged {
    let seen = evidence.run("any-user")?;
    did_its_task(&seen)?;
    let uid = started(&seen)?.uid;
    seen.expect(uid == 54_321, "an agent that runs as user 54321", format!("user {uid}"))
}

fn read_only_root(evidence: &Evidence) -> Judged {
    did_its_task(&evidence.run("read-only-root")?)
}

fn no_capabilities(evidence: &Evidence) -> Judged {
    did_its_task(&evidence.run("no-capabilities")?)
}
