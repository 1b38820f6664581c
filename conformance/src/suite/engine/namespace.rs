//! Engine `namespace`: PID, mount, UTS and IPC namespaces that the suite makes itself, on a root file system. For machines where no
//! container engine is, or can be: it needs root with CAP_SYS_ADMIN, and nothing else.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::process::ExitCode;

use super::launch::{self, Namespace as Wishes, Plan};
use super::process::process;
use super::rootfs::Rootfs;
use super::{Container, Engine, EngineError, Program, Start, account};
use crate::suite::evidence::Ability;
use crate::suite::subject::Subject;

const NAME: &str = "namespace";

/// See the [module](self).
#[derive(Debug)]
pub struct Namespace {
    image: Rootfs,
    program: Program,
}

impl Namespace {
    /// The engine, with an image whose root file system lies in a directory.
    ///
    /// # Errors
    /// It cannot be used here.
    pub fn new(subject: Subject, root: &Path, program: Program) -> Result<Self, EngineError> {
        Self::of(Rootfs::known(subject, root), program)
    }

    /// The same with one that may be gone when it is no longer needed.
    ///
    /// # Errors
    /// It cannot be used here.
    pub fn of(image: Rootfs, program: Program) -> Result<Self, EngineError> {
        usable(&program).map_err(|why| EngineError::Unusable { engine: NAME, why })?;
        Ok(Self { image, program })
    }
}

/// Whether it can be used here, with what is to be known of how; or why not.
///
/// # Errors
/// Why not.
pub fn usable(program: &Program) -> Result<Option<String>, String> {
    launch::probe(program)
}

/// To be called first in the suite's program, before there are threads: if an engine has started it again, it does what the engine wants,
/// and the program ends with this code. The arguments after the program's name are `__namespace` and what belongs to it.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    let again = arguments.next().is_some_and(|argument| argument == launch::ARGUMENT);
    again.then(|| launch::child::main(&arguments.collect::<Vec<_>>()))
}

impl Engine for Namespace {
    fn name(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> BTreeSet<Ability> {
        Ability::ALL.into()
    }

    fn inspect(&self) -> Result<Subject, EngineError> {
        Ok(self.image.subject.clone())
    }

    fn start(&self, start: &Start) -> Result<Box<dyn Container>, EngineError> {
        let config = &self.image.subject.config;
        let account = account::of_start(&self.image.root, &config.user, start.user);
        let account = account.map_err(|why| EngineError::Failed { engine: NAME, what: "start the image", why })?;
        let process = process(NAME, config, &account, start)?;
        let work = launch::work(NAME)?;
        let namespace = Wishes {
            image: self.image.root.clone(),
            work: work.path().to_owned(),
            user: (account.uid, account.gid, account.groups),
            mounts: start.mounts.clone(),
            scratch: start.scratch.clone(),
            read_only: start.read_only,
            no_capabilities: start.no_capabilities,
            pids_limit: start.pids_limit,
            runc: false,
        };
        let plan = Plan { args: process.args, env: process.env, cwd: process.cwd.into(), namespace: Some(namespace) };
        Ok(Box::new(launch::launch(NAME, &self.program, &plan, start, work)?))
    }
}
