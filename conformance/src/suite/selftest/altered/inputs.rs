//! Inputs, set-up, and the circumstances that platforms make.

use super::{Alteration, environment, lose_prompt, message, outcome, records, run, start_agent};
use crate::suite::evidence::{AgentEvent, Ended, Evidence};
use crate::suite::fake::{AGENT, SETUP};
use crate::suite::scenario::stage::FOREIGN;

pub(super) const ALTERATIONS: &[Alteration] = &[
    Alteration {
        name: "prompt-variable",
        about: "the prompt of AGENT_PROMPT did not come",
        alter: |evidence| lose_prompt(evidence, "happy"),
        kills: &["ENV-001"],
    },
    Alteration {
        name: "prompt-file",
        about: "the prompt of AGENT_PROMPT_FILE did not come",
        alter: |evidence| lose_prompt(evidence, "prompt-file"),
        kills: &["ENV-002"],
    },
    Alteration {
        name: "prompt-mebibyte",
        about: "the long prompt did not come",
        alter: |evidence| lose_prompt(evidence, "prompt-mebibyte"),
        kills: &["ENV-003"],
    },
    Alteration {
        name: "prompt-exact",
        about: "the odd prompt did not come",
        alter: |evidence| lose_prompt(evidence, "prompt-odd"),
        kills: &["ENV-004"],
    },
    Alteration {
        name: "missing-prompt",
        about: "without a prompt it ends with 64, and says so",
        alter: |evidence| {
            run(evidence, "prompt-missing").facts.ended = Ended::Code(64);
            message(evidence, "prompt-missing", |message| message["exitCode"] = 64.into());
            outcome(evidence, "prompt-missing", |outcome| outcome["exitCode"] = 64.into());
        },
        kills: &["ENV-005"],
    },
    Alteration {
        name: "wrong-input-no-agent",
        about: "the agent is started with wrong inputs",
        alter: |evidence| start_agent(evidence, "inputs-wrong"),
        kills: &["ENV-006"],
    },
    Alteration {
        name: "wrong-input-no-agent.prompt",
        about: "the agent is started without a prompt",
        alter: |evidence| start_agent(evidence, "prompt-missing"),
        kills: &["ENV-006"],
    },
    Alteration {
        name: "every-wrong-input",
        about: "two of three wrong inputs are named",
        alter: |evidence| message(evidence, "inputs-wrong", |message| message["message"] = "AGENT_TIMEOUT, AGENT_LOG".into()),
        kills: &["ENV-007"],
    },
    Alteration {
        name: "unknown-variables",
        about: "an unknown variable is a wrong input",
        alter: |evidence| run(evidence, "unknown-variables").facts.ended = Ended::Code(65),
        kills: &["ENV-008"],
    },
    Alteration {
        name: "task-document",
        about: "the document's prompt did not come",
        alter: |evidence| lose_prompt(evidence, "task-document"),
        kills: &["ENV-009", "ENV-010"],
    },
    Alteration {
        name: "task-document.yaml",
        about: "the prompt of a document in YAML did not come",
        alter: |evidence| lose_prompt(evidence, "task-document-yaml"),
        kills: &["ENV-009"],
    },
    Alteration {
        name: "variable-wins",
        about: "the variable's prompt did not come",
        alter: |evidence| lose_prompt(evidence, "variable-wins"),
        kills: &["ENV-010"],
    },
    Alteration {
        name: "platform-variables-pass",
        about: "a foreign variable did not come",
        alter: |evidence| environment(evidence, "happy", |env| drop(env.remove(FOREIGN.0))),
        kills: &["ENV-011"],
    },
    Alteration {
        name: "platform-variables-pass.changed",
        about: "a foreign variable came without its quotes",
        alter: |evidence| environment(evidence, "happy", |env| env.values_mut().for_each(|value| value.retain(|c| c != '"'))),
        kills: &["ENV-011"],
    },
    Alteration {
        name: "setup-command",
        about: "the setup command was not run",
        alter: |evidence| run(evidence, "setup").facts.records.retain(|record| record.role != SETUP),
        kills: &["CFG-001"],
    },
    Alteration {
        name: "setup-command.words",
        about: "an argument was split",
        alter: |evidence| setup(evidence, |args, _| *args = args.iter().flat_map(|arg| arg.split(' ')).map(str::to_owned).collect()),
        kills: &["CFG-001"],
    },
    Alteration {
        name: "setup-command.directory",
        about: "the setup command started elsewhere",
        alter: |evidence| setup(evidence, |_, cwd| *cwd = "/".into()),
        kills: &["CFG-001"],
    },
    Alteration {
        name: "setup-command.after",
        about: "the setup command came after the agent",
        alter: |evidence| run(evidence, "setup").facts.records.sort_by_key(|record| record.role == SETUP),
        kills: &["CFG-001"],
    },
    Alteration {
        name: "setup-fails",
        about: "a setup command that failed ends with 1",
        alter: |evidence| run(evidence, "setup-fails").facts.ended = Ended::Code(1),
        kills: &["CFG-002"],
    },
    Alteration {
        name: "setup-fails.reason",
        about: "a setup command that failed is the agent's failure",
        alter: |evidence| message(evidence, "setup-fails", |message| message["reason"] = "AgentFailed".into()),
        kills: &["CFG-002"],
    },
    Alteration {
        name: "setup-fails-no-agent",
        about: "the agent is started after the setup command failed",
        alter: |evidence| start_agent(evidence, "setup-fails"),
        kills: &["CFG-003"],
    },
    Alteration {
        name: "any-user",
        about: "a foreign user's task fails",
        alter: |evidence| run(evidence, "any-user").facts.ended = Ended::Code(70),
        kills: &["CFG-004"],
    },
    Alteration {
        name: "any-user.another",
        about: "the agent runs as another user",
        alter: |evidence| {
            records(evidence, "any-user", AGENT, |event| {
                if let AgentEvent::Started { uid, .. } = event {
                    *uid = 1000;
                }
            });
        },
        kills: &["CFG-004"],
    },
    Alteration {
        name: "read-only-root",
        about: "the task fails on a root that cannot be written",
        alter: |evidence| run(evidence, "read-only-root").facts.ended = Ended::Code(78),
        kills: &["CFG-005"],
    },
    Alteration {
        name: "no-capabilities",
        about: "the task fails without capabilities",
        alter: |evidence| run(evidence, "no-capabilities").facts.ended = Ended::Code(70),
        kills: &["CFG-006"],
    },
];

/// Changes arguments and directory of the setup command.
fn setup(evidence: &mut Evidence, change: impl Fn(&mut Vec<String>, &mut String)) {
    records(evidence, "setup", SETUP, |event| {
        if let AgentEvent::Started { args, cwd, .. } = event {
            change(args, cwd);
        }
    });
}
