//! What of a repository's own configuration reaches Claude.
//!
//! # What was tried, with 2.1.197
//! - A repository's `.claude/settings.json` sets environment variables. `ANTHROPIC_BASE_URL` and the proxy variables there send the
//!   requests, key included, anywhere; the provider switches (`CLAUDE_CODE_USE_BEDROCK` and the like, each with its base URL) send
//!   them without the key. The `env` of `--settings` wins over that, variable by variable, and
//!   `CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST=1` makes Claude ignore all of these, proxies included, in every settings file.
//! - One gets through both: `ANTHROPIC_UNIX_SOCKET`. Once a repository has set it, Claude drops the one of `--settings`. Settings
//!   are read anew when they change, so that a program which the model runs could set it in the middle of a run.
//!   `CLAUDE_CODE_ENVIRONMENT_KIND=byoc` (a container that somebody else provides) makes Claude keep every variable that it was
//!   started with, this one too, whatever settings say later.
//! - Hooks and MCP servers of the repository start unasked. The key is not in their environment, nor in Claude's own, where it
//!   came by file descriptor. `CLAUDE_CODE_SUBPROCESS_ENV_SCRUB` was no way: it wants bubblewrap and forces permission prompts.
//!
//! # What follows
//! Claude loads the repository's configuration itself, as it does everywhere (nested `CLAUDE.md`, hooks, MCP servers), under
//! `trust: repository` and `trust: base`, unless that is not safe: the repository's settings touch where requests go or who they
//! are billed to, cannot be read, or a secret can be handed over by the environment only. Then, and under `trust: instructions`,
//! no settings of the repository are loaded at all (`--setting-sources=user`, which drops its hooks and MCP servers too), and its
//! instruction files and skills are handed over one by one.

use std::path::Path;

use serde_json::{Map, Value};

use crate::agent::{RepositoryFile, RepositoryPath, RepositoryPower, Surroundings};
use crate::task::Trust;

use RepositoryPower::{Executes, Instructs};

/// The files of a repository that Claude, or a program that it always starts, reads as configuration.
pub(super) const REPOSITORY_CONFIG: &[RepositoryPath] = &[
    RepositoryPath { path: ".claude/settings.json", power: Executes },
    RepositoryPath { path: ".claude/settings.local.json", power: Executes },
    RepositoryPath { path: ".claude/hooks", power: Executes },
    RepositoryPath { path: ".claude/agents", power: Executes },
    RepositoryPath { path: ".claude/commands", power: Executes },
    RepositoryPath { path: ".claude/output-styles", power: Instructs },
    RepositoryPath { path: ".claude/skills", power: Instructs },
    RepositoryPath { path: ".claude/rules", power: Instructs },
    RepositoryPath { path: ".claude/CLAUDE.md", power: Instructs },
    RepositoryPath { path: ".mcp.json", power: Executes },
    RepositoryPath { path: ".claude.json", power: Executes },
    RepositoryPath { path: "CLAUDE.md", power: Instructs },
    RepositoryPath { path: "CLAUDE.local.md", power: Instructs },
    RepositoryPath { path: "AGENTS.md", power: Instructs },
    RepositoryPath { path: ".gitmodules", power: Executes },
    RepositoryPath { path: ".ripgreprc", power: Executes },
    RepositoryPath { path: ".husky", power: Executes },
];

/// Variables that are pinned to the value that the container gave: each changes where Claude's requests go.
pub(super) const PINNED: &[&str] = &[
    "ALL_PROXY",
    "ANTHROPIC_UNIX_SOCKET",
    "CLAUDE_CODE_API_BASE_URL",
    "CLAUDE_CODE_CUSTOM_OAUTH_URL",
    "CLAUDE_CODE_ENABLE_TELEMETRY",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_VERTEX",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "all_proxy",
    "http_proxy",
    "https_proxy",
];

/// Settings that run a program for credentials or headers, or choose how to log in.
const CREDENTIAL_SETTINGS: &[&str] = &[
    "apiKeyHelper",
    "awsAuthRefresh",
    "awsCredentialExport",
    "forceLoginMethod",
    "forceLoginOrgUUID",
    "gcpAuthRefresh",
    "otelHeadersHelper",
    "proxyAuthHelper",
];

/// A variable whose name has one of these words may decide where requests go, or with which credentials.
const ROUTING_WORDS: &[&str] = &[
    "AUTH",
    "CA",
    "CERT",
    "CERTS",
    "ENDPOINT",
    "EXPORTER",
    "HEADERS",
    "HOST",
    "KEY",
    "OAUTH",
    "OPTIONS",
    "PRELOAD",
    "PROXY",
    "REMOTE",
    "SOCKET",
    "SSL",
    "TELEMETRY",
    "TLS",
    "TOKEN",
    "URL",
    "USE",
];
/// And so may one with one of these beginnings.
const ROUTING_PREFIXES: &[&str] = &["AWS_", "AZURE_", "BUN_", "CLOUD_", "GOOGLE_", "LD_", "NODE_", "OTEL_"];

/// How much of the repository's configuration Claude may load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// It loads the repository's configuration itself.
    Everything,
    /// It loads none; instruction files and skills are handed over.
    Instructions {
        /// Why it is less than the task allows.
        narrowed: Option<String>,
    },
}

impl Reach {
    /// What the user is to know.
    pub(super) fn warnings(&self) -> Option<String> {
        match self {
            Self::Everything => None,
            Self::Instructions { narrowed } => narrowed.as_ref().map(|why| {
                format!(
                    "only the repository's instruction files and skills count, not its settings, hooks, MCP servers and sub-agents: {why}"
                )
            }),
        }
    }
}

