//! Ctrl-C and SIGTERM while scenarios run: nothing more is started, what runs is ended and removed, and then the suite ends. A second
//! signal ends it at once.
//!
//! Engines keep their containers from the terminal's signals, and remove them when they are dropped. So an engine is wrapped here, whose
//! containers say that waiting failed as soon as a signal has come.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::suite::engine::{Container, Engine, EngineError, Mount, Start};
use crate::suite::evidence::{Ability, Ended};
use crate::suite::subject::Subject;

/// The signal that came; 0 is none.
static CAME: AtomicI32 = AtomicI32::new(0);

/// How long a signal may be overlooked; too short for a person to notice.
const LOOK: Duration = Duration::from_millis(200);

extern "C" fn note(signal: c_int) {
    CAME.store(signal, Ordering::Relaxed);
}

/// From now on the first SIGINT or SIGTERM is noted; another one has its ordinary effect.
pub fn watch() {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing but store to an atomic, which is async-signal-safe. Should it fail, a signal ends the suite as
        // ever.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// The signal that came, if any.
pub fn came() -> Option<Signal> {
    Signal::try_from(CAME.load(Ordering::Relaxed)).ok()
}

/// An engine that gives up when a signal has come.
#[derive(Debug)]
pub struct Interruptible<'a>(pub &'a dyn Engine);

/// A container of it.
#[derive(Debug)]
struct Interrupted {
    container: Box<dyn Container>,
    engine: &'static str,
}

fn unless_interrupted(engine: &'static str) -> Result<(), EngineError> {
    match came() {
        Some(signal) => Err(EngineError::Failed { engine, what: "go on", why: format!("{signal} came") }),
        None => Ok(()),
    }
}

impl Engine for Interruptible<'_> {
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
        unless_interrupted(self.name())?;
        Ok(Box::new(Interrupted { container: self.0.start(start)?, engine: self.name() }))
    }

    fn container_path(&self, mount: &Mount) -> PathBuf {
        self.0.container_path(mount)
    }
}

impl Container for Interrupted {
    fn signal(&mut self, signal: Signal) -> Result<(), EngineError> {
        self.container.signal(signal)
    }

    fn kill(&mut self) -> Result<(), EngineError> {
        self.container.kill()
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<Ended>, EngineError> {
        let deadline = Instant::now() + patience;
        loop {
            unless_interrupted(self.engine)?;
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = self.container.wait(left.min(LOOK))?;
            if ended.is_some() || left <= LOOK {
                return Ok(ended);
            }
        }
    }
}
