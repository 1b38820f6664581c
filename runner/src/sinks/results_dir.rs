//! A directory with one file per result, as Tekton, Argo and KubeOpenCode read them.
//!
//! Before the runner writes there, the agent may have: what it left are claims. Afterwards a file of the agent's by the name of a known key
//! that the runner has no value for is gone, so that nobody takes a claim for a fact. What stood there before the run (another step of a
//! Tekton task, an earlier run on the same volume) is neither a claim of this run nor ours to remove.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use agent_sdk::outcome::Outcome;
use agent_sdk::results::{VERDICT_NAMES, is_valid_key, key};

use super::claims::{Claims, MAX_BYTES, MAX_FILES, MAX_VALUE};
use super::place::{Directory, Identity, InTheWay, is_temporary, outside_repository};
use super::{SinkError, share};

/// How many names are looked at before the rest is left unread: a directory is the agent's to fill.
const MAX_NAMES: usize = 16 * MAX_FILES;

/// The results directory of a run.
#[derive(Debug, Clone)]
pub struct ResultsDir {
    path: PathBuf,
    /// What stood there when the run began.
    before: BTreeMap<OsString, Identity>,
}

impl ResultsDir {
    /// The directory at `path`, created if it is missing, so that the agent can leave files there.
    ///
    /// # Errors
    /// It lies within `repository`, is a link, or cannot be made.
    pub fn prepare(path: impl Into<PathBuf>, repository: Option<&Path>) -> Result<Self, SinkError> {
        let path = path.into();
        if let Some(repository) = repository {
            outside_repository(&path, repository)?;
        }
        match DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(SinkError::of_io("create", &path, error)),
        }
        let directory = Directory::open_strictly(&path)?;
        let names = directory.names(MAX_NAMES)?;
        let before = names.into_iter().filter_map(|name| Some((name.clone(), directory.identity(Path::new(&name)).ok()??))).collect();
        Ok(Self { path, before })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands there: regular files with valid names, not too many and not too large. One line end at the end of a value is not part of
    /// it.
    #[must_use]
    pub fn read_claims(&self) -> Claims {
        let mut claims = Claims::default();
        let listed = Directory::open_strictly(&self.path).and_then(|directory| Ok((directory.names(MAX_NAMES)?, directory)));
        let (names, directory) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                claims.warnings.push(error.warning());
                return claims;
            }
        };
        let mut names: Vec<OsString> = names.into_iter().filter(|name| !self.is_from_before(&directory, name)).collect();
        // Small ones first, so that no large one keeps them out.
        names.sort_by_cached_key(|name| directory.length(Path::new(name)));
        let mut bytes = 0;
        for name in names {
            let Some(key) = name.to_str().filter(|name| is_valid_key(name)) else {
                if !name.to_str().is_some_and(is_temporary) {
                    claims.warnings.push(format!(
                        "`{}` is no result: a result's name is 1 to 63 letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
                        directory.join(&name).display()
                    ));
                }
                continue;
            };
            if claims.values.len() == MAX_FILES {
                claims.warnings.push(format!("`{}` holds more than {MAX_FILES} results; the others are not taken", self.path.display()));
                break;
            }
            match directory.read_text(Path::new(key), MAX_VALUE) {
                Ok(value) if bytes + value.len() > MAX_BYTES => {
                    let path = directory.join(key);
                    claims.warnings.push(format!("`{}` is not taken: all results together may have {MAX_BYTES} bytes", path.display()));
                }
                Ok(mut value) => {
                    bytes += value.len();
                    let line = value.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len());
                    value.truncate(line.unwrap_or(value.len()));
                    claims.values.push((key.to_owned(), value));
                }
                Err(error) => claims.warnings.push(error.warning()),
            }
            // A file with one bad byte per warning must not fill the outcome.
            if claims.warnings.len() > MAX_FILES {
                claims.warnings.truncate(MAX_FILES);
                claims.warnings.push(format!("`{}`: more is amiss than is told here", self.path.display()));
                break;
            }
        }
        claims.values.sort();
        claims
    }

    /// Writes one file per result, and `status`, `reason`, `message`. Goes on after a failure, and reports the first; else returns
    /// warnings.
    ///
    /// With a `room`, long values are shortened and the last ones left out, so that all of them fit it as a platform's small message has
    /// them.
    ///
    /// # Errors
    /// The directory or a file in it cannot be written.
    pub fn write(&self, outcome: &Outcome, room: Option<usize>) -> Result<Vec<String>, SinkError> {
        let directory = Directory::open_strictly(&self.path)?;
        // In order of worth: what is left out for want of room is the last.
        let mut entries = vec![("status", outcome.status.as_str().to_owned()), ("reason", outcome.reason.as_str().to_owned())];
        entries.extend(outcome.parameters());
        entries.push(("message", outcome.message.clone()));
        let warnings = room.and_then(|room| self.fit(&mut entries, room)).into_iter().collect();
        let mut first_error = None;
        let mut note = |result: Result<(), SinkError>| {
            if let Err(error) = result {
                first_error.get_or_insert(error);
            }
        };
        for (name, value) in &entries {
            note(directory.replace(Path::new(name), value.as_bytes(), InTheWay::Replace));
        }
        let reserved = key::ALL.iter().chain(VERDICT_NAMES);
        for name in reserved.filter(|name| !entries.iter().any(|(written, _)| written == *name)) {
            if !self.is_from_before(&directory, OsStr::new(name)) {
                note(directory.remove(Path::new(name)));
            }
        }
        first_error.map_or(Ok(warnings), Err)
    }

    /// Shortens values so that all fit the room, and says which.
    fn fit(&self, entries: &mut Vec<(&str, String)>, room: usize) -> Option<String> {
        let fitting = share::fitting(entries.iter().map(|(name, _)| *name), room);
        let mut cut: Vec<&str> = entries.drain(fitting..).map(|(name, _)| name).collect();
        let limit = share::share(entries.iter().map(|(name, value)| (*name, value.as_str())), room);
        for (name, value) in entries {
            if let Cow::Owned(shorter) = share::cut(value, limit) {
                *value = shorter;
                cut.push(name);
            }
        }
        let path = self.path.display();
        (!cut.is_empty()).then(|| format!("`{path}`: shortened, since the platform has {room} bytes for all results: {}", cut.join(", ")))
    }

    fn is_from_before(&self, directory: &Directory, name: &OsStr) -> bool {
        let Some(before) = self.before.get(name) else { return false };
        directory.identity(Path::new(name)).is_ok_and(|now| now.as_ref() == Some(before))
    }

    /// Writes one value, for `agent-runner emit`.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub fn write_one(path: &Path, name: &str, value: &str) -> Result<PathBuf, SinkError> {
        let directory = Directory::open_strictly(path)?;
        directory.replace(Path::new(name), value.as_bytes(), InTheWay::Replace)?;
        Ok(directory.join(name))
    }
}
