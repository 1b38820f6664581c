//! Fixtures shared by the whole-project tests.

pub mod skip;
pub mod git_servers;
pub mod repo;
