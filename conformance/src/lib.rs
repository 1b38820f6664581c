//! Conformance suite of the Agent Image Interface: the [`suite`] that judges an image, and its **scripted model server**, [`model`].
//!
//! [`commands`] is what `agent-conformance` does with the suite.
//!
//! This crate depends on neither the runner nor the SDK. Constants that both sides shared would be wrong on both
//! sides and stay green; so the token arithmetic, the header names and the protocol shapes here are written anew,
//! from the protocols' own documentation and from what the real agent CLIs were seen to send.

pub mod commands;
pub mod model;
pub mod suite;
