//! Results: one key and value of an outcome, with who vouches for it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The known keys, most worth keeping first: this is also the order in which a termination message that is too long keeps them.
pub mod key {
    /// The working branch that HEAD was on at the end.
    pub const BRANCH: &str = "branch";
    /// The full object id of HEAD at the end.
    pub const COMMIT: &str = "commit";
    /// The URL of the pull request of the working branch.
    pub const PR: &str = "pr";
    /// All prompt tokens.
    pub const INPUT_TOKENS: &str = "input-tokens";
    /// All generated tokens.
    pub const OUTPUT_TOKENS: &str = "output-tokens";
    /// Cost in US dollars, a decimal number.
    pub const COST_USD: &str = "cost-usd";
    /// Part of the prompt tokens that was read from the cache.
    pub const CACHE_READ_TOKENS: &str = "cache-read-tokens";
    /// Part of the prompt tokens that was written to the cache.
    pub const CACHE_WRITE_TOKENS: &str = "cache-write-tokens";
    /// Part of the generated tokens that was reasoning.
    pub const REASONING_TOKENS: &str = "reasoning-tokens";
    /// The branch that the work started from.
    pub const BASE_BRANCH: &str = "base-branch";
    /// The full object id that the work started from.
    pub const BASE_COMMIT: &str = "base-commit";
    /// How many commits the work added.
    pub const COMMITS: &str = "commits";
    /// Whether the remote has HEAD's commit on the working branch.
    pub const PUSHED: &str = "pushed";
    /// Whether the work tree holds changes that are not committed.
    pub const DIRTY: &str = "dirty";
    /// Files changed between base commit and HEAD.
    pub const FILES_CHANGED: &str = "files-changed";
    /// Lines added between base commit and HEAD.
    pub const INSERTIONS: &str = "insertions";
    /// Lines removed between base commit and HEAD.
    pub const DELETIONS: &str = "deletions";
    /// The model that answered.
    pub const MODEL: &str = "model";
    /// The agent's session or thread id, for resuming.
    pub const SESSION_ID: &str = "session-id";
    /// The version that the agent said it is.
    pub const AGENT_VERSION: &str = "agent-version";
    /// How often the model was asked.
    pub const TURNS: &str = "turns";
    /// How long the agent ran, in milliseconds.
    pub const DURATION_MS: &str = "duration-ms";
    /// The agent's own exit code.
    pub const EXIT_CODE: &str = "exit-code";
    /// Who computed the cost.
    pub const COST_SOURCE: &str = "cost-source";

    /// All of them, in order of worth.
    pub const ALL: &[&str] = &[
        BRANCH,
        COMMIT,
        PR,
        INPUT_TOKENS,
        OUTPUT_TOKENS,
        COST_USD,
        CACHE_READ_TOKENS,
        CACHE_WRITE_TOKENS,
        REASONING_TOKENS,
        BASE_BRANCH,
        BASE_COMMIT,
        COMMITS,
        PUSHED,
        DIRTY,
        FILES_CHANGED,
        INSERTIONS,
        DELETIONS,
        MODEL,
        SESSION_ID,
        AGENT_VERSION,
        TURNS,
        DURATION_MS,
        EXIT_CODE,
        COST_SOURCE,
    ];
}

/// Names that flat outputs (files, marker blocks) use for the verdict itself; never keys of results.
pub const VERDICT_NAMES: &[&str] = &["status", "reason", "message", "cut"];

/// Who vouches for a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Voucher {
    /// The runner saw it itself.
    Fact,
    /// The agent, or a script around it, said so.
    Claim,
}

/// The value of a result. In flat outputs (parameters, files, markers) each is written as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ResultValue {
    /// `true` or `false`.
    Boolean(bool),
    /// A count.
    Integer(u64),
    /// A decimal number, for instance a cost.
    Decimal(f64),
    /// Anything else.
    Text(String),
}

impl fmt::Display for ResultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            // Sums of floats end in noise; no price list goes below a billionth of a dollar.
            Self::Decimal(value) => {
                let text = format!("{value:.9}");
                f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl From<&str> for ResultValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for ResultValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<u64> for ResultValue {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}
impl From<bool> for ResultValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}
impl From<f64> for ResultValue {
    fn from(value: f64) -> Self {
        Self::Decimal(value)
    }
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskResult {
    /// The value.
    pub value: ResultValue,
    /// Who vouches for it.
    pub voucher: Voucher,
}

/// All results of a run. A claim never overrides a fact, and never takes the name of a known key: those are facts or absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Results(BTreeMap<String, TaskResult>);

/// Why a claim was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The key has characters that some sink cannot write, or is empty or too long.
    #[error("the result key `{0}` is not made of 1 to 63 letters, digits, `.`, `_` and `-`, beginning with a letter or digit")]
    BadKey(String),
    /// The key is one that only the runner may set.
    #[error("the result `{0}` is a fact that only the runner may set")]
    FactKey(String),
}

