//! The lines of OpenCode's `run --format json` and of the ledger, as far as they are read.
//!
//! A field of a type other than the expected one counts as absent: one odd field must not cost the usage that stands beside it. The lines
//! that matter are short, so they are read whole; `tool_use`, which may carry half a megabyte, is parsed only where every event is wanted.

use serde_json::Value;

/// A step of a session that is over: `step_finish` in the stream, a part of the type `step-finish` in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step<'a> {
    /// The part's id.
    pub(super) id: &'a str,
    /// The message that it belongs to: one answer of the model.
    pub(super) message: &'a str,
    /// Why it is over, in the word of the provider's library.
    pub(super) reason: &'a str,
    /// What it cost.
    pub(super) tokens: Tokens,
    /// The same in dollars.
    pub(super) cost: Option<f64>,
}

/// A step's tokens; input without the cache's, output without the reasoning's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) reasoning: Option<u64>,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_write: Option<u64>,
}

impl Tokens {
    /// Whether it cost nothing at all.
    pub(super) fn is_nothing(&self) -> bool {
        [self.input, self.output, self.reasoning, self.cache_read, self.cache_write].into_iter().flatten().all(|count| count == 0)
    }
}

impl<'a> Step<'a> {
    /// Of a part.
    pub(super) fn of(part: &'a Value) -> Self {
        let count = |path: &str| part["tokens"].pointer(path).and_then(count);
        Self {
            id: text(&part["id"]),
            message: text(&part["messageID"]),
            reason: text(&part["reason"]),
            tokens: Tokens {
                input: count("/input"),
                output: count("/output"),
                reasoning: count("/reasoning"),
                cache_read: count("/cache/read"),
                cache_write: count("/cache/write"),
            },
            cost: part["cost"].as_f64().filter(|cost| cost.is_finite()),
        }
    }
}

/// An error of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure<'a> {
    /// OpenCode's name for it.
    pub(super) name: &'a str,
    /// In words for people.
    pub(super) message: &'a str,
    /// What the provider answered.
    pub(super) body: &'a str,
    /// With which status.
    pub(super) http_status: Option<u16>,
}

impl<'a> Failure<'a> {
    /// Of a line `error`.
    pub(super) fn of(error: &'a Value) -> Self {
        let data = &error["data"];
        Self {
            name: text(&error["name"]),
            message: text(&data["message"]),
            body: text(&data["responseBody"]),
            http_status: count(&data["statusCode"]).and_then(|status| u16::try_from(status).ok()),
        }
    }
}

/// The text, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number that counts; fractions are cut off.
pub(super) fn count(value: &Value) -> Option<u64> {
    // A float-to-integer cast saturates; negative and not-a-number are no counts.
    value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
}
