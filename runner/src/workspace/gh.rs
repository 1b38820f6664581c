//! GitHub's CLI and the token: `gh` has no helper that it could ask, and a variable would keep what was true when the run began. So a
//! program of the same name stands before it in the agent's `PATH`, which reads the token file at each call and then becomes the real one.
//!
//! It is a script whose interpreter is the runner (`#!RUNNER gh`), so that no shell is needed; below its first line stands what it must
//! know, as JSON. The token itself is in no file of ours.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_sdk::task::Workspace;
use serde::{Deserialize, Serialize};

use super::url::RepoUrl;
use super::{Prepared, config};

/// The program's name.
pub const PROGRAM: &str = "gh";
/// Where GitHub itself is.
const GITHUB: &str = "github.com";
/// The kernel reads so much of a script's first line (`execve(2)`; 127 before Linux 5.1).
const FIRST_LINE: usize = 127;

/// What the program that stands before `gh` must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StandIn {
    /// The file with the token.
    pub token_file: PathBuf,
    /// The host that gets it.
    pub host: String,
}

impl StandIn {
    /// For the repository of a task: its host gets the token, and without a repository that has one, GitHub.
    #[must_use]
    pub fn of(workspace: &Workspace, prepared: &Prepared, token_file: &Path) -> Self {
        let origin = || prepared.git_dir.as_deref().and_then(config::origin_url);
        let url = workspace.repo.clone().or_else(origin).and_then(|url| RepoUrl::parse(&url).ok());
        let host = url.filter(|url| !url.host().is_empty()).map(|url| match url.origin() {
            // As the web knows it, with a port that is not the usual one.
            Some(origin) => origin.split("://").last().unwrap_or_default().to_ascii_lowercase(),
            None => url.host().to_ascii_lowercase(),
        });
        let token_file = std::path::absolute(token_file).unwrap_or_else(|_| token_file.to_owned());
        Self { token_file, host: host.unwrap_or_else(|| GITHUB.to_owned()) }
    }

    /// The script; `None` where the kernel would not understand its first line.
    #[must_use]
    pub fn script(&self, runner: &Path) -> Option<String> {
        let runner = runner.to_str().filter(|path| !path.contains(char::is_whitespace))?;
        let first = format!("#!{runner} {PROGRAM}\n");
        if first.len() > FIRST_LINE {
            return None;
        }
        Some(format!("{first}{}\n", serde_json::to_string(self).ok()?))
    }

    /// Reads a script.
    ///
    /// # Errors
    /// It is not one that [`Self::script`] made.
    pub fn parse(script: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(script.split_once('\n').map_or("", |(_, settings)| settings))
    }

    /// The variables by which `gh` takes a token for this host (`gh help environment`).
    #[must_use]
    pub fn variables(&self, token: &str) -> Vec<(&'static str, String)> {
        let is_github = self.host == GITHUB;
        let name = if is_github || self.host.ends_with(".ghe.com") { "GH_TOKEN" } else { "GH_ENTERPRISE_TOKEN" };
        let host = (!is_github).then(|| ("GH_HOST", self.host.clone()));
        [(name, token.to_owned())].into_iter().chain(host).collect()
    }
}

/// The first `gh` of a path that is not this script.
#[must_use]
pub fn real(path: &OsStr, script: Option<&Path>) -> Option<PathBuf> {
    let own = script.and_then(|script| script.metadata().ok()).map(|found| (found.dev(), found.ino()));
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0 && own != Some((found.dev(), found.ino())))
    };
    std::env::split_paths(path).filter(|directory| directory.is_absolute()).map(|directory| directory.join(PROGRAM)).find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_in(host: &str) -> StandIn {
        StandIn { token_file: "/run/secrets/git token".into(), host: host.to_owned() }
    }

    #[test]
    fn a_script_is_read_back_and_begins_with_what_the_kernel_starts() {
        let script = stand_in("github.com").script(Path::new("/runner/agent-runner")).unwrap();
        assert!(script.starts_with("#!/runner/agent-runner gh\n"), "{script}");
        assert_eq!(StandIn::parse(&script).unwrap(), stand_in("github.com"));
        assert!(StandIn::parse("#!/bin/sh\necho\n").is_err() && StandIn::parse("").is_err());
        for runner in ["/with blank/agent-runner".to_owned(), format!("/{}/agent-runner", "x".repeat(120))] {
            assert_eq!(stand_in("github.com").script(Path::new(&runner)), None);
        }
    }

    #[test]
    fn each_host_has_the_variables_that_gh_reads_for_it() {
        let variables = |host: &str| stand_in(host).variables("t");
        assert_eq!(variables("github.com"), [("GH_TOKEN", "t".into())]);
        assert_eq!(variables("acme.ghe.com"), [("GH_TOKEN", "t".into()), ("GH_HOST", "acme.ghe.com".into())]);
        assert_eq!(variables("git.acme.example"), [("GH_ENTERPRISE_TOKEN", "t".into()), ("GH_HOST", "git.acme.example".into())]);
    }

    #[test]
    fn the_host_is_the_repositorys() {
        let nowhere = |repo: Option<&str>| {
            let workspace = Workspace { repo: repo.map(str::to_owned), ..Workspace::default() };
            StandIn::of(&workspace, &Prepared::without_repository("/nowhere".into()), Path::new("/t")).host
        };
        assert_eq!(nowhere(None), "github.com");
        assert_eq!(nowhere(Some("https://GitHub.com/acme/app")), "github.com");
        assert_eq!(nowhere(Some("git@git.acme.example:app.git")), "git.acme.example");
        assert_eq!(nowhere(Some("https://git.acme.example:8443/app")), "git.acme.example:8443");
        assert_eq!(nowhere(Some("/srv/app.git")), "github.com");
    }
}
