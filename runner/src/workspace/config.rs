//! What is written into the clone's `.git/config`, so that the agent's own git fetches and pushes as the runner does.
//!
//! Paths only: no token, no password, no key ever stands in it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use agent_sdk::task::{GitAccess, Workspace};
use gix::bstr::{BStr, BString};
use gix::config::File as ConfigFile;
use gix::config::Source;

use super::credential::{DEFAULT_USERNAME, HelperArgs};
use super::error::{WorkspaceError, describe};
use super::ssh;
use super::url::RepoUrl;

/// All branches, so that the agent can fetch what the runner did not.
pub(crate) const FULL_REFSPEC: &str = "+refs/heads/*:refs/remotes/origin/*";

/// The remotes beside `origin`, checked.
pub(crate) fn extra_remotes(workspace: &Workspace) -> Result<Vec<(String, RepoUrl)>, WorkspaceError> {
    workspace.remotes.iter().map(|(name, url)| Ok((name.clone(), check_remote(name, url)?))).collect()
}

/// The URL of a remote beside `origin`, if it can be one.
pub(crate) fn check_remote(name: &str, url: &str) -> Result<RepoUrl, WorkspaceError> {
    let plain = name.chars().all(|character| character.is_ascii_alphanumeric() || "._-/".contains(character));
    let invalid = |problem: &'static str| WorkspaceError::InvalidRemote { name: name.to_owned(), problem };
    if name == "origin" {
        return Err(invalid("that is the repository itself (AGENT_REPO)"));
    }
    if !plain || name.starts_with('-') || gix::validate::reference::name(format!("refs/remotes/{name}/x").as_str().into()).is_err() {
        return Err(invalid("it is no name of a remote"));
    }
    RepoUrl::parse(url)
}

/// Writes the settings of the remotes, of credentials, certificates, ssh and author. Other settings stay as they are.
pub(crate) fn write(
    git_dir: &Path,
    url: &RepoUrl,
    remotes: &[(String, RepoUrl)],
    workspace: &Workspace,
    access: &GitAccess,
    program: &Path,
) -> Result<(), WorkspaceError> {
    let settings = access_settings(url, access, program)?;
    edit(git_dir, |config| {
        set(config, "remote", Some("origin"), &[("url", url.as_str()), ("fetch", FULL_REFSPEC)])?;
        if let Some(filter) = &workspace.filter {
            set(
                config,
                "remote",
                Some("origin"),
                &[("url", url.as_str()), ("fetch", FULL_REFSPEC), ("promisor", "true"), ("partialclonefilter", filter)],
            )?;
            set(config, "extensions", None, &[("partialClone", "origin")])?;
            add(config, "core", &[("repositoryformatversion", "1")])?;
        }
        for (name, url) in remotes {
            set(config, "remote", Some(name), &[("url", url.as_str()), ("fetch", &format!("+refs/heads/*:refs/remotes/{name}/*"))])?;
        }
        write_access(config, &settings)?;
        for (key, value) in [("name", &access.user_name), ("email", &access.user_email)] {
            if let Some(value) = value
                && config.string_by("user", None::<&BStr>, key).is_none()
            {
                add(config, "user", &[(key, value)])?;
            }
        }
        Ok(())
    })
}

/// A setting of git's that says how servers are reached.
#[derive(Debug)]
pub(crate) struct Setting {
    section: &'static str,
    subsection: Option<String>,
    key: &'static str,
    value: String,
}

