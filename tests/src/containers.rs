//! Real containers of the project's own images: podman and runc, with images that `images/build` makes of the Dockerfiles.
//!
//! A container gets what a kubelet gives: a termination message's file that is bound, root's, and writable by everybody, a workspace that
//! everybody may write, and as little as the test says of everything else.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use agent_sdk::termination::TerminationMessage;
use serde_json::Value;

use crate::repo::git_ok;
use crate::runs::{Counted, PATIENCE};
use crate::skip::skip;

/// The user of the images.
pub const UID: &str = "61100:0";
/// A user whom no image knows, as a platform picks one that gives each namespace its own.
pub const RANDOM_UID: &str = "1000650000:0";
/// What a pod may ask for that trusts its image with nothing: a root that cannot be written, no capability, and no way to get one.
pub const HARDENED: &[&str] = &[
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp:rw,mode=1777",
    "--tmpfs=/home/agent:rw,mode=0777,notmpcopyup",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
];

/// The top of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A command of the engine, with the tests' own settings.
#[must_use]
pub fn podman(args: &[&str]) -> Command {
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", root().join("tests/containers.conf")).args(args);
    command
}

/// What a command of the engine prints.
///
/// # Panics
/// It fails.
pub fn podman_ok(args: &[&str]) -> String {
    let output = podman(args).output().unwrap();
    assert!(output.status.success(), "podman {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Whether containers can be made here; if not, that is said, and counted as skipped.
#[must_use]
pub fn containers_work() -> bool {
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    let why = WHY_NOT.get_or_init(|| {
        if !nix::unistd::Uid::effective().is_root() {
            return Some("containers are made as root only, since what stands in for Debian's image is".into());
        }
        for program in ["podman", "runc", "mmdebstrap"] {
            let path = std::env::var_os("PATH").unwrap_or_default();
            if !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
                return Some(format!("`{program}` is not here; `tests/setup` installs it"));
            }
        }
        (!crate::sandbox::namespaces_work()).then(|| "no namespaces can be made here, and so no containers".into())
    });
    if let Some(why) = why {
        assert!(std::env::var_os("AGENT_TESTS_NO_SKIP").is_none(), "{why}");
        skip(why);
    }
    why.is_none()
}

/// The image of a Dockerfile (`claude`), of a directory with one (`images/example-custom`), or what stands in for another's
/// (`stand-in/debian`): built if need be. `None`, said loudly, where no containers can be made.
#[must_use]
pub fn image(name: &str) -> Option<String> {
    /// Who waits for an image waits for no other.
    static BUILT: Mutex<BTreeMap<String, Arc<OnceLock<String>>>> = Mutex::new(BTreeMap::new());
    if !containers_work() {
        return None;
    }
    let (script, name_there, tag) = match name.strip_prefix("stand-in/") {
        Some(short) => ("images/stand-ins", short, format!("localhost/{name}")),
        None => ("images/build", name, format!("localhost/agent-runner-tests/{}", name.rsplit('/').next().unwrap())),
    };
    let built = Arc::clone(BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner).entry(name.to_owned()).or_default());
    let built = built.get_or_init(|| {
        // A directory's Dockerfile begins with it.
        if script == "images/build" && name.contains('/') {
            image("base").unwrap();
        }
        let stamp = stamp(name);
        let is_there = || stamp.as_deref().is_some_and(Path::exists);
        if is_there() {
            return tag;
        }
        // One at a time, also among several test programs.
        let lock = File::create(std::env::temp_dir().join("agent-runner-tests-images.lock")).unwrap();
        let _lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap();
        if !is_there() {
            made(script, name_there, "localhost/agent-runner-tests", "");
            stamp.into_iter().for_each(|stamp| drop(File::create(stamp).unwrap()));
        }
        tag
    });
    Some(built.clone())
}

/// What says that an image was built by another program of this run of all tests: even where nothing has changed, a build takes its time.
fn stamp(name: &str) -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("AGENT_TESTS_BUILT")?).join(name.replace('/', "_")))
}

/// The image of a Dockerfile once more, under a tag of its own, with nothing taken from the build before.
#[must_use]
pub fn rebuilt(name: &str, tag: &str) -> String {
    made("images/build", name, tag, "--no-cache");
    format!("{tag}/{name}")
}

