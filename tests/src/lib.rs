//! Fixtures shared by the whole-project tests.

pub mod claude;
pub mod git_servers;
pub mod http_mcp;
pub mod probe;
pub mod pty;
pub mod repo;
pub mod sandbox;
pub mod sinks;
pub mod skip;
