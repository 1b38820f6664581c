//! That somebody wants the suite to end: nothing more is begun, what runs is ended and removed, what was made is taken away.
//!
//! It is asked for by a signal handler, and looked at wherever the suite would go on for long.

use std::sync::atomic::{AtomicI32, Ordering};

use nix::libc::c_int;
use nix::sys::signal::Signal;

/// The signal that came; 0 is none.
static ASKED: AtomicI32 = AtomicI32::new(0);

/// Asks for it. Async-signal-safe.
pub fn ask(signal: c_int) {
    ASKED.store(signal, Ordering::Relaxed);
}

/// The signal that asked for it, if any.
#[must_use]
pub fn asked() -> Option<Signal> {
    Signal::try_from(ASKED.load(Ordering::Relaxed)).ok()
}
