//! An image that somebody else could have written, in the style of Kelos' own, and that was never meant for the interface: the suite says
//! rightly what it lacks and what it keeps, and says the same on every engine that works here.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::process::Command;

use agent_tests::containers::{image, podman_ok, root};
use agent_tests::docker::Service;
use agent_tests::judged::{checked, ids};
use agent_tests::probe;
use agent_tests::skip::skip;
use serde_json::Value;

/// What it breaks, and why that is true of it.
const FAILS: &[(&str, &str)] = &[
    ("IMG-004", "tini starts a script of bash"),
    ("VER-003", "AGENT_INTERFACE_VERSION is not read: the agent does its task, and the container ends with 0"),
    ("VER-004", "so nothing is said of versions"),
    ("VER-005", "and the agent is started"),
    ("ENV-002", "AGENT_PROMPT_FILE is not read: there is no prompt"),
    ("ENV-003", "likewise"),
    ("ENV-005", "without a prompt it ends with 1"),
    ("ENV-006", "wrong values of variables that it does not read keep it from nothing"),
    ("ENV-007", "and are named nowhere"),
    ("ENV-009", "AGENT_TASK_FILE is not read: there is no prompt"),
    ("WS-001", "nothing clones: on Kelos an init container has done it, and the directory is there"),
    ("WS-002", "likewise"),
    ("WS-003", "the directory is not there, and the script gives up: the agent is nowhere"),
    ("WS-004", "nothing clones"),
    ("WS-006", "nothing asks the git server: it ends with 1"),
    ("WS-009", "likewise"),
    ("WS-010", "likewise"),
    ("WS-012", "there are no results"),
    ("WS-013", "likewise"),
    ("WS-015", "it ends with 1 before it could be told to end, and says nothing"),
    ("CFG-002", "the exit code is the setup command's, the reason is nowhere"),
    ("RUN-001", "the exit code is 0, the status is nowhere"),
    ("RUN-004", "tini passes SIGTERM to bash, which dies of it and passes it to nobody; with PID 1 the agent is killed"),
    ("RUN-005", "the exit code is 143, the status is nowhere"),
    ("RUN-006", "bash waits for the agent when SIGINT comes, and the agent got none"),
    ("RUN-008", "nobody asks what the agent left to end, and the filter waits for it"),
    ("RUN-012", "AGENT_TIMEOUT is not read"),
    ("RUN-013", "AGENT_PROGRAM is not read; and were the agent missing, bash would say 127"),
    ("RUN-014", "the filter reads until the pipe is closed by everybody who holds it"),
    ("RUN-015", "an agent that lives on is waited for"),
    ("STR-001", "bash drops NUL, and its `printf` ends each line"),
    ("STR-004", "tokens stand in Kelos' block, not in the results"),
    ("STR-007", "there is no status"),
    ("STR-008", "AGENT_LOG is not read: stdout is the agent's"),
    ("STR-011", "AGENT_PRICES is not read, and there are no results"),
    ("TERM-001", "there is no termination message"),
    ("TERM-007", "likewise"),
    ("TERM-009", "what stands there is of the process that forges, or of nobody"),
    ("TERM-010", "there is no termination message"),
    ("TERM-011", "likewise"),
    ("OUT-001", "AGENT_RESULT_FILE is not written"),
    ("OUT-004", "the last lines are Kelos' block, without a nonce"),
    ("OUT-006", "the agent gets no nonce"),
    ("OUT-007", "blocks are not read"),
    ("OUT-010", "AGENT_RESULTS_DIR is not read"),
    ("OUT-011", "AGENT_OUTPUTS is not read"),
    ("OUT-012", "AGENT_EVENTS_FILE is not written"),
    ("SEC-003", "nothing is masked"),
    ("SEC-006", "tini runs as the agent's user, and hides its environment from nobody"),
];

/// What is about something that it does not have, so that it is neither kept nor broken.
const NOT_TESTABLE: &[(&str, &str)] = &[
    ("VER-001", "the version that it follows would stand in the message"),
    ("VER-006", "in the message"),
    ("ENV-010", "there is no task document that a variable could win over"),
    ("WS-007", "the agent is not started where the clone would succeed either"),
    ("WS-008", "a clone that fails is none"),
    ("WS-011", "there is no clone"),
    ("WS-014", "likewise"),
    ("RUN-007", "the agent cannot ignore a SIGTERM that never comes"),
    ("STR-005", "what must not stand in the message"),
    ("STR-006", "likewise"),
    ("TERM-002", "how the message looks"),
    ("TERM-003", "likewise"),
    ("TERM-004", "likewise"),
    ("TERM-005", "likewise"),
    ("TERM-006", "likewise"),
    ("OUT-002", "there are neither of the two that have to agree"),
    ("OUT-003", "what the message has"),
    ("OUT-005", "there is no block"),
    ("OUT-008", "what must not stand in the message"),
    ("OUT-009", "likewise"),
    ("SEC-002", "likewise"),
    ("SEC-004", "the result file is not there"),
    ("SEC-008", "what must not stand in the message"),
];

/// What is only recommended.
const WARNS: &[(&str, &str)] = &[
    ("IMG-010", "it has none of the standard labels"),
    ("IMG-011", "Debian's slim image has no certificates"),
    ("IMG-014", "it has Debian's `su` and `passwd`"),
    ("WS-005", "it fetches nothing"),
];

