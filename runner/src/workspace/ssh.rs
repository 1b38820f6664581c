//! ssh: how the program is called so that it never asks, and what its complaints mean.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Command;

use agent_sdk::task::GitAccess;

use super::credential::shell_quote;
use super::error::WorkspaceError;
use super::url::RepoUrl;

/// The options that hold for us and, by `core.sshCommand`, for the agent's own git.
fn options(access: &GitAccess) -> Result<Vec<OsString>, WorkspaceError> {
    // Never a question: there is nobody to answer it. The key of an unknown host is not accepted by default either.
    let mut options: Vec<OsString> =
        ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=20"].map(OsString::from).into();
    let mut add_path = |flag: &str, name: &str, path: &std::path::Path| -> Result<(), WorkspaceError> {
        let path = std::path::absolute(path).map_err(|source| WorkspaceError::io("cannot find", path, source))?;
        let text = path.to_string_lossy();
        if name.is_empty() {
            options.push(flag.into());
            options.push(path.into());
        } else {
            // ssh splits the value at blanks unless it is quoted (ssh_config(5)).
            options.push(flag.into());
            options.push(format!("{name}=\"{text}\"").into());
        }
        Ok(())
    };
    if let Some(key) = &access.ssh_key_file {
        add_path("-i", "", key)?;
    }
    if let Some(hosts) = &access.known_hosts_file {
        add_path("-o", "UserKnownHostsFile", hosts)?;
    }
    if access.ssh_key_file.is_some() {
        // Only this key: a server counts each other one as a failed log-in, and an agent might ask.
        options.extend(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"].map(OsString::from));
    }
    Ok(options)
}

/// The value of `core.sshCommand`, if the task says anything about ssh.
pub(crate) fn command_for_git(access: &GitAccess) -> Result<Option<String>, WorkspaceError> {
    if access.ssh_key_file.is_none() && access.known_hosts_file.is_none() {
        return Ok(None);
    }
    let options = options(access)?;
    let words: Vec<String> = options.iter().map(|word| shell_quote(&word.to_string_lossy())).collect();
    Ok(Some(format!("ssh {}", words.join(" "))))
}

/// The command that speaks git's protocol on its pipes.
pub(crate) fn command(
    url: &RepoUrl,
    user: Option<&str>,
    access: &GitAccess,
    env: &BTreeMap<String, String>,
) -> Result<Command, WorkspaceError> {
    let mut command = Command::new("ssh");
    command.env_clear().envs(env).env("LC_ALL", "C").env_remove("SSH_ASKPASS").env_remove("DISPLAY");
    command.args(options(access)?);
    // The server lists only what is asked for in version 2; a server that does not pass the variable on speaks an older one.
    command.args(["-o", "SendEnv=GIT_PROTOCOL"]).env("GIT_PROTOCOL", "version=2");
    if let Some(port) = url.port() {
        command.arg("-p").arg(port.to_string());
    }
    let host = url.host().trim_start_matches('[').trim_end_matches(']');
    command.arg("--").arg(match user {
        Some(user) => format!("{user}@{host}"),
        None => host.to_owned(),
    });
    // `/~user/x` means `~user/x` (git-clone(1)); quoted as the server's shell reads it.
    let path = url.path();
    let path = if path.starts_with("/~") { &path[1..] } else { path };
    command.arg(format!("git-upload-pack '{}'", path.replace('\'', r"'\''").replace('!', r"'\!'")));
    Ok(command)
}

/// What ssh says, and ends, where its user has no entry in /etc/passwd (main() of OpenSSH's ssh.c).
const NO_USER: &str = "No user exists for uid";

/// What ssh, or the git at its other end, complained about.
pub(crate) fn explain(url: &RepoUrl, said: &str) -> WorkspaceError {
    let url = url.to_string();
    if let Some(error) = super::fetch::commit_not_given(&url, said) {
        return error;
    }
    // ssh warns before it fails; the lines that matter are the last ones.
    let lines: Vec<&str> =
        said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Warning: Permanently added")).collect();
    let text = lines.join(" ");
    let short: String = lines.iter().rev().take(6).rev().copied().collect::<Vec<_>>().join(" ");
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
        return WorkspaceError::HostKey { url, said: short };
    }
    if has(&[NO_USER]) {
        return WorkspaceError::NoUser { url, said: short };
    }
    if has(&["Permission denied (", "Too many authentication failures", "UNPROTECTED PRIVATE KEY FILE", "Load key"]) {
        return WorkspaceError::AuthFailed { url, said: short, given: true };
    }
    if has(&[
        "does not appear to be a git repository",
        "epository not found",
        "No such file or directory",
        "could not be found",
        "not a git repository",
    ]) {
        return WorkspaceError::RepositoryNotFound { url, said: short };
    }
    if has(&[
        "Connection refused",
        "Connection timed out",
        "Connection reset",
        "Connection closed",
        "Could not resolve hostname",
        "No route to host",
        "Network is unreachable",
        "Broken pipe",
        "early EOF",
    ]) {
        return WorkspaceError::Network { url, said: short };
    }
    WorkspaceError::Fetch { url, said: short }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_sdk::verdict::Reason;

    #[test]
    fn complaints_are_told_apart() {
        let url = RepoUrl::parse("git@host:x").unwrap();
        for (said, reason) in [
            ("Host key verification failed.", Reason::CloneFailed),
            ("git@host: Permission denied (publickey).", Reason::CloneAuthFailed),
            ("fatal: '/x' does not appear to be a git repository", Reason::RepositoryNotFound),
            ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", Reason::RepositoryNotFound),
            ("ssh: connect to host x port 22: Connection refused", Reason::NetworkFailed),
            ("No user exists for uid 4711", Reason::CloneFailed),
        ] {
            assert_eq!(explain(&url, said).reason(), reason, "{said}");
        }
    }

    #[test]
    fn a_user_that_the_image_does_not_know_is_told_what_ssh_needs() {
        let error = explain(&RepoUrl::parse("git@host:x").unwrap(), "No user exists for uid 61100");
        assert!(error.to_string().contains("uid 61100") && error.hint().contains("/etc/passwd"), "{error}: {}", error.hint());
    }

    #[test]
    fn the_path_is_one_word_for_the_servers_shell() {
        let url = RepoUrl::parse("ssh://git@host:2222/srv/it's; rm -rf x").unwrap();
        let command = command(&url, Some("git"), &GitAccess::default(), &BTreeMap::new()).unwrap();
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words.last().unwrap(), r"git-upload-pack '/srv/it'\''s; rm -rf x'");
        assert!(words.windows(2).any(|pair| pair == ["--", "git@host"]));
    }
}
