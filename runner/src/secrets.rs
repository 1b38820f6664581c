//! Which texts are secret: gathered once from where credentials stand, masked from then on in everything that is written.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use agent_sdk::agent::Agent;
use agent_sdk::task::{McpServer, Task};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::stream::mask::{SECRET_MIN, Secrets};
use crate::workspace::credential::read_token;

/// Parts of a variable's name that say that its value is secret.
const SECRET_WORDS: &[&str] = &["API_KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE_KEY", "AUTH_JSON"];
/// Names that hold such a word and hold no secret: a path, a count, a switch.
const PLAIN_ENDINGS: &[&str] = &["_FILE", "_PATH", "_DIR", "_TOKENS", "_URL", "_TYPE", "_ENDPOINT"];

/// True if a variable of this name holds a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    // Each run asks this of each variable: `str::contains` would make a searcher of each word.
    let name = name.to_ascii_uppercase();
    let holds = |word: &str| name.as_bytes().windows(word.len()).any(|part| part == word.as_bytes());
    SECRET_WORDS.iter().any(|word| holds(word)) && !PLAIN_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The secrets of the environment.
#[must_use]
pub fn of_environment(env: &BTreeMap<OsString, OsString>, agent: Option<&dyn Agent>) -> BTreeSet<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let named: &[&str] = agent.map_or(&[], |agent| agent.secret_variables());
    let secret = |name: &str| named.contains(&name) || is_secret_name(name);
    let values = env.iter().filter(|(name, _)| name.to_str().is_some_and(secret)).map(|(_, value)| value.as_bytes().trim_ascii().to_vec());
    // Of other URLs only their owner knows whether what they hold is a secret, or `postgres:postgres`.
    let is_proxy = |name: &OsString| name.to_str().is_some_and(|name| name.to_ascii_uppercase().ends_with("_PROXY"));
    let proxies = env.iter().filter(|(name, _)| is_proxy(name)).filter_map(|(_, value)| value.to_str()).flat_map(of_proxy);
    let values: Vec<Vec<u8>> = values.collect();
    let within = values.iter().flat_map(|value| of_json(value)).collect::<Vec<_>>();
    values.into_iter().chain(within).chain(proxies).filter(|value| value.len() >= SECRET_MIN).collect()
}

