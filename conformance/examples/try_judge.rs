//! try
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]
use agent_conformance::suite::engine::{Engine, Program, exec::Exec, namespace::Namespace, podman::Podman};
use agent_conformance::suite::scenario::{self, GatherOptions};
use agent_conformance::suite::subject::*;
use agent_conformance::suite::{checks, evidence, requirement, verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (kind, target, agent) = (a[1].as_str(), a[2].clone(), a[3].clone());
    let only: BTreeSet<String> = a[4..].iter().cloned().collect();
    let suite = PathBuf::from(std::env::var("SUITE").unwrap());
    let program = Program(Some(suite.clone()));
    let mut labels = BTreeMap::new();
    for (k, v) in [
        ("interface", "1.0"),
        ("profiles", "image core workspace kubernetes hardened agent"),
        ("agent", agent.as_str()),
        ("agent.path", "/usr/local/bin/agent"),
        ("agent.stream", agent.as_str()),
        ("agent.model", &std::env::var("MODEL").unwrap_or("anthropic".into())),
        ("agent.model.name", &std::env::var("MODELNAME").unwrap_or_default()),
    ] {
        labels.insert(format!("{LABEL_PREFIX}{k}"), v.to_owned());
    }
    let mut env = vec![format!("AGENT_TYPE={agent}"), "PATH=/usr/local/bin:/usr/bin:/bin".into()];
    if kind != "exec" {
        env.push("AGENT_PROGRAM=/usr/local/bin/agent".into());
    }
    if let Ok(p) = std::env::var("REAL") {
        env.push(format!("AGENT_PROGRAM={p}"));
    }
    let config =
        ImageConfig { entrypoint: vec!["/usr/local/bin/agent-runner".into()], env, labels, user: "1000:1000".into(), ..Default::default() };
    let engine: Box<dyn Engine> = match kind {
        "exec" => Box::new(Exec::new(vec![target], config, program).unwrap()),
        "namespace" => Box::new(
            Namespace::new(Subject { reference: target.clone(), config, ..Subject::default() }, std::path::Path::new(&target), program)
                .unwrap(),
        ),
        "podman" => Box::new(Podman::new(&target).unwrap()),
        _ => panic!(),
    };
    let subject = engine.inspect().unwrap();
    let names: BTreeSet<&str> = scenario::all()
        .map(|s| s.name)
        .filter(|n| {
            if only.is_empty() {
                !n.starts_with("model-")
            } else {
                only.contains(*n) || (only.contains("model") && n.starts_with("model-"))
            }
        })
        .collect();
    let work = tempfile::tempdir().unwrap();
    std::fs::set_permissions(work.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = GatherOptions {
        work: work.path().to_owned(),
        program: suite,
        at_once: std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(3),
        patience: Duration::from_secs(120),
    };
    let begun = Instant::now();
    let ev = scenario::gather(&*engine, &subject, &names, &options, &|p| {
        if let scenario::Progress::Ended(s, n, t) = p {
            eprintln!("{n}/{t} {}", s.name)
        }
    });
    eprintln!("{:?}", begun.elapsed());
    let keep = PathBuf::from("/tmp/evidence-try");
    let _ = std::fs::remove_dir_all(&keep);
    evidence::store::write(&ev, &keep).unwrap();
    let pairs: Vec<_> = checks::all()
        .filter(|c| c.scenarios.iter().all(|s| names.contains(s)))
        .filter_map(|c| Some((requirement::find(c.id)?, c)))
        .collect();
    let mut n = BTreeMap::new();
    for j in verdict::judge(&ev, &pairs, &BTreeMap::new()) {
        *n.entry(j.verdict.as_str()).or_insert(0) += 1;
        if j.verdict != verdict::Verdict::Pass {
            println!("{} {} {:?} expected {:?}\n    actual {:?}", j.id, j.verdict.as_str(), j.scenario, j.expected, j.actual);
        }
    }
    println!("{n:?}");
}
