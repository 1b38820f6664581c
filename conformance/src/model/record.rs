//! Every request as it came, and what became of it.
//!
//! A credential is never kept: its header's value is replaced by its SHA-256, so that a test can ask whether a key
//! was seen ([`Record::saw_key`]) while no record, and no archive of it, has the key. Bodies are kept byte for byte: what an
//! agent puts into a prompt is what tests want to see, a leaked key included.

use std::fmt::{self, Write as _};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bill::Charge;

/// Headers whose value is a secret, in the protocols that are spoken and around them.
const SECRET_HEADERS: &[&str] = &["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"];
/// Query parameters whose value is a secret; Gemini's protocol has `key`.
const SECRET_PARAMETERS: &[&str] = &["key", "api_key", "access_token"];

/// Which script a request ran against: one server can play many, told apart by the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// The scenario's name.
    pub scenario: String,
    /// The run's name; `default` for requests without a prefix.
    pub name: String,
}

/// What a request was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A question of the main conversation.
    Main,
    /// A question of a sub-agent's conversation; its name in the scenario.
    Subagent(String),
    /// A title, a topic, a probe of the quota: answered apart.
    Auxiliary,
    /// Only the prompt's tokens were asked for.
    CountTokens,
    /// A sign of life was asked for, or another transport than plain HTTP.
    Probe,
    /// Somebody, usually a scenario's shell command, tells that a point is reached.
    Mark(String),
    /// It could not be understood.
    Malformed,
    /// No protocol knows the path, or no scenario has the name.
    Unknown,
}

/// How far the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The request is here and nothing is answered yet; for ever, if the scenario is silent.
    Waiting,
    /// The answer has begun.
    Answering,
    /// The whole answer was handed to the connection.
    Answered,
    /// The scenario ended the connection early.
    Cut,
    /// The client went away early.
    Left,
}

/// A credential that a request carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Credential {
    /// The header, in lower case, or `?name` for a query parameter.
    pub carrier: String,
    /// What stood before the secret in the header: `Bearer`.
    pub scheme: Option<String>,
    /// SHA-256 of the secret, in hexadecimal.
    pub sha256: String,
}

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Its number on this server, from 0, in the order of arrival.
    pub index: usize,
    /// The script that it ran against.
    pub run: Run,
    /// When it had wholly arrived, since the server's start.
    pub at: Duration,
    /// When its answer was over, if it is.
    pub ended_at: Option<Duration>,
    /// `POST`.
    pub method: String,
    /// Path without the run's prefix, with the query; credentials in it are replaced.
    pub path: String,
    /// Headers in order of arrival, names in lower case; credentials are replaced by `sha256:…`.
    pub headers: Vec<(String, String)>,
    /// The credentials that it carried.
    pub credentials: Vec<Credential>,
    /// The body, whole. In an archive it is the `.body` file beside the record.
    #[serde(skip)]
    pub body: Bytes,
    /// What it was.
    pub kind: Kind,
    /// The model that it names.
    pub model: Option<String>,
    /// The tools that it offers.
    pub tools: Vec<String>,
    /// Its conversation's round: how many rounds of tool calls there were since the run's first request.
    pub round: usize,
    /// Index of the turn that answers it, in its conversation's script.
    pub turn: Option<usize>,
    /// HTTP status of the answer, once there is one.
    pub status: Option<u16>,
    /// How far the answer is.
    pub state: State,
    /// Bytes of the answer's body that were handed to the connection.
    pub sent: usize,
    /// What it was billed so far.
    pub billed: Option<Charge>,
    /// What a reader should know: a tool that the scenario calls and nobody offers, a path that nobody knows.
    pub note: Option<String>,
}

impl Record {
    /// The body as JSON; `null` if it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Whether the body contains these bytes as they are, with no regard to JSON's escapes.
    pub fn body_has(&self, bytes: &[u8]) -> bool {
        contains(&self.body, bytes)
    }

    /// Whether any string in the JSON body, unescaped, contains `text`: an instruction's sentinel, a skill's name.
    pub fn mentions(&self, text: &str) -> bool {
        fn any(value: &Value, text: &str) -> bool {
            match value {
                Value::String(string) => string.contains(text),
                Value::Array(items) => items.iter().any(|item| any(item, text)),
                Value::Object(fields) => fields.iter().any(|(key, field)| key.contains(text) || any(field, text)),
                _ => false,
            }
        }
        any(&self.json(), text)
    }

    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// Whether this key was anywhere in the request: as a credential, or in clear in path, headers or body.
    pub fn saw_key(&self, key: &str) -> bool {
        let digest = sha256(key);
        let in_clear = |text: &str| text.contains(key);
        self.credentials.iter().any(|credential| credential.sha256 == digest)
            || in_clear(&self.path)
            || self.headers.iter().any(|(_, value)| in_clear(value))
            || self.body_has(key.as_bytes())
    }

