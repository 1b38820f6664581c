//! The place where an agent runs: a private directory that goes with the run, a home that can be written, the variables it gets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use agent_sdk::agent::{RepositoryFile, Surroundings};
use agent_sdk::marker::Nonce;

use crate::files::Directory;
use crate::inputs::settings::{NONCE, SETTINGS, TASK_FILE};
use crate::sinks::{Claims, ResultsDir};

/// Which file mode a directory of this run has: nobody else looks in.
const PRIVATE: u32 = 0o700;

/// How a private directory's name begins.
const NAME: &str = "agent-runner-";

/// The agent's HOME, below the private directory.
const HOME: &str = "home";

/// The variable by which a script finds the directory to leave results in.
const RESULTS_DIR: &str = "AGENT_RESULTS_DIR";

/// Its name below the private directory.
const RESULTS: &str = "results";

/// What the runner is called where somebody starts it by name.
const RUNNER: &str = "agent-runner";

/// Where programs stand that the agent finds before others, below the private directory.
const PROGRAMS: &str = "bin";

/// The place, gone when dropped.
#[derive(Debug)]
pub struct Place {
    private_dir: PathBuf,
    home: PathBuf,
    results: Option<ResultsDir>,
    /// Whether a home in it stays behind.
    leaves_home: bool,
}

/// No place could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No directory can be written.
    #[error("no directory can be written for this run's private files; tried {tried}: {source}")]
    NotWritable {
        /// Where.
        tried: String,
        /// What the last one answered.
        source: io::Error,
    },
}

impl Place {
    /// Makes it: below TMPDIR, else /tmp, /dev/shm.
    ///
    /// # Errors
    /// Nothing can be written, or no randomness.
    pub fn make(env: &BTreeMap<OsString, OsString>) -> Result<Self, PlaceError> {
        let given = env.get(OsStr::new("TMPDIR")).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let candidates: Vec<PathBuf> = given.into_iter().chain(["/tmp", "/dev/shm"].map(PathBuf::from)).collect();
        // Not guessable, so that nobody can stand in its way in a directory that all may write.
        let name = format!("{NAME}{}", super::nonce().as_str());
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for base in &candidates {
            let private_dir = base.join(&name);
            match std::fs::DirBuilder::new().mode(PRIVATE).create(&private_dir) {
                Ok(()) => {
                    let home = home(env, &private_dir);
                    let results = private_dir.join(RESULTS);
                    // If this fails, what the agent wants to leave there fails, and says so.
                    let _ = std::fs::DirBuilder::new().mode(PRIVATE).create(&results);
                    // Now, while it is empty: what is there already would not count as left by the agent.
                    let results = ResultsDir::prepare(results, None).ok();
                    return Ok(Self { private_dir, home, results, leaves_home: false });
                }
                Err(error) => last = error,
            }
        }
        let tried = candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        Err(PlaceError::NotWritable { tried, source: last })
    }

    /// A place without a private directory, for what needs none.
    #[must_use]
    pub fn nowhere(env: &BTreeMap<OsString, OsString>) -> Self {
        let home = env.get(OsStr::new("HOME")).filter(|home| !home.is_empty()).map_or_else(|| PathBuf::from("/"), PathBuf::from);
        Self { private_dir: PathBuf::new(), home, results: None, leaves_home: false }
    }

    /// In a container of its own a home in it is left behind: there may be very much in it, it goes with the container, and nobody waits
    /// for its removal who has read the report.
    #[must_use]
    pub fn in_container(mut self, is_own: bool) -> Self {
        self.leaves_home = is_own;
        self
    }

    /// Its directory, which nobody else may look into.
    #[must_use]
    pub fn private_dir(&self) -> &Path {
        &self.private_dir
    }

    /// Where the agent may leave results if the task names no directory.
    #[must_use]
    pub fn results_dir(&self) -> Option<PathBuf> {
        self.results.as_ref().map(|results| results.path().to_owned())
    }

    /// Puts a program into a directory of this run that only holds such; that directory. `None` where there is no place, or it cannot be
    /// written.
    #[must_use]
    pub fn put_program(&self, name: &str, script: &str) -> Option<PathBuf> {
        if self.private_dir.as_os_str().is_empty() {
            return None;
        }
        let directory = Directory::open(&self.private_dir).ok()?.descend_or_make(Path::new(PROGRAMS), PRIVATE).ok()?;
        directory.write(Path::new(name), script.as_bytes(), PRIVATE).ok()?;
        Some(self.private_dir.join(PROGRAMS))
    }