impl Setting {
    /// As git names it on a command line.
    pub(crate) fn name(&self) -> String {
        match &self.subsection {
            Some(subsection) => format!("{}.{subsection}.{}", self.section, self.key),
            None => format!("{}.{}", self.section, self.key),
        }
    }

    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

/// The settings of credentials, certificates and ssh. Token and certificates are for the repository's own origin, and for no other.
pub(crate) fn access_settings(url: &RepoUrl, access: &GitAccess, program: &Path) -> Result<Vec<Setting>, WorkspaceError> {
    let mut settings = Vec::new();
    if let (Some(origin), Some(token_file)) = (url.origin(), &access.token_file) {
        let token_file = std::path::absolute(token_file).unwrap_or_else(|_| token_file.clone());
        let userinfo = url.userinfo().map(|(user, _)| user.to_owned());
        let username = access.username.clone().or(userinfo).unwrap_or_else(|| DEFAULT_USERNAME.to_owned());
        let helper = HelperArgs { token_file, origin: origin.clone(), username }.config_value(program);
        // The empty value forgets the helpers of the user and the system: this token is the one to use here.
        let helpers = [String::new(), helper];
        settings.extend(helpers.map(|value| Setting { section: "credential", subsection: Some(origin.clone()), key: "helper", value }));
    }
    if let (Some(origin), Some(bundle)) = (url.origin(), &access.ca_bundle_file) {
        let bundle = std::path::absolute(bundle).unwrap_or_else(|_| bundle.clone());
        let value = bundle.to_string_lossy().into_owned();
        settings.push(Setting { section: "http", subsection: Some(origin), key: "sslCAInfo", value });
    }
    if let Some(value) = ssh::command_for_git(access)? {
        settings.push(Setting { section: "core", subsection: None, key: "sshCommand", value });
    }
    Ok(settings)
}

fn write_access(config: &mut ConfigFile, settings: &[Setting]) -> gix::Result<()> {
    let is_same_place = |one: &Setting, other: &Setting| (one.section, &one.subsection) == (other.section, &other.subsection);
    for place in settings.chunk_by(is_same_place) {
        let values: Vec<(&str, &str)> = place.iter().map(|setting| (setting.key, setting.value())).collect();
        match &place[0].subsection {
            Some(subsection) => set(config, place[0].section, Some(subsection), &values)?,
            None => add(config, place[0].section, &values)?,
        }
    }
    Ok(())
}

/// Gives the repositories of submodules the same settings, so that the agent's git reaches their servers as the runner's did.
pub(crate) fn write_to_submodules(git_dir: &Path, settings: &[Setting]) -> Result<(), WorkspaceError> {
    if settings.is_empty() {
        return Ok(());
    }
    submodules(git_dir).iter().try_for_each(|module| edit(module, |config| write_access(config, settings)))
}

/// The git directories of submodules, and of theirs. A submodule's name may hold slashes.
fn submodules(git_dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![git_dir.join("modules")];
    while let Some(dir) = todo.pop() {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        // The file type is the entry's own: no link is followed.
        for path in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()) {
            if path.join("config").is_file() && path.join("HEAD").is_file() {
                todo.push(path.join("modules"));
                found.push(path);
            } else {
                todo.push(path);
            }
        }
    }
    found
}

/// Makes `origin`'s branch of the same name the branch's upstream, so that a plain `git push` goes there.
pub(crate) fn set_upstream(git_dir: &Path, branch: &str) -> Result<(), WorkspaceError> {
    edit(git_dir, |config| set(config, "branch", Some(branch), &[("remote", "origin"), ("merge", &format!("refs/heads/{branch}"))]))
}

/// Takes away what [`write`] said of credentials, certificates and ssh.
pub(crate) fn forget_access(git_dir: &Path) -> Result<(), WorkspaceError> {
    submodules(git_dir).iter().try_for_each(|module| forget_access_in(module))?;
    forget_access_in(git_dir)
}

fn forget_access_in(git_dir: &Path) -> Result<(), WorkspaceError> {
    edit(git_dir, |config| {
        let sections = |name: &str| -> Vec<BString> {
            config
                .sections_by_name(name)
                .into_iter()
                .flatten()
                .filter_map(|section| section.header().subsection_name().map(BString::from))
                .collect()
        };
        let gone: Vec<_> = ["credential", "http"].into_iter().map(|name| (name, sections(name))).collect();
        for (name, subsections) in gone {
            for subsection in subsections {
                while config.remove_section(name, Some(subsection.as_ref())).is_some() {}
            }
        }
        if let Ok(mut core) = config.section_mut("core", None::<&BStr>) {
            while core.remove("sshCommand").is_some() {}
        }
        Ok(())
    })
}

/// The URL of `origin`, and nothing else, without reading what the file may include.
pub(crate) fn origin_url(git_dir: &Path) -> Option<String> {
    let config = ConfigFile::from_path_no_includes(git_dir.join("config"), Source::Local).ok()?;
    config.string_by("remote", "origin", "url").map(|url| url.to_string())
}

/// The names of the remotes, read likewise.
pub(crate) fn remote_names(git_dir: &Path) -> BTreeSet<String> {
    let Ok(config) = ConfigFile::from_path_no_includes(git_dir.join("config"), Source::Local) else { return BTreeSet::new() };
    let sections = config.sections_by_name("remote").into_iter().flatten();
    sections.filter_map(|section| section.header().subsection_name().map(ToString::to_string)).collect()
}

/// The filter of a partial clone; `None` if all that belongs to a commit is here.
pub(crate) fn partial_filter(git_dir: &Path) -> Option<String> {
    let config = ConfigFile::from_path_no_includes(git_dir.join("config"), Source::Local).ok()?;
    let promises = config.string_by("extensions", None::<&BStr>, "partialClone").is_some()
        || config.string_by("remote", "origin", "promisor").is_some_and(|value| value.as_slice() == b"true");
    let filter = config.string_by("remote", "origin", "partialclonefilter").map_or("blob:none".to_owned(), |filter| filter.to_string());
    promises.then_some(filter)
}

