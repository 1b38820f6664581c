//! `git-init`: clones a repository into a volume, and merges it into the workspace if asked to.
//!
//! The clone is the runner's own ([`workspace::prepare`]): a ref may be a commit too, and nothing is made writable for everybody. User,
//! password and key are private files of this container for as long as it runs; what the clone would keep of them is taken out of its
//! configuration.
//!
//! Beside the clone stands a `.gitconfig`, in which alone `safe.directory` is set for all: the controller mounts it by `subPath` into the
//! worker and names it in `GIT_CONFIG_GLOBAL`. Where it is missing the kubelet makes a directory of that name, and every git there ends
//! with 128.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agent_sdk::task::{FieldError, GitAccess, Task, Workspace};
use serde_json::json;

use super::{InitError, Variables, check, open_or_make, wrong};
use crate::dialects::kubeopencode::CA_FILE;
use crate::files::{Directory, Kind};
use crate::inputs::InputError;
use crate::run::place::Place;
use crate::workspace::{self, Context, Progress, Retry};

/// What the controller has the worker's git read.
const CONFIG: &str = ".gitconfig";
/// That git works there whoever made the tree. Where the controller mounts it is not known here, and nobody else reads this.
const TRUSTING: &[u8] = b"[safe]\n\tdirectory = *\n";
/// Whoever the worker runs as is to read it; there is no secret in it.
const CONFIG_MODE: u32 = 0o644;
/// Directories in directories in a repository; deeper ones are somebody's trap.
const DEEPEST: usize = 256;

/// What the variables ask for.
struct Wanted {
    workspace: Workspace,
    retry: Retry,
    root: PathBuf,
    merge_into: Option<PathBuf>,
    subpath: PathBuf,
}

pub(super) fn run(env: &Variables) -> Result<String, InitError> {
    let wanted = Wanted::of(env)?;
    // Gone, with everything in it, when it is dropped.
    let place = Place::make(&std::env::vars_os().collect())
        .map_err(|error| InitError::Io { doing: "no place for credentials".to_owned(), source: std::io::Error::other(error) })?;
    let access = access(env, place.private_dir())?;
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("agent-runner"));
    let progress = |progress: Progress<'_>| match progress {
        Progress::Retrying { error, after } => tracing::warn!("{error}; trying again in {after:.1?}"),
        Progress::Fetching { attempt } => tracing::info!("asking the git server, try {attempt}"),
        Progress::Held { .. } | Progress::Receiving | Progress::CheckingOut => {}
    };
    let mut context = Context::new(&wanted.workspace, &env.0, &program, Arc::new(AtomicBool::new(false)), &progress)?;
    context.retry = wanted.retry;
    fs::create_dir_all(context.dir.parent().unwrap_or(Path::new("/")))
        .map_err(|source| InitError::Io { doing: "cannot make GIT_ROOT".to_owned(), source })?;
    let prepared = workspace::prepare(&wanted.workspace, &access, &context)?;
    prepared.notes.iter().for_each(|note| tracing::info!("{note}"));
    workspace::forget_access(&prepared)?;
    Directory::open(&wanted.root)?.write(Path::new(CONFIG), TRUSTING, CONFIG_MODE)?;
    let commit = prepared.head.as_deref().unwrap_or("no commit");
    if let Some(target) = &wanted.merge_into {
        let from = Directory::open(&prepared.dir)?.descend(&wanted.subpath)?;
        merge(&from, &open_or_make(target)?, DEEPEST)?;
        return Ok(format!("cloned {commit} into `{}`, and merged it into `{}`", prepared.dir.display(), target.display()));
    }
    Ok(format!("cloned {commit} into `{}`", prepared.dir.display()))
}

impl Wanted {
    fn of(env: &Variables) -> Result<Self, InitError> {
        let mut errors = Vec::new();
        let repo = env.require("GIT_REPO", &mut errors);
        let root = PathBuf::from(env.get_or("GIT_ROOT", "/git"));
        let dir = root.join(env.get_or("GIT_LINK", "repo"));
        let document = json!({
            "agent": {"type": agent_sdk::agents::command::NAME},
            "workspace": {
                "repo": Some(repo).filter(|repo| !repo.is_empty()),
                "ref": env.get("GIT_REF"),
                "depth": env.get_or("GIT_DEPTH", "1"),
                "dir": dir,
                "submodules": env.is_true("GIT_RECURSE_SUBMODULES"),
            },
        });
        let task = Task::from_value(&document).map_err(|fields| errors.extend(fields.iter().map(renamed))).ok();
        let link = Path::new(env.get_or("GIT_LINK", "repo"));
        if !is_inner(link) {
            errors.push(wrong("GIT_LINK", "expected a name below GIT_ROOT"));
        }
        let subpath = PathBuf::from(env.get_or("GIT_REPO_SUBPATH", ""));
        if !subpath.as_os_str().is_empty() && !is_inner(&subpath) {
            errors.push(wrong("GIT_REPO_SUBPATH", "expected a relative path that stays inside the repository"));
        }
        let mut retry = Retry::default();
        match env.get_or("GIT_CLONE_RETRIES", "3").parse::<u32>() {
            Ok(count) => retry.attempts = count.max(1),
            Err(_) => errors.push(wrong("GIT_CLONE_RETRIES", "expected a whole number")),
        }
        match humantime::parse_duration(env.get_or("GIT_CLONE_RETRY_DELAY", "5s")) {
            Ok(pause) => retry.pause = pause,
            Err(_) => errors.push(wrong("GIT_CLONE_RETRY_DELAY", "expected a length of time such as `5s`")),
        }
        check(errors)?;
        // There is a task, since there are no errors.
        let workspace = task.map(|task| task.workspace).unwrap_or_default();
        Ok(Self { workspace, retry, root, merge_into: env.get("GIT_WORKSPACE_DIR").map(PathBuf::from), subpath })
    }
}

