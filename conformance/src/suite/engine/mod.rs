//! Engines: ways to look at an image and to start it. Each says what it can do; a check is the same on all.
//!
//! An engine starts one container at a time for a scenario and knows nothing of what the scenario is about. It shares the host's network,
//! since the suite's servers listen on loopback, and runs without a terminal.
//!
//! | module | subject |
//! |---|---|
//! | [`podman`], [`docker`] | the engines of that name, by their command lines; what they share is in `cli` |
//! | [`runc`] | an OCI runtime on a root file system |
//! | [`namespace`] | namespaces that the suite makes itself, on a root file system |
//! | [`exec`] | a command on the host, not isolated, for people who work on a runner |
//! | [`unstarted`] | images that are only looked at |
//! | [`wrapped`] | any of them, started as somebody else says |
//! | [`stoppable`] | any of them, given up when the suite is to end |
//! | [`choose`] | what users call images, and which engine is taken for them |
//! | [`layout`], [`rootfs`] | images as files and as a directory |
//! | `archive`, `unpack`, `tree` | their layers: read, unpacked, and looked at |
//! | `launch` | the suite's program, started again: what starts and watches the process of the engines that are no service |
//! | `process` | what is started, from the image's configuration and the start |
//! | `inside`, `account` | paths and users of a root file system |
//! | `typed` | what people would type to do the same |
//! | `limits` | open files and processes, where the engine would ask for too many |
//! | `refusal` | what is said of an entry point that cannot be run |
//! | `output` | what a container says, to a file |

mod account;
mod archive;
pub mod choose;
mod cli;
pub mod docker;
pub mod exec;
mod image_config;
mod inside;
mod launch;
pub mod layout;
mod limits;
pub mod namespace;
mod output;
pub mod podman;
mod process;
mod refusal;
pub mod rootfs;
pub mod runc;
pub mod stoppable;
mod tree;
mod typed;
mod unpack;
pub mod unstarted;
pub mod wrapped;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::evidence::{Ability, Ended};
use super::subject::Subject;

pub use launch::Program;
pub use output::OUTPUT_LIMIT;
pub use typed::Typed;

/// A way to look at an image and to start it.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Its name on command lines and in reports.
    fn name(&self) -> &'static str;

    /// What it can do on this machine.
    fn abilities(&self) -> BTreeSet<Ability>;

    /// Looks at the image.
    ///
    /// # Errors
    /// There is no such image, or it cannot be read.
    fn inspect(&self) -> Result<Subject, EngineError>;

    /// Starts the image.
    ///
    /// # Errors
    /// The engine could not start it. That the image's entry point is missing or not executable is no error of the engine: then the
    /// container has ended with 126 or 127.
    fn start(&self, start: &Start) -> Result<Box<dyn Container>, EngineError>;

    /// Where the image finds a mount: what has to stand in variables and arguments that tell it. On the host, in an engine that does not
    /// isolate.
    fn container_path(&self, mount: &Mount) -> PathBuf {
        mount.container.clone()
    }

    /// Removes a directory in which containers have left what this process cannot remove: files of users that only the engine can be. What
    /// it cannot either stays.
    fn remove(&self, dir: &Path) {
        let _ = dir;
    }

    /// What a person would type to start it so, in a container of this name, with whatever files that takes in `place`, a directory of its
    /// own; `None` for an engine that has no command line.
    ///
    /// # Errors
    /// The image cannot be started so.
    fn typed(&self, start: &Start, name: &str, place: &Path) -> Result<Option<Typed>, EngineError> {
        let _ = (start, name, place);
        Ok(None)
    }
}

/// A container that was started. It is killed and removed when it is dropped.
pub trait Container: fmt::Debug + Send {
    /// Sends a signal to PID 1, as `kubectl` and the kubelet do.
    ///
    /// # Errors
    /// The engine could not.
    fn signal(&mut self, signal: Signal) -> Result<(), EngineError>;

    /// Kills all of its processes at once, as the kernel or a failing node would.
    ///
    /// # Errors
    /// The engine could not.
    fn kill(&mut self) -> Result<(), EngineError>;

    /// Waits for its end, at most so long; `None` if it still runs. Its output files are whole when it has ended, up to [`OUTPUT_LIMIT`]
    /// each. One that was ended by [`Self::kill`] is [`Ended::Killed`]; one that died of a signal, by whomever, has the exit code 128 + its
    /// number.
    ///
    /// # Errors
    /// The engine could not.
    fn wait(&mut self, patience: Duration) -> Result<Option<Ended>, EngineError>;
}

/// How to start an image.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Variables beside the image's own; they win.
    pub env: BTreeMap<String, String>,
    /// Arguments in place of the image's own; absent means the image's.
    pub args: Option<Vec<String>>,
    /// Files and directories of the host in the container. [`Engine::container_path`] says where the image finds them.
    pub mounts: Vec<Mount>,
    /// User and group by number; absent means the image's.
    pub user: Option<(u32, u32)>,
    /// The root file system cannot be written; directories in `scratch` can.
    pub read_only: bool,
    /// Directories that are empty, writable by anybody, and gone at the end.
    pub scratch: Vec<PathBuf>,
    /// No capability, and `no_new_privs`.
    pub no_capabilities: bool,
    /// How many processes there may be; absent means the engine's default.
    pub pids_limit: Option<u32>,
    /// File that gets stdout; it is made anew. It grows while the container runs.
    pub stdout: PathBuf,
    /// The same for stderr.
    pub stderr: PathBuf,
}

/// A file or directory of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where it is to stand in the container. Links in this path are followed within the image; what is missing of it is made.
    pub container: PathBuf,
    /// It cannot be written there.
    pub read_only: bool,
}

/// Why an engine could not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not work on this machine.
    #[error("the engine `{engine}` cannot be used here: {why}")]
    Unusable {
        /// The engine.
        engine: &'static str,
        /// Why.
        why: String,
    },
    /// There is no such image.
    #[error("there is no image `{reference}`: {why}")]
    NoImage {
        /// What the user called it.
        reference: String,
        /// Where was looked, and what was said.
        why: String,
    },
    /// There is no such engine, or not for such an image.
    #[error("the engine `{engine}` is not for `{reference}`: {why}")]
    Unfit {
        /// What the user called it.
        engine: String,
        /// What the user called the image.
        reference: String,
        /// Why, and what there is.
        why: String,
    },
    /// Something that should have worked did not.
    #[error("the engine `{engine}` could not {what}: {why}")]
    Failed {
        /// The engine.
        engine: &'static str,
        /// What was wanted.
        what: &'static str,
        /// What was said.
        why: String,
    },
}
