//! An engine whose containers are given up when the suite is to end.
//!
//! Engines keep their containers from the terminal's signals, and remove them when they are dropped. So an engine is wrapped here, whose
//! containers say that waiting failed as soon as a signal has come.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::wrapped::Wrapped;
use super::{Container, Engine, EngineError};
use crate::suite::evidence::Ended;
use crate::suite::stop;

/// How long a signal may be overlooked; too short for a person to notice.
const LOOK: Duration = Duration::from_millis(200);

/// The engine, which gives up when a signal has come.
pub fn stoppable(engine: &dyn Engine) -> impl Engine {
    Wrapped::new(engine, |engine, start| {
        unless_stopped(engine.name())?;
        Ok(Box::new(Stopped { container: engine.start(start)?, engine: engine.name() }))
    })
}

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
