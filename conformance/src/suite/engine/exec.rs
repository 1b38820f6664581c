//! Engine `exec`: a command on the host, in a session of its own and not isolated, for people who work on a runner. What it leaves behind
//! is killed at its end. It is trusted as any program that one starts.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::launch::{self, Plan};
use super::process::process;
use super::typed::words;
use super::{Container, Engine, EngineError, Mount, Program, Start, Typed};
use crate::suite::evidence::Ability;
use crate::suite::subject::{ImageConfig, Subject};

const NAME: &str = "exec";

/// See the [module](self).
#[derive(Debug)]
pub struct Exec {
    subject: Subject,
    program: Program,
}

impl Exec {
    /// The engine, with a command in place of an image's entry point. The configuration says the rest, for instance labels.
    ///
    /// # Errors
    /// The command is empty.
    pub fn new(command: Vec<String>, config: ImageConfig, program: Program) -> Result<Self, EngineError> {
        let reference = format!("exec:{}", command.join(" "));
        if command.is_empty() {
            return Err(EngineError::NoImage { reference, why: "there is no command after `exec:`".to_owned() });
        }
        let config = ImageConfig { entrypoint: command, ..config };
        Ok(Self { subject: Subject { reference, config, ..Subject::default() }, program })
    }
}

impl Engine for Exec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> BTreeSet<Ability> {
        [Ability::Configuration, Ability::Start].into()
    }

    fn inspect(&self) -> Result<Subject, EngineError> {
        Ok(self.subject.clone())
    }

    fn start(&self, start: &Start) -> Result<Box<dyn Container>, EngineError> {
        let failed = |why: String| EngineError::Failed { engine: NAME, what: "start the command", why };
        if start.user.is_some() || start.read_only || start.no_capabilities || start.pids_limit.is_some() {
            return Err(failed(
                "it isolates nothing: no user, root file system, capabilities or number of processes of its own".to_owned(),
            ));
        }
        let work = launch::work(NAME)?;
        let plan = self.plan(start, work.path())?;
        Ok(Box::new(launch::launch(NAME, &self.program, &plan, start, work)?))
    }

    fn container_path(&self, mount: &Mount) -> PathBuf {
        mount.host.clone()
    }

    fn typed(&self, start: &Start, _: &str, place: &Path) -> Result<Option<Typed>, EngineError> {
        let plan = self.plan(start, place)?;
        let mut command = words(["env", "-C", &plan.cwd.display().to_string(), "-i"]);
        command.extend(plan.env.iter().map(|(name, value)| format!("{name}={value}")));
        command.extend(plan.args);
        Ok(Some(Typed { start: vec![command], signal: None }))
    }
}

impl Exec {
    /// What is started, with a directory that is its home.
    fn plan(&self, start: &Start, home: &Path) -> Result<Plan, EngineError> {
        let no_text = || EngineError::Failed {
            engine: NAME,
            what: "start the command",
            why: "the temporary directory's path is not UTF-8".to_owned(),
        };
        let home = home.to_str().ok_or_else(no_text)?.to_owned();
        let mut process = process(NAME, &self.subject.config, &Account { home: home.clone(), ..Account::default() }, start)?;
        if let (Ok(path), false) = (env::var("PATH"), start.env.contains_key("PATH")) {
            process.env.insert("PATH".to_owned(), path);
        }
        // A killed runner leaves what it had there.
        process.env.entry("TMPDIR".to_owned()).or_insert_with(|| home.clone());
        // an image's directories are seldom there on the host
        let cwd = Path::new(&self.subject.config.working_dir);
        let cwd = if cwd.is_absolute() && cwd.is_dir() { cwd.to_owned() } else { PathBuf::from(home) };
        Ok(Plan { args: process.args, env: process.env, cwd, namespace: None })
    }
}
