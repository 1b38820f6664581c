//! One fetch by gix: connect, list, receive; tried again if what went wrong is transient.

use std::fs::Permissions;
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use gix::bstr::ByteSlice;
use gix::progress::Discard;
use gix::remote::fetch::{Shallow, Tags};
use gix::remote::ref_map;

use super::connect::{self, Trace};
use super::error::{WorkspaceError, describe, find_io, is_disk_full, says_disk_full};
use super::refs::Listing;
use super::url::RepoUrl;
use super::wire::{Stopped, pause};
use super::{Context, Progress};
use agent_sdk::task::GitAccess;

/// How often and how soon a failed fetch is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Tries in all.
    pub attempts: u32,
    /// The wait before the second try; it doubles each time, and up to as much again is added at random, so that a
    /// thousand Pods that lost the same server do not come back in step.
    pub pause: Duration,
}

impl Default for Retry {
    /// Three tries, within some ten seconds: a load balancer that fails over is back by then, a server that is down is not.
    fn default() -> Self {
        Self { attempts: 3, pause: Duration::from_millis(1500) }
    }
}

/// What a fetch is made with.
pub(crate) struct Session<'a> {
    pub(crate) url: &'a RepoUrl,
    pub(crate) access: &'a GitAccess,
    pub(crate) context: &'a Context<'a>,
}

/// `depth` of a task, for a repository that has no history yet.
pub(crate) fn shallow(depth: u32) -> Shallow {
    NonZeroU32::new(depth).map_or(Shallow::NoChange, Shallow::DepthAtRemote)
}

/// Lets those read packs who may read the repository, as with git's own: gix makes them for their owner alone, and the next run, or whoever
/// works in another container of the pod, may be another user.
fn share_packs(repo: &gix::Repository) {
    let objects = repo.common_dir().join("objects");
    let Ok(all) = objects.metadata() else { return };
    for entry in std::fs::read_dir(objects.join("pack")).into_iter().flatten().flatten() {
        let is_private = entry.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o777 == 0o600);
        if is_private {
            // Another user's stay as they are.
            let _ = std::fs::set_permissions(entry.path(), Permissions::from_mode(all.mode() & 0o444));
        }
    }
}

