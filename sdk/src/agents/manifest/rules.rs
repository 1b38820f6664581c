//! The rules of `json-lines`, as types: what is looked for in a line, by JSON pointers (RFC 6901), and how a rule may be wrong.
//!
//! What the found values mean for a run is in `super::stream`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::check::Check;

/// The format that rules read.
pub(super) const JSON_LINES: &str = "json-lines";
/// The format of plain lines for people.
pub(in crate::agents) const TEXT: &str = "text";
/// The format of which nothing is read.
pub(in crate::agents) const NONE: &str = "none";

/// What lines of one kind mean. All pointers are JSON pointers (RFC 6901).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct EventRule {
    /// What must stand where in the line: by pointer a text, a number, a boolean, or a list of which one must be there.
    pub when: BTreeMap<String, Value>,
    /// Pointers at which anything but null must stand.
    pub has: Vec<String>,
    /// A list in the line: the rule is applied to each of its items, and the pointers below start there.
    pub each: Option<String>,
    /// What must stand where in the item.
    pub when_item: BTreeMap<String, Value>,
    /// Session id.
    pub session_id: Option<String>,
    /// The model that answers.
    pub model: Option<String>,
    /// The agent's own version.
    pub version: Option<String>,
    /// Something that the agent says.
    pub text: Option<String>,
    /// Whether `text` is a piece, to be joined with those before it.
    pub delta: bool,
    /// Reasoning that the agent shows.
    pub thinking: Option<String>,
    /// A tool is called.
    pub tool_call: Option<ToolCallRule>,
    /// A tool has answered.
    pub tool_result: Option<ToolResultRule>,
    /// The model was asked once more.
    pub turn: bool,
    /// Tokens and cost.
    pub usage: Option<UsageRule>,
    /// Something failed.
    pub error: Option<ErrorRule>,
    /// The agent is done.
    pub end: Option<EndRule>,
}

/// Where a tool call stands.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ToolCallRule {
    /// Its id.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub input: Option<String>,
}

/// Where a tool's answer stands.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ToolResultRule {
    /// The id of its call.
    pub id: Option<String>,
    /// What it answered.
    pub output: Option<String>,
    /// A boolean: whether it failed.
    pub failed: Option<String>,
}

/// Where tokens and cost stand, and how they add up.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UsageRule {
    /// Whether the numbers of each event are added, or those of the last one are the total.
    pub counts: Counts,
    /// Prompt tokens.
    pub input: Option<String>,
    /// Of these or beside them, read from the cache.
    pub cache_read: Option<String>,
    /// Of these or beside them, written to the cache.
    pub cache_write: Option<String>,
    /// Generated tokens.
    pub output: Option<String>,
    /// Of these or beside them, reasoning.
    pub reasoning: Option<String>,
    /// Cost in US dollars.
    pub cost_usd: Option<String>,
    /// Whether `input` has the cache in it; must be said where a cache pointer is given.
    pub input_has_cache: Option<bool>,
    /// Whether `output` has the reasoning in it; must be said where `reasoning` is given.
    pub output_has_reasoning: Option<bool>,
    /// Where an id stands whose events are counted once, for agents that repeat themselves.
    pub once_per: Option<String>,
}

/// How the numbers of several events become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// Each event's are added.
    Each,
    /// The last event's are the total.
    Total,
}

/// Where an error stands.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ErrorRule {
    /// In the agent's words.
    pub message: Option<String>,
    /// The HTTP status.
    pub status: Option<String>,
    /// Whether the agent will try again.
    #[serde(default)]
    pub retry: bool,
}

/// The agent is done.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EndRule {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Its last words.
    pub message: Option<String>,
    /// The HTTP status of what it failed for.
    pub status: Option<String>,
}

/// Whether a text is a JSON pointer.
pub(super) fn is_pointer(text: &str) -> bool {
    let mut parts = text.split('~');
    let first = parts.next().unwrap_or_default();
    (text.is_empty() || first.starts_with('/')) && parts.all(|part| part.starts_with(['0', '1']))
}

impl EventRule {
    /// Whether a line is of this rule's kind.
    pub(super) fn fits(&self, line: &Value) -> bool {
        holds(&self.when, line) && self.has.iter().all(|pointer| line.pointer(pointer).is_some_and(|value| !value.is_null()))
    }

