//! Fixtures shared by the whole-project tests.

pub mod probe;
pub mod pty;
pub mod sandbox;
pub mod skip;
