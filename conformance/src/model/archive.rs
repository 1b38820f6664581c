//! The records as files, for tests in other processes and for people.
//!
//! `NNNN.json` is a request without its body, `NNNN.body` its body, `bill.json` the bill. Each file is replaced in one
//! step, so that a reader never sees half of one; what is there when the server is killed is the last known state.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bill::Bill;
use super::record::Record;

/// A directory of records.
#[derive(Debug)]
pub struct Archive {
    directory: PathBuf,
}

impl Archive {
    /// Makes the directory, if need be. One that has records in it is refused: two servers' records would mix.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let archive = Self { directory: directory.to_path_buf() };
        if archive.path("bill.json").exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it holds the records of another server"));
        }
        archive.replace("bill.json", &to_json(&Bill::default()))?;
        Ok(archive)
    }

    /// Writes a request's body.
    pub fn write_body(&self, record: &Record) {
        self.report(self.replace(&format!("{:04}.body", record.index), &record.body));
    }

    /// Writes a request and the bill.
    pub fn write(&self, records: &[Record], index: usize) {
        self.report(self.replace(&format!("{index:04}.json"), &to_json(&records[index])));
        self.report(self.replace("bill.json", &to_json(&Bill::of(records))));
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let new = self.path(&format!(".{name}.new"));
        fs::write(&new, content)?;
        fs::rename(&new, self.path(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The model goes on without its archive, as a run goes on without a sink; whoever reads it must be told.
    fn report(&self, result: io::Result<()>) {
        if let Err(error) = result {
            eprintln!("scripted-model: cannot write records to `{}`: {error}", self.directory.display());
        }
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // These are plain structures with string keys: they can always be written.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}
