//! The git and forge token while a run goes on: it may be renewed at any moment. GitHub's CLI is given the one that is valid now, as git is
//! (`workspace_clone` shows that), and nothing that is written has any of them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use agent_tests::probe::runner;
use agent_tests::repo::git_ok;
use agent_tests::skip::skip;

const FIRST: &str = "ghs-first-0123456789";
const SECOND: &str = "ghs-second-9876543210";

/// Puts the second token in the place of the first, as the kubelet does it: another file under the same name.
const RENEW: &str = "printf '%s\\n' \"$SECOND\" > token.new && mv token.new token";

/// A directory with a token file, in which programs are run by the runner.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::write(desk.path("token"), format!("{FIRST}\n")).unwrap();
        fs::create_dir(desk.path("tmp")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs a shell script below the runner, with the token file named.
    fn exec(&self, path: &str, script: &str) -> Output {
        let token_file = self.path("token");
        let mut command = Command::new(runner());
        command.args(["exec", "--token-file", token_file.to_str().unwrap(), "--result-file", "result.json", "--", "sh", "-c", script]);
        command.current_dir(self.0.path()).env_clear().env("PATH", path).env("HOME", self.0.path()).env("TMPDIR", self.path("tmp"));
        // The script knows the second token by itself, as whoever renews it does; the first it has from the file.
        command.env("AGENT_TERMINATION_LOG", self.path("message")).env("SECOND", SECOND).env("RUNNER", runner());
        command.stdin(Stdio::null()).output().unwrap()
    }
}

/// The machine's own path, if it has GitHub's CLI.
fn path_with_gh() -> Option<String> {
    let path = std::env::var("PATH").unwrap();
    if std::env::split_paths(&path).any(|directory| directory.join("gh").is_file()) {
        return Some(path);
    }
    skip("gh is not here (as root, `make setup` installs it)");
    None
}

#[test]
fn githubs_cli_has_the_token_that_is_in_the_file_now() {
    let Some(path) = path_with_gh() else { return };
    let desk = Desk::new();
    let script = format!("gh auth token > one; {RENEW}; gh auth token > two; env > variables; gh --version > version; echo $PATH > path");
    let output = desk.exec(&path, &script);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((desk.read("one"), desk.read("two")), (format!("{FIRST}\n"), format!("{SECOND}\n")));
    assert!(desk.read("version").starts_with("gh version "), "its arguments are its own: {}", desk.read("version"));
    // Whoever reads an environment finds no token in it, and what stood in PATH stands there still.
    assert!(!desk.read("variables").contains(FIRST), "{}", desk.read("variables"));
    assert!(desk.read("path").trim_end().ends_with(&format!("/bin:{}", with_runner(&path))), "{}", desk.read("path"));
    let left: Vec<_> = fs::read_dir(desk.path("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_repositorys_host_gets_the_token_and_github_does_not() {
    let Some(path) = path_with_gh() else { return };
    let desk = Desk::new();
    git_ok(desk.0.path(), ["init", "--quiet"]);
    git_ok(desk.0.path(), ["remote", "add", "origin", "https://git.acme.example/acme/app"]);
    let script = "gh auth token --hostname git.acme.example > here; gh auth token --hostname github.com > there 2>&1; true";
    let output = desk.exec(&path, script);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(desk.read("here"), format!("{FIRST}\n"));
    assert!(!desk.read("there").contains(FIRST), "{}", desk.read("there"));
}

#[test]
fn a_token_that_cannot_be_read_is_said_and_help_needs_none() {
    let Some(path) = path_with_gh() else { return };
    let desk = Desk::new();
    let output = desk.exec(&path, "rm token; gh auth token > token-told 2> complaint; gh --version > version");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(desk.read("token-told"), "");
    let complaint = desk.read("complaint");
    assert!(complaint.contains("error: ") && complaint.contains("token") && complaint.contains("hint: "), "{complaint}");
    assert!(desk.read("version").starts_with("gh version "));
}

#[test]
fn nothing_stands_in_the_path_of_a_run_without_githubs_cli() {
    let desk = Desk::new();
    let directory = desk.path("programs");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink(which("sh"), directory.join("sh")).unwrap();
    let path = directory.to_str().unwrap();
    let output = desk.exec(path, "echo $PATH > path");
    assert_eq!((output.status.code(), desk.read("path")), (Some(0), format!("{}\n", with_runner(path))), "{output:?}");
}

/// What was given, and behind it where `agent-runner` is.
fn with_runner(path: &str) -> String {
    format!("{path}:{}", agent_tests::probe::runner().parent().unwrap().display())
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| Path::is_file(file)).unwrap()
}

#[test]
fn neither_the_first_nor_the_renewed_token_is_in_anything_that_is_written() {
    let desk = Desk::new();
    let script = format!(
        "cat token; cat token >&2; {RENEW}; cat token; cat token >&2; \
         \"$RUNNER\" emit first {FIRST}; \"$RUNNER\" emit second \"$(cat token)\"; exit 3"
    );
    let output = desk.exec(&std::env::var("PATH").unwrap(), &script);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.starts_with("***\n***\n"), "{stdout}");
    assert_eq!(stderr.matches("***\n").count() % 2, 0, "{stderr}");
    let message = desk.read("message");
    assert!(message.contains(r#""first":"***""#) && message.contains(r#""second":"***""#), "{message}");
    for text in [&*stdout, &stderr, &message, &desk.read("result.json")] {
        assert!(!text.contains(FIRST) && !text.contains(SECOND), "{text}");
    }
}
