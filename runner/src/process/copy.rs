//! The simplest follower: what the command writes goes on as it came.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
};

use nix::libc;
use tokio::{io::AsyncWriteExt, net::unix::pipe::Sender};

use super::exec::Follower;

/// Copies stdout to ours, and stderr to ours.
#[derive(Debug)]
pub struct Copy {
    stdout: Target,
    stderr: Target,
}

#[derive(Debug)]
enum Target {
    /// Opened anew, so that non-blocking is our opening's alone and not that of everybody who shares the old one.
    Pipe(Sender),
    /// A file or a device, for which the kernel knows no waiting.
    File(File),
    /// Nobody reads it, or never did. The command must not suffer from that, so the rest is dropped.
    Closed,
}

impl Copy {
    /// Opens our stdout and stderr; within the runtime.
    #[must_use]
    pub fn new() -> Self {
        Self { stdout: Target::open(io::stdout(), "/proc/self/fd/1"), stderr: Target::open(io::stderr(), "/proc/self/fd/2") }
    }
}

impl Default for Copy {
    fn default() -> Self {
        Self::new()
    }
}

impl Target {
    fn open(stream: impl AsFd, path: &str) -> Self {
        let Ok(file) = stream.as_fd().try_clone_to_owned().map(File::from) else {
            return Self::Closed;
        };
        if !file.metadata().is_ok_and(|found| found.file_type().is_fifo()) {
            return Self::File(file);
        }
        let reopened = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).and_then(Sender::from_file);
        match reopened {
            Ok(pipe) => Self::Pipe(pipe),
            // the other side is closed
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Self::Closed,
            // no /proc, or a pipe of another user's: then it blocks
            Err(_) => Self::File(file),
        }
    }

    async fn write(&mut self, chunk: &[u8]) {
        let written = match self {
            Self::Pipe(pipe) => pipe.write_all(chunk).await,
            Self::File(file) => file.write_all(chunk),
            Self::Closed => Ok(()),
        };
        if written.is_err() {
            *self = Self::Closed;
        }
    }
}

impl Follower for Copy {
    async fn stdout(&mut self, chunk: &[u8]) {
        self.stdout.write(chunk).await;
    }

    async fn stderr(&mut self, chunk: &[u8]) {
        self.stderr.write(chunk).await;
    }
}
