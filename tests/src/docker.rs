//! Docker's client without Docker's daemon: podman's service answers it, on a socket of its own, with the images that podman has.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::containers::podman;
use crate::runs::wait_until;
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
        let mut service = podman(&["system", "service", "--time", "0", &format!("unix://{}", socket(&directory).display())]);
        let process = service.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut service = Self { directory, process };
        wait_until("the service to listen", || {
            assert_eq!(service.process.try_wait().unwrap(), None, "the service has ended");
            UnixStream::connect(socket(&service.directory)).is_ok()
        });
        Some(service)
    }

    /// The value of `DOCKER_HOST` for whoever is to find it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", socket(&self.directory).display())
    }
}

fn socket(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("engine.sock")
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
