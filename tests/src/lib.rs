//! Fixtures shared by the whole-project tests.

pub mod sinks;
