//! Reads the plugin directory: `<plugin>/skills/<skill>/SKILL.md`, `<plugin>/agents/<name>.md`.
//!
//! The directory is the platform's, often a mounted volume, whose files may be links to its own inside (as Kubernetes makes
//! them). Such links are followed; one that leads out of the plugin directory is an error, since what it leads to is not what
//! the platform put there.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use agent_sdk::agent::Plugin;

use super::error::ConfigureError;

/// More plugins, or more skills or sub-agents in one, than anybody has; each costs the model's context.
const LIMIT: usize = 1000;
/// A sub-agent's file is a prompt: a few KiB.
const AGENT_LIMIT: u64 = 1 << 20;

/// The plugins of a directory, by name.
///
/// # Errors
/// The directory cannot be read, holds too much, a name is unfit, or a link leads out of it.
pub fn read_plugins(dir: &Path) -> Result<Vec<Plugin>, ConfigureError> {
    let failed = |error: std::io::Error| ConfigureError::PluginDirectory { path: dir.to_owned(), problem: error.to_string() };
    let root = std::fs::canonicalize(dir).map_err(failed)?;
    let mut plugins = Vec::new();
    for (name, path) in children(&root, &root)? {
        if !path.is_dir() {
            continue;
        }
        let mut agents = BTreeMap::new();
        for (file, agent) in children(&root, &path.join("agents"))? {
            if let Some(name) = file.strip_suffix(".md").filter(|_| agent.is_file()) {
                agents.insert(name.to_owned(), read_agent(&agent)?);
            }
        }
        let mut skills = Vec::new();
        for (name, skill) in children(&root, &path.join("skills"))? {
            // Through the link, if it is one: it must not lead out either.
            if contained(&root, &skill.join("SKILL.md"))?.is_some_and(|file| file.is_file()) {
                skills.push(name);
            }
        }
        plugins.push(Plugin { name, dir: path, skills, agents });
    }
    Ok(plugins)
}

fn read_agent(path: &Path) -> Result<Vec<u8>, ConfigureError> {
    let mut content = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(AGENT_LIMIT + 1).read_to_end(&mut content));
    read.map_err(|error| ConfigureError::PluginDirectory { path: path.to_owned(), problem: error.to_string() })?;
    if content.len() as u64 > AGENT_LIMIT {
        return Err(ConfigureError::TooMuch { path: path.to_owned(), limit: format!("{AGENT_LIMIT} bytes") });
    }
    Ok(content)
}

/// Where a path really is, if there is anything; an error if that is outside of the root.
fn contained(root: &Path, path: &Path) -> Result<Option<PathBuf>, ConfigureError> {
    match std::fs::canonicalize(path) {
        Ok(real) if real.starts_with(root) => Ok(Some(real)),
        Ok(_) => Err(crate::files::FileError::Link { path: path.to_owned() }.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigureError::PluginDirectory { path: path.to_owned(), problem: error.to_string() }),
    }
}

/// The names in a directory and where they are, sorted; nothing if it is missing. Hidden ones are left out: editors, git and
/// Kubernetes' own `..data` live there.
fn children(root: &Path, dir: &Path) -> Result<Vec<(String, PathBuf)>, ConfigureError> {
    let failed = |error: std::io::Error| ConfigureError::PluginDirectory { path: dir.to_owned(), problem: error.to_string() };
    let Some(real) = contained(root, dir)?.filter(|real| real.is_dir()) else { return Ok(Vec::new()) };
    let mut children = Vec::new();
    for entry in std::fs::read_dir(&real).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = dir.join(entry.file_name());
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { return Err(ConfigureError::BadName { path }) };
        if name.starts_with('.') || contained(root, &path)?.is_none() {
            continue;
        }
        if !is_name(&name) {
            return Err(ConfigureError::BadName { path });
        }
        if children.len() == LIMIT {
            return Err(ConfigureError::TooMuch { path: dir.to_owned(), limit: format!("{LIMIT} entries") });
        }
        children.push((name, path));
    }
    children.sort();
    Ok(children)
}

/// Letters, digits, `.`, `_`, `-`, `:`, beginning with a letter or digit: safe in a path and in an argument.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: PathBuf) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }

    #[test]
    fn finds_skills_and_sub_agents() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        write(at("b/skills/two/SKILL.md"));
        write(at("b/skills/no-skill/README.md"));
        write(at("b/agents/helper.md"));
        write(at("b/agents/notes.txt"));
        write(at("a/skills/one/SKILL.md"));
        write(at("README.md"));
        write(at(".git/config"));
        let plugins = read_plugins(dir.path()).unwrap();
        let seen: Vec<_> =
            plugins.iter().map(|p| (p.name.as_str(), p.skills.join(","), p.agents.keys().cloned().collect::<Vec<_>>().join(","))).collect();
        assert_eq!(seen, [("a", "one".into(), String::new()), ("b", "two".into(), "helper".into())]);
        assert_eq!(plugins[1].agents["helper"], b"x");
    }

    #[test]
    fn a_link_may_stay_inside_as_in_a_mounted_volume_but_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("..data/plug/skills/s/SKILL.md"));
        symlink("..data/plug", dir.path().join("plug")).unwrap();
        assert_eq!(read_plugins(dir.path()).unwrap()[0].skills, ["s"]);
        symlink("/etc", dir.path().join("out")).unwrap();
        assert!(matches!(read_plugins(dir.path()), Err(ConfigureError::File(_))));
    }

    #[test]
    fn unfit_names_and_missing_directories_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("-x/skills/s/SKILL.md"));
        assert!(matches!(read_plugins(dir.path()), Err(ConfigureError::BadName { .. })));
        assert!(matches!(read_plugins(&dir.path().join("none")), Err(ConfigureError::PluginDirectory { .. })));
    }
}