/// True for 1 to 63 letters, digits, `.`, `_` and `-`, beginning with a letter or digit: safe as a file name, a marker key, a Kubernetes
/// parameter name.
#[must_use]
pub fn is_valid_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl Results {
    /// Sets a fact.
    pub fn set_fact(&mut self, key: &str, value: impl Into<ResultValue>) {
        self.0.insert(key.to_owned(), TaskResult { value: value.into(), voucher: Voucher::Fact });
    }

    /// Sets a fact if there is a value.
    pub fn set_fact_if<V: Into<ResultValue>>(&mut self, key: &str, value: Option<V>) {
        if let Some(value) = value {
            self.set_fact(key, value);
        }
    }

    /// Takes a claim; the last of a key wins.
    ///
    /// Known keys and the [`VERDICT_NAMES`] are the runner's. `pr` is the one known key that may be claimed, since the runner cannot always
    /// ask the forge; a fact replaces it.
    ///
    /// # Errors
    /// A key that is malformed, or that only the runner may set.
    pub fn claim(&mut self, key: &str, value: impl Into<ResultValue>) -> Result<(), ClaimError> {
        if !is_valid_key(key) {
            return Err(ClaimError::BadKey(key.chars().take(80).collect()));
        }
        let taken = self.0.get(key).is_some_and(|old| old.voucher == Voucher::Fact);
        if taken || (key != key::PR && key::ALL.contains(&key)) || VERDICT_NAMES.contains(&key) {
            return Err(ClaimError::FactKey(key.to_owned()));
        }
        self.0.insert(key.to_owned(), TaskResult { value: value.into(), voucher: Voucher::Claim });
        Ok(())
    }

    /// The same with every text passed through `change`, for instance to mask secrets. A claim whose key would be changed is left out.
    #[must_use]
    pub fn map_text(&self, change: impl Fn(&str) -> String) -> Self {
        let changed = |(key, result): (&String, &TaskResult)| {
            let value = match &result.value {
                ResultValue::Text(text) => ResultValue::Text(change(text)),
                other => other.clone(),
            };
            (result.voucher == Voucher::Fact || change(key) == *key).then(|| (key.clone(), TaskResult { value, voucher: result.voucher }))
        };
        Self(self.0.iter().filter_map(changed).collect())
    }

    /// The result of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&TaskResult> {
        self.0.get(key)
    }

    /// All results: known keys in order of worth, then claims by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TaskResult)> {
        let known = key::ALL.iter().filter_map(|key| self.0.get_key_value(*key));
        let others = self.0.iter().filter(|(key, _)| !key::ALL.contains(&key.as_str()));
        known.chain(others).map(|(key, result)| (key.as_str(), result))
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_never_overrides_a_fact() {
        let mut results = Results::default();
        results.set_fact(key::COMMIT, "abc");
        assert_eq!(results.claim(key::COMMIT, "def"), Err(ClaimError::FactKey("commit".into())));
        assert_eq!(results.get(key::COMMIT).unwrap().value, "abc".into());
    }

    #[test]
    fn a_known_key_cannot_be_claimed_even_while_it_is_absent() {
        let mut results = Results::default();
        assert!(results.claim(key::INPUT_TOKENS, "1").is_err());
        assert!(results.claim(key::PR, "https://forge/pr/1").is_ok());
    }

    #[test]
    fn a_sum_of_costs_is_written_without_the_noise_of_floats() {
        let text = |value: f64| ResultValue::from(value).to_string();
        assert_eq!([text(0.1 + 0.2), text(0.0140375), text(2.0), text(0.0)], ["0.3", "0.0140375", "2", "0"]);
    }

    #[test]
    fn keys_that_a_sink_cannot_write_are_refused() {
        let mut results = Results::default();
        for bad in ["", "../x", "a b", "-a", ".a", "a\nb", "é", &"x".repeat(64)] {
            assert!(results.claim(bad, "v").is_err(), "{bad:?}");
        }
        assert!(results.claim("summary_2.x-y", "v").is_ok());
    }

    #[test]
    fn worth_comes_first() {
        let mut results = Results::default();
        results.claim("a", "1").unwrap();
        results.set_fact(key::COMMIT, "c");
        results.set_fact(key::BRANCH, "b");
        let keys: Vec<_> = results.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["branch", "commit", "a"]);
    }
}
