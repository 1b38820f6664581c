//! A container whose root holds nothing but volumes, played on this machine: for platforms that mount theirs at fixed paths.
//!
//! The root is empty but for the system's libraries and programs; `/workspace` is a repository, `/tmp` can be written, and everything else
//! is a volume that the test names. The agent is the runner's own scripted one, or a shell command.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::probe;
use crate::repo::{Source, git_ok};
use crate::sandbox::{namespaces_work, sandbox};

/// A user that the machine does not know.
pub const UID: u32 = 61100;

/// The container, not started yet.
#[derive(Debug)]
pub struct Container {
    directory: tempfile::TempDir,
    volumes: Vec<(PathBuf, String)>,
    env: BTreeMap<String, String>,
}

impl Container {
    /// With a repository at `/workspace`. `None`, said loudly, where this machine allows no namespaces.
    #[must_use]
    pub fn new() -> Option<Self> {
        if !namespaces_work() {
            crate::skip::skip("no PID namespace may be made here (root, or CAP_SYS_ADMIN, is needed), so no container was played");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let source = Source::new(directory.path(), "origin.git");
        let mut container = Self { directory, volumes: Vec::new(), env: BTreeMap::new() };
        fs::create_dir(container.directory.path().join("root")).unwrap();
        let workspace = container.volume("/workspace");
        fs::remove_dir(&workspace).unwrap();
        let origin = format!("file://{}", source.bare.display());
        git_ok(container.directory.path(), ["clone", "-q", &origin, workspace.to_str().unwrap()]);
        let given = std::process::Command::new("chown").args(["-R", &format!("{UID}:{UID}")]).arg(&workspace).status();
        assert!(given.unwrap().success());
        container.volume("/tmp");
        for system in ["/bin", "/usr/bin"] {
            container.volumes.push((system.into(), system.to_owned()));
        }
        Some(
            container
                .with("PATH", "/usr/bin:/bin")
                .with("HOME", "/tmp")
                .with("AGENT_WORKSPACE_DIR", "/workspace")
                .with("AGENT_TYPE", "native")
                .with("AGENT_PROGRAM", probe::runner().to_str().unwrap())
                .with("AGENT_EXTRA_ARGS", r#"["demo-agent"]"#)
                .with("AGENT_PROMPT", "Please do it."),
        )
    }

    /// An empty volume mounted there, which everybody may write, as an `emptyDir` is; where it is on this machine.
    pub fn volume(&mut self, place: &str) -> PathBuf {
        let path = self.directory.path().join(format!("volume-{}", self.volumes.len()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        self.volumes.push((path.clone(), place.to_owned()));
        path
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Where the work tree is on this machine.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.volumes[0].0
    }

    /// Runs the runner with these arguments as PID 1.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Output {
        fs::set_permissions(self.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut options = vec!["--user".to_owned(), UID.to_string(), "--bare".to_owned()];
        options.push(self.directory.path().join("root").display().to_string());
        for (from, to) in &self.volumes {
            options.extend(["--bind".to_owned(), format!("{}:{to}", from.display())]);
        }
        let mut command = sandbox(&options, probe::runner());
        command.args(args).env_clear().envs(&self.env);
        probe::output(&mut command)
    }
}
