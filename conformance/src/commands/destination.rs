//! `--report FORMAT=FILE`: in which format, and where to.

use std::path::PathBuf;
use std::str::FromStr;

use crate::suite::report::Format;

/// A report that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its format.
    pub format: Format,
    /// Its file; absent for stdout, written `-`.
    pub file: Option<PathBuf>,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (format, file) = text.split_once('=').ok_or("expected FORMAT=FILE, or FORMAT=- for stdout")?;
        let format = format.parse().map_err(|error| format!("{error}"))?;
        match file {
            "" => Err("expected a file after `=`, or `-` for stdout".to_owned()),
            "-" => Ok(Self { format, file: None }),
            _ => Ok(Self { format, file: Some(file.into()) }),
        }
    }
}
