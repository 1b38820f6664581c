//! How a container ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a container ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// It was never started.
    #[default]
    NotStarted,
    /// By itself, with this exit code. A signal that PID 1 died of is 128 + its number, as container engines have it.
    Code(u8),
    /// The scenario killed it.
    Killed,
    /// It had not ended when the suite's patience was over, and was killed.
    OutOfPatience,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("the container was not started"),
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Killed => f.write_str("the container was killed by the suite, as the scenario wants it"),
            Self::OutOfPatience => f.write_str("the container did not end, and was killed when the suite's patience was over"),
        }
    }
}
