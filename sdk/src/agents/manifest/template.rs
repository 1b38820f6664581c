//! Templates: text with placeholders, `{name}` or `{name|what stands there if it has no value}`; `{{` and `}}` are braces.
//!
//! A placeholder without a value and without a default makes the whole template absent: what held it is left out. Nothing
//! else can be computed, so that a manifest can be understood by reading it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::task::nearest;

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Template(pub String);

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// A placeholder.
    Placeholder {
        /// Its name.
        name: String,
        /// What stands there if it has no value.
        default: Option<String>,
    },
}

/// What is wrong with a template, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// A fragment.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

/// How a variable of the environment is named in a placeholder: `{env:NAME}`.
pub const VARIABLE: &str = "env:";

/// The values that placeholders stand for.
pub type Values = BTreeMap<String, String>;

/// The parts of a template, whatever its placeholders are called.
///
/// # Errors
/// A brace that is not closed, not opened, or holds no name.
pub fn parse(text: &str) -> Result<Vec<Part>, TemplateError> {
    let wrong =
        |problem: &str| TemplateError { problem: problem.to_owned(), hint: "write `{{` and `}}` where braces are meant".to_owned() };
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(wrong("has a `}` that nothing opened"));
        }
        let (inner, after) = rest.split_once('}').ok_or_else(|| wrong("has a `{` that nothing closes"))?;
        let (name, default) = inner.split_once('|').map_or((inner, None), |(name, default)| (name, Some(default.to_owned())));
        if !is_name(name) || default.as_ref().is_some_and(|default| default.contains('{')) {
            return Err(wrong(&format!("has a placeholder that is none: `{{{}}}`", inner.chars().take(40).collect::<String>())));
        }
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Placeholder { name: name.to_owned(), default });
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

fn is_name(name: &str) -> bool {
    match name.strip_prefix(VARIABLE) {
        Some(variable) => is_variable(variable),
        None => !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
    }
}

/// Whether a text may be a variable's name.
#[must_use]
pub fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl Template {
    /// The placeholders in it, without those that are malformed.
    #[must_use]
    pub fn placeholders(&self) -> Vec<String> {
        let parts = parse(&self.0).unwrap_or_default();
        parts.into_iter().filter_map(|part| if let Part::Placeholder { name, .. } = part { Some(name) } else { None }).collect()
    }

    /// Whether a placeholder stands in it.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.placeholders().iter().any(|placeholder| placeholder == name)
    }

    /// The text, or nothing if a placeholder has neither a value nor a default. So is a template that is malformed, which a checked
    /// manifest does not have.
    #[must_use]
    pub fn expand(&self, values: &Values) -> Option<String> {
        let mut text = String::new();
        for part in parse(&self.0).ok()? {
            match part {
                Part::Text(literal) => text.push_str(&literal),
                Part::Placeholder { name, default } => text.push_str(values.get(&name).cloned().or(default)?.as_str()),
            }
        }
        Some(text)
    }

    /// What is wrong with it where only these placeholders may stand.
    ///
    /// # Errors
    /// It is malformed, or has a placeholder that may not stand there.
    pub fn check(&self, known: &[&str], variables: bool) -> Result<(), TemplateError> {
        for part in parse(&self.0)? {
            let Part::Placeholder { name, .. } = part else { continue };
            if name.starts_with(VARIABLE) {
                if !variables {
                    return Err(TemplateError {
                        problem: format!("may not hold `{{{name}}}`: what stands there can be seen by every process"),
                        hint: "hand it over by `environment.set` or in a file".to_owned(),
                    });
                }
                continue;
            }
            if !known.contains(&name.as_str()) {
                let near = nearest(&name, known.iter().copied()).map(|near| format!("did you mean `{{{near}}}`?"));
                let list = || known.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" ");
                return Err(TemplateError {
                    problem: format!("has the placeholder `{{{name}}}`, which is not known here"),
                    hint: near.unwrap_or_else(|| format!("known here: {}", list())),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Option<String> {
        let values = Values::from([("model".to_owned(), "m-1".to_owned()), ("env:KEY".to_owned(), "k".to_owned())]);
        Template(text.to_owned()).expand(&values)
    }

    #[test]
    fn a_template_without_a_value_is_absent_as_a_whole() {
        assert_eq!(expand("--model={model}").as_deref(), Some("--model=m-1"));
        assert_eq!(expand("{model}-{effort}"), None);
        assert_eq!(expand("{model}-{effort|high}").as_deref(), Some("m-1-high"));
        assert_eq!(expand("{effort|}").as_deref(), Some(""));
        assert_eq!(expand("{env:KEY} {env:OTHER|x}").as_deref(), Some("k x"));
        assert_eq!(expand(r#"{{"a": {{}}}}"#).as_deref(), Some(r#"{"a": {}}"#));
    }

    #[test]
    fn what_is_no_template_is_said() {
        for text in ["{", "}", "{}", "{Model}", "{a b}", "{model", "model}", "{env:}", "{env:1A}", "{a|{b}}"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = Template("{modle}".into()).check(&["model", "effort"], false).unwrap_err();
        assert_eq!(error.hint, "did you mean `{model}`?");
        assert!(Template("{env:KEY}".into()).check(&[], false).is_err() && Template("{env:KEY}".into()).check(&[], true).is_ok());
    }
}
