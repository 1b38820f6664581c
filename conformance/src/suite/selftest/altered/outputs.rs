//! The termination message, results, and secrets.

use serde_json::{Value, json};

use super::{Alteration, environment, message, outcome, records, run};
use crate::suite::evidence::{AgentEvent, Ended, Evidence};
use crate::suite::fake::AGENT;
use crate::suite::scenario::stage::{KEY, TOKEN};

/// Whatever looks at the message of `happy` when that is none.
const NO_MESSAGE: &[&str] = &[
    "VER-001", "VER-006", "RUN-001", "STR-004", "TERM-001", "TERM-002", "TERM-003", "TERM-004", "TERM-005", "OUT-002", "OUT-003", "OUT-004",
];

pub(super) const ALTERATIONS: &[Alteration] = &[
    Alteration { name: "one-object", about: "no message", alter: |evidence| run(evidence, "happy").termination = None, kills: NO_MESSAGE },
    Alteration {
        name: "one-object.two",
        about: "two objects",
        alter: |evidence| run(evidence, "happy").termination.iter_mut().for_each(|bytes| bytes.extend_from_slice(b"{}")),
        kills: NO_MESSAGE,
    },
    Alteration {
        name: "one-object.bytes",
        about: "a message that is not UTF-8",
        alter: |evidence| run(evidence, "happy").termination = Some(b"{\"status\":\"\xff\"}".to_vec()),
        kills: NO_MESSAGE,
    },
    Alteration {
        name: "schema",
        about: "`retry` is a text",
        alter: |evidence| message(evidence, "happy", |message| message["retry"] = "no".into()),
        kills: &["TERM-002"],
    },
    Alteration {
        name: "schema.parameter",
        about: "a parameter is a number",
        alter: |evidence| message(evidence, "agent-exits", |message| message["parameters"]["turns"] = 1.into()),
        kills: &["TERM-002"],
    },
    Alteration {
        name: "budget",
        about: "a message of more than 1,024 bytes",
        alter: |evidence| message(evidence, "budget", |message| message["message"] = "x".repeat(1024).into()),
        kills: &["TERM-003"],
    },
    Alteration {
        name: "exit-code",
        about: "`exitCode` is 0 where the container's is 17",
        alter: |evidence| {
            message(evidence, "agent-exits", |message| message["exitCode"] = 0.into());
            outcome(evidence, "agent-exits", |outcome| outcome["exitCode"] = 0.into());
        },
        kills: &["TERM-004"],
    },
    Alteration {
        name: "status-of-reason",
        about: "an agent that failed is `incomplete`",
        alter: |evidence| {
            message(evidence, "agent-exits", |message| message["status"] = "incomplete".into());
            outcome(evidence, "agent-exits", |outcome| outcome["status"] = "incomplete".into());
        },
        kills: &["TERM-005"],
    },
    Alteration {
        name: "cut-is-named",
        about: "one of three results that were cut is not named",
        alter: |evidence| {
            message(evidence, "budget", |message| message["cut"] = json!(["answer", "parameters.first", "parameters.third"]));
        },
        kills: &["TERM-006"],
    },
    Alteration {
        name: "valid-when-killed",
        about: "the message of a killed container says that all went well",
        alter: |evidence| message(evidence, "killed", |message| message["status"] = "succeeded".into()),
        kills: &["TERM-007"],
    },
    Alteration {
        name: "valid-when-killed.none",
        about: "a killed container left no message",
        alter: |evidence| run(evidence, "killed").termination = None,
        kills: &["TERM-007"],
    },
    Alteration {
        name: "valid-when-killed.half",
        about: "a killed container left half a message",
        alter: |evidence| run(evidence, "killed").termination.iter_mut().for_each(|bytes| bytes.truncate(bytes.len() / 2)),
        kills: &["TERM-007"],
    },
    Alteration {
        name: "unwritable",
        about: "a message that cannot be written is a failure",
        alter: |evidence| run(evidence, "unwritable").facts.ended = Ended::Code(74),
        kills: &["TERM-008"],
    },
    Alteration {
        name: "last-writer",
        about: "the forged message stands there",
        alter: |evidence| message(evidence, "forger", |message| message["message"] = "forged".into()),
        kills: &["TERM-009"],
    },
    Alteration {
        name: "every-path",
        about: "no word of status where inputs are wrong",
        alter: |evidence| run(evidence, "prompt-missing").termination = None,
        kills: &["TERM-010", "TERM-002", "TERM-004", "TERM-005"],
    },
    Alteration {
        name: "small-budget",
        about: "neither commit nor branch in a small message",
        alter: |evidence| message(evidence, "small-budget", |message| message["parameters"] = json!({})),
        kills: &["TERM-011"],
    },
    Alteration {
        name: "small-budget.long",
        about: "a message of more than 512 bytes",
        alter: |evidence| message(evidence, "small-budget", |message| message["message"] = "x".repeat(512).into()),
        kills: &["TERM-011"],
    },
    Alteration {
        name: "result-file",
        about: "a field of another type than the schema says",
        alter: |evidence| outcome(evidence, "happy", |outcome| outcome["usageComplete"] = "nearly".into()),
        kills: &["OUT-001"],
    },
    Alteration {
        name: "result-file.none",
        about: "no result file",
        alter: |evidence| run(evidence, "happy").result_file = None,
        kills: &["OUT-001", "OUT-002"],
    },
    Alteration {
        name: "one-verdict",
        about: "another reason in the result file",
        alter: |evidence| outcome(evidence, "agent-exits", |outcome| outcome["reason"] = "RunnerFault".into()),
        kills: &["OUT-002"],
    },
    Alteration {
        name: "results-directory",
        about: "a result has no file",
        alter: |evidence| drop(run(evidence, "happy").results.remove("exit-code")),
        kills: &["OUT-003"],
    },
    Alteration {
        name: "results-directory.text",
        about: "a file has another text, by a line feed",
        alter: |evidence| run(evidence, "happy").results.values_mut().for_each(|bytes| bytes.push(b'\n')),
        kills: &["OUT-003"],
    },
    Alteration {
        name: "marker-block",
        about: "a line after the marker block",
        alter: |evidence| run(evidence, "happy").stdout.extend_from_slice(b"done\n"),
        kills: &["OUT-004", "OUT-005"],
    },
    Alteration {
        name: "marker-block.result",
        about: "a result is not in the block",
        alter: |evidence| {
            let run = run(evidence, "happy");
            let text = String::from_utf8_lossy(&run.stdout).into_owned();
            let kept = text.split_inclusive('\n').filter(|line| !line.starts_with("exit-code: "));
            run.stdout = kept.collect::<String>().into_bytes();
        },
        kills: &["OUT-004"],
    },
    Alteration {
        name: "marker-nonce-fresh",
        about: "the block's nonce is the agent's",
        alter: |evidence| {
            let block = crate::suite::checks::last_block(&run(evidence, "happy").stdout);
            let nonce = block.map(|block| block.nonce).unwrap_or_default();
            environment(evidence, "happy", |env| drop(env.insert("AGENT_NONCE".into(), nonce.clone())));
        },
        kills: &["OUT-005"],
    },
    Alteration {
        name: "nonce",
        about: "a nonce of three letters",
        alter: |evidence| environment(evidence, "happy", |env| drop(env.insert("AGENT_NONCE".into(), "xyz".into()))),
        kills: &["OUT-006"],
    },
    Alteration {
        name: "nonce.fixed",
        about: "the same nonce in each run",
        alter: |evidence| {
            for scenario in ["happy", "happy-again"] {
                environment(evidence, scenario, |env| drop(env.insert("AGENT_NONCE".into(), "0123456789abcdefghij".into())));
            }
        },
        kills: &["OUT-006"],
    },
    Alteration {
        name: "claims-by-nonce",
        about: "a claim by a block was ignored",
        alter: |evidence| parameter(evidence, "said", Value::Null),
        kills: &["OUT-007"],
    },
    Alteration {
        name: "forged-marker",
        about: "a forged block counted",
        alter: |evidence| parameter(evidence, "forged", "by a nonce that is not this run's".into()),
        kills: &["OUT-008"],
    },
    Alteration {
        name: "fact-wins",
        about: "the agent's `exit-code` counted",
        alter: |evidence| parameter(evidence, "exit-code", "99".into()),
        kills: &["OUT-009"],
    },
    Alteration {
        name: "fact-wins.absent",
        about: "the agent's `branch` counted where there is no repository",
        alter: |evidence| parameter(evidence, "branch", "forged".into()),
        kills: &["OUT-009"],
    },
    Alteration {
        name: "claims-by-file",
        about: "a file that was left was ignored",
        alter: |evidence| parameter(evidence, "left", Value::Null),
        kills: &["OUT-010"],
    },
    Alteration {
        name: "declared-outputs",
        about: "a declared file was ignored",
        alter: |evidence| parameter(evidence, "declared", Value::Null),
        kills: &["OUT-011"],
    },
    Alteration {
        name: "declared-outputs.default",
        about: "a default was ignored",
        alter: |evidence| parameter(evidence, "defaulted", "".into()),
        kills: &["OUT-011"],
    },
    Alteration {
        name: "events-file",
        about: "a line of the events file is no event",
        alter: |evidence| run(evidence, "happy").events_file.iter_mut().for_each(|bytes| bytes.extend_from_slice(b"{\"type\":\"text\"}\n")),
        kills: &["OUT-012"],
    },
    Alteration {
        name: "events-file.none",
        about: "no events file",
        alter: |evidence| run(evidence, "happy").events_file = None,
        kills: &["OUT-012"],
    },
    Alteration {
        name: "token-not-in-environment",
        about: "the token stands in a variable",
        alter: |evidence| {
            let token = canary(evidence, TOKEN);
            environment(evidence, "happy", |env| drop(env.insert("GIT_TOKEN".into(), token.clone())));
        },
        kills: &["SEC-001"],
    },
    Alteration {
        name: "token-not-in-environment.argument",
        about: "the token is part of an argument",
        alter: |evidence| {
            let token = canary(evidence, TOKEN);
            records(evidence, "happy", AGENT, |event| {
                if let AgentEvent::Started { args, .. } = event {
                    args.push(format!("--token={token}"));
                }
            });
        },
        kills: &["SEC-001"],
    },
    Alteration {
        name: "message-without-secrets",
        about: "the key stands in the message",
        alter: |evidence| {
            let key = canary(evidence, KEY);
            message(evidence, "secret-echo", |message| message["answer"] = format!("it is {key}").into());
        },
        kills: &["SEC-002"],
    },
    Alteration {
        name: "log-without-secrets",
        about: "the key stands on stdout",
        alter: |evidence| {
            let key = canary(evidence, KEY);
            drop(run(evidence, "secret-echo").stdout.splice(0..0, key.into_bytes()));
        },
        kills: &["SEC-003"],
    },
    Alteration {
        name: "log-without-secrets.stderr",
        about: "the token stands on stderr",
        alter: |evidence| {
            let token = canary(evidence, TOKEN);
            run(evidence, "secret-echo").stderr.extend(token.into_bytes());
        },
        kills: &["SEC-003"],
    },
    Alteration {
        name: "sinks-without-secrets",
        about: "the key stands in the result file",
        alter: |evidence| {
            let key = canary(evidence, KEY);
            outcome(evidence, "secret-echo", |outcome| outcome["answer"] = key.into());
        },
        kills: &["SEC-004"],
    },
    Alteration {
        name: "sinks-without-secrets.results-directory",
        about: "the key stands in a result's file",
        alter: |evidence| {
            let key = canary(evidence, KEY);
            drop(run(evidence, "secret-echo").results.insert("key".into(), key.into_bytes()));
        },
        kills: &["SEC-004"],
    },
    Alteration {
        name: "sinks-without-secrets.events",
        about: "the token stands in the events file",
        alter: |evidence| {
            let token = canary(evidence, TOKEN);
            run(evidence, "secret-echo").events_file.iter_mut().for_each(|bytes| bytes.extend_from_slice(token.as_bytes()));
        },
        kills: &["SEC-004"],
    },
    Alteration {
        name: "sinks-without-secrets.marker",
        about: "the key stands in the marker block",
        alter: |evidence| {
            let key = canary(evidence, KEY);
            let run = run(evidence, "secret-echo");
            let text = String::from_utf8_lossy(&run.stdout).into_owned();
            run.stdout = text.replace("\nstatus: ", &format!("\ntold: {key}\nstatus: ")).into_bytes();
        },
        kills: &["SEC-003", "SEC-004"],
    },
    Alteration {
        name: "private-files",
        about: "a file with the token that all may read",
        alter: |evidence| {
            records(evidence, "happy", AGENT, |event| {
                if let AgentEvent::SecretFiles { files } = event {
                    files.insert("/tmp/credentials".into(), 0o644);
                }
            });
        },
        kills: &["SEC-005"],
    },
    Alteration {
        name: "environ-closed",
        about: "the agent could read the environment of PID 1",
        alter: |evidence| {
            records(evidence, "happy", AGENT, |event| {
                if let AgentEvent::InitEnvironment { readable } = event {
                    *readable = true;
                }
            });
        },
        kills: &["SEC-006"],
    },
    Alteration {
        name: "no-early-network",
        about: "somebody connected to the model's endpoint",
        alter: |evidence| run(evidence, "gateway").facts.model_connections = 1,
        kills: &["SEC-007"],
    },
    Alteration {
        name: "links-not-followed",
        about: "what a link leads to became a result",
        alter: |evidence| parameter(evidence, "linked", "what a link must not bring in".into()),
        kills: &["SEC-008"],
    },
    Alteration {
        name: "links-not-followed.write",
        about: "a result was written through a link",
        alter: |evidence| run(evidence, "claims").facts.untouched = Some(false),
        kills: &["SEC-008"],
    },
];

fn canary(evidence: &Evidence, name: &str) -> String {
    evidence.about.canaries.get(name).cloned().unwrap_or_default()
}

/// A parameter in the message of `claims`.
fn parameter(evidence: &mut Evidence, name: &str, value: Value) {
    message(evidence, "claims", |message| message["parameters"][name] = value);
}
