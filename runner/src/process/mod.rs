//! Processes as the runner has them: start one, follow it, end it and everything that came of it.
//!
//! This is the child's side of the two processes; the parent's is [`crate::init`]. From below:
//! - `sys`: the few system calls that `nix` lacks,
//! - [`descendants`]: who descends from whom,
//! - [`terminal`], [`input`], [`launch`]: what a program is started with, and why it could not be,
//! - `spawn`: fork and exec,
//! - [`child`]: one started program,
//! - [`signals`]: what reaches the runner, and what it means,
//! - [`tree`]: the order of the end,
//! - [`exec`](mod@exec): all of it together for one command.

pub mod child;
pub mod copy;
pub mod descendants;
pub mod ending;
pub mod exec;
pub mod input;
pub mod launch;
pub mod signals;
pub(crate) mod spawn;
pub mod status;
pub(crate) mod sys;
pub mod terminal;
pub mod tree;

pub use child::Child;
pub use ending::Ending;
pub(crate) use exec::until;
pub use exec::{Cause, ExecOptions, Finished, Follower, exec};
pub use launch::{Launch, LaunchError, Placement};
pub use signals::Signals;
pub use status::ExitStatus;
pub use sys::{Change, LAST_SIGNAL};
pub use terminal::Terminal;
pub use tree::{Ended, Tree};
