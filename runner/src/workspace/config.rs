//! What is written into the clone's `.git/config`, so that the agent's own git fetches and pushes as the runner does.
//!
//! Paths only: no token, no password, no key ever stands in it.

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
        if let (Some(origin), Some(token_file)) = (url.origin(), &access.token_file) {
            let token_file = std::path::absolute(token_file).unwrap_or_else(|_| token_file.clone());
            let userinfo = url.userinfo().map(|(user, _)| user.to_owned());
            let username = access.username.clone().or(userinfo).unwrap_or_else(|| DEFAULT_USERNAME.to_owned());
            let helper = HelperArgs { token_file, origin: origin.clone(), username }.config_value(program);
            // The empty value forgets the helpers of the user and the system: this token is the one to use here.
            set(config, "credential", Some(&origin), &[("helper", ""), ("helper", &helper)])?;
        }
        if let (Some(origin), Some(bundle)) = (url.origin(), &access.ca_bundle_file) {
            let bundle = std::path::absolute(bundle).unwrap_or_else(|_| bundle.clone());
            set(config, "http", Some(&origin), &[("sslCAInfo", &bundle.to_string_lossy())])?;
        }
        if let Some(command) = ssh::command_for_git(access).map_err(Edit::Workspace)? {
            add(config, "core", &[("sshCommand", &command)])?;
        }
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

/// Makes `origin`'s branch of the same name the branch's upstream, so that a plain `git push` goes there.
pub(crate) fn set_upstream(git_dir: &Path, branch: &str) -> Result<(), WorkspaceError> {
    edit(git_dir, |config| set(config, "branch", Some(branch), &[("remote", "origin"), ("merge", &format!("refs/heads/{branch}"))]))
}

/// Takes away what [`write`] said of credentials, certificates and ssh.
pub(crate) fn forget_access(git_dir: &Path) -> Result<(), WorkspaceError> {
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

enum Edit {
    Gix(gix::Error),
    Workspace(WorkspaceError),
}

impl From<gix::Error> for Edit {
    fn from(error: gix::Error) -> Self {
        Self::Gix(error)
    }
}

/// Replaces a whole section.
fn set(config: &mut ConfigFile, name: &str, subsection: Option<&str>, values: &[(&str, &str)]) -> Result<(), Edit> {
    while config.remove_section(name, subsection.map(BStr::new)).is_some() {}
    let mut section = config.new_section(name, subsection.map(BString::from))?;
    for (key, value) in values {
        section.push(key, *value)?;
    }
    Ok(())
}

/// Sets values in a section that may hold others.
fn add(config: &mut ConfigFile, name: &str, values: &[(&str, &str)]) -> Result<(), Edit> {
    let mut section = config.section_mut_or_create_new(name, None::<&BStr>)?;
    for (key, value) in values {
        section.set(key, *value)?;
    }
    Ok(())
}

fn edit(git_dir: &Path, change: impl FnOnce(&mut ConfigFile) -> Result<(), Edit>) -> Result<(), WorkspaceError> {
    let path = git_dir.join("config");
    let broken = |error: gix::Error| WorkspaceError::Repository { dir: git_dir.to_owned(), said: describe(&error) };
    let mut config = ConfigFile::from_path_no_includes(path.clone(), Source::Local).map_err(broken)?;
    change(&mut config).map_err(|error| match error {
        Edit::Gix(error) => broken(error),
        Edit::Workspace(error) => error,
    })?;
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
