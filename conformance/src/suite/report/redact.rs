//! Secrets in reports: the suite gave them to the image as canaries, so it knows them, and none may stand in a report.
//!
//! They are taken out of every text when a report is made, and each finished report is searched once more.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Encoded forms that are shorter would be found by chance. Bytes.
const SHORTEST_FORM: usize = 8;

/// Knows the canaries in the forms in which they get about.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// A form, and the name of its canary; the longest first, so that none is cut by a shorter one.
    forms: Vec<(String, String)>,
}

impl Redactor {
    /// Makes one for these canaries: values by what they stand for.
    #[must_use]
    pub fn new(canaries: &BTreeMap<String, String>) -> Self {
        let mut forms: Vec<(String, String)> = Vec::new();
        for (name, value) in canaries.iter().filter(|(_, value)| !value.is_empty()) {
            forms.extend(forms_of(value).into_iter().map(|form| (form, name.clone())));
        }
        forms.sort_by(|left, right| right.0.len().cmp(&left.0.len()).then_with(|| left.cmp(right)));
        forms.dedup_by(|left, right| left.0 == right.0);
        Self { forms }
    }

    /// The text, with the name of a canary in its place.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (form, name) in &self.forms {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), &format!("[canary {name}]"));
            }
        }
        text
    }

    /// The name of a canary that stands in the text.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<&str> {
        self.forms.iter().find(|(form, _)| text.contains(form.as_str())).map(|(_, name)| name.as_str())
    }
}

/// A value as it is, and as it looks in base64 (at each of the three places where it can begin), URLs, hexadecimal digits, JSON, HTML.
fn forms_of(value: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        forms.extend((0..3).map(|before| base64_within(&engine, value.as_bytes(), before)));
    }
    let percent = |unreserved: fn(u8) -> bool, upper: bool| {
        value.bytes().fold(String::new(), |mut text, byte| {
            let _ = match (unreserved(byte), upper) {
                (true, _) => text.write_char(char::from(byte)),
                (false, true) => write!(text, "%{byte:02X}"),
                (false, false) => write!(text, "%{byte:02x}"),
            };
            text
        })
    };
    for upper in [true, false] {
        forms.push(percent(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte), upper));
        forms.push(percent(|byte| byte.is_ascii_alphanumeric(), upper));
        // As `url` and browsers leave it in a password.
        forms.push(percent(|byte| byte.is_ascii_graphic() && !b"/:@?#[]%".contains(&byte), upper));
    }
    let hex = value.bytes().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    forms.extend([hex.to_uppercase(), hex]);
    let json = serde_json::Value::from(value).to_string();
    forms.push(json.trim_matches('"').to_owned());
    let html = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    forms.extend([html.replace('\'', "&#x27;").replace('/', "&#x2f;"), html.replace('\'', "&apos;"), html]);
    forms.retain(|form| form.len() >= SHORTEST_FORM);
    forms.push(value.to_owned());
    forms
}

/// The characters that the value surely becomes when so many bytes stand before it and anything behind.
fn base64_within(engine: &base64::engine::GeneralPurpose, value: &[u8], before: usize) -> String {
    let padded = [&vec![0; before][..], value].concat();
    let text = engine.encode(&padded);
    // A character holds six bits: those that also hold bits of a neighbour are unknown.
    let (first, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    text.get(first..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    fn redactor(value: &str) -> Redactor {
        Redactor::new(&BTreeMap::from([("token".to_owned(), value.to_owned())]))
    }

    #[test]
    fn a_canary_is_replaced_by_its_name() {
        assert_eq!(
            redactor("c4n4ry-s3cret").redact("git said c4n4ry-s3cret twice: c4n4ry-s3cret"),
            "git said [canary token] twice: [canary token]"
        );
        assert_eq!(redactor("").redact("nothing is secret"), "nothing is secret");
    }

    #[test]
    fn one_canary_within_another_goes_whole() {
        let canaries = BTreeMap::from([("a".to_owned(), "inner-canary".to_owned()), ("b".to_owned(), "an-inner-canary-longer".to_owned())]);
        assert_eq!(Redactor::new(&canaries).redact("x an-inner-canary-longer inner-canary"), "x [canary b] [canary a]");
    }

    proptest! {
        #[test]
        fn no_encoding_hides_it(value in "[!-~]{12,40}", before in "[ -~]{0,7}", after in "[ -~]{0,7}") {
            let whole = format!("{before}{value}{after}");
            let percent: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let some: String = value.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect();
            let mut texts = vec![whole.clone(), STANDARD.encode(&whole), URL_SAFE.encode(&whole), some, serde_json::json!(whole).to_string()];
            if value.bytes().all(|byte| !byte.is_ascii_alphanumeric()) { texts.push(percent); }
            for text in texts {
                let redactor = redactor(&value);
                prop_assert_eq!(redactor.find(&text), Some("token"), "{}", text);
                prop_assert_eq!(redactor.find(&redactor.redact(&text)), None, "{}", text);
            }
        }
    }
}
