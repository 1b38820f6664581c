//! Repositories made by the real `git`, and the calling of the runner's workspace on them.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

use agent_runner::workspace::{Cancel, Context, Prepared, Progress, Retry, WhenHeld, WorkspaceError, prepare};
use agent_sdk::agent::RepositoryPath;
use agent_sdk::task::{GitAccess, Workspace};

/// `git`, free of the machine's settings and of this repository's.
#[must_use]
pub fn git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", "/nonexistent").env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "A Tester").env(format!("GIT_{role}_EMAIL"), "tester@example.org");
    }
    command
}

/// Runs git and returns its stdout, trimmed.
///
/// # Panics
/// If it fails.
pub fn git_ok<S: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = S>) -> String {
    let output: Output = git(dir).args(args).output().expect("git starts");
    assert!(output.status.success(), "git failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A bare repository for servers, and a work tree that pushes to it.
#[derive(Debug)]
pub struct Source {
    /// The directory that servers export.
    pub root: PathBuf,
    /// The bare repository.
    pub bare: PathBuf,
    /// Where commits are made.
    pub work: PathBuf,
}

impl Source {
    /// [`Self::new`] in a directory of its own, as `r.git`.
    #[must_use]
    pub fn alone() -> (tempfile::TempDir, Self) {
        let root = tempfile::tempdir().unwrap();
        let source = Self::new(root.path(), "r.git");
        (root, source)
    }

    /// `main` with three commits, `feature` one further, the annotated tag `v1` on the second commit, the light tag `light` on the first.
    #[must_use]
    pub fn new(root: &Path, name: &str) -> Self {
        let source = Self::empty(root, name);
        for number in 1..=3 {
            source.commit(&format!("file{number}.txt"), &format!("content {number}\n"));
            match number {
                1 => drop(git_ok(&source.work, ["tag", "light"])),
                2 => drop(git_ok(&source.work, ["tag", "-a", "v1", "-m", "one"])),
                _ => {}
            }
        }
        git_ok(&source.work, ["checkout", "-q", "-b", "feature"]);
        source.commit("feature.txt", "feature\n");
        git_ok(&source.work, ["checkout", "-q", "main"]);
        source.push();
        source
    }

    /// A repository without a commit.
    #[must_use]
    pub fn empty(root: &Path, name: &str) -> Self {
        let bare = root.join("srv").join(name);
        let work = root.join("work");
        fs::create_dir_all(&bare).unwrap();
        fs::create_dir_all(&work).unwrap();
        git_ok(&bare, ["init", "-q", "--bare", "-b", "main"]);
        git_ok(&bare, ["config", "http.receivepack", "true"]);
        git_ok(&work, ["init", "-q", "-b", "main"]);
        git_ok(&work, [OsStr::new("remote"), "add".as_ref(), "origin".as_ref(), bare.as_os_str()]);
        Self { root: root.join("srv"), bare, work }
    }

    /// Adds a file and commits it; the commit's id.
    pub fn commit(&self, path: &str, content: &str) -> String {
        let file = self.work.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
        git_ok(&self.work, ["add", "-A"]);
        git_ok(&self.work, ["commit", "-q", "-m", path]);
        self.rev("HEAD")
    }

    /// Makes all branches and tags the server's.
    pub fn push(&self) {
        git_ok(&self.work, ["push", "-q", "--force", "--all", "origin"]);
        git_ok(&self.work, ["push", "-q", "--force", "--tags", "origin"]);
    }

    /// A revision's commit.
    #[must_use]
    pub fn rev(&self, revision: &str) -> String {
        git_ok(&self.work, ["rev-parse", &format!("{revision}^{{commit}}")])
    }
}

/// One call of the runner's workspace.
#[derive(Debug)]
pub struct Job {
    /// As in a task.
    pub workspace: Workspace,
    /// As in a task.
    pub access: GitAccess,
    /// The environment that the runner is given.
    pub env: BTreeMap<String, String>,
    /// The program that `.git/config` names as helper.
    pub program: PathBuf,
    /// Raised to stop it.
    pub cancel: Cancel,
    /// How many tries.
    pub attempts: u32,
    /// What `trust` will read of the base.
    pub config_paths: Vec<RepositoryPath>,
    /// What becomes of it where another run works.
    pub when_held: WhenHeld,
    /// What was reported on the way.
    pub progress: Mutex<Vec<String>>,
}

impl Job {
    /// A clone of `url` into `dir`.
    #[must_use]
    pub fn new(url: &str, dir: &Path) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        Self {
            workspace: Workspace { repo: Some(url.to_owned()), dir: dir.to_owned(), ..Workspace::default() },
            access: GitAccess::default(),
            env: [("PATH".to_owned(), path), ("HOME".to_owned(), "/nonexistent".to_owned())].into(),
            program: "/nonexistent/agent-runner".into(),
            cancel: Cancel::default(),
            attempts: 1,
            config_paths: Vec::new(),
            // Somebody else in this process may just be starting a program, which has the lock as well until it is another.
            when_held: WhenHeld::Wait(Duration::from_secs(60)),
            progress: Mutex::default(),
        }
    }

    /// A clone of the source, by its path, into `clone` below `root`.
    #[must_use]
    pub fn of(source: &Source, root: &Path) -> Self {
        Self::new(source.bare.to_str().unwrap(), &root.join("clone"))
    }

    /// The ref.
    #[must_use]
    pub fn at(mut self, reference: &str) -> Self {
        self.workspace.reference = Some(reference.to_owned());
        self
    }

    /// The working branch.
    #[must_use]
    pub fn on(mut self, branch: &str) -> Self {
        self.workspace.branch = Some(branch.to_owned());
        self
    }

    /// The depth.
    #[must_use]
    pub fn depth(mut self, depth: u32) -> Self {
        self.workspace.depth = depth;
        self
    }

    /// Calls it. What a test does next with the workspace is what comes after that run.
    ///
    /// # Errors
    /// As the runner's.
    pub fn run(&self) -> Result<Prepared, WorkspaceError> {
        let mut prepared = self.begin()?;
        drop(prepared.take_hold());
        Ok(prepared)
    }

    /// Calls it, and is still at work there.
    ///
    /// # Errors
    /// As the runner's.
    pub fn begin(&self) -> Result<Prepared, WorkspaceError> {
        let report = |progress: Progress<'_>| self.progress.lock().unwrap().push(format!("{progress:?}"));
        let mut context = Context::new(&self.workspace, &self.env, &self.program, self.cancel.clone(), &report)?;
        context.config_paths = &self.config_paths;
        context.retry = Retry { attempts: self.attempts, pause: Duration::from_millis(1) };
        context.when_held = self.when_held;
        prepare(&self.workspace, &self.access, &context)
    }
}

/// Every byte of every file below a directory, for the search for secrets.
#[must_use]
pub fn holds_text(dir: &Path, needle: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            if let Some(found) = holds_text(&path, needle) {
                return Some(found);
            }
        } else if kind.is_file() && fs::read(&path).unwrap().windows(needle.len()).any(|part| part == needle.as_bytes()) {
            return Some(path);
        }
    }
    None
}
