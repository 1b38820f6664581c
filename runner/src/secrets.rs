//! Which texts are secret: gathered once from where credentials stand, masked from then on in everything that is written.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use agent_sdk::agent::Agent;
use agent_sdk::task::{McpServer, Task};

use crate::stream::mask::SECRET_MIN;

/// Parts of a variable's name that say that its value is secret.
const SECRET_WORDS: &[&str] = &["API_KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE_KEY", "AUTH_JSON"];
/// Names that hold such a word and hold no secret: a path, a count, a switch.
const PLAIN_ENDINGS: &[&str] = &["_FILE", "_PATH", "_DIR", "_TOKENS", "_URL", "_TYPE", "_ENDPOINT"];

/// True if a variable of this name holds a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) && !PLAIN_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The secrets of the environment.
#[must_use]
pub fn of_environment(env: &BTreeMap<OsString, OsString>, agent: Option<&dyn Agent>) -> BTreeSet<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let named: &[&str] = agent.map_or(&[], |agent| agent.secret_variables());
    let secret = |name: &str| named.contains(&name) || is_secret_name(name);
    env.iter()
        .filter(|(name, _)| name.to_str().is_some_and(secret))
        .map(|(_, value)| value.as_bytes().trim_ascii().to_vec())
        .filter(|value| value.len() >= SECRET_MIN)
        .collect()
}

/// The secrets of a task: values of MCP headers and variables, and the git token as it is now.
#[must_use]
pub fn of_task(task: &Task, token: Option<&[u8]>) -> BTreeSet<Vec<u8>> {
    let of_server = |server: &McpServer| -> Vec<Vec<u8>> {
        match server {
            McpServer::Stdio { env, .. } => {
                env.iter().filter(|(name, _)| is_secret_name(name)).map(|(_, value)| value.clone().into_bytes()).collect()
            }
            // A header of an MCP server is there to carry a credential; `Bearer x` hides x too.
            McpServer::Http { headers, .. } | McpServer::Sse { headers, .. } => headers
                .values()
                .flat_map(|value| [value.clone(), value.rsplit(' ').next().unwrap_or_default().to_owned()])
                .map(String::into_bytes)
                .collect(),
        }
    };
    let servers = task.mcp_servers.values().flat_map(of_server);
    servers.chain(token.map(|token| token.trim_ascii().to_vec())).filter(|value| value.len() >= SECRET_MIN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
