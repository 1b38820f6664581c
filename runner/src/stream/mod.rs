//! Stream: the agent's stdout, forwarded, understood, and shown.
//!
//! # The way of a chunk
//!
//! ```text
//! pipe ─▶ pump ─▶ mask ─┬──────────────▶ stdout            (raw: the very bytes, without a copy if nothing was masked)
//!                       └▶ split ─▶ StreamReader ─▶ events ─▶ stdout (pretty, events), events.jsonl
//! ```
//!
//! Masking stands first, so that whatever is read from the stream later (events, the answer, error texts) is masked too.
//! Memory is bounded at each step: a chunk, a line, a handful of buffers. [`Follower`](follow::Follower) is pure: it is pushed bytes
//! and a time and says what to write; [`pump`](pump::pump) does the input and output for a running agent, [`capture`](filter::capture) for a
//! filter on stdin, [`replay`](filter::replay) for a recorded stream.

pub mod clean;
pub mod condense;
#[cfg(test)]
pub(crate) mod double;
pub mod events;
pub mod filter;
pub mod follow;
pub mod mask;
pub mod output;
pub mod pretty;
pub mod pump;
pub mod split;
pub mod tail;

pub use filter::{Followed, capture, replay};
pub use follow::{Changes, EventHook, Follower, Forward, LineHook, Log, StreamCounts};
pub use mask::{SecretError, Secrets};
pub use output::{Flushed, Output};
pub use pump::{Activity, Progress, PumpReport, Source, Stop, pump};
pub use tail::PlainFollower;
