//! Which agent a task names: one that is built in, one of the program's own ([`crate::main_with`]), or one that a manifest in the image
//! describes.
//!
//! What a manifest means is `agent-sdk`'s matter; here it is found and read. The image's own directory and the path that the platform
//! gave are the only places that are looked at: never the repository.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use agent_sdk::agent::Agent;
use agent_sdk::agents::manifest::{MANIFEST_LIMIT, ManifestAgent, ManifestError};
use agent_sdk::task::Task;

use crate::files::Directory;

/// Where an image keeps its manifests, if the task names no other directory.
pub const MANIFEST_DIR: &str = "/etc/agent-runner/agents";

/// The agents that the program has beside the built-in ones. Set once, before anything asks.
static OWN: OnceLock<&'static [&'static dyn Agent]> = OnceLock::new();

/// Adds a program's own agents to those that are built in. Only the first call counts.
pub(crate) fn add(own: &'static [&'static dyn Agent]) {
    // A second call has nothing to add: a program begins once.
    let _ = OWN.set(own);
}

/// Every agent that needs no manifest, the program's own first.
#[must_use]
pub fn all() -> Vec<Box<dyn Agent>> {
    let own = OWN.get().copied().unwrap_or_default().iter();
    own.map(|agent| Box::new(*agent) as Box<dyn Agent>).chain(agent_sdk::agents::all()).collect()
}

/// The agent of a name that needs no manifest; one of the program's own goes before a built-in one.
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Agent>> {
    all().into_iter().find(|agent| agent.name() == name)
}

/// Why there is no agent for a task.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Neither built in nor in the directory.
    #[error("there is no agent `{name}`; known: {known}; looked for `{looked_for}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
        /// Where a manifest of that name would be.
        looked_for: PathBuf,
    },
    /// The manifest is there and cannot be read.
    #[error("the manifest `{path}` cannot be read: {problem}")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The manifest's name and its file's differ.
    #[error("the manifest `{path}` is called `{own}` in itself, and `{asked}` by its file")]
    Misnamed {
        /// Where.
        path: PathBuf,
        /// Its own `name`.
        own: String,
        /// What was asked for, and found by the file's name.
        asked: String,
    },
    /// The manifest is wrong.
    #[error("the manifest `{path}` is wrong:{lines}", lines = errors.iter().map(|error| format!("\n  {error}")).collect::<String>())]
    Wrong {
        /// Where.
        path: PathBuf,
        /// Everything that is wrong with it.
        errors: Vec<ManifestError>,
    },
}

impl AgentError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { .. } => "check AGENT_TYPE, and AGENT_MANIFEST_DIR if the agent is one by manifest".to_owned(),
            Self::Unreadable { .. } => "a manifest is a regular file of at most 1 MiB that the runner's user can read".to_owned(),
            Self::Misnamed { path, own, asked } => {
                format!("write `name = \"{asked}\"` in it, or call the file `{own}.toml`; AGENT_TYPE={} takes it as it is", path.display())
            }
            Self::Wrong { path, .. } => format!("`agent-runner manifest check {}` says this without a task", path.display()),
        }
    }
}

/// The agent that a task names: the name of one that needs no manifest, the name of a manifest in the image's directory, or a path to one.
///
/// # Errors
/// There is none of that name, or its manifest is wrong.
pub fn find(task: &Task) -> Result<Box<dyn Agent>, AgentError> {
    let name = &task.agent.kind;
    let path = match locate(name, task.agent.manifest_dir.as_deref())? {
        Located::Agent(agent) => return Ok(agent),
        Located::Manifest(path) => path,
    };
    let agent = read(&path)?;
    // By its path one is called as it likes.
    if path != Path::new(name) && agent.name() != name {
        return Err(AgentError::Misnamed { path, own: agent.name().to_owned(), asked: name.clone() });
    }
    Ok(Box::new(agent))
}

/// Whether there is an agent of a task's `agent.type`, of which a manifest is not read yet.
///
/// # Errors
/// There is none of that name.
pub fn check_name(name: &str, manifest_dir: Option<&Path>) -> Result<(), AgentError> {
    locate(name, manifest_dir).map(drop)
}

/// Where an agent is.
enum Located {
    Agent(Box<dyn Agent>),
    Manifest(PathBuf),
}

fn locate(name: &str, manifest_dir: Option<&Path>) -> Result<Located, AgentError> {
    if let Some(agent) = by_name(name) {
        return Ok(Located::Agent(agent));
    }
    if name.contains('/') {
        return Ok(Located::Manifest(name.into()));
    }
    let dir = manifest_dir.unwrap_or(Path::new(MANIFEST_DIR));
    let path = dir.join(format!("{name}.toml"));
    if !path.exists() {
        return Err(AgentError::Unknown { name: name.to_owned(), known: known(dir), looked_for: path });
    }
    Ok(Located::Manifest(path))
}