/// What it keeps, some of it because it does so little.
const PASSES: &[&str] = &[
    // The labels are there and right, and so is the user.
    "IMG-001", "IMG-002", "IMG-003", "IMG-005", "IMG-006", "IMG-007", "IMG-008", "IMG-009", "IMG-012", "IMG-013",
    // Version 1.0 is accepted, as is everything else that it does not read.
    "VER-002", "ENV-008", // The prompt is an argument of the agent, quoted as it should be; the environment passes.
    "ENV-001", "ENV-004", "ENV-011", // The setup command's words are taken apart as JSON, and its failure ends the run.
    "CFG-001", "CFG-003", // It writes nowhere that could be closed.
    "CFG-004", "CFG-005", "CFG-006",
    // The code of the pipe's first program; tini buries orphans; stdin is the container's; bash and tini leave signals as they are.
    "RUN-002", "RUN-003", "RUN-009", "RUN-010", "RUN-011", // Stderr is no pipe; the filter takes whatever comes.
    "STR-002", "STR-003",  // A message that is never written cannot fail to be.
    "TERM-008", // The token is not read, no file is written, no model is asked.
    "SEC-001", "SEC-005", "SEC-007",
];

/// Where an engine has a hand in it: files, users, mounts, variables, signals, exit codes, bytes of output. Without those for which the
/// image hangs.
const ENGINES_TOO: &str = "IMG,VER-003,ENV-001,ENV-004,ENV-011,WS-001,CFG-001,CFG-004,CFG-005,CFG-006,RUN-001,RUN-002,RUN-003,RUN-004,RUN-005,\
    RUN-007,RUN-009,RUN-010,RUN-011,RUN-013,STR-001,STR-002,TERM-001,TERM-007,TERM-009,OUT-004,SEC-001,SEC-003,SEC-005,SEC-006";

/// The image, if images can be made here.
fn kelos_style() -> Option<String> {
    let base = image("stand-in/debian")?;
    let name = "localhost/agent-runner-tests/kelos-style";
    let base = format!("BASE={base}");
    let context = root().join("conformance/fixtures/kelos-style");
    podman_ok(&["build", "--quiet", "--network", "host", "--build-arg", &base, "--tag", name, context.to_str().unwrap()]);
    Some(name.to_owned())
}

/// The verdict of each requirement.
fn verdicts(report: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    report["results"].as_array().unwrap().iter().map(|one| (text(&one["id"]), text(&one["verdict"]))).collect()
}

#[test]
fn what_it_lacks_is_said_and_on_every_engine_alike() {
    let Some(name) = kelos_style() else { return };
    // Far more than a scenario takes that ends.
    let (code, report) = checked(&name, &["--engine", "podman", "--jobs", "4", "--timeout", "90s"], &[]);
    let of = |rows: &[(&'static str, &str)]| rows.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    assert_eq!(ids(&report, "fail"), of(FAILS), "{report:#}");
    assert_eq!(ids(&report, "not-testable"), of(NOT_TESTABLE), "{report:#}");
    assert_eq!(ids(&report, "warn"), of(WARNS), "{report:#}");
    let sorted = |mut ids: Vec<&'static str>| {
        ids.sort_unstable();
        ids
    };
    let mut passed = ids(&report, "pass");
    passed.sort_unstable();
    assert_eq!(passed, sorted(PASSES.to_vec()), "{report:#}");
    let all = FAILS.len() + NOT_TESTABLE.len() + WARNS.len() + PASSES.len();
    assert_eq!((code, report["results"].as_array().unwrap().len()), (Some(1), all), "{report:#}");

    let by_podman = verdicts(&report);
    let same = |engine: &str, image: &str, env: &[(&str, &str)]| {
        let (code, report) = checked(image, &["--engine", engine, "--jobs", "4", "--timeout", "60s", "--only", ENGINES_TOO], env);
        let judged = verdicts(&report);
        let as_podman: BTreeMap<_, _> =
            by_podman.iter().filter(|(id, _)| judged.contains_key(*id)).map(|(id, verdict)| (id.clone(), verdict.clone())).collect();
        assert!(judged.len() > 40, "by {engine}: {report:#}");
        assert_eq!((code, &judged), (Some(1), &as_podman), "by {engine}: {report:#}");
    };
    if let Some(service) = Service::start() {
        same("docker", &name, &[("DOCKER_HOST", &service.host())]);
    }
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar");
    podman_ok(&["save", "--quiet", "--format", "oci-archive", "--output", archive.to_str().unwrap(), &name]);
    let archive = format!("oci-archive:{}", archive.display());
    let engines = Command::new(probe::program("agent-conformance")).arg("engines").output().unwrap();
    let engines = String::from_utf8(engines.stdout).unwrap();
    for engine in ["runc", "namespace"] {
        let line = engines.lines().find(|line| line.starts_with(engine)).unwrap();
        if line.split_whitespace().nth(1).is_some_and(|word| word.starts_with("works")) {
            same(engine, &archive, &[]);
        } else {
            skip(&format!("the image in Kelos' style was not judged by {line}"));
        }
    }

    // What only is looked at, by the engine that only looks: it can say nothing of the rest.
    let (_, looked) = checked(&archive, &["--engine", "static"], &[]);
    let looked = verdicts(&looked);
    for (id, verdict) in &by_podman {
        let wanted = if id.starts_with("IMG-") { verdict.as_str() } else { "not-observable" };
        assert_eq!(looked[id], wanted, "{id}");
    }
}
