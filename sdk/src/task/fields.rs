//! A cursor over a JSON object that collects every error instead of stopping at the first.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

/// One wrong field: what stands there, what was expected, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Dotted path in the document, for instance `workspace.depth`.
    pub path: String,
    /// What stands there.
    pub got: Got,
    /// What was expected, a fragment that fits "expected …".
    pub expected: String,
    /// What to do, if there is more to say.
    pub hint: Option<String>,
}

/// What stands in the place of a wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// Nothing, and something is needed.
    Missing,
    /// Something that may be a secret, or whose name says it all.
    Unquoted,
    /// This, shortened.
    Quoted(String),
}

/// What is expected of a field that nobody asked for.
const NO_SUCH_FIELD: &str = "no such field";

impl FieldError {
    /// Whether the field is one that this version does not know.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.expected == NO_SUCH_FIELD
    }

    /// What is wrong, without the field's name.
    #[must_use]
    pub fn problem(&self) -> String {
        match &self.got {
            Got::Missing | Got::Unquoted => format!("expected {}", self.expected),
            Got::Quoted(quote) => format!("expected {}, got {quote}", self.expected),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path, self.problem())?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// A short quote of a value for an error message: its kind where it is large, never more than 40 characters of it.
pub(super) fn quote(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => {
            let text = without_credentials(text, "***@");
            let short: String = text.chars().take(QUOTED).collect();
            if short.len() < text.len() { format!("`{short}…`") } else { format!("`{text}`") }
        }
        other => format!("`{other}`"),
    }
}

/// How many characters of a text are quoted.
const QUOTED: usize = 40;

/// What is given for a URL, and may be none, without the credentials in it, where that stands in their place: a password there may be what is
/// being complained about, and the complaint goes to logs. It may hold a slash, so all up to the last `@` is left out.
#[must_use]
pub fn without_credentials<'a>(text: &'a str, in_their_place: &str) -> Cow<'a, str> {
    let Some((before, host)) = text.rsplit_once('@') else { return Cow::Borrowed(text) };
    match before.split_once("://") {
        Some((scheme, _)) => Cow::Owned(format!("{scheme}://{in_their_place}{host}")),
        // Somebody forgot a scheme, or a part of one.
        None if before.contains(':') => Cow::Owned(format!("***@{host}")),
        None => Cow::Borrowed(text),
    }
}

/// An amount, as a number or as text that holds one, as variables give it.
pub(super) fn amount(value: &Value) -> Option<f64> {
    let amount = match value {
        Value::String(text) => text.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    f64::is_finite(amount).then_some(amount)
}

/// Reads the fields of one object and remembers which it knew.
pub(super) struct Fields<'a> {
    prefix: String,
    object: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(prefix: &str, object: &'a Map<String, Value>) -> Self {
        Self { prefix: prefix.to_owned(), object, known: Vec::new() }
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// The raw value; `null` counts as absent.
    pub(super) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn error(&self, name: &str, got: &Value, expected: &str, errors: &mut Vec<FieldError>) {
        errors.push(FieldError { path: self.path(name), got: Got::Quoted(quote(got)), expected: expected.to_owned(), hint: None });
    }

    /// That a field is not there, which has to be.
    pub(super) fn missing(&self, name: &str, expected: &str, errors: &mut Vec<FieldError>) {
        errors.push(FieldError { path: self.path(name), got: Got::Missing, expected: expected.to_owned(), hint: None });
    }

    /// A value converted by `convert`, or an error that says what was expected.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        errors: &mut Vec<FieldError>,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let converted = convert(value);
        if converted.is_none() {
            self.error(name, value, expected, errors);
        }
        converted
    }

    /// [`Self::read`] of a value that may hold a secret: an error does not quote it.
    pub(super) fn read_unquoted<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        errors: &mut Vec<FieldError>,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let before = errors.len();
        let converted = self.read(name, expected, errors, convert);
        errors[before..].iter_mut().for_each(|error| error.got = Got::Unquoted);
        converted
    }

    /// [`Self::read`] of a value that has to be there.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        errors: &mut Vec<FieldError>,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        if self.value(name).is_none() {
            self.missing(name, expected, errors);
        }
        self.read(name, expected, errors, convert)
    }

    pub(super) fn text(&mut self, name: &'static str, errors: &mut Vec<FieldError>) -> Option<String> {
        self.read(name, "text that is not empty", errors, |value| {
            value.as_str().filter(|text| !text.trim().is_empty() && !text.contains('\0')).map(str::to_owned)
        })
    }

    pub(super) fn boolean(&mut self, name: &'static str, errors: &mut Vec<FieldError>) -> Option<bool> {
        self.read(name, "`true` or `false`", errors, |value| match value {
            Value::Bool(value) => Some(*value),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(true),
                "false" | "0" | "no" => Some(false),
                _ => None,
            },
            _ => None,
        })
    }

    pub(super) fn integer(&mut self, name: &'static str, expected: &str, errors: &mut Vec<FieldError>) -> Option<u64> {
        self.read(name, expected, errors, |value| match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        })
    }

    pub(super) fn object(&mut self, name: &'static str, errors: &mut Vec<FieldError>) -> Option<&'a Map<String, Value>> {
        self.read(name, "an object", errors, Value::as_object)
    }

    pub(super) fn list(&mut self, name: &'static str, errors: &mut Vec<FieldError>) -> Option<&'a Vec<Value>> {
        self.read(name, "a list", errors, Value::as_array)
    }

    /// Names every field that nobody asked for, with the nearest known one.
    pub(super) fn finish(self, errors: &mut Vec<FieldError>) {
        for name in self.object.keys().filter(|name| !self.known.contains(&name.as_str())) {
            errors.push(FieldError {
                path: self.path(name),
                got: Got::Unquoted,
                expected: NO_SUCH_FIELD.to_owned(),
                hint: match nearest(name, self.known.iter().copied()) {
                    Some(known) => Some(format!("did you mean `{}`?", self.path(known))),
                    None => Some(format!("known here: {}", self.known.join(", "))),
                },
            });
        }
    }
}

/// The known word that a misspelt one was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, known) = known.into_iter().map(|known| (distance(word, known), known)).min()?;
    (distance <= 1 + known.len() / 4).then_some(known)
}

/// Levenshtein's distance, ignoring case: small words only.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.to_lowercase().chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{distance, quote};

    #[test]
    fn a_quote_is_short_and_has_no_password_in_it() {
        assert_eq!(quote(&json!("https://robot:hunter2@host/a")), "`https://***@host/a`");
        assert_eq!(quote(&json!("https://robot:hun/ter@2@host/a")), "`https://***@host/a`");
        assert_eq!(quote(&json!("git@host:a")), "`git@host:a`");
        assert_eq!(quote(&json!("é".repeat(41))), format!("`{}…`", "é".repeat(40)));
        assert_eq!(quote(&json!("é".repeat(40))), format!("`{}`", "é".repeat(40)));
    }

    #[test]
    fn near_words_are_near() {
        assert_eq!(distance("dept", "depth"), 1);
        assert_eq!(distance("Depth", "depth"), 0);
        assert_eq!(distance("", "abc"), 3);
    }
}
