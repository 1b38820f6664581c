//! All requests of a server, and a bell that rings when one comes or changes, so that a test waits without polling.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::archive::Archive;
use super::record::Record;

/// The wait was in vain; shows the requests that there were.
#[derive(Debug, thiserror::Error)]
#[error("no such requests within {waited:?}; there were:\n{seen}")]
pub struct WaitError {
    /// How long was waited.
    pub waited: Duration,
    /// The requests until then, a line each.
    pub seen: String,
}

/// All requests of a server, and a bell that rings when one comes or changes.
#[derive(Debug)]
pub struct Ledger {
    records: Mutex<Vec<Record>>,
    changed: Condvar,
    connections: AtomicU64,
    started: Instant,
    archive: Option<Archive>,
}

impl Ledger {
    /// An empty one; with an archive, every change is written there, too.
    pub fn new(archive: Option<Archive>) -> Arc<Self> {
        let (records, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Self { records, changed, connections: AtomicU64::new(0), started: Instant::now(), archive })
    }

    /// Since the server's start.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts a connection, whatever is asked on it.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections there were.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Enters a request; its index is set here.
    pub fn enter(&self, mut record: Record) -> usize {
        let mut records = self.lock();
        record.index = records.len();
        let index = record.index;
        if let Some(archive) = &self.archive {
            archive.write_body(&record);
        }
        records.push(record);
        self.tell(&records, index);
        index
    }

    /// Changes a request.
    pub fn change(&self, index: usize, change: impl FnOnce(&mut Record)) {
        let mut records = self.lock();
        change(&mut records[index]);
        self.tell(&records, index);
    }

    /// All requests as they are now.
    pub fn snapshot(&self) -> Vec<Record> {
        self.lock().clone()
    }

    /// Waits until `is_reached` holds for the requests; returns them.
    pub fn wait_for(&self, mut is_reached: impl FnMut(&[Record]) -> bool, timeout: Duration) -> Result<Vec<Record>, WaitError> {
        let (records, result) =
            self.changed.wait_timeout_while(self.lock(), timeout, |records| !is_reached(records)).unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() {
            let seen = records.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            return Err(WaitError { waited: timeout, seen });
        }
        Ok(records.clone())
    }

    fn tell(&self, records: &[Record], index: usize) {
        if let Some(archive) = &self.archive {
            archive.write(records, index);
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        // A predicate that panicked left the records as they were.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn a_wait_is_woken_by_each_change() {
        const PATIENCE: Duration = Duration::from_secs(60);
        let ledger = Ledger::new(None);
        let (looked, looks) = mpsc::channel();
        let waiting = {
            let ledger = Arc::clone(&ledger);
            std::thread::spawn(move || {
                let is_noted = |records: &[Record]| {
                    looked.send(records.len()).unwrap();
                    records.iter().any(|record| record.note.is_some())
                };
                // Far longer than the patience below: only a change can end it in time.
                ledger.wait_for(is_noted, 100 * PATIENCE)
            })
        };
        // A condition variable may also wake for no reason.
        let look_at = |wanted: usize| {
            while looks.recv_timeout(PATIENCE).expect("the wait looks") != wanted {}
        };
        look_at(0);
        let index = ledger.enter(record());
        look_at(1);
        ledger.change(index, |record| record.note = Some("seen".into()));
        look_at(1);
        assert_eq!(waiting.join().unwrap().unwrap().len(), 1);
    }
}
