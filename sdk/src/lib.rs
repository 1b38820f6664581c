//! The Agent Image Interface as types.
//!
//! # Theory of operation
//!
//! A platform says what to do as a [`Task`](task::Task). The runner asks the [`Agent`](agent::Agent) of that
//! task for a [`Plan`](agent::Plan): which files to write, which command to start, what to give it on stdin. It starts
//! the command and hands each line of its stdout (the *stream*) to the agent's [`StreamReader`](agent::StreamReader), which
//! turns them into normalised [`Event`](event::Event)s and keeps a [`StreamSummary`](agent::StreamSummary): usage, answer, errors, end.
//! At the end everything known is folded into one [`Outcome`](outcome::Outcome), from which every sink is written:
//! the [termination message](termination), the result file, the [marker blocks](marker).
//!
//! # What is not here
//!
//! No processes, no network, no clock, no environment, no file system: every function is a pure one, so that an
//! author can test an agent of their own with nothing but recorded lines.

pub mod agent;
pub mod agents;
pub mod event;
pub mod marker;
pub mod outcome;
pub mod prices;
pub mod results;
pub mod task;
pub mod termination;
pub mod usage;
pub mod verdict;

/// The version of the Agent Image Interface that these types speak, `MAJOR.MINOR`.
pub const INTERFACE_VERSION: &str = "1.0";
