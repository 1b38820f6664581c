//! `events.jsonl`: the normalised events of the stream, one JSON object a line, for whoever follows the file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use agent_sdk::event::Event;
use serde::Serialize;

use super::mask::mask_json;
use super::place::open_for_append;
use super::{Mask, SinkError};

/// The most that is written. A stream may be endless, and the volume is shared with the work tree.
pub const MAX_BYTES: u64 = 64 << 20;
/// As much is gathered before it is written without being asked; the caller asks when the stream is idle.
const GATHER: usize = 32 << 10;

/// The events file of a run. Lines are gathered, and written by [`idle`](Self::idle) or when there are many; none is ever written in part.
#[derive(Debug)]
pub struct EventsFile {
    path: PathBuf,
    /// Nothing once it has failed or is full.
    file: Option<File>,
    gathered: Vec<u8>,
    length: u64,
    limit: u64,
    failure: Option<SinkError>,
}

impl EventsFile {
    /// Opens the file, or creates it. Events are appended to what an earlier run left.
    ///
    /// # Errors
    /// Something else stands there, or it cannot be written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SinkError> {
        Self::open_with_limit(path, MAX_BYTES)
    }

    /// The same with another limit on what this run adds.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_limit(path: impl Into<PathBuf>, limit: u64) -> Result<Self, SinkError> {
        let path = path.into();
        let mut file = open_for_append(&path)?;
        let (length, whole) = end_of(&mut file).map_err(|error| SinkError::of_io("read", &path, error))?;
        // An earlier run was killed within a line: ours begins on its own.
        let gathered = if whole { Vec::new() } else { b"\n".to_vec() };
        Ok(Self { path, file: Some(file), gathered, length, limit, failure: None })
    }

    /// Adds an event, or a record with one in it. A failure is kept, and told by the next [`idle`](Self::idle): who appends is in the
    /// middle of the stream.
    pub fn append(&mut self, event: &impl Serialize, mask: &Mask) {
        if self.file.is_none() {
            return;
        }
        let mut value = match serde_json::to_value(event) {
            Ok(value) => value,
            Err(error) => return self.fail(error.into()),
        };
        mask_json(&mut value, mask);
        let mut line = value.to_string();
        line.push('\n');
        let full = line.len() as u64 > self.limit;
        if full {
            line = self.last_line();
        }
        self.limit = self.limit.saturating_sub(line.len() as u64);
        self.gathered.extend_from_slice(line.as_bytes());
        if full || self.gathered.len() >= GATHER {
            self.write();
        }
        if full {
            self.file = None;
        }
    }

    /// Writes what is gathered. To be called when the stream is idle, and at its end.
    ///
    /// # Errors
    /// Something could not be written, now or since this was last called. That is said once; what comes later is dropped.
    pub fn idle(&mut self) -> Result<(), SinkError> {
        self.write();
        self.failure.take().map_or(Ok(()), Err)
    }

    fn write(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        let Some(file) = self.file.as_mut().filter(|_| !gathered.is_empty()) else { return };
        if let Err(error) = file.write_all(&gathered) {
            // Half a line would spoil the file for its reader. If this fails too, there is nothing more to be done for it.
            let _ = file.set_len(self.length);
            return self.fail(SinkError::of_io("write", &self.path, error));
        }
        self.length += gathered.len() as u64;
    }

    fn fail(&mut self, error: SinkError) {
        self.file = None;
        self.failure = Some(error);
    }

    /// The line that says that there are no more.
    fn last_line(&self) -> String {
        let event = Event::Warning { message: format!("`{}` is full: later events are not written", self.path.display()) };
        // An event of plain text cannot fail to be JSON.
        serde_json::to_string(&event).map(|line| line + "\n").unwrap_or_default()
    }
}

/// The length, and whether the last line is whole.
fn end_of(file: &mut File) -> std::io::Result<(u64, bool)> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok((0, true));
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok((length, last == *b"\n"))
}
