//! Stream: the agent's stdout, forwarded, understood, and shown.
//!
//! # The way of a chunk
//!
//! ```text
//! pipe ─▶ push ─▶ mask ─┬──────────────▶ stdout            (raw: the very bytes, without a copy if nothing was masked)
//!                       └▶ split ─▶ StreamReader ─▶ events ─▶ stdout (pretty, events), events.jsonl
//! ```
//!
//! Masking stands first, so that whatever is read from the stream later (events, the answer, error texts) is masked too.
//! Memory is bounded at each step: a chunk, a line, a handful of buffers. [`Follower`] is pure: it is pushed bytes
//! and a time and says what to write. The run's own follower (`run/follower.rs`) feeds it from a running agent, [`capture`]
//! from stdin, [`replay`] from a recorded stream.

pub mod clean;
pub mod condense;
#[cfg(test)]
pub(crate) mod double;
pub mod events;
pub mod filter;
pub mod follow;
mod forms;
pub mod mask;
pub mod output;
pub mod pretty;
pub mod queue;
pub mod split;
pub mod tail;

pub use filter::{Followed, capture, replay};
pub use follow::{Changes, EventHook, Follower, Forward, LineHook, Log, StreamCounts};
pub use mask::{SecretError, Secrets};
pub use output::{Flushed, Output};
pub use queue::Queue;
pub use tail::PlainFollower;
