//! Fixtures shared by the whole-project tests.

pub mod agent_run;
pub mod cancelled;
pub mod clis;
pub mod containers;
pub mod coverage;
pub mod docker;
pub mod git_servers;
pub mod http_mcp;
pub mod judged;
pub mod kelos;
pub mod kubeopencode;
pub mod matrix;
pub mod paced;
pub mod probe;
pub mod pty;
pub mod repo;
pub mod runs;
pub mod sandbox;
pub mod schemas;
pub mod sinks;
pub mod skip;
pub mod stage;
pub mod told;
pub mod volumes;
