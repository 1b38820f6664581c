//! An engine whose containers are given up when the suite is to end.
//!
//! Engines keep their containers from the terminal's signals, and remove them when they are dropped. So an engine is wrapped here, whose
//! containers say that waiting failed as soon as a signal has come.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Container, Engine, EngineError, Mount, Start, Typed};
use crate::suite::evidence::{Ability, Ended};
use crate::suite::stop;
use crate::suite::subject::Subject;

/// How long a signal may be overlooked; too short for a person to notice.
const LOOK: Duration = Duration::from_millis(200);

/// An engine that gives up when a signal has come.
#[derive(Debug)]
pub struct Stoppable<'a>(pub &'a dyn Engine);

/// A container of it.
#[derive(Debug)]
struct Stopped {
    container: Box<dyn Container>,
    engine: &'static str,
}

fn unless_stopped(engine: &'static str) -> Result<(), EngineError> {
    match stop::asked() {
        Some(signal) => Err(EngineError::Failed { engine, what: "go on", why: format!("{signal} came") }),
        None => Ok(()),
    }
}

impl Engine for Stoppable<'_> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn abilities(&self) -> BTreeSet<Ability> {
        self.0.abilities()
    }

    fn inspect(&self) -> Result<Subject, EngineError> {
        self.0.inspect()
    }

    fn start(&self, start: &Start) -> Result<Box<dyn Container>, EngineError> {
        unless_stopped(self.name())?;
        Ok(Box::new(Stopped { container: self.0.start(start)?, engine: self.name() }))
    }

    fn container_path(&self, mount: &Mount) -> PathBuf {
        self.0.container_path(mount)
    }

    fn remove(&self, dir: &Path) {
        self.0.remove(dir);
    }

    fn typed(&self, start: &Start, name: &str, place: &Path) -> Result<Option<Typed>, EngineError> {
        self.0.typed(start, name, place)
    }
}

impl Container for Stopped {
    fn signal(&mut self, signal: Signal) -> Result<(), EngineError> {
        self.container.signal(signal)
    }

    fn kill(&mut self) -> Result<(), EngineError> {
        self.container.kill()
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<Ended>, EngineError> {
        let deadline = Instant::now() + patience;
        loop {
            unless_stopped(self.engine)?;
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = self.container.wait(left.min(LOOK))?;
            if ended.is_some() || left <= LOOK {
                return Ok(ended);
            }
        }
    }
}