/// Runs one of the scripts that make images.
fn made(script: &str, name: &str, tag: &str, build_args: &str) {
    let mut build = Command::new(root().join(script));
    // What a commit changes is not built anew: a time of no commit.
    build
        .arg(name)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env("CONTAINERS_CONF", root().join("tests/containers.conf"))
        .env("TAG", tag)
        .env("BUILD_ARGS", build_args);
    // The static binary of a developer's build does the same as the released one, and is there sooner.
    build.env("PROFILE", std::env::var_os("AGENT_TESTS_PROFILE").unwrap_or_else(|| "dev".into()));
    // What cargo tells this test about its package would make build scripts run again, each time.
    let told = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in told.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        build.env_remove(name);
    }
    let output = build.output().unwrap();
    assert!(output.status.success(), "{script} {name}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A container that is not started yet, in a directory of its own.
#[derive(Debug)]
pub struct Container {
    directory: tempfile::TempDir,
    name: String,
    image: String,
    options: Vec<String>,
    args: Vec<String>,
}

impl Container {
    /// A container of an image, with a termination message's file and an empty `/workspace`.
    #[must_use]
    pub fn of(image: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-runner-tests-{}-{count}", std::process::id());
        let container = Self { directory, name, image: image.to_owned(), options: Vec::new(), args: Vec::new() };
        fs::write(container.path("termination"), "").unwrap();
        fs::set_permissions(container.path("termination"), PermissionsExt::from_mode(0o666)).unwrap();
        fs::create_dir(container.path("workspace")).unwrap();
        fs::set_permissions(container.path("workspace"), PermissionsExt::from_mode(0o777)).unwrap();
        container.mount("termination", "/dev/termination-log").mount("workspace", "/workspace")
    }

    /// With one more variable.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.options(&["--env", &format!("{name}={value}")])
    }

    /// With more options of `podman create`.
    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(ToString::to_string));
        self
    }

    /// With something of this container's directory at a path inside.
    #[must_use]
    pub fn mount(self, name: &str, inside: &str) -> Self {
        let volume = format!("{}:{inside}", self.path(name).display());
        self.options(&["--volume", &volume])
    }

    /// With arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Something of this container, by its name: `termination`, `workspace`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Git's word in a work tree below `workspace`, which is another user's.
    #[must_use]
    pub fn git(&self, repository: &str, args: &[&str]) -> String {
        git_ok(&self.path("workspace").join(repository), ["-c", "safe.directory=*"].iter().chain(args))
    }

    /// Starts it.
    ///
    /// # Panics
    /// The engine does not start it.
    #[must_use]
    pub fn start(&self) -> Started<'_> {
        let mut command = podman(&["run", "--detach", "--name", &self.name]);
        command.args(&self.options).arg(&self.image).args(&self.args);
        // conmon leaves a file where it was started when the kernel kills for memory.
        command.current_dir(self.directory.path());
        let started = Started { container: self };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        started
    }

    /// Starts it and waits for its end.
    #[must_use]
    pub fn run(&self) -> Ended {
        self.start().finish()
    }
}

/// A container at work. It is removed when this is dropped.
#[derive(Debug)]
pub struct Started<'a> {
    container: &'a Container,
}

impl Started<'_> {
    /// Ends it as a platform does: TERM, and KILL when the grace is over.
    pub fn stop(&self, grace: u32) {
        podman_ok(&["stop", "--time", &grace.to_string(), &self.container.name]);
    }

    /// Sends PID 1 a signal.
    pub fn kill(&self, signal: &str) {
        podman_ok(&["kill", "--signal", signal, &self.container.name]);
    }

    /// The log so far: stdout and stderr together.
    #[must_use]
    pub fn log(&self) -> String {
        let Output { stdout, stderr, .. } = podman(&["logs", &self.container.name]).output().unwrap();
        String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr)
    }

    /// Waits for the end.
    #[must_use]
    pub fn finish(self) -> Ended {
        let waited = Command::new("timeout")
            .env("CONTAINERS_CONF", root().join("tests/containers.conf"))
            .args([&PATIENCE.as_secs().to_string(), "podman", "wait", &self.container.name])
            .output()
            .unwrap();
        assert!(waited.status.success(), "no end of\n{}", self.log());
        let code = String::from_utf8(waited.stdout).unwrap().trim().parse().unwrap();
        let message = fs::read(self.container.path("termination")).unwrap();
        let log = self.log();
        TerminationMessage::parse(&message)
            .unwrap_or_else(|error| panic!("{error} in the message {:?}\n{log}", String::from_utf8_lossy(&message)));
        Ended { code, message: serde_json::from_slice(&message).unwrap(), log }
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        // One that is gone already needs no removal.
        let _ = podman(&["rm", "--force", "--volumes", "--time", "0", &self.container.name]).output();
    }
}

/// What a container left. Its message was a valid one.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// The termination message.
    pub message: Value,
    /// Stdout and stderr together.
    pub log: String,
}

impl Ended {
    /// Asserts how it ended: status, reason and exit code.
    ///
    /// # Panics
    /// It ended otherwise.
    pub fn assert(&self, status: &str, reason: &str, code: i32) {
        let said = |key: &str| self.message[key].as_str().unwrap_or_default();
        assert_eq!((said("status"), said("reason"), self.code), (status, reason, code), "{self}");
        assert_eq!(self.message["exitCode"], code, "{self}");
    }

    /// A parameter of the message.
    #[must_use]
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.message["parameters"][key].as_str()
    }

    /// The tokens of the message.
    #[must_use]
    pub fn tokens(&self) -> Counted {
        Counted::of_message(&self.message)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = self.log.lines().count().saturating_sub(60);
        writeln!(f, "code {}, message {:#}\nthe last of the log:", self.code, self.message)?;
        self.log.lines().skip(start).try_for_each(|line| writeln!(f, "{}", line.chars().take(600).collect::<String>()))
    }
}