/// Variables that hold the routing while Claude watches the repository's settings: what it was started with stands.
pub(super) fn against_later_changes(surroundings: &Surroundings) -> impl Iterator<Item = (String, Option<String>)> {
    let defaults = [("CLAUDE_CODE_ENVIRONMENT_KIND", "byoc"), ("ANTHROPIC_UNIX_SOCKET", "")];
    defaults
        .into_iter()
        .filter(|(name, _)| !surroundings.env.contains_key(*name))
        .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
}

/// How much may be loaded, given what the task trusts, what the repository holds, and which secrets every program would inherit.
pub(super) fn reach(trust: Trust, surroundings: &Surroundings, secrets_in_environment: &[&str]) -> Reach {
    if trust == Trust::Instructions {
        return Reach::Instructions { narrowed: None };
    }
    let files = &surroundings.repository_files;
    let unsafe_settings = files.iter().filter(|(path, _)| is_settings(path)).find_map(|(path, file)| {
        let what = match file {
            RepositoryFile::File(content) => routing(content)?,
            RepositoryFile::Directory => return None,
            RepositoryFile::Other => "is no plain file that could be checked".to_owned(),
        };
        Some(format!("`{}` {what}", path.display()))
    });
    // Whoever trusts the whole work tree trusts its programs with what they inherit.
    let shared_secret = secrets_in_environment.first().filter(|_| trust == Trust::Base && starts_programs(surroundings)).map(|name| {
        format!("`{name}` can only be given to Claude by its environment, which every program of the repository would inherit")
    });
    match unsafe_settings.or(shared_secret) {
        Some(why) => Reach::Instructions { narrowed: Some(why) },
        None => Reach::Everything,
    }
}

fn is_settings(path: &Path) -> bool {
    path.ends_with(".claude/settings.json") || path.ends_with(".claude/settings.local.json")
}

fn starts_programs(surroundings: &Surroundings) -> bool {
    let executes = |path: &Path| REPOSITORY_CONFIG.iter().any(|config| config.power == Executes && path.ends_with(config.path));
    surroundings.repository_files.keys().any(|path| executes(path))
}

/// What in a settings file touches routing or credentials.
fn routing(content: &[u8]) -> Option<String> {
    let Ok(settings) = serde_json::from_slice::<Map<String, Value>>(content) else {
        return Some("is not a JSON object".to_owned());
    };
    if let Some(name) = CREDENTIAL_SETTINGS.iter().find(|name| settings.contains_key(**name)) {
        return Some(format!("sets `{name}`"));
    }
    let env = settings.get("env")?;
    let Some(env) = env.as_object() else { return Some("has an `env` that is no object".to_owned()) };
    env.keys().find(|name| routes(name)).map(|name| format!("sets the variable `{}`", name.escape_debug()))
}

fn routes(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ROUTING_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || name.split('_').any(|word| ROUTING_WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(path: &str, file: RepositoryFile) -> Surroundings {
        Surroundings { repository_files: [(path.into(), file)].into(), ..Surroundings::default() }
    }

    fn settings(text: &str) -> Surroundings {
        holding(".claude/settings.json", RepositoryFile::File(text.into()))
    }

    #[test]
    fn settings_that_touch_routing_or_credentials_are_not_loaded() {
        for name in [
            "ANTHROPIC_BASE_URL",
            "HTTPS_PROXY",
            "http_proxy",
            "ANTHROPIC_UNIX_SOCKET",
            "CLAUDE_CODE_USE_BEDROCK",
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_API_KEY",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "NODE_OPTIONS",
            "LD_PRELOAD",
            "ANTHROPIC_CUSTOM_HEADERS",
            "SSL_CERT_FILE",
        ] {
            for trust in [Trust::Repository, Trust::Base] {
                let held = settings(&format!(r#"{{"env":{{"OK":"1","{name}":"x"}}}}"#));
                assert!(matches!(reach(trust, &held, &[]), Reach::Instructions { narrowed: Some(_) }), "{name}");
            }
        }
        for text in [r#"{"apiKeyHelper":"x"}"#, "[]", "{", "", r#"{"env":["x"]}"#] {
            assert!(matches!(reach(Trust::Base, &settings(text), &[]), Reach::Instructions { narrowed: Some(_) }), "{text}");
        }
        let link = holding("sub/.claude/settings.local.json", RepositoryFile::Other);
        assert!(matches!(reach(Trust::Repository, &link, &[]), Reach::Instructions { narrowed: Some(_) }));
    }

    #[test]
    fn harmless_settings_are_loaded() {
        let held = settings(r#"{"env":{"CLAUDE_CODE_MAX_OUTPUT_TOKENS":"9","BASH_DEFAULT_TIMEOUT_MS":"5"},"hooks":{},"permissions":{}}"#);
        assert_eq!(reach(Trust::Base, &held, &[]), Reach::Everything);
        assert_eq!(reach(Trust::Instructions, &held, &[]), Reach::Instructions { narrowed: None });
    }

    #[test]
    fn a_secret_in_the_environment_keeps_the_repositorys_programs_away_unless_they_are_trusted() {
        let held = holding(".mcp.json", RepositoryFile::File(b"{}".to_vec()));
        assert!(matches!(reach(Trust::Base, &held, &["ANTHROPIC_AUTH_TOKEN"]), Reach::Instructions { narrowed: Some(_) }));
        assert_eq!(reach(Trust::Repository, &held, &["ANTHROPIC_AUTH_TOKEN"]), Reach::Everything);
        let plain = holding("CLAUDE.md", RepositoryFile::File(Vec::new()));
        assert_eq!(reach(Trust::Base, &plain, &["ANTHROPIC_AUTH_TOKEN"]), Reach::Everything);
    }
}
