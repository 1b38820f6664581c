//! What a container says, to a file: every byte as it came, up to a limit, so that an image that never stops talking fills no disk.
//!
//! The container has pipes, as under a container engine, and they are always read: what is past the limit is read and thrown away.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::Child;
use std::thread::{self, JoinHandle};

use super::{EngineError, Start};

/// How much of stdout is kept, and of stderr. A file of this size is cut. The suite's own floods are smaller by far.
pub const OUTPUT_LIMIT: u64 = 64 << 20;

/// Two threads that bring a program's output to its files.
#[derive(Debug, Default)]
pub(super) struct Pumps(Vec<JoinHandle<io::Result<()>>>);

impl Pumps {
    /// Begins with the output of a program that was started with pipes.
    pub(super) fn start(engine: &'static str, child: &mut Child, start: &Start) -> Result<Self, EngineError> {
        let mut pumps = Vec::new();
        if let Some(from) = child.stdout.take() {
            pumps.push(pump(from, make(engine, &start.stdout)?));
        }
        if let Some(from) = child.stderr.take() {
            pumps.push(pump(from, make(engine, &start.stderr)?));
        }
        Ok(Self(pumps))
    }

    /// Waits until all of it is in the files: until nobody holds the pipes' other ends.
    pub(super) fn finish(&mut self, engine: &'static str) -> Result<(), EngineError> {
        for pump in self.0.drain(..) {
            let done = pump.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it has panicked")));
            done.map_err(|error| EngineError::Failed { engine, what: "keep the output", why: error.to_string() })?;
        }
        Ok(())
    }
}

fn make(engine: &'static str, path: &Path) -> Result<File, EngineError> {
    File::create(path).map_err(|error| EngineError::Failed {
        engine,
        what: "make a file for the output",
        why: format!("{}: {error}", path.display()),
    })
}

fn pump(mut from: impl Read + Send + 'static, mut to: File) -> JoinHandle<io::Result<()>> {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut left = OUTPUT_LIMIT;
        let mut result = Ok(());
        loop {
            let length = match from.read(&mut buffer) {
                Ok(0) => return result,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let kept = length.min(usize::try_from(left).unwrap_or(usize::MAX));
            // a full disk must not stop the container: it would look like a fault of the image
            result = result.and_then(|()| to.write_all(&buffer[..kept]));
            left -= kept as u64;
        }
    })
}
