//! Who commits: an agent's `git commit` fails in a container where nobody has said a name, so one is given where none is.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use agent_sdk::task::GitAccess;

/// The name where neither the task nor any configuration has one.
const DEFAULT_NAME: &str = "agent-runner";
/// The address that goes with it; `.invalid` is reserved, so that it is nobody's (RFC 2606).
const DEFAULT_EMAIL: &str = "agent-runner@localhost.invalid";
/// How many pairs of key and value the environment holds for git.
const COUNT: &str = "GIT_CONFIG_COUNT";

/// Variables for `git`, only where the repository's, user's and system's configuration say nothing.
///
/// As configuration by the environment (`git-config(1)`, "ENVIRONMENT"), and not as `GIT_AUTHOR_NAME` and its like: those would win over
/// `git -c user.name=…` too, so that an agent could not say who commits. `more` is what else the agent's environment gets.
#[must_use]
pub fn variables(
    env: &BTreeMap<OsString, OsString>,
    more: &[(String, String)],
    git: &GitAccess,
    dir: &Path,
) -> BTreeMap<String, Option<String>> {
    // Opened when it is needed, and once: this stands between the clone and the agent.
    let repository = LazyCell::new(|| gix::open(dir).ok());
    let configured = |key: &str| repository.as_ref().is_some_and(|repository| repository.config_snapshot().string(key).is_some());
    let is_set = |kind: &str| ["AUTHOR", "COMMITTER"].iter().all(|role| env.contains_key(OsStr::new(&format!("GIT_{role}_{kind}"))));
    let wanted =
        [("NAME", "user.name", git.user_name.as_deref(), DEFAULT_NAME), ("EMAIL", "user.email", git.user_email.as_deref(), DEFAULT_EMAIL)];
    let said = wanted
        .into_iter()
        .filter(|(kind, key, given, _)| !is_set(kind) && (given.is_some() || !configured(key)))
        .map(|(_, key, given, default)| (key, given.unwrap_or(default)));
    // The pairs are numbered, and others may be there.
    let of_more = more.iter().find(|(name, _)| name == COUNT).map(|(_, count)| count.as_str());
    let count = of_more.or_else(|| env.get(OsStr::new(COUNT)).and_then(|count| count.to_str()));
    let mut next: usize = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    let mut variables = BTreeMap::new();
    for (key, value) in said {
        variables.insert(format!("GIT_CONFIG_KEY_{next}"), Some(key.to_owned()));
        variables.insert(format!("GIT_CONFIG_VALUE_{next}"), Some(value.to_owned()));
        next += 1;
        variables.insert(COUNT.to_owned(), Some(next.to_string()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_name_is_said_after_what_is_there_and_set_variables_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let git = GitAccess { user_name: Some("Ada".into()), ..GitAccess::default() };
        let email = ["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name.into(), "bob@example.org".into()));
        let env: BTreeMap<OsString, OsString> = email.into_iter().chain([(COUNT.into(), "1".into())]).collect();
        let said = |number: &str| {
            let pairs = [(COUNT, number.to_owned()), ("KEY", "user.name".to_owned()), ("VALUE", "Ada".to_owned())];
            let before = number.parse::<usize>().unwrap() - 1;
            let name = |name: &str| if name == COUNT { name.to_owned() } else { format!("GIT_CONFIG_{name}_{before}") };
            pairs.into_iter().map(|(key, value)| (name(key), Some(value))).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(variables(&env, &[], &git, dir.path()), said("2"));
        let more = [(COUNT.to_owned(), "2".to_owned())];
        assert_eq!(variables(&env, &more, &git, dir.path()), said("3"));
    }

    #[test]
    fn nothing_is_said_where_everything_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"];
        let env = names.map(|name| (name.into(), "bob".into())).into();
        assert_eq!(variables(&env, &[], &GitAccess::default(), dir.path()), BTreeMap::new());
    }
}
