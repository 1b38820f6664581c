//! Writing down: one line a record, by one `write` to a file that is open for appending.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use nix::time::{ClockId, clock_gettime};

use super::RECORDS;
use crate::suite::evidence::{AgentEvent, AgentRecord};

/// Who writes down, and where.
#[derive(Debug)]
pub(super) struct Recorder {
    file: File,
    role: String,
}

impl Recorder {
    pub(super) fn open(stage: &Path, role: &str) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(stage.join(RECORDS))?;
        Ok(Self { file, role: role.to_owned() })
    }

    pub(super) fn set_role(&mut self, role: &str) {
        role.clone_into(&mut self.role);
    }

    /// Writes an event down. There is nobody to tell if that fails.
    pub(super) fn record(&mut self, event: AgentEvent) {
        let record = AgentRecord { role: self.role.clone(), pid: nix::unistd::getpid().as_raw(), at_ms: now(), event };
        if let Ok(mut line) = serde_json::to_vec(&record) {
            line.push(b'\n');
            let _ = self.file.write_all(&line);
        }
    }
}

/// Milliseconds of a clock that all processes of the machine share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000);
    u64::try_from(time).unwrap_or_default()
}
