//! Section 10: which texts are secret, and how they are taken out of everything that is written.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;

/// Parts of a variable's name that say that its value is secret, and endings that say that it is not.
const SECRET: &[&str] = &["API_KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE_KEY", "AUTH_JSON"];
const PLAIN: &[&str] = &["_FILE", "_PATH", "_DIR", "_TOKENS", "_URL", "_TYPE", "_ENDPOINT"];

/// Shorter values would be found in ordinary words.
const SHORTEST: usize = 8;

const MASK: &[u8] = b"***";

/// The secrets of a run, longest first.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Those that stand in the environment.
    pub fn of_environment() -> Self {
        let mut secrets = Self::default();
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy().to_ascii_uppercase();
            if SECRET.iter().any(|word| name.contains(word)) && !PLAIN.iter().any(|ending| name.ends_with(ending)) {
                secrets.add(value.as_bytes());
            }
        }
        secrets
    }

    /// One more, as it is and as JSON writes it.
    pub fn add(&mut self, secret: &[u8]) {
        let secret = secret.trim_ascii();
        if secret.len() < SHORTEST {
            return;
        }
        let quoted = Value::from(String::from_utf8_lossy(secret)).to_string();
        self.0.push(secret.to_vec());
        self.0.push(quoted.trim_matches('"').as_bytes().to_vec());
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.0.dedup();
    }

    /// The token in this file, as it is now.
    pub fn add_file(&mut self, path: &OsStr) {
        if let Ok(token) = std::fs::read(path) {
            self.add(&token);
        }
    }

    /// The first secret that stands at the beginning of these bytes.
    fn at(&self, bytes: &[u8]) -> Option<usize> {
        self.0.iter().find(|secret| bytes.starts_with(secret)).map(Vec::len)
    }

    /// A text without secrets.
    pub fn text(&self, text: &str) -> String {
        let mut filter = Filter::default();
        let mut bytes = filter.feed(self, text.as_bytes());
        bytes.extend(filter.finish(self));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A JSON value without secrets, in its keys neither.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(self.text(text)),
            Value::Array(list) => list.iter().map(|one| self.value(one)).collect(),
            Value::Object(fields) => fields.iter().map(|(name, one)| (self.text(name), self.value(one))).collect(),
            other => other.clone(),
        }
    }
}

/// Takes secrets out of a stream that comes in pieces: what may be the beginning of one is held back.
#[derive(Debug, Default)]
pub struct Filter {
    held: Vec<u8>,
}

impl Filter {
    /// What may pass of what has come.
    pub fn feed(&mut self, secrets: &Secrets, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.held);
        let mut passed = Vec::with_capacity(all.len());
        let mut at = 0;
        while at < all.len() {
            let rest = &all[at..];
            if secrets.0.iter().any(|secret| secret.len() > rest.len() && secret.starts_with(rest)) {
                self.held = rest.to_vec();
                break;
            }
            match secrets.at(rest) {
                Some(length) => {
                    passed.extend_from_slice(MASK);
                    at += length;
                }
                None => {
                    passed.push(rest[0]);
                    at += 1;
                }
            }
        }
        passed
    }

    /// The rest, when nothing more comes.
    pub fn finish(&mut self, secrets: &Secrets) -> Vec<u8> {
        let rest = std::mem::take(&mut self.held);
        let mut passed = Vec::new();
        let mut at = 0;
        while at < rest.len() {
            match secrets.at(&rest[at..]) {
                Some(length) => {
                    passed.extend_from_slice(MASK);
                    at += length;
                }
                None => {
                    passed.push(rest[at]);
                    at += 1;
                }
            }
        }
        passed
    }
}
