//! All wanted scenarios, some at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::stage::{ALWAYS, KEY, Stage, TOKEN};
use super::{Scenario, Unfit, course};
use crate::suite::engine::Engine;
use crate::suite::engine::stoppable::stoppable;
use crate::suite::evidence::{About, Evidence, Run, RunFacts};
use crate::suite::subject::Subject;

/// How scenarios are run.
#[derive(Debug, Clone)]
pub struct GatherOptions {
    /// Directory for stages; each is removed when its evidence is gathered.
    pub work: PathBuf,
    /// The suite's program, which becomes the agent.
    pub program: PathBuf,
    /// How many scenarios are run at once.
    pub at_once: usize,
    /// How long one may take.
    pub patience: Duration,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A scenario begins.
    Began(&'a Scenario),
    /// A scenario has ended; so many of so many have.
    Ended(&'a Scenario, usize, usize),
}

/// Runs scenarios and gathers their evidence. Names that no scenario has are left out.
pub fn gather(
    engine: &dyn Engine,
    subject: &Subject,
    wanted: &BTreeSet<&str>,
    options: &GatherOptions,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Evidence {
    let engine = &stoppable(engine);
    let canaries = canaries();
    let abilities = engine.abilities();
    let scenarios: Vec<&Scenario> = super::all().filter(|scenario| wanted.contains(scenario.name)).collect();
    let total = scenarios.len();
    let queue = Mutex::new(scenarios.into_iter());
    let runs = Mutex::new(BTreeMap::new());
    std::thread::scope(|threads| {
        for _ in 0..options.at_once.max(1) {
            threads.spawn(|| {
                loop {
                    let Some(scenario) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                    progress(Progress::Began(scenario));
                    let missing = ALWAYS.iter().chain(scenario.needs).copied().filter(|ability| !abilities.contains(ability)).collect();
                    let run = one(scenario, engine, subject, &canaries, options, missing);
                    let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
                    runs.insert(scenario.name.to_owned(), run);
                    progress(Progress::Ended(scenario, runs.len(), total));
                }
            });
        }
    });
    let about = About {
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: engine.name().to_owned(),
        abilities,
        subject: subject.clone(),
        canaries,
    };
    Evidence { about, runs: runs.into_inner().unwrap_or_else(PoisonError::into_inner) }
}

/// Sets the stage of a scenario and plays nothing: its files lie in `options.work`, its servers listen until it is dropped.
///
/// # Errors
/// It cannot be played with this image.
pub fn set(scenario: &Scenario, engine: &dyn Engine, subject: &Subject, options: &GatherOptions) -> Result<Stage, Unfit> {
    let stage = prepare(scenario, &options.work.join(scenario.name), engine, subject, &canaries(), options)?;
    if let Some(lacking) = stage.lacking() {
        return Err(Unfit::Prerequisite(lacking));
    }
    stage.finish()?;
    Ok(stage)
}

fn one(
    scenario: &Scenario,
    engine: &dyn Engine,
    subject: &Subject,
    canaries: &BTreeMap<String, String>,
    options: &GatherOptions,
    missing: BTreeSet<crate::suite::evidence::Ability>,
) -> Run {
    let without = |facts: RunFacts| Run { facts, ..Run::default() };
    if !missing.is_empty() {
        return without(RunFacts { missing, ..RunFacts::default() });
    }
    let dir = options.work.join(scenario.name);
    let prepared = prepare(scenario, &dir, engine, subject, canaries, options);
    let run = match prepared {
        Ok(stage) => match stage.lacking() {
            Some(lacking) => without(RunFacts { prerequisite: Some(lacking), ..RunFacts::default() }),
            None => course::play(scenario, stage, engine, scenario.patience(options.patience)),
        },
        Err(Unfit::Inapplicable(why)) => without(RunFacts { inapplicable: Some(why), ..RunFacts::default() }),
        Err(Unfit::Prerequisite(lacking)) => without(RunFacts { prerequisite: Some(lacking), ..RunFacts::default() }),
        Err(Unfit::Fault(fault)) => without(RunFacts { fault: Some(fault), ..RunFacts::default() }),
    };
    if fs::remove_dir_all(&dir).is_err() {
        engine.remove(&dir);
    }
    run
}

fn prepare(
    scenario: &Scenario,
    dir: &Path,
    engine: &dyn Engine,
    subject: &Subject,
    canaries: &BTreeMap<String, String>,
    options: &GatherOptions,
) -> Result<Stage, Unfit> {
    let mut stage = Stage::new(dir, &options.program, engine, subject, canaries)?;
    (scenario.prepare)(&mut stage)?;
    Ok(stage)
}

/// Secrets that the suite made up: whoever shows one shows a secret.
fn canaries() -> BTreeMap<String, String> {
    let word = |prefix: &str| format!("{prefix}{}", random_word());
    BTreeMap::from([(KEY.to_owned(), word("sk-conformance-")), (TOKEN.to_owned(), word("ghs_conformance"))])
}

/// 32 hexadecimal digits that nobody can guess.
fn random_word() -> String {
    let mut bytes = [0_u8; 16];
    // Without randomness the canaries are only not secret, and nothing depends on that.
    let _ = fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
