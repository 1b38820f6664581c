//! Which refs a task wants, and what the server's list says about them. Pure: nothing here talks to anybody.

use std::collections::BTreeMap;

use agent_sdk::task::Workspace;
use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::protocol::handshake::Ref;

use super::error::WorkspaceError;

/// What a task asks for, its names checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) reference: Reference,
    pub(crate) branch: Option<String>,
    pub(crate) base_branch: Option<String>,
}

/// What `ref` may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The remote's HEAD.
    #[default]
    Head,
    /// A branch or a tag.
    Name(String),
    /// A full ref name that is neither, for instance `refs/pull/7/head`.
    Full(String),
    /// A commit.
    Commit(ObjectId),
}

/// Where work begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// On this branch, which the remote may or may not have.
    Branch { name: String, commit: ObjectId, at_remote: bool },
    /// On no branch.
    Detached { commit: ObjectId },
    /// On a branch of an empty repository.
    Unborn { name: String },
}

impl Wanted {
    /// Checks the names.
    pub(crate) fn new(workspace: &Workspace) -> Result<Self, WorkspaceError> {
        let reference = match workspace.reference.as_deref() {
            None | Some("HEAD") => Reference::Head,
            Some(text) => match ObjectId::from_hex(text.as_bytes()) {
                Ok(id) => Reference::Commit(id),
                Err(_) => {
                    let name = text.strip_prefix("refs/heads/").or_else(|| text.strip_prefix("refs/tags/")).unwrap_or(text);
                    check_name(name)?;
                    if text.starts_with("refs/") && name == text {
                        Reference::Full(text.to_owned())
                    } else {
                        Reference::Name(text.to_owned())
                    }
                }
            },
        };
        let branch = |name: &Option<String>| -> Result<Option<String>, WorkspaceError> {
            let Some(name) = name else { return Ok(None) };
            let name = name.strip_prefix("refs/heads/").unwrap_or(name);
            check_name(name)?;
            Ok(Some(name.to_owned()))
        };
        Ok(Self { reference, branch: branch(&workspace.branch)?, base_branch: branch(&workspace.base_branch)? })
    }

    /// The refspecs of the fetch: what is wanted and nothing else.
    pub(crate) fn refspecs(&self) -> Vec<String> {
        let mut specs = Vec::new();
        let head = |name: &str| format!("+refs/heads/{name}:refs/remotes/origin/{name}");
        let tag = |name: &str| format!("+refs/tags/{name}:refs/tags/{name}");
        match &self.reference {
            Reference::Head => specs.push("HEAD".to_owned()),
            Reference::Name(name) => match (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/tags/")) {
                (Some(name), _) => specs.push(head(name)),
                (_, Some(name)) => specs.push(tag(name)),
                _ => specs.extend([head(name), tag(name)]),
            },
            Reference::Full(name) => specs.push(name.clone()),
            Reference::Commit(id) => specs.push(id.to_string()),
        }
        specs.extend(self.branch.as_deref().map(head));
        match &self.base_branch {
            Some(name) => specs.push(head(name)),
            // A commit is on no branch that we know; then the base is where the remote's HEAD points.
            None if matches!(self.reference, Reference::Commit(_) | Reference::Full(_)) => specs.push("HEAD".to_owned()),
            None => {}
        }
        specs.sort();
        specs.dedup();
        specs
    }

    /// Whether the list holds what was not asked for: servers of protocol version 0 and 1 cannot do otherwise.
    pub(crate) fn is_more_than_asked(&self, listing: &Listing) -> bool {
        let asked: Vec<String> =
            self.refspecs().iter().filter_map(|spec| Some(spec.trim_start_matches('+').split(':').next()?.to_owned())).collect();
        // Version 2 filters by prefix, so `x` brings `x-1` too.
        listing.refs.keys().any(|name| !asked.iter().any(|asked| name.starts_with(asked.as_str())))
    }

    /// Fails if something that is wanted is missing.
    pub(crate) fn check(&self, listing: &Listing, url: &str) -> Result<(), WorkspaceError> {
        let missing = |reference: &str, what: &str| {
            Err(WorkspaceError::RefNotFound {
                reference: reference.to_owned(),
                url: url.to_owned(),
                said: format!("the repository has no {what} of this name{}", if is_short_id(reference) { SHORT_ID } else { "" }),
            })
        };
        match &self.reference {
            Reference::Name(name) if listing.find(name).is_none() => return missing(name, "branch or tag"),
            Reference::Full(name) if !listing.refs.contains_key(name) => return missing(name, "ref"),
            _ => {}
        }
        match &self.base_branch {
            Some(name) if listing.branch(name).is_none() && !listing.is_empty() => missing(name, "branch"),
            _ => Ok(()),
        }
    }

    /// The base branch, as far as it is known from this listing.
    pub(crate) fn base_branch(&self, listing: &Listing) -> Option<String> {
        if self.base_branch.is_some() {
            return self.base_branch.clone();
        }
        match &self.reference {
            Reference::Name(name) => {
                let name = name.strip_prefix("refs/heads/").unwrap_or(name);
                if listing.branch(name).is_some() {
                    return Some(name.to_owned());
                }
            }
            Reference::Head | Reference::Full(_) | Reference::Commit(_) => {}
        }
        listing.head_branch.clone()
    }

