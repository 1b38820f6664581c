//! The whole selftest: everything that is to be shown, in order, on the best engine that this machine has for it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Proof, Shown, altered, difference, find, hostile, in_scope, mutants, null, reference};
use crate::suite::engine::exec::Exec;
use crate::suite::engine::namespace::{self, Namespace};
use crate::suite::engine::{Engine, EngineError, Program};
use crate::suite::evidence::Evidence;
use crate::suite::scenario::GatherOptions;
use crate::suite::subject::{ImageConfig, Subject};

/// How long a scenario may take with an image that is meant to end; twice what the longest one needs on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for images of which it is known that they may never end. It has only to be longer than the suite needs to start one.
const SHORT_PATIENCE: Duration = Duration::from_secs(15);
/// The same for hostile images, which always run until patience is over.
const HOSTILE_PATIENCE: Duration = Duration::from_secs(4);

/// What to show.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The suite's program.
    pub program: PathBuf,
    /// The second implementation.
    pub refimpl: PathBuf,
    /// Good evidence to alter; absent means the second implementation's own, of this run.
    pub good: Option<Evidence>,
    /// How many containers may run at once.
    pub at_once: usize,
    /// Start each mutant in every scenario, not only in those that what it breaks is seen in.
    pub all_scenarios: bool,
    /// Show only what has one of these in its name; empty means everything.
    pub only: Vec<String>,
}

/// What was shown.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The engine that was used.
    pub engine: &'static str,
    /// What is to be known of that.
    pub note: Option<String>,
    /// Everything that was to be shown.
    pub proofs: Vec<Proof>,
    /// What the second implementation left.
    pub evidence: Option<Evidence>,
}

