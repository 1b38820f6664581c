//! Limits of a container's resources, where the engine's own are higher than this user may give.

use nix::libc::RLIM_INFINITY;
use nix::sys::resource::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Limits of open files and processes that we may give, where we may not give the higher ones that the engine has by itself.
pub(super) fn limits() -> Vec<String> {
    /// Enough for any agent. Podman was seen to give its children fewer processes than it has, but more than this.
    const PROCESSES: u64 = 16_384;
    if capabilities(None).is_ok_and(|ours| ours.effective.contains(CapabilitySet::SYS_RESOURCE)) {
        return Vec::new();
    }
    let named = [("nofile", Resource::RLIMIT_NOFILE, u64::MAX), ("nproc", Resource::RLIMIT_NPROC, PROCESSES)];
    let named = named.into_iter().filter_map(|(name, resource, most)| Some((name, getrlimit(resource).ok()?.1.min(most))));
    named
        .filter(|(_, hard)| *hard != RLIM_INFINITY)
        .flat_map(|(name, hard)| ["--ulimit".to_owned(), format!("{name}={hard}:{hard}")])
        .collect()
}
