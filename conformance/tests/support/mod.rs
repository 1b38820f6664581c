//! What the tests of this crate share: a plain HTTP client that sees every byte, and the real Claude Code CLI.

pub mod claude;
pub mod http;