/// What `git lfs install` writes.
const LFS: [&str; 5] = [
    "git-lfs clean -- %f",
    "git-lfs smudge -- %f",
    "git-lfs smudge --skip -- %f",
    "git-lfs filter-process",
    "git-lfs filter-process --skip",
];

/// The first setting of a repository that makes git start a program, or lead to another server or file, and is none of these; of the
/// repositories of its submodules too.
///
/// Whoever made the clone, or an agent of before, may have written anything there; the runner's own git goes by it only where it stays
/// within git.
pub(crate) fn leads_out(root: &Path, git_dir: &Path, common_dir: &Path, ours: &[Setting]) -> Option<String> {
    let mut own = std::iter::once(common_dir).chain((git_dir != common_dir).then_some(git_dir));
    let own = own.find_map(|dir| leads_out_in(dir, ours, &|_| false));
    own.or_else(|| {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let root = real(root);
        submodules(common_dir).into_iter().find_map(|module| {
            // Where its files are: beside what is git's own.
            let is_within = |worktree: &str| {
                let place = plain_path(&real(&module).join(worktree));
                place.starts_with(&root) && place != root && !place.starts_with(root.join(".git"))
            };
            leads_out_in(&module, ours, &is_within)
        })
    })
}

/// A path without the steps back in it, as it reads.
fn plain_path(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

fn leads_out_in(git_dir: &Path, ours: &[Setting], is_worktree: &dyn Fn(&str) -> bool) -> Option<String> {
    const KEYS: &[(&str, &[&str])] = &[
        ("core", &["alternaterefscommand", "askpass", "gitproxy", "sshcommand", "worktree"]),
        ("credential", &["helper"]),
        ("filter", &["clean", "process", "smudge"]),
        ("remote", &["proxy", "receivepack", "uploadpack", "vcs"]),
        ("http", &["proxy", "sslcert", "sslkey"]),
        ("lfs", &["clean", "path", "smudge", "standalonetransferagent"]),
        ("include", &["path"]),
        ("includeif", &["path"]),
        ("url", &["insteadof", "pushinsteadof"]),
    ];
    let files = ["config", "config.worktree"].into_iter().map(|name| git_dir.join(name)).filter(|file| file.symlink_metadata().is_ok());
    for file in files {
        // What cannot be read may say anything.
        let Ok(config) = ConfigFile::from_path_no_includes(file.clone(), Source::Local) else { return Some(file.display().to_string()) };
        for section in config.sections() {
            let name = section.header().name().to_string().to_ascii_lowercase();
            let keys = KEYS.iter().filter(|(section, _)| *section == name).flat_map(|(_, keys)| keys.iter());
            for (key, value) in keys.flat_map(|key| section.values(key).into_iter().map(move |value| (key, value.to_string()))) {
                let is_usual = match (&*name, *key) {
                    ("filter", _) => LFS.contains(&&*value),
                    ("core", "worktree") => is_worktree(&value),
                    _ => false,
                };
                let is_known = value.is_empty() || is_usual || ours.iter().any(|setting| setting.value == value);
                if !is_known {
                    return Some(format!("{name}.{key}"));
                }
            }
        }
    }
    None
}

/// Replaces a whole section.
fn set(config: &mut ConfigFile, name: &str, subsection: Option<&str>, values: &[(&str, &str)]) -> gix::Result<()> {
    while config.remove_section(name, subsection.map(BStr::new)).is_some() {}
    let mut section = config.new_section(name, subsection.map(BString::from))?;
    for (key, value) in values {
        section.push(key, *value)?;
    }
    Ok(())
}

/// Sets values in a section that may hold others.
fn add(config: &mut ConfigFile, name: &str, values: &[(&str, &str)]) -> gix::Result<()> {
    let mut section = config.section_mut_or_create_new(name, None::<&BStr>)?;
    for (key, value) in values {
        section.set(key, *value)?;
    }
    Ok(())
}

fn edit(git_dir: &Path, change: impl FnOnce(&mut ConfigFile) -> gix::Result<()>) -> Result<(), WorkspaceError> {
    let path = git_dir.join("config");
    let broken = |error: gix::Error| WorkspaceError::Repository { dir: git_dir.to_owned(), said: describe(&error) };
    let mut config = ConfigFile::from_path_no_includes(path.clone(), Source::Local).map_err(broken)?;
    change(&mut config).map_err(broken)?;
    let mut bytes = Vec::new();
    config.write_to(&mut bytes).map_err(|error| WorkspaceError::io("cannot write", &path, error))?;
    replace(&path, &bytes)
}

/// Writes a file of the git directory in one step.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), WorkspaceError> {
    let mut temporary = PathBuf::from(path).into_os_string();
    temporary.push(".agent-runner");
    let temporary = PathBuf::from(temporary);
    let write = || -> std::io::Result<()> {
        // What a killed run left must not be followed or appended to.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        WorkspaceError::io("cannot write", path, error)
    })
}
