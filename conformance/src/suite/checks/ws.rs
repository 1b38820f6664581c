//! The workspace that the image clones.

use super::read::{code, message, not_started, parameter_is, premise, reason, record, started, status, story};
use crate::suite::check::{Check, Finding, Judged, Seen};
use crate::suite::evidence::{AgentEvent, Evidence, HeadFact};
use crate::suite::fake::AGENT;
use crate::suite::git::Repository;
use crate::suite::git::repository::{REF_FILE, UNWANTED};

pub(super) const CHECKS: &[Check] = &[
    Check { id: "WS-001", scenarios: &["clone"], judge: cloned },
    Check { id: "WS-002", scenarios: &["clone"], judge: at_ref },
    Check { id: "WS-003", scenarios: &["clone"], judge: working_directory },
    Check { id: "WS-004", scenarios: &["clone"], judge: working_branch },
    Check { id: "WS-005", scenarios: &["clone"], judge: only_what_is_asked },
    Check { id: "WS-006", scenarios: &["clone-no-ref"], judge: ref_not_found },
    Check { id: "WS-007", scenarios: &["clone-no-ref", "clone-refused", "clone"], judge: no_agent },
    Check { id: "WS-008", scenarios: &["clone-no-ref", "clone"], judge: leaves_nothing },
    Check { id: "WS-009", scenarios: &["clone-token"], judge: token_file },
    Check { id: "WS-010", scenarios: &["clone-refused"], judge: token_refused },
    Check { id: "WS-011", scenarios: &["clone-token"], judge: token_not_kept },
    Check { id: "WS-012", scenarios: &["clone"], judge: commit_fact },
    Check { id: "WS-013", scenarios: &["clone"], judge: base_commit },
    Check { id: "WS-014", scenarios: &["clone"], judge: clean },
    Check { id: "WS-015", scenarios: &["clone-signal"], judge: signal_while_cloning },
];

/// What the agent saw of HEAD when it started.
fn head<'a>(seen: &Seen<'a>) -> Result<&'a HeadFact, Finding> {
    started(seen)?;
    let head = record(seen, AGENT, |event| match event {
        AgentEvent::Head(head) => Some(head),
        _ => None,
    });
    head.ok_or_else(|| seen.broken("an agent that looks at its workspace", format!("it did not; {}", story(seen))))
}

fn cloned(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone")?;
    let head = head(&seen)?;
    let there = head.commit.is_some() && head.files.contains_key("README.md");
    seen.expect(there, "a clone in the agent's working directory", format!("HEAD {:?}, files {:?}", head.commit, head.files))
}

fn at_ref(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone")?;
    let head = head(&seen)?;
    let tip = seen.known("tip");
    let there = head.commit.as_deref() == Some(tip) && head.files.contains_key(REF_FILE);
    seen.expect(there, format!("commit {tip}, with `{REF_FILE}`"), format!("commit {:?}, files {:?}", head.commit, head.files))
}

fn working_directory(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone")?;
    let start = started(&seen)?;
    let wanted = seen.facts.env.get("AGENT_WORKSPACE_DIR").cloned().unwrap_or_default();
    seen.expect(start.cwd == wanted, wanted.clone(), start.cwd)
}

fn working_branch(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone")?;
    let branch = &head(&seen)?.branch;
    let wanted = seen.known("branch");
    seen.expect(branch.as_deref() == Some(wanted), format!("branch `{wanted}`"), format!("{branch:?}"))
}

fn only_what_is_asked(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone")?;
    premise(head(&seen), "the image clones nothing")?;
    let unwanted = Repository::default().tip(UNWANTED);
    let fetched = seen.facts.git.iter().any(|request| request.wants.contains(&unwanted));
    seen.expect(!fetched, "only the branch that the task names is fetched", format!("the branch `{UNWANTED}` was fetched too"))
}

fn ref_not_found(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone-no-ref")?;
    code(&seen, 66)?;
    reason(&seen, "RefNotFound")
}

fn no_agent(evidence: &Evidence) -> Judged {
    premise(started(&evidence.run("clone")?), "the image does not start its agent where the clone succeeds, so this says nothing")?;
    not_started(&evidence.run("clone-no-ref")?)?;
    not_started(&evidence.run("clone-refused")?)
}

fn leaves_nothing(evidence: &Evidence) -> Judged {
    premise(cloned(evidence), "the image does not clone where nothing stands against it")?;
    let seen = evidence.run("clone-no-ref")?;
    let left = &seen.facts.workspace;
    seen.expect(left.is_empty(), "an empty directory, or none", left.join(", "))
}

fn token_file(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone-token")?;
    let offered = seen.facts.git.iter().any(|request| request.credentials == Some(true));
    seen.expect(offered, "a request with the token", format!("{} requests, none with the token; {}", seen.facts.git.len(), story(&seen)))?;
    head(&seen).map(drop)
}

fn token_refused(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone-refused")?;
    code(&seen, 77)?;
    reason(&seen, "CloneAuthFailed")
}

fn token_not_kept(evidence: &Evidence) -> Judged {
    premise(token_file(evidence), "the image does not clone with the token")?;
    let seen = evidence.run("clone-token")?;
    let kept: Vec<_> = seen.facts.token_in.iter().filter(|path| path.starts_with(".git/")).cloned().collect();
    seen.expect(kept.is_empty(), "the token in no file below .git", kept.join(", "))
}

fn commit_fact(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone")?;
    parameter_is(&seen, "branch", seen.known("branch"))?;
    parameter_is(&seen, "commit", seen.known("work"))
}

fn base_commit(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone")?;
    parameter_is(&seen, "base-commit", seen.known("tip"))
}

fn clean(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone")?;
    let head = premise(head(&seen), "there is no clone to be clean")?;
    if head.commit.is_none() {
        return Err(Finding::NotTestable("there is no clone to be clean".into()));
    }
    let known = Repository::default().files_of_ref();
    let more: Vec<_> = head.files.keys().filter(|file| !known.contains_key(*file)).collect();
    let fewer: Vec<_> = known.keys().filter(|file| !head.files.contains_key(*file)).collect();
    let other: Vec<_> =
        known.iter().filter(|(file, id)| head.files.get(*file).is_some_and(|there| there != *id)).map(|(file, _)| file).collect();
    let found = format!("more: {more:?}, missing: {fewer:?}, with other content: {other:?}");
    seen.expect(more.is_empty() && fewer.is_empty() && other.is_empty(), "the work tree of the commit", found)
}

fn signal_while_cloning(evidence: &Evidence) -> Judged {
    let seen = evidence.run("clone-signal")?;
    message(&seen)?;
    status(&seen, "cancelled")
}