/// The agent of a manifest's file.
///
/// # Errors
/// It cannot be read, or is wrong.
pub fn read(path: &Path) -> Result<ManifestAgent, AgentError> {
    let unreadable = |problem: String| AgentError::Unreadable { path: path.to_owned(), problem };
    // A mounted ConfigMap is made of links, so the way to the file may have some; the file that they lead to must be a plain one.
    let real = std::fs::canonicalize(path).map_err(|error| unreadable(error.to_string()))?;
    let (Some(dir), Some(name)) = (real.parent(), real.file_name()) else { return Err(unreadable("it is no file".to_owned())) };
    let read = Directory::open(dir).and_then(|dir| dir.read(Path::new(name), MANIFEST_LIMIT));
    let bytes = read.map_err(|error| unreadable(error.to_string()))?.map(|(bytes, _)| bytes).unwrap_or_default();
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8 text".to_owned()))?;
    ManifestAgent::parse(&text).map_err(|errors| AgentError::Wrong { path: path.to_owned(), errors })
}

/// The names of the manifests in a directory, sorted; none if it cannot be read.
#[must_use]
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned());
    let mut names: Vec<String> = entries.filter_map(name).filter(|name| !name.is_empty() && !name.starts_with('.')).collect();
    names.sort();
    names
}

/// Every name that a task could have said.
fn known(dir: &Path) -> String {
    let without = all();
    let without = without.iter().map(|agent| agent.name().to_owned());
    without.chain(names(dir)).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const MANIFEST: &str = r#"
name = "mine"
about = "a test's own"
lacks = ["model", "effort", "endpoint", "resume", "instructions", "skills", "sub-agents", "mcp-stdio", "mcp-http", "mcp-sse"]
[command]
program = "mine"
[stream]
format = "none"
"#;

    fn task(kind: &str, dir: &Path) -> Task {
        Task::from_value(&serde_json::json!({"agent": {"type": kind, "manifestDir": dir}})).unwrap()
    }

    fn error(kind: &str, dir: &Path) -> String {
        find(&task(kind, dir)).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_agent_is_found_by_name_and_by_path_also_in_a_mounted_config_map() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("..2026")).unwrap();
        std::fs::write(dir.path().join("..2026/mine.toml"), MANIFEST).unwrap();
        symlink("..2026", dir.path().join("..data")).unwrap();
        symlink("..data/mine.toml", dir.path().join("mine.toml")).unwrap();
        assert_eq!(find(&task("mine", dir.path())).unwrap().name(), "mine");
        let path = dir.path().join("mine.toml");
        assert_eq!(find(&task(path.to_str().unwrap(), Path::new("/nowhere"))).unwrap().name(), "mine");
        assert_eq!(find(&task("claude", dir.path())).unwrap().name(), "claude");
    }

    #[test]
    fn what_is_there_is_listed_where_a_name_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.toml"), MANIFEST).unwrap();
        let error = error("other", dir.path());
        assert!(error.contains("`claude`") && error.contains("`mine`") && error.contains("other.toml"), "{error}");
    }

    #[test]
    fn a_manifest_that_its_file_names_otherwise_is_told_so_and_the_ways_out_are_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.toml");
        std::fs::write(&path, MANIFEST).unwrap();
        let error = find(&task("other", dir.path())).err().unwrap();
        assert_eq!(error.to_string(), format!("the manifest `{}` is called `mine` in itself, and `other` by its file", path.display()));
        let hint = error.hint();
        assert!(["`name = \"other\"`", "`mine.toml`"].iter().all(|way| hint.contains(way)), "{hint}");
        assert!(hint.contains(&format!("AGENT_TYPE={}", path.display())), "{hint}");
        // Each of them helps.
        assert_eq!(find(&task(path.to_str().unwrap(), dir.path())).unwrap().name(), "mine");
        std::fs::copy(&path, dir.path().join("mine.toml")).unwrap();
        assert_eq!(find(&task("mine", dir.path())).unwrap().name(), "mine");
        std::fs::write(&path, MANIFEST.replace("\"mine\"", "\"other\"")).unwrap();
        assert_eq!(find(&task("other", dir.path())).unwrap().name(), "other");
    }

    #[test]
    fn a_manifest_that_cannot_be_read_says_why() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("wrong.toml"), MANIFEST.replace("about", "abuot")).unwrap();
        assert!(error("wrong", dir.path()).contains("line 3: `abuot` is not known (did you mean `about`?)"));
        nix::unistd::mkfifo(&dir.path().join("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(error("pipe", dir.path()).contains("regular file"));
        std::fs::write(dir.path().join("large.toml"), vec![b'#'; 2 << 20]).unwrap();
        assert!(error("large", dir.path()).contains("larger"));
        std::fs::write(dir.path().join("latin.toml"), b"\xe4").unwrap();
        assert!(error("latin", dir.path()).contains("UTF-8"));
    }
}