impl Session<'_> {
    /// Fetches, and tries again where that makes sense. `check` sees the server's list before anything is received.
    pub(crate) fn fetch(
        &self,
        repo: &gix::Repository,
        specs: &[String],
        depth: &Shallow,
        check: &dyn Fn(&Listing) -> Result<(), WorkspaceError>,
    ) -> Result<Listing, WorkspaceError> {
        let Retry { attempts, pause: mut wait } = self.context.retry;
        for attempt in 1.. {
            (self.context.progress)(Progress::Fetching { attempt });
            match self.fetch_once(repo, specs, Some(depth), check) {
                Err(error) if error.is_transient() && attempt < attempts => {
                    let wait_now = wait + wait.mul_f64(random_fraction());
                    (self.context.progress)(Progress::Retrying { error: &error, after: wait_now });
                    pause(wait_now, &self.context.cancel).map_err(|Stopped| WorkspaceError::Cancelled)?;
                    wait *= 2;
                }
                result => return result,
            }
        }
        Err(WorkspaceError::Cancelled)
    }

    /// Asks what the server has, and receives nothing.
    pub(crate) fn list(
        &self,
        repo: &gix::Repository,
        specs: &[String],
        check: &dyn Fn(&Listing) -> Result<(), WorkspaceError>,
    ) -> Result<Listing, WorkspaceError> {
        self.fetch_once(repo, specs, None, check)
    }

    fn fetch_once(
        &self,
        repo: &gix::Repository,
        specs: &[String],
        depth: Option<&Shallow>,
        check: &dyn Fn(&Listing) -> Result<(), WorkspaceError>,
    ) -> Result<Listing, WorkspaceError> {
        let trace = Trace::default();
        let mut unchecked = None;
        let result = connect::open(self.url, self.access, self.context.env, &self.context.cancel, &trace)
            .and_then(|transport| self.receive(repo, specs, depth, transport, check, &mut unchecked).map_err(|error| self.explain(&error)));
        if let Some(error) = unchecked {
            return Err(error);
        }
        share_packs(repo);
        // What the transport saw is nearer to the cause than what gix was doing at the time; it is complete once the
        // transport is gone, which it is here.
        result.map_err(|error| match (&error, trace.take()) {
            (WorkspaceError::DiskFull { .. } | WorkspaceError::Cancelled, _) | (WorkspaceError::RefNotFound { .. }, _) | (_, None) => error,
            (_, Some(noted)) => noted,
        })
    }

    fn receive(
        &self,
        repo: &gix::Repository,
        specs: &[String],
        depth: Option<&Shallow>,
        transport: Box<dyn gix_transport::client::blocking_io::Transport + Send>,
        check: &dyn Fn(&Listing) -> Result<(), WorkspaceError>,
        unchecked: &mut Option<WorkspaceError>,
    ) -> gix::Result<Listing> {
        let specs = specs.iter().map(|spec| spec.as_bytes().as_bstr());
        let remote = repo.remote_at(self.url.as_str())?.with_fetch_tags(Tags::None).with_refspecs(specs, gix::remote::Direction::Fetch)?;
        let connection = remote
            .to_connection_with_transport(transport)
            // Credentials are the transport's own affair.
            .with_credentials(|_| Ok(None))
            .with_transport_options(Box::new(()));
        let prepared = connection.prepare_fetch(Discard, ref_map::Options::default())?;
        let listing = Listing::new(&prepared.ref_map().remote_refs);
        if let Err(error) = check(&listing) {
            *unchecked = Some(error);
            return Ok(listing);
        }
        if let Some(depth) = depth
            && !prepared.ref_map().mappings.is_empty()
        {
            (self.context.progress)(Progress::Receiving);
            prepared.with_shallow(depth.clone()).receive(Discard, &self.context.cancel)?;
        }
        Ok(listing)
    }

    /// An error of gix that nobody on the wire saw: the server said something, or the file system did.
    fn explain(&self, error: &gix::Error) -> WorkspaceError {
        let url = self.url.to_string();
        if self.context.is_cancelled() {
            return WorkspaceError::Cancelled;
        }
        let said = describe(error);
        if let Some(io) = find_io(error) {
            if is_disk_full(io) {
                return WorkspaceError::DiskFull { dir: self.context.dir.clone(), said };
            }
            if matches!(io.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
            {
                return WorkspaceError::Network { url, said: format!("the connection broke: {said}") };
            }
        }
        let lower = said.to_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        if says_disk_full(&said) {
            return WorkspaceError::DiskFull { dir: self.context.dir.clone(), said };
        }
        if let Some(error) = commit_not_given(&url, &said) {
            return error;
        }
        if has(&["a hash sized 64 hexadecimal characters is invalid"]) {
            return WorkspaceError::Fetch { url, said: "its object ids are SHA-256, and agent-runner reads SHA-1 only".to_owned() };
        }
        // git-daemon says no more than this of what it does not have or does not show.
        if has(&[
            "access denied or repository not exported",
            "no such repository",
            "does not appear to be a git repository",
            "repository not found",
        ]) {
            return WorkspaceError::RepositoryNotFound { url, said };
        }
        if has(&["early eof", "unexpected eof", "unexpected end of file", "failed to fill whole buffer", "peer disconnected", "premature"])
        {
            return WorkspaceError::Network { url, said: format!("the connection broke: {said}") };
        }
        WorkspaceError::Fetch { url, said }
    }
}

/// What upload-pack says when it has no such commit, or does not give it.
pub(crate) fn commit_not_given(url: &str, said: &str) -> Option<WorkspaceError> {
    if !["not our ref", "unadvertised object"].iter().any(|part| said.contains(part)) {
        return None;
    }
    let is_id = |word: &&str| word.len() >= 40 && word.chars().all(|character| character.is_ascii_hexdigit());
    let reference = said.split(|character: char| !character.is_ascii_alphanumeric()).find(is_id).unwrap_or("commit").to_owned();
    Some(WorkspaceError::RefNotFound { reference, url: url.to_owned(), said: said.to_owned() })
}

/// Between 0 and 1; spreads waits, guards nothing.
fn random_fraction() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    // Each `RandomState` has keys of its own from the system's source of randomness.
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
