//! Engine `docker`: whatever answers where `DOCKER_HOST` or the client's context points. The client alone is no engine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::cli::{Cli, Dialect};
use super::{Container, Engine, EngineError, Start, Typed};
use crate::suite::evidence::Ability;
use crate::suite::subject::Subject;

const NAME: &str = "docker";

const DIALECT: Dialect = Dialect {
    name: NAME,
    create: &[],
    read_only: &[],
    start: &["--log-level", "fatal"],
    // the limits are the daemon's, as is the runtime
    limits: false,
    runtimes: false,
};

/// See the [module](self).
#[derive(Debug)]
pub struct Docker {
    cli: Arc<Cli>,
    reference: String,
}

impl Docker {
    /// The engine, with an image in its storage.
    ///
    /// # Errors
    /// It cannot be used here.
    pub fn new(reference: &str) -> Result<Self, EngineError> {
        usable().map_err(|why| EngineError::Unusable { engine: NAME, why })?;
        Ok(Self { cli: Arc::new(Cli::new(DIALECT)), reference: reference.to_owned() })
    }
}

/// Whether a daemon answers, with its version; or why not.
///
/// # Errors
/// Why not.
pub fn usable() -> Result<String, String> {
    Cli::new(DIALECT).usable(&["version", "--format", "{{.Server.Version}}"])
}

impl Engine for Docker {
    fn name(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> BTreeSet<Ability> {
        Ability::ALL.into()
    }

    fn inspect(&self) -> Result<Subject, EngineError> {
        self.cli.inspect(&self.reference)
    }

    fn start(&self, start: &Start) -> Result<Box<dyn Container>, EngineError> {
        self.cli.start(&self.reference, start)
    }

    fn typed(&self, start: &Start, name: &str, place: &Path) -> Result<Option<Typed>, EngineError> {
        self.cli.typed(&self.reference, start, name, place).map(Some)
    }
}
