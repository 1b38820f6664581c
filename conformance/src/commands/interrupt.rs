//! Ctrl-C and SIGTERM: the first ends the suite in good order, a second one at once.

use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::suite::stop;

extern "C" fn note(signal: c_int) {
    stop::ask(signal);
}

/// From now on the first SIGINT or SIGTERM is noted; another one has its ordinary effect.
pub fn watch() {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing but store to an atomic, which is async-signal-safe. Should it fail, a signal ends the suite as
        // ever.
        let _ = unsafe { sigaction(signal, &action) };
    }
}
