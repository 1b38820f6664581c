//! What a process in a container may: user, groups, capabilities, `no_new_privs`, and how many processes there may be.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::fchown;

use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities};

use super::Namespace;

/// What podman leaves to a container
/// (<https://github.com/containers/common/blob/main/docs/containers.conf.5.md>, `default_capabilities`).
pub(in crate::suite::engine) const DEFAULT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_CHROOT);

/// Becomes who the plan says, with what it allows.
pub(super) fn drop(namespace: &Namespace) -> io::Result<()> {
    if let Some(limit) = namespace.pids_limit {
        // counted per user, on the host too; there is no better without a cgroup
        setrlimit(Resource::RLIMIT_NPROC, limit.into(), limit.into())?;
    }
    let keep = if namespace.no_capabilities { CapabilitySet::empty() } else { DEFAULT };
    // what is not in the bounding set is not had after an exec, by root either
    for capability in CapabilitySet::all().difference(keep).iter() {
        match remove_capability_from_bounding_set(capability) {
            // an older kernel, that does not know it
            Err(rustix::io::Errno::INVAL) => {}
            result => result?,
        }
    }
    let (uid, gid, groups) = &namespace.user;
    // programs open /dev/stdout and /dev/stderr anew, as their user
    for output in [io::stdout().as_fd(), io::stderr().as_fd()] {
        fchown(output, Some(*uid), None)?;
    }
    setgroups(&groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>())?;
    setgid(Gid::from_raw(*gid))?;
    setuid(Uid::from_raw(*uid))?;
    let now = capabilities(None)?;
    let kept = now.permitted.intersection(keep);
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    if namespace.no_capabilities {
        set_no_new_privs()?;
    }
    Ok(())
}
