//! Where a command's words go: results to stdout, everything else to stderr, reports to their files.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use nix::libc;

use super::error::CommandError;
use crate::suite::report::human::Look;

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// How a report on stdout is to look.
    pub fn look(self) -> Look {
        let terminal = io::stdout().is_terminal();
        let color = match self {
            Self::Always => true,
            Self::Never => false,
            // https://no-color.org: set and not empty.
            Self::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let columns = terminal.then(columns).flatten();
        Look { color, width: columns.unwrap_or(Look::PLAIN.width).clamp(60, 140) }
    }
}

nix::ioctl_read_bad!(read_window_size, libc::TIOCGWINSZ, libc::winsize);

/// The terminal's columns, if it knows them.
fn columns() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes one `winsize`, which lives as long as the call.
    let read = unsafe { read_window_size(libc::STDOUT_FILENO, &raw mut size) };
    read.ok().map(|_| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Writes results to stdout. A reader that went away is no fault.
pub fn print(text: &str) -> Result<ExitCode, CommandError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Stdout(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Says something to a person on stderr. If that is gone, nobody can be told, and `eprintln!` would panic.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Reads a file that the command line names.
pub fn read_given(path: &Path) -> Result<String, CommandError> {
    fs::read_to_string(path).map_err(|source| CommandError::File { what: "read", path: path.to_owned(), source, given: true })
}

/// Writes a file whole or not at all. A link at its place is replaced, never followed; directories above it are made.
pub fn write_file(path: &Path, text: &str) -> Result<(), CommandError> {
    let failed = |source| CommandError::File { what: "write", path: path.to_owned(), source, given: false };
    let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::IsADirectory.into()))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(failed)?;
    let partial = directory.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&partial)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        // It may never have been made.
        let _ = fs::remove_file(&partial);
        failed(error)
    })
}
