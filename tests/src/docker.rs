//! Docker's client without Docker's daemon: podman's service answers it, on a socket of its own, with the images that podman has.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::containers::podman;
use crate::skip::skip;

/// The service. It ends when this is dropped.
#[derive(Debug)]
pub struct Service {
    directory: tempfile::TempDir,
    process: Child,
}

impl Service {
    /// Starts it; `None`, said loudly, where there is no docker client.
    ///
    /// # Panics
    /// It ends before it listens.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !Command::new("docker").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
            skip("docker's client is not here, so no image was judged by it");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let socket = format!("unix://{}", directory.path().join("engine.sock").display());
        let mut service = podman(&["system", "service", "--time", "0", &socket]);
        let process = service.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut service = Self { directory, process };
        while UnixStream::connect(service.directory.path().join("engine.sock")).is_err() {
            assert_eq!(service.process.try_wait().unwrap(), None, "the service has ended");
            std::thread::yield_now();
        }
        Some(service)
    }

    /// The value of `DOCKER_HOST` for whoever is to find it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("engine.sock").display())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
