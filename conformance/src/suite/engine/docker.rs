//! Engine `docker`: whatever answers where `DOCKER_HOST` or the client's context points. The client alone is no engine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::cli::{Cli, Dialect};
use super::{Container, Engine, EngineError, Start, Typed};
use crate::suite::evidence::Ability;
use crate::suite::subject::Subject;

const NAME: &str = "docker";

const DIALECT: Dialect = Dialect {
    name: NAME,
    create: &[],
    // a client's configuration may have `proxies`, which are for the image's own business with the world
    not_the_hosts: &[
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "FTP_PROXY",
        "ftp_proxy",
        "NO_PROXY",
        "no_proxy",
        "ALL_PROXY",
        "all_proxy",
    ],
    read_only: &[],
    start: &["--log-level", "fatal"],
    // the limits are the daemon's, as is the runtime
    limits: false,
    runtimes: false,
};

/// See the [module](self).
#[derive(Debug)]
pub struct Docker {
    cli: Arc<Cli>,
    reference: String,
}

impl Docker {
    /// The engine, with an image in its storage.
    ///
    /// # Errors
    /// It cannot be used here.
    pub fn new(reference: &str) -> Result<Self, EngineError> {
        usable().map_err(|why| EngineError::Unusable { engine: NAME, why })?;
        Ok(Self { cli: Arc::new(Cli::new(DIALECT)), reference: reference.to_owned() })
    }

    /// Whether the image is in its storage.
    pub(super) fn has_image(&self) -> bool {
        self.cli.has_image(&self.reference)
    }
}

/// Whether a daemon answers that can do what the suite needs, with its version; or why not.
///
/// # Errors
/// Why not.
pub fn usable() -> Result<String, String> {
    let cli = Cli::new(DIALECT);
    let said = cli.usable(&["version", "--format", "{{.Server.Version}}{{range .Server.Components}} {{.Name}}{{end}}"])?;
    let about = cli.usable(&["info", "--format", "{{.SecurityOptions}}"]).unwrap_or_default();
    let (version, server) = said.split_once(' ').unwrap_or((&said, ""));
    if is_apart(&about, server) { Err(APART.to_owned()) } else { Ok(version.to_owned()) }
}

/// A rootless daemon's host network is one of its own (<https://docs.docker.com/engine/security/rootless/troubleshoot/>); podman, which also
/// answers docker's client, has the machine's.
const APART: &str = "its daemon is rootless, so that no container reaches the suite's servers on this machine's loopback; \
    a daemon of root's does, and so does podman";

fn is_apart(security_options: &str, server: &str) -> bool {
    security_options.contains("name=rootless") && !server.contains("Podman")
}

impl Engine for Docker {
    fn name(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> BTreeSet<Ability> {
        Ability::ALL.into()
    }

    fn inspect(&self) -> Result<Subject, EngineError> {
        self.cli.inspect(&self.reference)
    }

    fn start(&self, start: &Start) -> Result<Box<dyn Container>, EngineError> {
        self.cli.start(&self.reference, start)
    }

    fn typed(&self, start: &Start, name: &str, place: &Path) -> Result<Option<Typed>, EngineError> {
        self.cli.typed(&self.reference, start, name, place).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::is_apart;

    #[test]
    fn a_rootless_daemon_is_told_apart_from_podman() {
        assert!(is_apart("[name=seccomp,profile=builtin name=rootless name=cgroupns]", "Engine containerd runc rootlesskit "));
        assert!(!is_apart("[name=rootless name=seccomp,profile=default]", "Podman Engine Conmon "));
        assert!(!is_apart("[name=apparmor name=seccomp,profile=builtin]", "Engine containerd runc docker-init "));
    }
}
