//! The conformance suite as a judge: of the runner as a command on the host; of an image that is nothing but the runner and the libraries
//! of this machine that a test's build needs; and, by the suite's own command, of any image.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use agent_conformance::suite::engine::exec::Exec;
use agent_conformance::suite::engine::{Engine, Program};
use agent_conformance::suite::scenario::{self, GatherOptions};
use agent_conformance::suite::subject::{ImageConfig, LABEL_PREFIX};
use agent_conformance::suite::verdict::{self, Judgement};
use agent_conformance::suite::{checks, requirement};

use serde_json::Value;

use crate::{containers, probe};

/// Where the image's agent is.
pub const AGENT_PATH: &str = "/usr/local/bin/agent";
/// Far beyond what a scenario needs on a busy machine: one that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// The configuration of an image with this agent.
#[must_use]
pub fn config(agent: &str, stream: &str, more: &[(&str, &str)]) -> ImageConfig {
    let own = [
        ("interface", "1.0"),
        ("profiles", "image core workspace kubernetes hardened agent"),
        ("agent", agent),
        ("agent.path", AGENT_PATH),
        ("agent.stream", stream),
    ];
    let labels = own.iter().chain(more).map(|(name, value)| (format!("{LABEL_PREFIX}{name}"), (*value).to_owned())).collect();
    ImageConfig {
        entrypoint: vec!["/usr/local/bin/agent-runner".into()],
        env: vec![format!("AGENT_TYPE={agent}"), "PATH=/usr/local/bin:/usr/bin:/bin".into()],
        user: "1000:0".into(),
        labels,
        ..ImageConfig::default()
    }
}

/// The suite's program.
#[must_use]
pub fn program() -> Program {
    Program(Some(probe::program("agent-conformance")))
}

/// The runner as a command on the host, with more variables of an image's configuration.
#[must_use]
pub fn on_host(mut config: ImageConfig, more: &[String]) -> Box<dyn Engine> {
    // The host's own path, for the shells and gits of agents.
    config.env.retain(|entry| !entry.starts_with("PATH="));
    config.env.extend(more.iter().cloned());
    Box::new(Exec::new(vec![probe::runner().display().to_string()], config, program()).unwrap())
}

/// A root file system with the runner, an agent that is never started, and the libraries of this machine that test builds need.
///
/// # Panics
/// It cannot be made.
pub fn root(dir: &Path) {
    for name in ["usr/local/bin", "etc/ssl/certs", "tmp", "home/agent", "dev", "proc", "sys"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    for open in ["tmp", "home/agent"] {
        fs::set_permissions(dir.join(open), Permissions::from_mode(0o1777)).unwrap();
    }
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    fs::copy(probe::runner(), dir.join("usr/local/bin/agent-runner")).unwrap();
    let agent = dir.join(AGENT_PATH.trim_start_matches('/'));
    fs::write(&agent, "").unwrap();
    fs::set_permissions(&agent, Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nagent:x:1000:0::/home/agent:/bin/sh\n").unwrap();
    for binary in [probe::runner().to_owned(), probe::program("agent-conformance")] {
        for library in libraries(&binary) {
            let inside = dir.join(library.strip_prefix("/").unwrap());
            fs::create_dir_all(inside.parent().unwrap()).unwrap();
            fs::copy(&library, &inside).unwrap();
        }
    }
}

fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// What `agent-conformance check` says of an image: its exit code and its report.
///
/// # Panics
/// It makes no report.
#[must_use]
pub fn checked(image: &str, arguments: &[&str], env: &[(&str, &str)]) -> (Option<i32>, Value) {
    probe::runner();
    let mut check = Command::new(probe::program("agent-conformance"));
    check.arg("check").args(arguments).args(["--report", "json=-", "--", image]);
    check.env("CONTAINERS_CONF", containers::root().join("tests/containers.conf")).envs(env.iter().copied());
    let output = check.output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code(), report.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// The ids that have a verdict in a report.
#[must_use]
pub fn ids<'a>(report: &'a Value, verdict: &str) -> Vec<&'a str> {
    let judgements = report["results"].as_array().unwrap();
    judgements.iter().filter(|one| one["verdict"] == verdict).map(|one| one["id"].as_str().unwrap()).collect()
}

/// Runs the scenarios that are wanted, and judges by every check that needs no others.
///
/// # Panics
/// The image cannot be looked at.
pub fn judge(engine: &dyn Engine, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Judgement> {
    let names: BTreeSet<&str> = scenario::all().map(|scenario| scenario.name).filter(|name| wanted(name)).collect();
    let work = tempfile::tempdir().unwrap();
    fs::set_permissions(work.path(), Permissions::from_mode(0o755)).unwrap();
    let program = probe::program("agent-conformance");
    let options = GatherOptions { work: work.path().to_owned(), program, at_once: 2, patience: PATIENCE };
    let evidence = scenario::gather(engine, &engine.inspect().unwrap(), &names, &options, &|_| {});
    let checks = checks::all().filter(|check| check.scenarios.iter().all(|scenario| names.contains(scenario)));
    let checks: Vec<_> = checks.map(|check| (requirement::find(check.id).unwrap(), check)).collect();
    let judgements = verdict::judge(&evidence, &checks, &BTreeMap::new());
    judgements.into_iter().map(|judgement| (judgement.id.clone(), judgement)).collect()
}
