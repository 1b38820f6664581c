//! Who commits: an agent's `git commit` fails in a container where nobody has said a name, so one is given where none is.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use agent_sdk::task::GitAccess;

/// The name where neither the task nor any configuration has one.
const DEFAULT_NAME: &str = "agent-runner";
/// The address that goes with it; `.invalid` is reserved, so that it is nobody's (RFC 2606).
const DEFAULT_EMAIL: &str = "agent-runner@localhost.invalid";

/// Variables for `git` (`git(1)`, "Git Commits"), only where the repository's, user's and system's configuration say nothing.
#[must_use]
pub fn variables(env: &BTreeMap<OsString, OsString>, git: &GitAccess, dir: &Path) -> BTreeMap<String, Option<String>> {
    let configured = |key: &str| gix::open(dir).ok().is_some_and(|repository| repository.config_snapshot().string(key).is_some());
    let mut variables = BTreeMap::new();
    let mut fill = |kind: &str, key: &str, given: Option<&String>, default: &str| {
        for role in ["AUTHOR", "COMMITTER"] {
            let name = format!("GIT_{role}_{kind}");
            let set = env.contains_key(OsStr::new(&name));
            if !set && (given.is_some() || !configured(key)) {
                variables.insert(name, Some(given.map_or(default, String::as_str).to_owned()));
            }
        }
    };
    fill("NAME", "user.name", git.user_name.as_ref(), DEFAULT_NAME);
    fill("EMAIL", "user.email", git.user_email.as_ref(), DEFAULT_EMAIL);
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_name_is_used_and_a_set_variable_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let git = GitAccess { user_name: Some("Ada".into()), ..GitAccess::default() };
        let env = BTreeMap::from([("GIT_AUTHOR_NAME".into(), "Bob".into())]);
        let variables = variables(&env, &git, dir.path());
        assert!(!variables.contains_key("GIT_AUTHOR_NAME"));
        assert_eq!(variables["GIT_COMMITTER_NAME"].as_deref(), Some("Ada"));
    }
}
