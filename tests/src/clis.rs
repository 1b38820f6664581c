//! The real agent CLIs, each in the versions that `tests/agents/package.json` pins: where they are, and with which key they ask.
//!
//! A pin is an alias `AGENT-VERSION`. The newest of an agent is its main version; all tests run with it, and the main ones with the others
//! too.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::skip::skip;

/// A CLI of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cli {
    /// The agent's name, as a task says it.
    pub agent: &'static str,
    /// Its version.
    pub version: String,
    /// What to start.
    pub program: PathBuf,
}

/// What differs from CLI to CLI.
struct Packaging {
    agent: &'static str,
    /// The variable with the key of the provider that the tests use.
    key_variable: &'static str,
    /// Where the program may be: the package that holds it (`{cpu}` stands for the processor; empty: the pinned package itself), and the
    /// path in it, in which `*` stands for one directory.
    places: &'static [(&'static str, &'static str)],
    /// Variables that make it start faster, each with a file beside the pins.
    files: &'static [(&'static str, &'static str)],
}

const PACKAGINGS: &[Packaging] = &[
    Packaging {
        agent: "claude",
        key_variable: "ANTHROPIC_API_KEY",
        places: &[("@anthropic-ai/claude-code-linux-{cpu}", "claude"), ("@anthropic-ai/claude-code-linux-{cpu}-musl", "claude")],
        files: &[],
    },
    Packaging {
        agent: "codex",
        key_variable: "CODEX_API_KEY",
        places: &[("@openai/codex-linux-{cpu}", "vendor/*/bin/codex"), ("@openai/codex-linux-{cpu}", "vendor/*/codex/codex")],
        files: &[],
    },
    Packaging { agent: "gemini", key_variable: "GEMINI_API_KEY", places: &[("", "bundle/gemini.js")], files: &[] },
    Packaging {
        agent: "opencode",
        key_variable: "ANTHROPIC_API_KEY",
        places: &[
            ("opencode-linux-{cpu}", "bin/opencode"),
            ("opencode-linux-{cpu}-baseline", "bin/opencode"),
            ("opencode-linux-{cpu}-musl", "bin/opencode"),
        ],
        // Of its own list of models, whose hundreds of providers cost half of a start, the one that the tests name.
        files: &[("OPENCODE_MODELS_PATH", "opencode-models.json")],
    },
    // By their manifests in `images/agents`.
    Packaging { agent: "qwen", key_variable: "OPENAI_API_KEY", places: &[("", "cli-entry.js")], files: &[] },
    Packaging {
        agent: "copilot",
        key_variable: "COPILOT_PROVIDER_API_KEY",
        places: &[("@github/copilot-linux-{cpu}", "copilot"), ("@github/copilot-linuxmusl-{cpu}", "copilot")],
        files: &[],
    },
];

/// The variable with the key of the provider that the tests use.
///
/// # Panics
/// No such agent is pinned.
#[must_use]
pub fn key_variable(agent: &str) -> &'static str {
    packaging(agent).key_variable
}

/// Variables that make an agent start faster than it does by itself, for runs that are about something else.
///
/// # Panics
/// No such agent is pinned.
#[must_use]
pub fn shortcuts(agent: &str) -> Vec<(&'static str, PathBuf)> {
    let beside = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("agents").join(name);
    packaging(agent).files.iter().map(|(variable, name)| (*variable, beside(name))).collect()
}

/// Where the manifests are of the agents that are not built in.
#[must_use]
pub fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/agents")
}

/// The newest pinned version. `None`, said loudly, if it is not installed; where `AGENT_TESTS_NO_SKIP` is set that is a failure.
///
/// # Panics
/// It is not installed, and has to be.
#[must_use]
pub fn newest(agent: &str) -> Option<Cli> {
    find(agent, &versions(agent)[0])
}

/// The other pinned versions, newest first; those that are not installed are said loudly.
///
/// # Panics
/// None is pinned, or one is not installed and has to be.
#[must_use]
pub fn older(agent: &str) -> Vec<Cli> {
    let versions = versions(agent);
    assert!(versions.len() > 1, "no older version of {agent} is pinned");
    versions[1..].iter().filter_map(|version| find(agent, version)).collect()
}

/// The pinned versions of an agent, newest first.
///
/// # Panics
/// None is pinned.
#[must_use]
pub fn versions(agent: &str) -> Vec<String> {
    let pins = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/package.json");
    let pins: Value = serde_json::from_slice(&fs::read(pins).unwrap()).unwrap();
    let aliases = pins["dependencies"].as_object().unwrap().keys();
    let mut versions: Vec<String> = aliases.filter_map(|alias| Some(alias.strip_prefix(agent)?.strip_prefix('-')?.to_owned())).collect();
    versions.sort_by_key(|version| std::cmp::Reverse(numbers(version)));
    assert!(!versions.is_empty(), "no version of {agent} is pinned");
    versions
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap()).collect()
}

fn packaging(agent: &str) -> &'static Packaging {
    PACKAGINGS.iter().find(|packaging| packaging.agent == agent).unwrap_or_else(|| panic!("no CLI of `{agent}` is pinned"))
}

fn find(agent: &str, version: &str) -> Option<Cli> {
    let modules = std::env::var_os("AGENT_TESTS_NODE_MODULES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/node_modules"), PathBuf::from);
    let packaging = packaging(agent);
    let program =
        packaging.places.iter().find_map(|(package, path)| program(&modules, &format!("{agent}-{version}"), version, package, path));
    let found = program.map(|program| Cli { agent: packaging.agent, version: version.to_owned(), program });
    if found.is_none() {
        let why = format!("{agent} {version} is not in `{}`; `tests/setup` installs it", modules.display());
        assert!(std::env::var_os("AGENT_TESTS_NO_SKIP").is_none(), "{why}");
        skip(&why);
    }
    found
}

/// npm puts a package that two others need in different versions into the one's own folder, and lifts the other's to the top.
fn program(modules: &Path, alias: &str, version: &str, package: &str, path: &str) -> Option<PathBuf> {
    let cpu = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = package.replace("{cpu}", cpu);
    let homes = if package.is_empty() {
        vec![modules.join(alias)]
    } else {
        vec![modules.join(alias).join("node_modules").join(&package), modules.join(&package)]
    };
    let home = homes.into_iter().find(|home| is_version(home, version))?;
    let program = match path.split_once('*') {
        None => home.join(path),
        Some((before, after)) => {
            let entries = fs::read_dir(home.join(before)).ok()?.flatten();
            entries.map(|entry| entry.path().join(after.trim_start_matches('/'))).find(|path| path.is_file())?
        }
    };
    program.is_file().then_some(program)
}

/// Some packages of programs add the platform to their version: `0.169.0-linux-x64`.
fn is_version(package: &Path, version: &str) -> bool {
    let Ok(bytes) = fs::read(package.join("package.json")) else { return false };
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let rest = manifest["version"].as_str().and_then(|said| said.strip_prefix(version));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