/// Of credentials that are a document (Codex' `auth.json`, a service account's key): every text in it that is as long as tokens are.
fn of_json(value: &[u8]) -> Vec<Vec<u8>> {
    const TOKEN_MIN: usize = 16;
    let mut found = Vec::new();
    let mut todo: Vec<Value> = serde_json::from_slice(value).ok().filter(|value: &Value| value.is_object()).into_iter().collect();
    while let Some(value) = todo.pop() {
        match value {
            Value::String(text) if text.len() >= TOKEN_MIN => found.push(text.into_bytes()),
            Value::Array(list) => todo.extend(list),
            Value::Object(fields) => todo.extend(fields.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
    found
}

/// The secrets of a task: values of MCP headers and variables, what URLs hold before their `@`, and the git token as it is now.
#[must_use]
pub fn of_task(task: &Task, token: Option<&[u8]>) -> BTreeSet<Vec<u8>> {
    let of_server = |server: &McpServer| -> Vec<Vec<u8>> {
        match server {
            McpServer::Stdio { env, .. } => {
                env.iter().filter(|(name, _)| is_secret_name(name)).map(|(_, value)| value.clone().into_bytes()).collect()
            }
            // A header of an MCP server is there to carry a credential; `Bearer x` hides x too.
            McpServer::Http { url, headers } | McpServer::Sse { url, headers } => headers
                .values()
                .flat_map(|value| [value.clone(), value.rsplit(' ').next().unwrap_or_default().to_owned()])
                .map(String::into_bytes)
                .chain(of_url(url))
                .collect(),
        }
    };
    let servers = task.mcp_servers.values().flat_map(of_server);
    let endpoint = task.agent.endpoint.as_deref().into_iter().flat_map(of_url);
    servers.chain(endpoint).chain(token.map(|token| token.trim_ascii().to_vec())).filter(|value| value.len() >= SECRET_MIN).collect()
}

/// The password of a URL, or the user where there is none, which then is the credential; as it is written, and as it is meant.
pub(crate) fn of_url(url: &str) -> Vec<Vec<u8>> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password may have been written with a slash in it, which ends no port.
    let with_slash = || {
        let (before, _) = rest.rsplit_once('@')?;
        let (_, after) = authority.split_once(':')?;
        (before.len() > authority.len() && !after.bytes().all(|byte| byte.is_ascii_digit())).then_some(before)
    };
    let Some(userinfo) = authority.rsplit_once('@').map(|(userinfo, _)| userinfo).or_else(with_slash) else { return Vec::new() };
    let secret = match userinfo.split_once(':') {
        Some((user, "")) => user,
        Some((_, password)) => password,
        None => userinfo,
    };
    vec![secret.as_bytes().to_vec(), percent_decode_str(secret).collect()]
}

/// [`of_url`] of a proxy, which may be said without a scheme.
fn of_proxy(value: &str) -> Vec<Vec<u8>> {
    if value.contains("://") { of_url(value) } else { of_url(&format!("http://{value}")) }
}

/// The file with the git token: whoever renews the token while a run goes on makes another text secret.
#[derive(Debug)]
pub struct TokenFile {
    path: Option<PathBuf>,
    secrets: Secrets,
    seen: Option<State>,
}

/// What changes when a file is written anew, or another one is put in its place.
type State = (u64, u64, i64, i64);

impl TokenFile {
    /// A task's, not looked at yet, whose tokens go to these secrets.
    #[must_use]
    pub fn of(task: &Task, secrets: &Secrets) -> Self {
        Self { path: task.git.token_file.clone(), secrets: secrets.clone(), seen: None }
    }

    /// Adds the token, if the file is not the one that was seen last. To be called before anything is written that was said after a
    /// renewal.
    pub fn look(&mut self) {
        let state = self.state();
        if state == self.seen {
            return;
        }
        self.seen = state;
        // A file that is being written, or has no token any more, says so to who needs it; one that is too short to be masked was said at
        // the start.
        if let Some(token) = self.path.as_deref().and_then(|path| read_token(path).ok()) {
            let _ = self.secrets.add(token.as_bytes());
        }
    }

    fn state(&self) -> Option<State> {
        let found = std::fs::metadata(self.path.as_deref()?).ok()?;
        Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_credentials_that_are_a_document_are_secrets_too() {
        let document = "{\n \"tokens\": {\"access_token\": \"eyJ-access-token-0123456789\"}, \"mode\": \"chatgpt\", \"list\": [\"refresh-token-0123\"]}";
        let env = BTreeMap::from([("CODEX_AUTH_JSON".into(), document.into()), ("MY_TOKEN".into(), "[not a document".into())]);
        let found = of_environment(&env, None);
        for secret in ["eyJ-access-token-0123456789", "refresh-token-0123", "[not a document", document] {
            assert!(found.contains(secret.as_bytes()), "{secret}");
        }
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn names_say_what_is_secret() {
        for name in ["ANTHROPIC_API_KEY", "GH_TOKEN", "db_password", "CLAUDE_CODE_OAUTH_TOKEN", "CODEX_AUTH_JSON"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["AGENT_TOKEN_FILE", "AGENT_MAX_OUTPUT_TOKENS", "HOME", "SECRET_PATH"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn a_bearer_token_is_a_secret_without_its_scheme_too() {
        let task = Task::from_value(&serde_json::json!({
            "agent": {"type": "x"},
            "mcpServers": {"a": {"url": "http://h", "headers": {"Authorization": "Bearer sekret-value"}}}
        }))
        .unwrap();
        let secrets = of_task(&task, Some(b"ghs_tokentoken\n"));
        assert!(secrets.contains(b"sekret-value".as_slice()));
        assert!(secrets.contains(b"ghs_tokentoken".as_slice()));
    }

    #[test]
    fn what_stands_before_the_at_of_a_url_is_a_secret() {
        for (url, secret) in [
            ("https://robot:pass-word@gw/v1", "pass-word"),
            ("https://robot:p%40ss%2Fword%zz@gw:8080", "p@ss/word%zz"),
            ("https://token-token@gw", "token-token"),
            ("https://token-token:@gw?x=y@z", "token-token"),
        ] {
            let server = serde_json::json!({"a": {"url": url}});
            let as_endpoint = serde_json::json!({"agent": {"type": "x", "endpoint": url}});
            for task in [as_endpoint, serde_json::json!({"agent": {"type": "x"}, "mcpServers": server})] {
                let found = of_task(&Task::from_value(&task).unwrap(), None);
                assert!(found.contains(secret.as_bytes()), "{task} {found:?}");
                assert!(!found.iter().any(|found| found.windows(5).any(|part| part == b"robot")), "{found:?}");
            }
        }
        for none in ["https://gw/path@v1", "https://gw:8080/@scope/x@1", "gw"] {
            assert_eq!(of_url(none), [[0_u8; 0]; 0]);
        }
    }

    #[test]
    fn the_password_of_a_proxy_is_a_secret_and_that_of_a_database_its_owners_matter() {
        let env =
            [("https_proxy", "http://me:proxy-pass@proxy:3128"), ("NO_PROXY", "localhost,.svc"), ("DB_URL", "pg://postgres:postgres@db")];
        let env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        assert_eq!(of_environment(&env, None), BTreeSet::from([b"proxy-pass".to_vec()]));
    }

    #[test]
    fn a_renewed_token_is_secret_too_in_whatever_way_it_was_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "first-token-1\n").unwrap();
        let mut task = Task::from_value(&serde_json::json!({"agent": {"type": "native"}, "prompt": "x"})).unwrap();
        task.git.token_file = Some(path.clone());
        let secrets = Secrets::new();
        secrets.add(b"first-token-1").unwrap();
        let mut file = TokenFile::of(&task, &secrets);
        file.look();
        assert_eq!(secrets.mask_text("first-token-1 second-token-2"), "*** second-token-2");
        std::fs::write(&path, "second-token-2\n").unwrap();
        file.look();
        assert_eq!(secrets.mask_text("first-token-1 second-token-2 third-token-3"), "*** *** third-token-3");
        let other = dir.path().join("other");
        std::fs::write(&other, "third-token-3\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        file.look();
        assert_eq!(secrets.mask_text("third-token-3"), "***");
        std::fs::remove_file(&path).unwrap();
        file.look();
        assert_eq!(secrets.mask_text("third-token-3"), "***");
    }
}