    /// Makes `~/.local/bin`, where programs are usually installed for one user, if it stands on `PATH`: a volume over an image's home hides
    /// the image's own.
    pub fn make_local_bin(&self, env: &BTreeMap<OsString, OsString>) {
        let local_bin = self.home.join(".local/bin");
        let on_path = env.get(OsStr::new("PATH")).is_some_and(|path| std::env::split_paths(path).any(|dir| dir == local_bin));
        if on_path {
            // Whoever needs it and cannot have it says so.
            let _ = std::fs::create_dir_all(local_bin);
        }
    }

    /// What the agent left there.
    #[must_use]
    pub fn claims(&self) -> Claims {
        self.results.as_ref().map(ResultsDir::read_claims).unwrap_or_default()
    }

    /// What an agent's plan is made from.
    #[must_use]
    pub fn surroundings(
        &self,
        env: &BTreeMap<OsString, OsString>,
        work_tree: &Path,
        workdir: &Path,
        repository_files: BTreeMap<PathBuf, RepositoryFile>,
    ) -> Surroundings {
        // Some agents look up by the real path how far they may trust a directory: a link to it would be another one to them.
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Surroundings {
            env: env.iter().filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))).collect(),
            home: self.home.clone(),
            work_tree: real(work_tree),
            workdir: real(workdir),
            repository_files,
            private_dir: self.private_dir.clone(),
            is_root: nix::unistd::geteuid().is_root(),
            for_later: false,
        }
    }

    /// The agent's HOME.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The complete environment of a program of this run: ours without our own settings, then `more`.
    #[must_use]
    pub fn environment(
        &self,
        env: &BTreeMap<OsString, OsString>,
        more: &BTreeMap<String, Option<String>>,
        nonce: &Nonce,
        results_dir: Option<&Path>,
    ) -> BTreeMap<OsString, OsString> {
        let mut environment = env.clone();
        for setting in SETTINGS {
            environment.remove(OsStr::new(setting.variable));
        }
        environment.remove(OsStr::new(TASK_FILE));
        environment.insert("HOME".into(), self.home.clone().into());
        environment.insert(NONCE.into(), nonce.as_str().into());
        if let Some(dir) = results_dir {
            environment.insert(RESULTS_DIR.into(), dir.into());
        }
        for (name, value) in more {
            match value {
                Some(value) => environment.insert(name.into(), value.into()),
                None => environment.remove(OsStr::new(name)),
            };
        }
        environment
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.private_dir.as_os_str().is_empty() {
            remove(&self.private_dir, self.leaves_home);
        }
    }
}

/// Removes the private directory of a run whose runner was killed: it holds settings, and with them credentials. As PID 1 but for a home in
/// it, as [`Place::in_container`] says.
pub fn clear(private_dir: &Path, is_pid_one: bool) {
    // Whoever was killed may have gone mad before, and we remove what its memory names: only what can be such a directory.
    let nonce = private_dir.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix(NAME));
    let is_named_so = nonce.is_some_and(|nonce| nonce.len() == 32 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let is_ours = |found: std::fs::Metadata| found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw();
    if is_named_so && private_dir.symlink_metadata().is_ok_and(is_ours) {
        remove(private_dir, is_pid_one);
    }
}

/// Best effort, all of it.
fn remove(private_dir: &Path, leaves_home: bool) {
    let home = private_dir.join(HOME);
    let _ = if leaves_home && home.exists() { remove_all_but(private_dir, &home) } else { std::fs::remove_dir_all(private_dir) };
}