    /// What the pointers of the rule start from: the line, or each fitting item of the list in it.
    pub(super) fn items<'v>(&self, line: &'v Value) -> Vec<&'v Value> {
        match &self.each {
            None => vec![line],
            Some(pointer) => {
                let items = line.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                items.iter().filter(|item| holds(&self.when_item, item)).collect()
            }
        }
    }

    /// Every pointer of the rule that is looked up, by its field.
    fn pointers(&self) -> Vec<(&'static str, &str)> {
        type Given<'a> = Vec<(&'static str, &'a Option<String>)>;
        let mut given: Given<'_> = vec![
            ("each", &self.each),
            ("session-id", &self.session_id),
            ("model", &self.model),
            ("version", &self.version),
            ("text", &self.text),
            ("thinking", &self.thinking),
        ];
        if let Some(call) = &self.tool_call {
            given.extend([("tool-call.id", &call.id), ("tool-call.input", &call.input)]);
        }
        if let Some(result) = &self.tool_result {
            given.extend([("tool-result.id", &result.id), ("tool-result.output", &result.output), ("tool-result.failed", &result.failed)]);
        }
        if let Some(usage) = &self.usage {
            given.extend([
                ("usage.input", &usage.input),
                ("usage.cache-read", &usage.cache_read),
                ("usage.cache-write", &usage.cache_write),
            ]);
            given.extend([("usage.output", &usage.output), ("usage.reasoning", &usage.reasoning)]);
            given.extend([("usage.cost-usd", &usage.cost_usd), ("usage.once-per", &usage.once_per)]);
        }
        if let Some(error) = &self.error {
            given.extend([("error.message", &error.message), ("error.status", &error.status)]);
        }
        if let Some(end) = &self.end {
            given.extend([("end.message", &end.message), ("end.status", &end.status)]);
        }
        let name = self.tool_call.iter().map(|call| ("tool-call.name", call.name.as_str()));
        given.into_iter().filter_map(|(field, pointer)| Some((field, pointer.as_deref()?))).chain(name).collect()
    }
}

/// Whether each value stands where it must.
fn holds(conditions: &BTreeMap<String, Value>, value: &Value) -> bool {
    conditions.iter().all(|(pointer, wanted)| {
        let found = value.pointer(pointer);
        match wanted {
            Value::Array(any) => any.iter().any(|wanted| is_same(found, wanted)),
            one => is_same(found, one),
        }
    })
}

fn is_same(found: Option<&Value>, wanted: &Value) -> bool {
    // 1 and 1.0 are one number, whatever TOML and the agent write.
    found.is_some_and(|found| found == wanted || found.as_f64().is_some_and(|number| Some(number) == wanted.as_f64()))
}

/// Checks one rule.
pub(super) fn check(check: &mut Check, path: &str, rule: &EventRule) {
    const HINT: &str = "RFC 6901: `/message/content/0`, with `~1` for `/` and `~0` for `~` in a name";
    for (field, pointer) in rule.pointers() {
        if !is_pointer(pointer) {
            check.error(&format!("{path}.{field}"), format!("is no JSON pointer: `{pointer}`"), HINT);
        }
    }
    for (field, conditions) in [("when", &rule.when), ("when-item", &rule.when_item)] {
        for (pointer, wanted) in conditions {
            let path = format!("{path}.{field}.{pointer}");
            if !is_pointer(pointer) {
                check.error(&path, format!("is no JSON pointer: `{pointer}`"), HINT);
            }
            let scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
            if !scalar(wanted) && !wanted.as_array().is_some_and(|any| !any.is_empty() && any.iter().all(scalar)) {
                check.error(&path, "is nothing to compare with", "a text, a number, a boolean, or a list of these");
            }
        }
    }
    for pointer in rule.has.iter().filter(|pointer| !is_pointer(pointer)) {
        check.error(&format!("{path}.has"), format!("is no JSON pointer: `{pointer}`"), HINT);
    }
    if rule.each.is_none() && !rule.when_item.is_empty() {
        check.error(&format!("{path}.when-item"), "is looked at only with `each`", "use `when`, or name the list by `each`");
    }
    if rule.delta && rule.text.is_none() {
        check.error(&format!("{path}.delta"), "is about `text`, which is missing", "");
    }
    if let Some(usage) = &rule.usage {
        let path = format!("{path}.usage");
        if (usage.cache_read.is_some() || usage.cache_write.is_some()) && usage.input_has_cache.is_none() {
            check.error(
                &path,
                "does not say whether `input` has the cache in it",
                "OpenAI and Gemini count it in, Anthropic beside: `input-has-cache`",
            );
        }
        if usage.reasoning.is_some() && usage.output_has_reasoning.is_none() {
            check.error(
                &path,
                "does not say whether `output` has the reasoning in it",
                "OpenAI and Anthropic count it in, Gemini beside: `output-has-reasoning`",
            );
        }
        if usage.input.is_none() && usage.output.is_none() && usage.cost_usd.is_none() {
            check.error(&path, "counts nothing", "`input`, `output` or `cost-usd`");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_are_those_of_the_rfc() {
        for good in ["", "/", "/a", "/a/0/b~1c~0d", "/ä"] {
            assert!(is_pointer(good), "{good}");
        }
        for bad in ["a", "a/b", "/a~", "/a~2", "~0"] {
            assert!(!is_pointer(bad), "{bad}");
        }
    }

    #[test]
    fn a_rule_fits_where_everything_stands_that_must() {
        let when = BTreeMap::from([("/type".to_owned(), json!(["a", "b"])), ("/n".to_owned(), json!(1))]);
        let rule = EventRule { when, has: vec!["/x".into()], ..EventRule::default() };
        assert!(rule.fits(&json!({"type": "b", "n": 1.0, "x": 0})));
        for line in [json!({"type": "c", "n": 1, "x": 0}), json!({"type": "a", "n": 1, "x": null}), json!({"type": "a", "x": 0}), json!([])]
        {
            assert!(!rule.fits(&line), "{line}");
        }
    }
}