    /// Where work begins. `peel` makes a commit of a tag.
    pub(crate) fn start(
        &self,
        listing: &Listing,
        peel: impl Fn(ObjectId) -> Result<ObjectId, WorkspaceError>,
    ) -> Result<Start, WorkspaceError> {
        if let Some(name) = &self.branch
            && let Some(commit) = listing.branch(name)
        {
            return Ok(Start::Branch { name: name.clone(), commit, at_remote: true });
        }
        let (of_ref, commit) = match &self.reference {
            Reference::Head => (listing.head_branch.clone(), listing.head),
            Reference::Commit(id) => (None, Some(*id)),
            Reference::Full(name) => (None, listing.refs.get(name).copied()),
            Reference::Name(name) => {
                let short = name.strip_prefix("refs/heads/").unwrap_or(name);
                (listing.branch(short).map(|_| short.to_owned()), listing.find(name))
            }
        };
        let Some(commit) = commit else {
            let name = self.branch.clone().or(of_ref).unwrap_or_else(|| "main".to_owned());
            return Ok(Start::Unborn { name });
        };
        let commit = peel(commit)?;
        Ok(match (&self.branch, of_ref) {
            (Some(name), _) => Start::Branch { name: name.clone(), commit, at_remote: false },
            (None, Some(name)) => Start::Branch { name, commit, at_remote: true },
            (None, None) => Start::Detached { commit },
        })
    }
}

/// What is said of a name that is missing and could be meant for a commit.
const SHORT_ID: &str = ", and a commit is given by its full id";

/// Whether this is how git shortens the id of a commit.
fn is_short_id(name: &str) -> bool {
    (4..40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// git's own rules for names, and no leading dash: some program down the line would take it for an option.
fn check_name(name: &str) -> Result<(), WorkspaceError> {
    let full = format!("refs/heads/{name}");
    let valid = !name.starts_with('-')
        && name != "HEAD"
        && !name.contains('*')
        && gix::validate::reference::name(full.as_bytes().as_bstr()).is_ok();
    if valid { Ok(()) } else { Err(WorkspaceError::InvalidRef { reference: name.to_owned() }) }
}

/// What the server has of what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Full name to what it points at, tags as they are.
    pub(crate) refs: BTreeMap<String, ObjectId>,
    /// Where HEAD points.
    pub(crate) head_branch: Option<String>,
    /// What HEAD is.
    pub(crate) head: Option<ObjectId>,
}

impl Listing {
    pub(crate) fn new(refs: &[Ref]) -> Self {
        let mut listing = Self::default();
        for item in refs {
            let (name, object, _) = item.unpack();
            if name == "HEAD" {
                listing.head = object.map(ToOwned::to_owned);
                if let Ref::Symbolic { target, .. } | Ref::Unborn { target, .. } = item {
                    listing.head_branch = target.to_str().ok().and_then(|target| target.strip_prefix("refs/heads/")).map(str::to_owned);
                }
            } else if let (Ok(name), Some(object)) = (name.to_str(), object) {
                listing.refs.insert(name.to_owned(), object.to_owned());
            }
        }
        listing
    }

    pub(crate) fn branch(&self, name: &str) -> Option<ObjectId> {
        self.refs.get(&format!("refs/heads/{name}")).copied()
    }

    /// A branch or, if there is none, a tag; or exactly the full name that was given.
    pub(crate) fn find(&self, name: &str) -> Option<ObjectId> {
        self.refs.get(name).copied().or_else(|| self.branch(name)).or_else(|| self.refs.get(&format!("refs/tags/{name}")).copied())
    }

    fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.head.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(reference: Option<&str>, branch: Option<&str>, base: Option<&str>) -> Result<Wanted, WorkspaceError> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Wanted::new(&Workspace { reference: owned(reference), branch: owned(branch), base_branch: owned(base), ..Workspace::default() })
    }

    #[test]
    fn only_what_is_wanted_is_asked_for() {
        let id = "0123456789012345678901234567890123456789";
        for (reference, branch, base, specs) in [
            (None, None, None, vec!["HEAD"]),
            (Some("HEAD"), None, None, vec!["HEAD"]),
            (Some("x"), None, None, vec!["+refs/heads/x:refs/remotes/origin/x", "+refs/tags/x:refs/tags/x"]),
            (Some("refs/heads/x"), None, None, vec!["+refs/heads/x:refs/remotes/origin/x"]),
            (Some("refs/pull/7/head"), None, Some("b"), vec!["+refs/heads/b:refs/remotes/origin/b", "refs/pull/7/head"]),
            (Some(id), None, None, vec![id, "HEAD"]),
            (None, Some("w"), None, vec!["+refs/heads/w:refs/remotes/origin/w", "HEAD"]),
        ] {
            assert_eq!(wanted(reference, branch, base).unwrap().refspecs(), specs);
        }
    }

    #[test]
    fn names_that_git_or_a_program_would_misread_are_refused() {
        for name in ["-x", "a..b", "a b", "a:b", "+a", "a*", "HEAD", "", "a.lock", "@{u}", "refs/heads/-x", "refs/heads/HEAD"] {
            // As the ref, `HEAD` is the remote's.
            let of_ref = (name != "HEAD").then(|| wanted(Some(name), None, None));
            for result in of_ref.into_iter().chain([wanted(None, Some(name), None), wanted(None, None, Some(name))]) {
                if name == "+a" {
                    continue; // a valid name in git
                }
                assert!(result.is_err(), "{name}");
            }
        }
    }

    #[test]
    fn a_short_id_that_is_missing_is_told_what_it_lacks() {
        for (name, is_told) in [("cb28cda", true), ("face", true), ("abc", false), ("fix-7", false)] {
            let error = wanted(Some(name), None, None).unwrap().check(&Listing::default(), "u").unwrap_err().to_string();
            assert_eq!(error.contains(SHORT_ID), is_told, "{error}");
        }
    }
}