/// Why nothing could be shown.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// The second implementation is not there, or cannot be made an image.
    #[error("the second implementation `{}` cannot be used", path.display())]
    Reference {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No directory to work in.
    #[error("no directory to work in")]
    Work(#[source] io::Error),
    /// The engine does not work.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Nothing has a name like that.
    #[error("nothing is shown by the name of {0}")]
    NothingSelected(String),
}

/// The images that are needed, each with its engine.
struct Images {
    reference: (Box<dyn Engine>, Subject),
    null: (Box<dyn Engine>, Subject),
    /// Absent where nothing can be isolated: they are not let loose on the host.
    hostile: Vec<(&'static str, Box<dyn Engine>, Subject)>,
    note: Option<String>,
}

/// Shows everything; tells of each thing as it is done.
///
/// # Errors
/// Nothing could be shown at all.
pub fn run(plan: &Plan, tell: &(dyn Fn(&Proof) + Sync)) -> Result<Outcome, SelftestError> {
    let unusable = |source| SelftestError::Reference { path: plan.refimpl.clone(), source };
    let mutants = mutants::list(&plan.refimpl).map_err(unusable)?;
    let work = tempfile::Builder::new().prefix("agent-conformance-selftest-").tempdir().map_err(SelftestError::Work)?;
    open_to_all(work.path()).map_err(SelftestError::Work)?;
    let images = images(plan, work.path())?;
    let options = |name: &str, patience| GatherOptions {
        work: work.path().join(name),
        program: plan.program.clone(),
        at_once: plan.at_once,
        patience,
    };
    let is_wanted = |name: &str| plan.only.is_empty() || plan.only.iter().any(|word| name.contains(word.as_str()));
    let mut proofs = Vec::new();
    let mut add = |proof: Proof| {
        tell(&proof);
        proofs.push(proof);
    };

    let (engine, subject) = &images.reference;
    let mut evidence = None;
    if is_wanted("second implementation") || (plan.good.is_none() && altered::all().any(|alteration| is_wanted(&name_of(alteration)))) {
        let (proof, left) = reference::judge(engine.as_ref(), subject, &options("reference", PATIENCE));
        add(proof);
        evidence = Some(left);
    }
    if let Some(good) = plan.good.as_ref().or(evidence.as_ref()) {
        let unseen = find(good, in_scope).unseen;
        altered::all().filter(|alteration| is_wanted(&name_of(alteration))).for_each(|alteration| add(alter(alteration, good, &unseen)));
    }
    let wanted: Vec<_> = mutants.into_iter().filter(|mutant| is_wanted(&format!("mutant {}", mutant.name))).collect();
    let judged = mutants::judge_all(&wanted, engine.as_ref(), subject, &options("mutants", SHORT_PATIENCE), plan.all_scenarios, tell);
    let mut proofs_of_images = Vec::new();
    if is_wanted("null image") {
        let (engine, subject) = &images.null;
        proofs_of_images.push(null::judge(engine.as_ref(), subject, &options("null", SHORT_PATIENCE)));
    }
    for (name, engine, subject) in images.hostile.iter().filter(|(name, ..)| is_wanted(&format!("hostile image: {name}"))) {
        proofs_of_images.push(hostile::judge(name, engine.as_ref(), subject, &options("hostile", HOSTILE_PATIENCE)).0);
    }
    if images.hostile.is_empty() && is_wanted("hostile image") {
        let why = format!("the engine `{}` isolates nothing", engine.name());
        proofs_of_images.push(Proof { name: "hostile images".to_owned(), shown: Shown::Skipped(why) });
    }
    proofs_of_images.iter().for_each(tell);
    proofs.extend(judged);
    proofs.extend(proofs_of_images);
    if proofs.is_empty() {
        return Err(SelftestError::NothingSelected(plan.only.join(", ")));
    }
    Ok(Outcome { engine: engine.name(), note: images.note, proofs, evidence })
}

fn name_of(alteration: &altered::Alteration) -> String {
    format!("altered evidence {}", alteration.name)
}

/// One alteration of good evidence.
fn alter(alteration: &altered::Alteration, good: &Evidence, unseen: &BTreeSet<String>) -> Proof {
    let kills: BTreeSet<String> = alteration.kills.iter().map(|id| (*id).to_owned()).filter(|id| !unseen.contains(id)).collect();
    let shown = if kills.is_empty() {
        Shown::Skipped("the evidence is of an engine that cannot see it".to_owned())
    } else {
        difference(&kills, &alteration.found(good)).map_or(Shown::Yes, Shown::No)
    };
    Proof { name: name_of(alteration), shown }
}

/// In namespaces, where they can be made; else as commands on the host.
fn images(plan: &Plan, work: &Path) -> Result<Images, SelftestError> {
    let program = Program(Some(plan.program.clone()));
    let unusable = |source| SelftestError::Reference { path: plan.refimpl.clone(), source };
    match namespace::usable(&program) {
        Err(why) => {
            let exec = |command: &Path, config: ImageConfig| -> Result<(Box<dyn Engine>, Subject), SelftestError> {
                let engine = Exec::new(vec![command.display().to_string()], config, program.clone())?;
                let subject = engine.inspect()?;
                Ok((Box::new(engine), subject))
            };
            let refimpl = plan.refimpl.canonicalize().map_err(unusable)?;
            Ok(Images {
                reference: exec(&refimpl, reference::config(&refimpl.display().to_string()))?,
                null: exec(Path::new("/bin/true"), reference::config("/bin/true"))?,
                hostile: Vec::new(),
                note: Some(format!("no namespaces can be made here ({why}), so what only they show is skipped")),
            })
        }
        Ok(note) => {
            let image = |name: &str, entrypoint: &str, equip: &dyn Fn(&Path) -> io::Result<()>| {
                let root = work.join("images").join(name);
                let true_program = std::fs::canonicalize("/bin/true").map_err(unusable)?;
                let programs: [(&Path, &str); 3] = [
                    (&plan.refimpl, reference::REFIMPL),
                    (&plan.program, "/usr/local/bin/agent-conformance"),
                    (&true_program, "/bin/true"),
                ];
                std::fs::create_dir_all(&root).and_then(|()| reference::make_root(&root, &programs)).map_err(unusable)?;
                equip(&root).map_err(unusable)?;
                let subject = reference::subject(reference::config(entrypoint), &root);
                let engine: Box<dyn Engine> = Box::new(Namespace::new(subject.clone(), &root, program.clone())?);
                Ok::<_, SelftestError>((engine, subject))
            };
            let hostile = hostile::all().into_iter().map(|(name, steps)| {
                let (engine, subject) = image(name, hostile::ENTRY, &|root| hostile::equip(root, &plan.program, steps.clone()))?;
                Ok((name, engine, subject))
            });
            Ok(Images {
                reference: image("reference", reference::REFIMPL, &|_| Ok(()))?,
                null: image("null", "/bin/true", &|_| Ok(()))?,
                hostile: hostile.collect::<Result<_, SelftestError>>()?,
                note,
            })
        }
    }
}

/// Containers run as other users, and see what lies below.
fn open_to_all(dir: &Path) -> io::Result<()> {
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}
