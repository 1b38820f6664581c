//! The mutants of the second implementation: each is started in the scenarios of what it has to break, and of `happy`, and found broken in
//! exactly that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::{Proof, Shown, difference, find, in_scope, reads_only};
use crate::suite::checks;
use crate::suite::engine::wrapped::Wrapped;
use crate::suite::engine::{Engine, Mount};
use crate::suite::scenario::{GatherOptions, gather};
use crate::suite::stop;
use crate::suite::subject::Subject;

/// The variable that makes the second implementation a mutant.
const MUTANT: &str = "REFIMPL_MUTANT";
/// The variable that names the file in which it says that it landed.
const LANDED: &str = "REFIMPL_LANDED";
/// Where the container sees that file.
const LANDED_AT: &str = "/refimpl-landed";

/// A mutant, as the second implementation lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mutant {
    /// The requirement's slug; `.variant` after it where there are several.
    pub name: String,
    /// What it does.
    pub breaks: String,
    /// Exactly the requirements that have to be found broken.
    pub kills: BTreeSet<String>,
}

/// All mutants of the second implementation at this path.
///
/// # Errors
/// It is not there, or is another program.
pub fn list(refimpl: &Path) -> io::Result<Vec<Mutant>> {
    let output = Command::new(refimpl).args(["--list-mutants", "--json"]).output()?;
    serde_json::from_slice(&output.stdout).map_err(io::Error::other)
}

/// The scenarios that a mutant is started in: those of what it has to break, and `happy`. Everything with `all`.
#[must_use]
pub fn scenarios(mutant: &Mutant, all: bool) -> BTreeSet<&'static str> {
    if all {
        return super::scenarios();
    }
    let of_kills = mutant.kills.iter().filter_map(|id| checks::of(id)).flat_map(|check| check.scenarios);
    of_kills.copied().chain(["happy"]).collect()
}

/// Starts one mutant, and says whether it was found out.
pub fn judge(mutant: &Mutant, engine: &dyn Engine, subject: &Subject, options: &GatherOptions, all: bool) -> Proof {
    let name = format!("mutant {}", mutant.name);
    let shown = tried(mutant, engine, subject, options, all).unwrap_or_else(|error| Shown::No(format!("the machine: {error}")));
    Proof { name, shown }
}

fn tried(mutant: &Mutant, engine: &dyn Engine, subject: &Subject, options: &GatherOptions, all: bool) -> io::Result<Shown> {
    let options = GatherOptions { work: options.work.join(&mutant.name), ..options.clone() };
    fs::create_dir_all(&options.work)?;
    let landed = options.work.join("landed");
    fs::write(&landed, "")?;
    fs::set_permissions(&landed, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let mount = Mount { host: landed.clone(), container: LANDED_AT.into(), read_only: false };
    let mutated = Wrapped::new(engine, |engine, start| {
        let mut start = start.clone();
        start.env.insert(MUTANT.to_owned(), mutant.name.clone());
        start.env.insert(LANDED.to_owned(), engine.container_path(&mount).display().to_string());
        start.mounts.push(mount.clone());
        engine.start(&start)
    });
    let scenarios = scenarios(mutant, all);
    let evidence = gather(&mutated, subject, &scenarios, &options, &|_| {});
    let has_landed = fs::read_to_string(&landed)?.lines().any(|line| line == mutant.name);
    // What cannot be removed is left to whoever made the directory above.
    let _ = fs::remove_dir_all(&options.work);
    let found = find(&evidence, |check| in_scope(check) && reads_only(check, &scenarios));
    let expected: BTreeSet<String> = mutant.kills.difference(&found.unseen).cloned().collect();
    if expected.is_empty() {
        return Ok(Shown::Skipped(format!("the engine `{}` cannot see what it breaks", engine.name())));
    }
    if !has_landed {
        return Ok(Shown::No(format!("it never landed; found broken: {:?}", found.killed)));
    }
    Ok(difference(&expected, &found).map_or(Shown::Yes, Shown::No))
}

/// Starts mutants, several at once; tells of each as it is done.
pub fn judge_all(
    mutants: &[Mutant],
    engine: &dyn Engine,
    subject: &Subject,
    options: &GatherOptions,
    all: bool,
    tell: &(dyn Fn(&Proof) + Sync),
) -> Vec<Proof> {
    // Most of their time they wait: for a grace, a silence, somebody's patience.
    let one = GatherOptions { at_once: 1, ..options.clone() };
    let queue = Mutex::new(mutants.iter().enumerate());
    let proofs = Mutex::new(BTreeMap::new());
    std::thread::scope(|threads| {
        for _ in 0..options.at_once.max(1) {
            threads.spawn(|| {
                loop {
                    if stop::asked().is_some() {
                        return;
                    }
                    let Some((at, mutant)) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                    let proof = judge(mutant, engine, subject, &one, all);
                    tell(&proof);
                    proofs.lock().unwrap_or_else(PoisonError::into_inner).insert(at, proof);
                }
            });
        }
    });
    proofs.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}
