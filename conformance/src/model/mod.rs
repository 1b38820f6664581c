//! A model server on loopback that plays a script, for real agent CLIs that are to be tested without a model.
//!
//! ```text
//! request ─▶ server ─▶ protocol.read ─▶ Ask ─▶ play: which turn? ─▶ protocol.frames ─▶ delivery ─▶ the wire
//!              │                                                                          │
//!              └────────────▶ ledger: every request whole, and what it was billed ◀────────┘
//! ```
//!
//! | file | subject |
//! |---|---|
//! | [`scenario`] | the script as data: turns, replies, faults, deliveries; parsing and checking |
//! | [`check`] | whether a script can be played; everything that is wrong with it, at once |
//! | [`builtin`] | the named scenarios, each a TOML file in `conformance/scenarios/` |
//! | [`template`] | `{{command}}` in a scenario's strings |
//! | [`play`] | which turn answers a request: a pure function of the conversation's state and of what was used up |
//! | [`tools`] | how to say "run this shell command" in whatever tool the agent offers |
//! | [`protocol`] | what a wire protocol must do; [`anthropic`] does it for Anthropic Messages, [`openai_chat`] for OpenAI Chat Completions, [`openai_responses`] for OpenAI Responses, [`gemini`] for Gemini's generateContent |
//! | [`openai`] | what OpenAI's wires have in common |
//! | [`structured`] | an answer in the form that a request's JSON Schema wants |
//! | [`delivery`] | pacing, cutting and silencing an answer's bytes |
//! | [`record`] | requests as they came, credentials as digests |
//! | [`ledger`] | all of them, and waiting for a state without polling |
//! | [`bill`] | tokens, in one definition for all protocols |
//! | [`archive`] | the records as files, for tests in other processes |
//! | `stage` | what a request is answered |
//! | [`server`] | sockets, routes, and the thread: [`ScriptedModel`] |
//!
//! ```
//! use agent_conformance::model::{Scenario, ScriptedModel};
//! let model = ScriptedModel::start(Scenario::builtin("success")?.with("command", "make test")?)?;
//! // … start the agent with ANTHROPIC_BASE_URL = model.base_url() …
//! assert_eq!(model.bill().total.input_tokens, 0); // nobody asked yet
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod anthropic;
pub mod archive;
pub mod bill;
pub mod builtin;
pub mod check;
pub mod delivery;
pub mod gemini;
pub mod ledger;
pub mod openai;
pub mod openai_chat;
pub mod openai_responses;
pub mod play;
pub mod protocol;
pub mod record;
pub mod scenario;
pub mod server;
mod stage;
pub mod structured;
pub mod template;
pub mod tools;

pub use bill::{Bill, Charge, Tokens};
pub use ledger::WaitError;
pub use record::{Credential, Kind, Record, Run, State};
pub use scenario::{Scenario, ScenarioError, Usage};
pub use server::{Builder, ScriptedModel, StartError};
