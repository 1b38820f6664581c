//! The suite: whether an image keeps the Agent Image Interface.
//!
//! ```text
//! requirements.toml ─▶ which checks, and so which scenarios
//! image ─▶ subject ─▶ scenarios × engine ─▶ evidence ─▶ checks ─▶ judgements ─▶ verdicts ─▶ reports, certificate
//! ```
//!
//! Scenarios make evidence and decide nothing; checks read evidence and start nothing. So evidence can be kept and judged again.
//!
//! | module | subject |
//! |---|---|
//! | [`requirement`] | the rows of `spec/v1/requirements.toml` |
//! | [`profile`] | what an image may claim |
//! | [`subject`] | the image as it lies there: labels, configuration, files |
//! | [`engine`] | ways to look at an image and to start it |
//! | [`evidence`] | what was seen of the image in each scenario, and how it is kept |
//! | [`fake`] | the suite's own agent, and its scripts |
//! | [`stream`] | what it prints |
//! | [`git`] | the suite's git server |
//! | [`mcp`] | the suite's MCP servers |
//! | `loopback` | the HTTP server that both are |
//! | [`scenario`] | what is done with an image to see how it behaves |
//! | [`check`] | a requirement's check, and what it finds |
//! | [`checks`] | all of them, a file per area |
//! | [`selection`] | which requirements a run judges |
//! | [`baseline`] | failures that are known |
//! | [`verdict`] | findings to verdicts, and a run's conclusion |
//! | [`certificate`], [`badge`] | what an image that keeps all may show |
//! | [`selftest`] | the proof that a check fails where it should, and nowhere else |
//! | [`stop`] | that somebody wants all of it to end |
//! | [`report`] | what is said of a run, in every format |

pub mod badge;
pub mod baseline;
pub mod certificate;
pub mod check;
pub mod checks;
pub mod engine;
pub mod evidence;
pub mod fake;
pub mod git;
mod loopback;
pub mod mcp;
pub mod profile;
pub mod report;
pub mod requirement;
pub mod scenario;
pub mod selection;
pub mod selftest;
pub mod stop;
pub mod stream;
pub mod subject;
pub mod verdict;
