//! Configure: plans become files, in one safe place.
//!
//! What is to be written is decided by the agent, in `agent-sdk`, as data. [`writer`] is the only place that writes it;
//! [`plugins`] and [`repository`] read what the decision rests on.

pub mod error;
pub mod plugins;
pub mod repository;
pub mod writer;

mod list;
mod merge;
mod section;
mod tree;

pub use error::ConfigureError;
pub use plugins::read_plugins;
pub use repository::read_repository_files;
pub use writer::{Places, Report, apply};
