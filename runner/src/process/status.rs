//! How a process ended, and the exit code that says so.

use std::fmt;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It left by itself with this code.
    Exited(u8),
    /// A signal ended it; the number as `kill -l` has it, real-time ones included.
    Signalled(i32),
}

impl ExitStatus {
    /// The code a shell would report: its own code, or 128 + signal.
    ///
    /// PID 1 cannot kill itself by a signal, so that form is used in every place, not only there.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            // signals reach 64 at most, so this stays within 192
            Self::Signalled(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        }
    }

    /// The signal that ended it, if one did.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Exited(_) => None,
            Self::Signalled(signal) => Some(signal),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(out, "exit code {code}"),
            Self::Signalled(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(known) => write!(out, "signal {signal} ({known})"),
                Err(_) => write!(out, "signal {signal}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ExitStatus;

    #[test]
    fn code_is_the_process_own_or_128_plus_signal() {
        for code in 0..=255 {
            assert_eq!(ExitStatus::Exited(code).code(), code);
        }
        for signal in 1..=64_u8 {
            assert_eq!(ExitStatus::Signalled(i32::from(signal)).code(), 128 + signal);
        }
    }
}
