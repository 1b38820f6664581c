//! Which versions of the real CLIs are pinned, and where they are.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The file at `path` (`*` stands for one directory) in the npm package that holds the program of the newest pinned version of
/// `agent`; the package is empty where that is the pinned one itself. `None`, said on stderr, if it is not installed; with
/// AGENT_TESTS_NO_SKIP set that is a failure.
pub fn newest(agent: &str, package: &str, path: &str) -> Option<PathBuf> {
    find(agent, versions(agent).last().unwrap(), package, path)
}

/// The same of the oldest pinned version.
pub fn oldest(agent: &str, package: &str, path: &str) -> Option<PathBuf> {
    find(agent, versions(agent).first().unwrap(), package, path)
}

fn pins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agents")
}

/// The pinned versions, oldest first.
fn versions(agent: &str) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(&std::fs::read(pins().join("package.json")).unwrap()).unwrap();
    let aliases = manifest["dependencies"].as_object().unwrap().keys();
    let mut versions: Vec<_> = aliases.filter_map(|alias| Some(alias.strip_prefix(agent)?.strip_prefix('-')?.to_owned())).collect();
    versions.sort_by_key(|version| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u64>>());
    assert!(!versions.is_empty(), "no version of {agent} is pinned");
    versions
}

fn find(agent: &str, version: &str, package: &str, path: &str) -> Option<PathBuf> {
    let modules = std::env::var_os("AGENT_TESTS_NODE_MODULES").map_or_else(|| pins().join("node_modules"), PathBuf::from);
    // npm lifts one version's package to the top, and leaves the others' where they are needed.
    let alias = modules.join(format!("{agent}-{version}"));
    let homes = if package.is_empty() { vec![alias] } else { vec![alias.join("node_modules").join(package), modules.join(package)] };
    let found = homes.into_iter().filter(|home| is_version(home, version)).find_map(|home| file_in(&home, path));
    if found.is_none() {
        let why = format!("{agent} {version} is not in `{}`; `tests/setup` installs it", modules.display());
        assert!(std::env::var_os("AGENT_TESTS_NO_SKIP").is_none(), "{why}");
        super::skip::skip(&why);
    }
    found
}

/// Packages of programs add the platform to their version: `0.169.0-linux-x64`.
fn is_version(package: &Path, version: &str) -> bool {
    let manifest = std::fs::read(package.join("package.json")).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let said = manifest.map(|manifest| manifest["version"].as_str().unwrap_or_default().to_owned()).unwrap_or_default();
    said.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn file_in(home: &Path, path: &str) -> Option<PathBuf> {
    let Some((before, after)) = path.split_once("*/") else { return Some(home.join(path)).filter(|path| path.is_file()) };
    let entries = std::fs::read_dir(home.join(before)).ok()?.flatten();
    entries.map(|entry| entry.path().join(after)).find(|path| path.is_file())
}