/// An error of the task's, under the name that the user gave it by.
fn renamed(field: &FieldError) -> InputError {
    let name = match field.path.as_str() {
        "workspace.repo" => "GIT_REPO",
        "workspace.ref" => "GIT_REF",
        "workspace.depth" => "GIT_DEPTH",
        "workspace.dir" => "GIT_ROOT",
        other => other,
    };
    wrong(name, field.problem())
}

fn is_inner(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().next().is_some()
}

/// Credentials, as private files.
fn access(env: &Variables, private: &Path) -> Result<GitAccess, InitError> {
    let keep = |name: &str, text: &str| -> Result<PathBuf, InitError> {
        let path = private.join(name);
        let io = |source| InitError::Io { doing: format!("cannot keep {name}"), source };
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        Ok(path)
    };
    let text_or_path = |variable: &str, name: &str, is_text: fn(&str) -> bool| match env.get(variable) {
        // ssh wants the last line to end.
        Some(text) if is_text(text) => keep(name, &format!("{}\n", text.trim_end())).map(Some),
        other => Ok(other.map(PathBuf::from)),
    };
    Ok(GitAccess {
        token_file: env.get("GIT_PASSWORD").map(|password| keep("password", password)).transpose()?,
        username: env.get("GIT_USERNAME").map(str::to_owned),
        ssh_key_file: text_or_path("GIT_SSH_KEY", "key", |text| text.contains("PRIVATE KEY"))?,
        known_hosts_file: text_or_path("GIT_SSH_KNOWN_HOSTS", "known-hosts", |text| text.trim().contains(char::is_whitespace))?,
        ca_bundle_file: env.get(CA_FILE).map(PathBuf::from),
        ..GitAccess::default()
    })
}

/// Copies what is in one directory into another: files over files, directories into directories, links as links.
fn merge(from: &Directory, to: &Directory, deepest: usize) -> Result<(), InitError> {
    for (name, kind) in from.entries()? {
        match kind {
            Kind::File => {
                if let Some((mut file, stat)) = from.open_file(&name)? {
                    to.write_from(&name, &mut file, stat.st_mode & 0o777)?;
                }
            }
            Kind::Directory if deepest > 0 => merge(&from.descend(&name)?, &to.descend_or_make(&name, super::DIRECTORY)?, deepest - 1)?,
            Kind::Link => to.copy_link(from, &name)?,
            // A clone holds nothing else.
            Kind::Directory | Kind::Other => tracing::warn!("`{}` is left out", from.path().join(&name).display()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> Result<Wanted, InitError> {
        Wanted::of(&Variables(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()))
    }

    #[test]
    fn what_is_not_said_is_as_it_is_there() {
        let wanted = wanted(&[("GIT_REPO", "https://host/r.git"), ("GIT_REF", "HEAD"), ("GIT_USERNAME", "")]).unwrap();
        assert_eq!(wanted.workspace.dir, Path::new("/git/repo"));
        assert_eq!((wanted.workspace.reference.as_deref(), wanted.workspace.depth), (Some("HEAD"), 1));
        assert_eq!((wanted.retry.attempts, wanted.retry.pause.as_secs()), (3, 5));
        assert_eq!(wanted.merge_into, None);
    }

    #[test]
    fn every_wrong_variable_is_named_at_once() {
        let error = wanted(&[
            ("GIT_REPO", "https://u:p@host/r.git"),
            ("GIT_REF", "a..b"),
            ("GIT_DEPTH", "deep"),
            ("GIT_LINK", "../out"),
            ("GIT_REPO_SUBPATH", "/etc"),
            ("GIT_CLONE_RETRIES", "often"),
            ("GIT_CLONE_RETRY_DELAY", "soon"),
        ])
        .err()
        .unwrap()
        .to_string();
        for name in ["GIT_REPO", "GIT_REF", "GIT_DEPTH", "GIT_LINK", "GIT_REPO_SUBPATH", "GIT_CLONE_RETRIES", "GIT_CLONE_RETRY_DELAY"] {
            assert!(error.contains(&format!("\n  {name}: expected")), "{name}: {error}");
        }
        assert!(!error.contains("u:p@"), "{error}");
        assert!(wanted(&[]).err().unwrap().to_string().contains("GIT_REPO: expected a value"));
    }
}
