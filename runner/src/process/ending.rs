//! The switch by which anybody (a signal, a limit, the stream) asks for the end of the agent.

use tokio::sync::watch;

/// How far the end has been asked for; it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Running,
    Requested,
    Now,
}

/// Asks for the end; clones ask for the same one.
#[derive(Debug, Clone)]
pub struct Ending(watch::Sender<Level>);

impl Default for Ending {
    fn default() -> Self {
        Self(watch::Sender::new(Level::Running))
    }
}

impl Ending {
    /// Ends the agent in order: TERM, grace, KILL.
    pub fn request(&self) {
        self.raise(Level::Requested);
    }

    /// Ends it now: what is left of the grace is dropped.
    pub fn hurry(&self) {
        self.raise(Level::Now);
    }

    /// Whether anybody has asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() != Level::Running
    }

    /// Returns when the end has been asked for.
    pub async fn requested(&self) {
        self.reached(Level::Requested).await;
    }

    /// Returns when the end is wanted now.
    pub async fn hurried(&self) {
        self.reached(Level::Now).await;
    }

    fn raise(&self, level: Level) {
        self.0.send_if_modified(|at| {
            let grows = *at < level;
            *at = level.max(*at);
            grows
        });
    }

    async fn reached(&self, level: Level) {
        // we hold a sender ourselves, so the channel cannot be closed
        let _ = self.0.subscribe().wait_for(|at| *at >= level).await;
    }
}
