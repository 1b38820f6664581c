//! An engine of which the start is somebody else's matter, and all else its own.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Container, Engine, EngineError, Mount, Start, Typed};
use crate::suite::evidence::Ability;
use crate::suite::subject::Subject;

/// See the [module](self). The start is given the engine and what is to be started.
pub struct Wrapped<'a, F> {
    engine: &'a dyn Engine,
    start: F,
}

impl<'a, F> Wrapped<'a, F>
where
    F: Fn(&dyn Engine, &Start) -> Result<Box<dyn Container>, EngineError> + Send + Sync,
{
    /// The engine, started so.
    pub fn new(engine: &'a dyn Engine, start: F) -> Self {
        Self { engine, start }
    }
}

impl<F> fmt::Debug for Wrapped<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wrapped").field(&self.engine).finish()
    }
}

impl<F> Engine for Wrapped<'_, F>
where
    F: Fn(&dyn Engine, &Start) -> Result<Box<dyn Container>, EngineError> + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn abilities(&self) -> BTreeSet<Ability> {
        self.engine.abilities()
    }

    fn inspect(&self) -> Result<Subject, EngineError> {
        self.engine.inspect()
    }

    fn start(&self, start: &Start) -> Result<Box<dyn Container>, EngineError> {
        (self.start)(self.engine, start)
    }

    fn container_path(&self, mount: &Mount) -> PathBuf {
        self.engine.container_path(mount)
    }

    fn remove(&self, dir: &Path) {
        self.engine.remove(dir);
    }

    fn typed(&self, start: &Start, name: &str, place: &Path) -> Result<Option<Typed>, EngineError> {
        self.engine.typed(start, name, place)
    }
}
