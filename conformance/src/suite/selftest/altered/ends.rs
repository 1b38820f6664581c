//! How runs end, processes, signals, and the stream.

use super::{Alteration, forget, message, records, run};
use crate::suite::evidence::{AgentEvent, Ended, Evidence};
use crate::suite::fake::AGENT;
use crate::suite::scenario::ends::IN_GRACE;

/// Without an image that does its task in `happy`, what an image must not do says nothing.
const NO_CONTROL: &[&str] = &[
    "RUN-001", "TERM-004", "VER-005", "ENV-006", "CFG-003", "STR-003", "STR-005", "STR-006", "TERM-003", "TERM-008", "OUT-008", "OUT-009",
    "SEC-001", "SEC-002", "SEC-003", "SEC-004", "SEC-005", "SEC-006", "SEC-007", "SEC-008",
];

pub(super) const ALTERATIONS: &[Alteration] = &[
    Alteration {
        name: "success",
        about: "a good agent's run ends with 1",
        alter: |evidence| run(evidence, "happy").facts.ended = Ended::Code(1),
        kills: NO_CONTROL,
    },
    Alteration {
        name: "success.status",
        about: "a good agent's run is `incomplete` in the message",
        alter: |evidence| message(evidence, "happy", |message| message["status"] = "incomplete".into()),
        kills: &["RUN-001", "TERM-005", "OUT-002", "OUT-004"],
    },
    Alteration {
        name: "agent-exit-code",
        about: "an agent's 17 becomes 1, everywhere",
        alter: |evidence| {
            run(evidence, "agent-exits").facts.ended = Ended::Code(1);
            message(evidence, "agent-exits", |message| message["exitCode"] = 1.into());
            super::outcome(evidence, "agent-exits", |outcome| outcome["exitCode"] = 1.into());
        },
        kills: &["RUN-002"],
    },
    Alteration {
        name: "agent-killed",
        about: "an agent that died of SIGABRT ends with 1",
        alter: |evidence| run(evidence, "agent-dies").facts.ended = Ended::Code(1),
        kills: &["RUN-003"],
    },
    Alteration {
        name: "signal-forwarded",
        about: "SIGTERM did not come to the agent",
        alter: |evidence| forget(evidence, "signal", AGENT, |event| matches!(event, AgentEvent::Signal { .. })),
        kills: &["RUN-004"],
    },
    Alteration {
        name: "cancelled",
        about: "a run that SIGTERM ended has failed",
        alter: |evidence| message(evidence, "signal", |message| message["status"] = "failed".into()),
        kills: &["RUN-005"],
    },
    Alteration {
        name: "cancelled.code",
        about: "a run that SIGTERM ended ends with 0",
        alter: |evidence| run(evidence, "signal").facts.ended = Ended::Code(0),
        kills: &["RUN-005"],
    },
    Alteration {
        name: "interrupted",
        about: "SIGINT ends with 143",
        alter: |evidence| run(evidence, "interrupt").facts.ended = Ended::Code(143),
        kills: &["RUN-006"],
    },
    Alteration {
        name: "grace",
        about: "it took 15 seconds after SIGTERM",
        alter: |evidence| run(evidence, "signal-ignored").facts.after_signal_ms = Some(15_000),
        kills: &["RUN-007"],
    },
    Alteration {
        name: "grace.never",
        about: "it did not end at all",
        alter: |evidence| run(evidence, "signal-ignored").facts.ended = Ended::OutOfPatience,
        kills: &["RUN-007"],
    },
    Alteration {
        name: "grace.none",
        about: "an agent that ignores SIGTERM was killed at once",
        alter: |evidence| forget(evidence, "signal-ignored", AGENT, |event| matches!(event, AgentEvent::Mark { name } if name == IN_GRACE)),
        kills: &["RUN-007"],
    },
    Alteration {
        name: "grace.untold",
        about: "an agent that would ignore SIGTERM never got it",
        alter: |evidence| forget(evidence, "signal-ignored", AGENT, |event| matches!(event, AgentEvent::Signal { .. })),
        kills: &["RUN-007"],
    },
    Alteration {
        name: "escaped-processes",
        about: "what was left got no SIGTERM",
        alter: |evidence| forget(evidence, "orphan", "orphan", |event| matches!(event, AgentEvent::Signal { .. })),
        kills: &["RUN-008"],
    },
    Alteration {
        name: "reaping",
        about: "499 zombies stayed",
        alter: |evidence| records(evidence, "zombies", AGENT, count_zombies),
        kills: &["RUN-009"],
    },
    Alteration {
        name: "stdin-end",
        about: "stdin never came to its end",
        alter: |evidence| forget(evidence, "happy", AGENT, |event| matches!(event, AgentEvent::StdinEnded { .. })),
        kills: &["RUN-010", "ENV-001"],
    },
    Alteration {
        name: "signal-state.blocked",
        about: "the agent started with SIGUSR1 blocked",
        alter: |evidence| signals(evidence, 1 << 9, 0),
        kills: &["RUN-011"],
    },
    Alteration {
        name: "signal-state.ignored",
        about: "the agent started with SIGPIPE ignored",
        alter: |evidence| signals(evidence, 0, 1 << 12),
        kills: &["RUN-011"],
    },
    Alteration {
        name: "timeout",
        about: "a run that took too long has failed",
        alter: |evidence| message(evidence, "timeout", |message| message["status"] = "failed".into()),
        kills: &["RUN-012"],
    },
    Alteration {
        name: "timeout.never",
        about: "a run went on after its time was over",
        alter: |evidence| run(evidence, "timeout").facts.ended = Ended::OutOfPatience,
        kills: &["RUN-012"],
    },
    Alteration {
        name: "agent-not-found",
        about: "a missing agent ends with 127",
        alter: |evidence| run(evidence, "agent-missing").facts.ended = Ended::Code(127),
        kills: &["RUN-013"],
    },
    Alteration {
        name: "stdout-held-open",
        about: "the end of stdout was waited for",
        alter: |evidence| run(evidence, "held-open").facts.ended = Ended::OutOfPatience,
        kills: &["RUN-014"],
    },
    Alteration {
        name: "lingering-agent",
        about: "an agent that lingers was left alone",
        alter: |evidence| run(evidence, "lingering").facts.ended = Ended::OutOfPatience,
        kills: &["RUN-015"],
    },
    Alteration {
        name: "lingering-agent.harm",
        about: "an agent that lingers has failed",
        alter: |evidence| message(evidence, "lingering", |message| message["status"] = "timed-out".into()),
        kills: &["RUN-015"],
    },
    Alteration {
        name: "stdout-unchanged",
        about: "a byte that is not UTF-8 was replaced",
        alter: |evidence| run(evidence, "stream-odd").stdout.iter_mut().for_each(|byte| *byte = if *byte == 0xff { b'?' } else { *byte }),
        kills: &["STR-001"],
    },
    Alteration {
        name: "stdout-unchanged.order",
        about: "two lines changed places",
        alter: |evidence| run(evidence, "stream-odd").stdout[..40].reverse(),
        kills: &["STR-001"],
    },
    Alteration {
        name: "stderr-passes",
        about: "stderr is empty",
        alter: |evidence| run(evidence, "stream-odd").stderr.clear(),
        kills: &["STR-002"],
    },
    Alteration {
        name: "unknown-lines",
        about: "odd lines made the run fail",
        alter: |evidence| run(evidence, "stream-odd").facts.ended = Ended::Code(1),
        kills: &["STR-003"],
    },
    Alteration {
        name: "usage",
        about: "input tokens without the cache, everywhere",
        alter: |evidence| everywhere(evidence, "input-tokens", "1000"),
        kills: &["STR-004"],
    },
    Alteration {
        name: "usage-absent",
        about: "tokens that nobody told of are 0",
        alter: |evidence| message(evidence, "usage-untold", |message| message["parameters"]["output-tokens"] = "0".into()),
        kills: &["STR-005"],
    },
    Alteration {
        name: "prices",
        about: "the cost is the agent's own",
        alter: |evidence| message(evidence, "usage-priced", |message| message["parameters"]["cost-source"] = "agent".into()),
        kills: &["STR-011"],
    },
    Alteration {
        name: "prices.cost",
        about: "the cost is another",
        alter: |evidence| message(evidence, "usage-priced", |message| message["parameters"]["cost-usd"] = "0.01".into()),
        kills: &["STR-011"],
    },
    Alteration {
        name: "prices.none",
        about: "there is no cost",
        alter: |evidence| {
            message(evidence, "usage-priced", |message| {
                message["parameters"].as_object_mut().into_iter().for_each(|parameters| drop(parameters.remove("cost-usd")));
            });
        },
        kills: &["STR-011"],
    },
    Alteration {
        name: "stream-speaks-first",
        about: "code 0 is a success whatever the stream says",
        alter: |evidence| message(evidence, "stream-failed", |message| message["status"] = "succeeded".into()),
        kills: &["STR-006"],
    },
    Alteration {
        name: "truncated-stream",
        about: "a stream that was cut is a success",
        alter: |evidence| message(evidence, "stream-cut", |message| message["status"] = "succeeded".into()),
        kills: &["STR-007"],
    },
    Alteration {
        name: "events-log",
        about: "a line of the log is no event",
        alter: |evidence| drop(run(evidence, "events-log").stdout.splice(0..0, *b"{\"type\":\"step\"}\n")),
        kills: &["STR-008"],
    },
    Alteration {
        name: "events-log.none",
        about: "the log is empty",
        alter: |evidence| run(evidence, "events-log").stdout.clear(),
        kills: &["STR-008"],
    },
];

fn count_zombies(event: &mut AgentEvent) {
    if let AgentEvent::Zombies { left } = event {
        *left = 499;
    }
}

fn signals(evidence: &mut Evidence, now_blocked: u64, now_ignored: u64) {
    records(evidence, "happy", AGENT, |event| {
        if let AgentEvent::Started { blocked, ignored, .. } = event {
            (*blocked, *ignored) = (now_blocked, now_ignored);
        }
    });
}

/// Changes a result of `happy` in the message, the results directory and the marker block.
fn everywhere(evidence: &mut Evidence, name: &str, value: &str) {
    message(evidence, "happy", |message| message["parameters"][name] = value.into());
    let run = run(evidence, "happy");
    run.results.insert(name.to_owned(), value.as_bytes().to_vec());
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let is_it = |line: &str| line.starts_with(&format!("{name}: "));
    let lines = text.split_inclusive('\n').map(|line| if is_it(line) { format!("{name}: {value}\n") } else { line.to_owned() });
    run.stdout = lines.collect::<String>().into_bytes();
}
