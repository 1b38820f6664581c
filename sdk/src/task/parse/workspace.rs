//! Where the agent works, and how git servers are spoken to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::fields::{FieldError, Fields, Got};
use super::super::{GitAccess, InjectedFile, Workspace};
use super::{Errors, inner_path, read_each, read_text_map};

pub(super) fn read_workspace(fields: &mut Fields<'_>, e: Errors<'_>) -> Workspace {
    let default = Workspace::default();
    let Some(object) = fields.object("workspace", e) else { return default };
    let mut w = Fields::new("workspace", object);
    let workspace = Workspace {
        repo: w.read_unquoted("repo", REPOSITORY, e, |value| value.as_str().filter(|url| is_repository(url)).map(str::to_owned)),
        reference: read_ref(&mut w, "ref", e),
        branch: read_ref(&mut w, "branch", e),
        base_branch: read_ref(&mut w, "baseBranch", e),
        depth: w
            .integer("depth", "a number of commits, 0 for all", e)
            .map_or(default.depth, |depth| u32::try_from(depth).unwrap_or(u32::MAX)),
        dir: w.text("dir", e).map_or(default.dir, PathBuf::from),
        filter: w.text("filter", e),
        submodules: w.boolean("submodules", e).unwrap_or(default.submodules),
        lfs: w.boolean("lfs", e).unwrap_or(default.lfs),
        remotes: read_remotes(&mut w, e),
        subdirectory: w.read("subdirectory", "a relative path that stays inside", e, |value| value.as_str().and_then(inner_path)),
        files: read_each(&mut w, "files", e, |file, e| {
            let path = file.required("path", "a relative path that stays inside the work tree and out of .git", e, |value| {
                value.as_str().and_then(inner_path).filter(|path| !enters_git_dir(path))
            });
            let content = file.read("content", "text", e, |value| value.as_str().map(str::to_owned));
            let executable = file.boolean("executable", e).unwrap_or(false);
            Some(InjectedFile { path: path?, content: content.unwrap_or_default(), executable })
        }),
    };
    w.finish(e);
    workspace
}

/// Repositories by the remote's name. A password in a URL is not quoted.
fn read_remotes(fields: &mut Fields<'_>, e: Errors<'_>) -> BTreeMap<String, String> {
    let remotes = read_text_map(fields, "remotes", e);
    for name in remotes.iter().filter(|(_, url)| !is_repository(url)).map(|(name, _)| name) {
        let path = fields.path(&format!("remotes.{name}"));
        e.push(FieldError { path, got: Got::Unquoted, expected: REPOSITORY.into(), hint: None });
    }
    remotes
}

/// What [`is_repository`] takes.
const REPOSITORY: &str = "a repository's URL without credentials in it";

/// A repository's location that git and gix both understand, with no password in it and nothing that reads as an option.
fn is_repository(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = |text: &str| text.split('/').next().unwrap_or("").to_owned();
    let user = authority(rest).rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    // A slash in a password ends the authority early: then what should be the port is none.
    let cut = rest.rsplit_once('@').is_some_and(|(before, _)| {
        let host = authority(before);
        let port = host.rsplit([']', '@']).next().and_then(|host| host.split_once(':'));
        port.is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let password = user || cut;
    !url.trim().is_empty() && !url.starts_with('-') && !url.contains(char::is_control) && !password
}

/// The rules of `git check-ref-format` for the part after `refs/heads/`, and no leading dash.
fn read_ref(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> Option<String> {
    fields.read(name, "a valid git reference", e, |value| value.as_str().filter(|text| is_ref_name(text)).map(str::to_owned))
}

fn is_ref_name(text: &str) -> bool {
    let component = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !text.starts_with('-')
        && text != "@"
        && !text.contains("..")
        && !text.contains("@{")
        && !text.ends_with('.')
        && !text.contains(|c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\'))
        && text.split('/').all(component)
}

/// True if a component is `.git`, also as file systems that fold case would read it.
fn enters_git_dir(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().eq_ignore_ascii_case(".git"))
}

pub(super) fn read_git(fields: &mut Fields<'_>, e: Errors<'_>) -> GitAccess {
    let Some(object) = fields.object("git", e) else { return GitAccess::default() };
    let mut g = Fields::new("git", object);
    let git = GitAccess {
        token_file: g.text("tokenFile", e).map(PathBuf::from),
        username: g.text("username", e),
        ssh_key_file: g.text("sshKeyFile", e).map(PathBuf::from),
        known_hosts_file: g.text("knownHostsFile", e).map(PathBuf::from),
        ca_bundle_file: g.text("caBundleFile", e).map(PathBuf::from),
        user_name: g.text("userName", e),
        user_email: g.text("userEmail", e),
    };
    g.finish(e);
    git
}
