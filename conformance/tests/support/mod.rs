//! What the tests of this crate share: a plain HTTP client that sees every byte, and the real CLIs.

pub mod claude;
pub mod codex;
pub mod desk;
pub mod gemini;
pub mod http;
pub mod opencode;
pub mod pins;
pub mod skip;