/// A `PATH` with a directory of ours before it, and behind it the runner's own: `agent-runner emit` is to be found wherever a platform has
/// put the runner.
pub(super) fn search_path(before: Option<&Path>, given: &str, runner: &Path) -> String {
    let own = runner.parent().filter(|_| runner.file_name() == Some(OsStr::new(RUNNER)));
    let behind = own.filter(|own| std::env::split_paths(given).all(|known| known != *own));
    let text = |directory: Option<&Path>| directory.and_then(Path::to_str).filter(|text| !text.contains(':')).map(str::to_owned);
    let parts = [text(before), Some(given.to_owned()), text(behind)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(":")
}

/// Removes a directory, but for one in it that is not empty.
fn remove_all_but(directory: &Path, kept: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if path != kept {
            let _ = if kind.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
    }
    // Where nobody left anything in it there is nothing to leave.
    std::fs::remove_dir(kept).and_then(|()| std::fs::remove_dir(directory))
}

/// HOME if it can be written by us, else a directory of this run: a random UID has none, and a root file system may be read-only.
fn home(env: &BTreeMap<OsString, OsString>, private_dir: &Path) -> PathBuf {
    let given = env.get(OsStr::new("HOME")).filter(|home| !home.is_empty()).map(PathBuf::from);
    if let Some(home) = given.filter(|home| home.is_absolute() && is_writable_dir(home)) {
        return home;
    }
    let home = private_dir.join(HOME);
    // If this fails, writing the first file there says why.
    let _ = std::fs::DirBuilder::new().mode(PRIVATE).create(&home);
    home
}

fn is_writable_dir(path: &Path) -> bool {
    let is_dir = std::fs::metadata(path).is_ok_and(|found| found.is_dir() && found.mode() != 0);
    is_dir && nix::unistd::access(path, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn the_runner_is_found_by_name_and_shadows_nothing() {
        let path = |given, runner| search_path(None, given, Path::new(runner));
        assert_eq!(path("/usr/bin:/bin", "/runner/agent-runner"), "/usr/bin:/bin:/runner");
        assert_eq!(path("/runner:/bin", "/runner/agent-runner"), "/runner:/bin");
        assert_eq!(path("/bin", "/kelos_entrypoint.sh"), "/bin");
        assert_eq!(path("/bin", "/a:b/agent-runner"), "/bin");
        let both = search_path(Some(Path::new("/tmp/programs")), "/bin", Path::new("/runner/agent-runner"));
        assert_eq!(both, "/tmp/programs:/bin:/runner");
    }

    #[test]
    fn the_place_is_private_and_goes_with_the_run() {
        let base = tempfile::tempdir().unwrap();
        let place = Place::make(&env(&[("TMPDIR", base.path().to_str().unwrap())])).unwrap();
        let dir = place.surroundings(&BTreeMap::new(), Path::new("/"), Path::new("/"), BTreeMap::new()).private_dir;
        assert!(dir.starts_with(base.path()));
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        drop(place);
        assert!(!dir.exists());
    }

    #[test]
    fn in_a_container_of_its_own_only_a_home_stays_behind() {
        let base = tempfile::tempdir().unwrap();
        let given = [("TMPDIR", base.path().to_str().unwrap()), ("HOME", "/nonexistent")];
        for (is_own, left) in [(true, 1), (false, 0)] {
            let place = Place::make(&env(&given)).unwrap().in_container(is_own);
            let dir = place.private_dir().to_owned();
            std::fs::write(place.home().join("cache"), "much").unwrap();
            std::fs::write(dir.join("settings.json"), "secret").unwrap();
            drop(place);
            assert_eq!(std::fs::read_dir(&dir).map_or(0, Iterator::count), left, "{is_own}");
        }
        let place = Place::make(&env(&given)).unwrap().in_container(true);
        let dir = place.private_dir().to_owned();
        drop(place);
        assert!(!dir.exists(), "an empty home goes");
    }

    #[test]
    fn of_a_killed_run_only_its_own_directory_goes() {
        let base = tempfile::tempdir().unwrap();
        let whole = format!("{NAME}{}", "0a".repeat(16));
        let make = |name: &str| {
            let directory = base.path().join(name);
            std::fs::create_dir_all(directory.join(HOME)).unwrap();
            std::fs::write(directory.join(HOME).join("cache"), "much").unwrap();
            std::fs::write(directory.join("settings.json"), "secret").unwrap();
            directory
        };
        for other in ["home", NAME, &format!("{NAME}{}", "0g".repeat(16)), &whole[..whole.len() - 1]] {
            let other = make(other);
            clear(&other, false);
            assert!(other.join("settings.json").exists(), "{}", other.display());
        }
        let link = base.path().join(&whole);
        std::os::unix::fs::symlink(base.path().join("home"), &link).unwrap();
        clear(&link, false);
        assert!(base.path().join("home/settings.json").exists());
        std::fs::remove_file(&link).unwrap();
        clear(&make(&whole), true);
        assert!(link.join("home/cache").exists() && !link.join("settings.json").exists());
        clear(&link, false);
        assert!(!link.exists());
    }

    #[test]
    fn a_home_that_is_not_there_is_replaced() {
        let place = Place::make(&env(&[("HOME", "/nonexistent")])).unwrap();
        assert!(place.home.starts_with(&place.private_dir) && place.home.is_dir());
    }

    #[test]
    fn the_agent_gets_the_platforms_variables_and_none_of_our_settings() {
        let given = env(&[("AGENT_PROMPT", "secret plan"), ("AGENT_TYPE", "x"), ("PATH", "/bin"), ("AGENT_TOKEN_FILE", "/t")]);
        let place = Place::make(&given).unwrap();
        let more = BTreeMap::from([("PATH".to_owned(), Some("/usr/bin".to_owned())), ("LANG".to_owned(), None)]);
        let environment = place.environment(&given, &more, &Nonce::from_random([7; 16]), Some(Path::new("/results")));
        let names: Vec<_> = environment.keys().filter_map(|name| name.to_str()).collect();
        assert_eq!(names, ["AGENT_NONCE", "AGENT_RESULTS_DIR", "HOME", "PATH"]);
        assert_eq!(environment[OsStr::new("PATH")], "/usr/bin");
    }
}
