//! Progress on stderr while scenarios run: one line that is written over on a terminal, a few plain lines elsewhere.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

use crate::suite::scenario::Progress;
use crate::suite::stop;

/// Where there is no terminal, progress is told so many times.
const TOLD: usize = 4;

/// Tells how far the scenarios are.
#[derive(Debug)]
pub struct ProgressLine {
    terminal: bool,
    running: Mutex<BTreeSet<&'static str>>,
}

impl ProgressLine {
    pub fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), running: Mutex::default() }
    }

    /// Takes note of what happens.
    pub fn on(&self, progress: Progress<'_>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Began(scenario) => {
                running.insert(scenario.name);
            }
            // Scenarios that were not begun end at once when a signal has come.
            Progress::Ended(..) if stop::asked().is_some() => {}
            Progress::Ended(scenario, done, total) => {
                running.remove(scenario.name);
                self.tell(&running, done, total);
            }
        }
    }

    fn tell(&self, running: &BTreeSet<&str>, done: usize, total: usize) {
        let names = running.iter().copied().collect::<Vec<_>>().join(", ");
        // Progress that nobody can see is no fault.
        let _ = match (self.terminal, done == total) {
            (true, true) => write!(io::stderr(), "\r\x1b[K"),
            (true, false) => write!(io::stderr(), "\r\x1b[K{}", line(done, total, &names)),
            (false, _) if is_told(done, total) => writeln!(io::stderr(), "{done} of {total} scenarios done"),
            (false, _) => Ok(()),
        };
    }
}

/// The line, cut before it would wrap.
fn line(done: usize, total: usize, names: &str) -> String {
    let line = format!("{done} of {total} scenarios done; {names}");
    line.chars().take(78).collect()
}

/// Whether this is one of the moments that are told without a terminal.
fn is_told(done: usize, total: usize) -> bool {
    done == total || (done * TOLD) / total != ((done - 1) * TOLD) / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lines_are_told_and_always_the_last() {
        for total in 1..200 {
            let told: Vec<usize> = (1..=total).filter(|done| is_told(*done, total)).collect();
            assert!(told.len() <= TOLD && told.last() == Some(&total), "{total}: {told:?}");
        }
    }
}
