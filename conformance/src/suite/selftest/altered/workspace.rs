//! The workspace that the image clones.

use super::{Alteration, head, message, records, run, start_agent};
use crate::suite::evidence::{AgentEvent, Ended, GitRequest};
use crate::suite::fake::AGENT;
use crate::suite::git::Repository;
use crate::suite::git::repository::UNWANTED;

const NOBODYS: &str = "0123456789012345678901234567890123456789";

pub(super) const ALTERATIONS: &[Alteration] = &[
    Alteration {
        name: "clone",
        about: "an empty directory where the clone should be",
        alter: |evidence| head(evidence, "clone", |head| *head = Default::default()),
        kills: &["WS-001", "WS-002", "WS-004", "WS-008", "WS-014"],
    },
    Alteration {
        name: "ref",
        about: "another commit than the ref's",
        alter: |evidence| head(evidence, "clone", |head| head.commit = Some(NOBODYS.into())),
        kills: &["WS-002"],
    },
    Alteration {
        name: "working-directory",
        about: "the agent started elsewhere",
        alter: |evidence| {
            records(evidence, "clone", AGENT, |event| {
                if let AgentEvent::Started { cwd, .. } = event {
                    *cwd = "/".into();
                }
            });
        },
        kills: &["WS-003"],
    },
    Alteration {
        name: "working-branch",
        about: "HEAD is on no branch",
        alter: |evidence| head(evidence, "clone", |head| head.branch = None),
        kills: &["WS-004"],
    },
    Alteration {
        name: "only-what-is-asked",
        about: "another branch was fetched too",
        alter: |evidence| {
            let wants = vec![Repository::default().tip(UNWANTED)];
            run(evidence, "clone").facts.git.push(GitRequest { wants, ..GitRequest::default() });
        },
        kills: &["WS-005"],
    },
    Alteration {
        name: "ref-not-found",
        about: "an unknown ref is another kind of failure",
        alter: |evidence| message(evidence, "clone-no-ref", |message| message["reason"] = "RepositoryNotFound".into()),
        kills: &["WS-006"],
    },
    Alteration {
        name: "ref-not-found.code",
        about: "an unknown ref ends with 74",
        alter: |evidence| run(evidence, "clone-no-ref").facts.ended = Ended::Code(74),
        kills: &["WS-006"],
    },
    Alteration {
        name: "no-workspace-no-agent",
        about: "the agent is started though the ref is not there",
        alter: |evidence| start_agent(evidence, "clone-no-ref"),
        kills: &["WS-007"],
    },
    Alteration {
        name: "no-workspace-no-agent.refused",
        about: "the agent is started though the token was refused",
        alter: |evidence| start_agent(evidence, "clone-refused"),
        kills: &["WS-007"],
    },
    Alteration {
        name: "failed-clone-leaves-nothing",
        about: "a failed clone left its .git",
        alter: |evidence| run(evidence, "clone-no-ref").facts.workspace.push(".git".into()),
        kills: &["WS-008"],
    },
    Alteration {
        name: "token-file",
        about: "the token was never offered",
        alter: |evidence| run(evidence, "clone-token").facts.git.iter_mut().for_each(|request| request.credentials = None),
        kills: &["WS-009", "WS-011"],
    },
    Alteration {
        name: "token-refused",
        about: "a refused token is another kind of failure",
        alter: |evidence| message(evidence, "clone-refused", |message| message["reason"] = "CloneFailed".into()),
        kills: &["WS-010"],
    },
    Alteration {
        name: "token-refused.code",
        about: "a refused token ends with 66",
        alter: |evidence| run(evidence, "clone-refused").facts.ended = Ended::Code(66),
        kills: &["WS-010"],
    },
    Alteration {
        name: "token-not-in-git-config",
        about: "the token stands in .git/config",
        alter: |evidence| run(evidence, "clone-token").facts.token_in.push(".git/config".into()),
        kills: &["WS-011"],
    },
    Alteration {
        name: "commit-fact",
        about: "`commit` is the one before the agent's",
        alter: |evidence| {
            let tip = run(evidence, "clone").known("tip").to_owned();
            message(evidence, "clone", |message| message["parameters"]["commit"] = tip.into());
        },
        kills: &["WS-012"],
    },
    Alteration {
        name: "commit-fact.branch",
        about: "no `branch`",
        alter: |evidence| message(evidence, "clone", |message| message["parameters"]["branch"] = serde_json::Value::Null),
        kills: &["WS-012"],
    },
    Alteration {
        name: "base-commit-fact",
        about: "`base-commit` is the agent's own commit",
        alter: |evidence| {
            let work = run(evidence, "clone").known("work").to_owned();
            message(evidence, "clone", |message| message["parameters"]["base-commit"] = work.into());
        },
        kills: &["WS-013"],
    },
    Alteration {
        name: "clean-work-tree",
        about: "a file of the image's lies in the work tree",
        alter: |evidence| head(evidence, "clone", |head| drop(head.files.insert("AGENT.md".into(), NOBODYS.into()))),
        kills: &["WS-014"],
    },
    Alteration {
        name: "clean-work-tree.changed",
        about: "a file of the repository has something of the image's",
        alter: |evidence| head(evidence, "clone", |head| drop(head.files.insert("AGENTS.md".into(), NOBODYS.into()))),
        kills: &["WS-014"],
    },
    Alteration {
        name: "signal-while-cloning",
        about: "SIGTERM while cloning is a failure",
        alter: |evidence| message(evidence, "clone-signal", |message| message["status"] = "failed".into()),
        kills: &["WS-015"],
    },
];