    /// Whether the conversation waits for the model just now.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Waiting | State::Answering)
    }

    /// Whether it is a question of a conversation, main or a sub-agent's.
    pub fn is_question(&self) -> bool {
        matches!(self.kind, Kind::Main | Kind::Subagent(_))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.as_secs_f64();
        write!(f, "{:>3} {seconds:8.3}s {} {} {:?}", self.index, self.method, self.path, self.kind)?;
        if self.is_question() {
            write!(f, " round {} turn {:?}", self.round, self.turn)?;
        }
        write!(f, " -> {:?}", self.state)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        if let Some(Charge { tokens, finished, .. }) = &self.billed {
            let (input, output) = (tokens.input_tokens, tokens.output_tokens);
            write!(f, ", billed {input}/{output}{}", if *finished { "" } else { " unfinished" })?;
        }
        self.note.as_ref().map_or(Ok(()), |note| write!(f, " ({note})"))
    }
}

/// The headers as they may be kept, and the credentials that were in them.
pub fn keep_headers(headers: &HeaderMap) -> (Vec<(String, String)>, Vec<Credential>) {
    let mut credentials = Vec::new();
    let kept = headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            let kept = if SECRET_HEADERS.contains(&name.as_str()) {
                keep_secret(name.as_str(), &value, &mut credentials)
            } else {
                value.into_owned()
            };
            (name.as_str().to_owned(), kept)
        })
        .collect();
    (kept, credentials)
}

/// The path as it may be kept; credentials in its query are added to `credentials`.
pub fn keep_path(path_and_query: &str, credentials: &mut Vec<Credential>) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return path_and_query.to_owned();
    };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, secret)) if SECRET_PARAMETERS.contains(&name) => {
                let digest = sha256(secret);
                credentials.push(Credential { carrier: format!("?{name}"), scheme: None, sha256: digest.clone() });
                format!("{name}=sha256:{digest}")
            }
            _ => parameter.to_owned(),
        })
        .collect();
    format!("{path}?{}", parameters.join("&"))
}

fn keep_secret(carrier: &str, value: &str, credentials: &mut Vec<Credential>) -> String {
    let (scheme, secret) = match value.split_once(' ') {
        Some((scheme, secret)) if carrier.ends_with("authorization") => (Some(scheme), secret.trim_start()),
        _ => (None, value),
    };
    let digest = sha256(secret);
    credentials.push(Credential { carrier: carrier.into(), scheme: scheme.map(str::to_owned), sha256: digest.clone() });
    scheme.map_or_else(|| format!("sha256:{digest}"), |scheme| format!("{scheme} sha256:{digest}"))
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request as it arrives.
    pub fn record() -> Record {
        Record {
            index: 0,
            run: Run { scenario: "success".into(), name: "default".into() },
            at: Duration::ZERO,
            ended_at: None,
            method: "POST".into(),
            path: "/v1/messages".into(),
            headers: Vec::new(),
            credentials: Vec::new(),
            body: Bytes::new(),
            kind: Kind::Main,
            model: None,
            tools: Vec::new(),
            round: 0,
            turn: None,
            status: None,
            state: State::Waiting,
            sent: 0,
            billed: None,
            note: None,
        }
    }

    #[test]
    fn a_credential_is_kept_as_its_digest_only() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer sk-secret-1".parse().unwrap());
        headers.insert("x-api-key", "sk-secret-2".parse().unwrap());
        headers.insert("anthropic-version", "2023-06-01".parse().unwrap());
        let (kept, mut credentials) = keep_headers(&headers);
        let path = keep_path("/v1/x?alt=sse&key=sk-secret-3", &mut credentials);
        assert!(!format!("{kept:?}{credentials:?}{path}").contains("secret"));
        let carriers: Vec<&str> = credentials.iter().map(|credential| credential.carrier.as_str()).collect();
        assert_eq!(carriers, ["authorization", "x-api-key", "?key"]);
        assert_eq!(credentials[0].scheme.as_deref(), Some("Bearer"));
        // Of another program: printf %s sk-secret-2 | sha256sum
        assert_eq!(credentials[1].sha256, "e6d8ce65fc0d51119256d7a232a8592fee6a501beae149be7472357b4d26f4de");
        assert!(kept.contains(&("anthropic-version".into(), "2023-06-01".into())));
    }
}
