//! What a message may hold, and how it is written if all of it fits. Giving out room that is too little is [`fit`](super::fit())'s part.

use std::borrow::Cow;

use crate::outcome::Outcome;
use crate::results::{Voucher, key};
use crate::verdict::{Origin, Phase, Reason, Status};

use super::WholeAt;
use super::shorten::quote;

/// A result on its way into `parameters`.
pub(super) struct Parameter<'a> {
    pub(super) name: &'a str,
    pub(super) value: Cow<'a, str>,
    /// Whether a part of the value is still worth something.
    pub(super) shortenable: bool,
}

/// Everything that a message may hold, before room is given out.
pub(super) struct Draft<'a> {
    pub(super) status: Status,
    pub(super) reason: Reason,
    pub(super) exit_code: u8,
    pub(super) phase: Option<Phase>,
    pub(super) origin: Option<Origin>,
    pub(super) retry: Option<bool>,
    pub(super) message: &'a str,
    /// In order of worth.
    pub(super) parameters: Vec<Parameter<'a>>,
    /// Fields that are whole or absent, as name and JSON, in order of worth and of writing.
    pub(super) small: Vec<(&'static str, String)>,
    pub(super) answer: Option<&'a str>,
    /// What was cut before, if this is made from a message.
    pub(super) cut: Vec<&'a str>,
    pub(super) result_file: Option<&'a str>,
    pub(super) result_sha256: Option<&'a str>,
}

/// The small fields in their order; a name and its JSON where there is a value.
pub(super) struct Small<'a> {
    pub(super) agent: Option<&'a str>,
    pub(super) agent_exit_code: Option<u8>,
    pub(super) signal: Option<i32>,
    pub(super) usage_complete: Option<bool>,
    pub(super) claims: Vec<&'a str>,
    pub(super) interface_version: Option<&'a str>,
    pub(super) hint: Option<&'a str>,
    pub(super) warnings: &'a [String],
}

impl Small<'_> {
    pub(super) fn into_fields(self) -> Vec<(&'static str, String)> {
        let list = |items: &mut dyn Iterator<Item = &str>| {
            let items: Vec<String> = items.map(quote).collect();
            (!items.is_empty()).then(|| format!("[{}]", items.join(",")))
        };
        [
            ("agent", self.agent.map(quote)),
            ("agentExitCode", self.agent_exit_code.map(|code| code.to_string())),
            ("signal", self.signal.map(|signal| signal.to_string())),
            ("usageComplete", self.usage_complete.map(|complete| complete.to_string())),
            ("claims", list(&mut self.claims.iter().copied())),
            ("interfaceVersion", self.interface_version.map(quote)),
            ("hint", self.hint.map(quote)),
            ("warnings", list(&mut self.warnings.iter().map(String::as_str))),
        ]
        .into_iter()
        .filter_map(|(name, json)| Some((name, json?)))
        .collect()
    }
}

impl<'a> Draft<'a> {
    pub(super) fn of_outcome(outcome: &'a Outcome, whole: Option<&'a WholeAt>) -> Self {
        let is_claim = |name: &str| outcome.results.get(name).is_some_and(|result| result.voucher == Voucher::Claim);
        let parameters: Vec<Parameter<'a>> = outcome
            .parameters()
            .into_iter()
            .map(|(name, value)| Parameter { name, value: Cow::Owned(value), shortenable: !key::ALL.contains(&name) })
            .collect();
        Self {
            status: outcome.status,
            reason: outcome.reason,
            exit_code: outcome.exit_code,
            phase: Some(outcome.phase),
            origin: Some(outcome.origin),
            retry: Some(outcome.retry),
            message: &outcome.message,
            small: Small {
                agent: outcome.agent.as_deref(),
                agent_exit_code: outcome.agent_exit_code,
                signal: outcome.signal,
                usage_complete: (!outcome.usage.is_empty()).then_some(outcome.usage_complete),
                claims: parameters.iter().map(|parameter| parameter.name).filter(|name| is_claim(name)).collect(),
                interface_version: Some(&outcome.interface_version),
                hint: outcome.hint.as_deref(),
                warnings: &outcome.warnings,
            }
            .into_fields(),
            parameters,
            answer: outcome.answer.as_deref().filter(|answer| !answer.is_empty()),
            cut: Vec::new(),
            result_file: whole.map(|whole| whole.path.as_str()),
            result_sha256: whole.map(|whole| whole.sha256.as_str()),
        }
    }

    /// Small fields of whole or nothing that come right after the first three.
    pub(super) fn second(&self) -> Vec<(&'static str, String)> {
        [
            ("phase", self.phase.map(|phase| quote(phase.as_str()))),
            ("origin", self.origin.map(|origin| quote(origin.as_str()))),
            ("retry", self.retry.map(|retry| retry.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, json)| Some((name, json?)))
        .collect()
    }

    /// Everything, if it fits.
    pub(super) fn whole(&self, first: &[(&'static str, String)], budget: usize) -> Option<String> {
        // Cheap before dear: an answer may have megabytes.
        let least = self.message.len()
            + self.answer.map_or(0, str::len)
            + self.parameters.iter().map(|parameter| parameter.name.len() + parameter.value.len()).sum::<usize>();
        if least > budget {
            return None;
        }
        let parameters = self.parameters.iter().map(|p| (p.name, quote(&p.value)));
        let text = Written {
            first: first.iter().cloned().chain(self.second()).collect(),
            message: (!self.message.is_empty()).then(|| quote(self.message)),
            parameters: Some(parameters.collect()),
            small: self.small.clone(),
            answer: self.answer.map(quote),
            cut: self.cut.iter().map(|name| quote(name)).collect(),
            result_file: self.result_file.map(quote),
            result_sha256: self.result_sha256.map(quote),
        }
        .to_json();
        (text.len() <= budget).then_some(text)
    }
}

/// The fields of a message as JSON, in the order of writing.
#[derive(Default)]
pub(super) struct Written<'a> {
    pub(super) first: Vec<(&'static str, String)>,
    pub(super) message: Option<String>,
    pub(super) parameters: Option<Vec<(&'a str, String)>>,
    pub(super) small: Vec<(&'static str, String)>,
    pub(super) answer: Option<String>,
    pub(super) cut: Vec<String>,
    pub(super) result_file: Option<String>,
    pub(super) result_sha256: Option<String>,
}

impl Written<'_> {
    pub(super) fn to_json(&self) -> String {
        let mut object = Object::default();
        for (name, json) in &self.first {
            object.field(name, json);
        }
        if let Some(json) = &self.message {
            object.field("message", json);
        }
        if let Some(parameters) = &self.parameters {
            let mut all = Object::default();
            parameters.iter().for_each(|(name, json)| all.field(name, json));
            object.field("parameters", &all.end());
        }
        for (name, json) in &self.small {
            object.field(name, json);
        }
        if let Some(json) = &self.answer {
            object.field("answer", json);
        }
        if !self.cut.is_empty() {
            object.field("cut", &format!("[{}]", self.cut.join(",")));
        }
        if let Some(json) = &self.result_file {
            object.field("resultFile", json);
        }
        if let Some(json) = &self.result_sha256 {
            object.field("resultSha256", json);
        }
        object.end()
    }
}

/// A JSON object whose values are JSON already.
#[derive(Default)]
struct Object(String);

impl Object {
    fn field(&mut self, name: &str, json: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&quote(name));
        self.0.push(':');
        self.0.push_str(json);
    }

    fn end(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }
}
