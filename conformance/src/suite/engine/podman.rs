//! Engine `podman`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::cli::{Cli, Dialect};
use super::{Container, Engine, EngineError, Start, Typed};
use crate::suite::evidence::Ability;
use crate::suite::subject::Subject;

const NAME: &str = "podman";

const DIALECT: Dialect = Dialect {
    name: NAME,
    // the host's proxies are no business of the image
    create: &["--http-proxy=false"],
    not_the_hosts: &[],
    read_only: &["--read-only-tmpfs=false"],
    start: &["--log-level", "fatal"],
    limits: true,
    runtimes: true,
};

/// See the [module](self).
#[derive(Debug)]
pub struct Podman {
    cli: Arc<Cli>,
    reference: String,
}

impl Podman {
    /// The engine, with an image in its storage.
    ///
    /// # Errors
    /// It cannot be used here.
    pub fn new(reference: &str) -> Result<Self, EngineError> {
        usable().map_err(|why| EngineError::Unusable { engine: NAME, why })?;
        Ok(Self { cli: Arc::new(Cli::new(DIALECT)), reference: reference.to_owned() })
    }

    /// Whether the image is in its storage.
    pub(super) fn has_image(&self) -> bool {
        self.cli.has_image(&self.reference)
    }
}

/// Whether it can be used here, with its version; or why not.
///
/// # Errors
/// Why not.
pub fn usable() -> Result<String, String> {
    Cli::new(DIALECT).usable(&["version", "--format", "{{.Client.Version}}"])
}

impl Engine for Podman {
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

    fn remove(&self, dir: &Path) {
        self.cli.remove_directory(dir);
    }

    fn typed(&self, start: &Start, name: &str, place: &Path) -> Result<Option<Typed>, EngineError> {
        self.cli.typed(&self.reference, start, name, place).map(Some)
    }
}
