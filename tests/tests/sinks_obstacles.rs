//! What stands in the way of a file that a sink writes: each costs one warning, never the run, never another sink, and never somebody
//! else's file.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_sdk::event::Event;
use agent_sdk::outcome::Outcome;
use agent_sdk::termination::TerminationMessage;
use agent_tests::sandbox::sandbox;
use agent_tests::skip::skip;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

const WRITER: &str = env!("CARGO_BIN_EXE_sink-writer");

/// The four targets of one run, each in a directory of its own.
struct Targets {
    root: tempfile::TempDir,
    paths: BTreeMap<&'static str, PathBuf>,
}

const TERMINATION: &str = "termination message";
const RESULT: &str = "result file";
const RESULTS: &str = "results directory";
const EVENTS: &str = "events file";
const ALL: [&str; 4] = [TERMINATION, RESULT, RESULTS, EVENTS];

impl Targets {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let names = ["message", "result.json", "results", "events.jsonl"];
        let paths: BTreeMap<_, _> =
            ALL.iter().zip(names).map(|(sink, name)| (*sink, root.path().join(format!("dir of {name}")).join(name))).collect();
        for path in paths.values() {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        Self { root, paths }
    }

    fn path(&self, sink: &str) -> &Path {
        &self.paths[sink]
    }

    /// Runs all sinks in a process of their own, as somebody else if we are root and `unprivileged`, and returns the warnings. `None`: not
    /// allowed here.
    fn write(&self, mode: &str, unprivileged: bool) -> Option<Vec<String>> {
        let is_nobody = unprivileged && geteuid().is_root();
        // Root may write what is not writable; and nobody else reaches a private build directory, but in a sandbox.
        let mut command = if is_nobody { sandbox(&["--user", "65534"], WRITER) } else { Command::new(WRITER) };
        let output = command.arg(mode).args(ALL.iter().map(|sink| self.path(sink))).output().unwrap();
        // 125 is the sandbox's own.
        if output.status.code() == Some(77) || is_nobody && output.status.code() == Some(125) {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        assert!(output.status.success(), "{output:?}");
        Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
    }

    /// Everything that a sink wrote is whole and masked.
    fn assert_written(&self, sink: &str) {
        let path = self.path(sink);
        if sink == RESULTS {
            assert_eq!(fs::read_to_string(path.join("status")).unwrap(), "failed");
            assert_eq!(fs::read_to_string(path.join("turns")).unwrap(), "1");
            let left: Vec<_> = fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .filter(|name| name.to_string_lossy().starts_with('.'))
                .collect();
            assert!(left.is_empty(), "{left:?} were left behind");
            return;
        }
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains("s3cr3t") && text.contains("***"), "{text}");
        match sink {
            TERMINATION => assert_eq!(TerminationMessage::parse(text.as_bytes()).unwrap().exit_code, 137),
            RESULT => assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap().exit_code, 137),
            EVENTS => assert!(text.lines().all(|line| serde_json::from_str::<Event>(line).is_ok()) && text.ends_with('\n')),
            other => unreachable!("{other}"),
        }
    }

    /// The sinks other than `sink` are written; it is not, and says why once.
    fn assert_only_warned(&self, sink: &str, warnings: &[String], word: &str) {
        assert_eq!(warnings.len(), 1, "{sink}: {warnings:?}");
        assert!(warnings[0].contains(word) && warnings[0].contains(" ("), "no `{word}` or no hint: {warnings:?}");
        for other in ALL.iter().filter(|other| **other != sink) {
            self.assert_written(other);
        }
    }
}

#[test]
fn nothing_in_the_way_costs_no_warning() {
    let targets = Targets::new();
    assert_eq!(targets.write("all", false).unwrap(), Vec::<String>::new());
    ALL.iter().for_each(|sink| targets.assert_written(sink));
    let result = targets.path(RESULT);
    let message = TerminationMessage::parse(&fs::read(targets.path(TERMINATION)).unwrap()).unwrap();
    assert_eq!(message.result_file.unwrap(), result.to_str().unwrap());
    let digest = Command::new("sha256sum").arg(result).output().expect("coreutils");
    assert!(String::from_utf8(digest.stdout).unwrap().trim_start_matches('\\').starts_with(&message.result_sha256.unwrap()));
    assert_eq!(fs::metadata(result).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn writing_twice_leaves_the_second_and_appends_events() {
    let targets = Targets::new();
    for _ in 0..2 {
        assert_eq!(targets.write("all", false).unwrap(), Vec::<String>::new());
    }
    ALL.iter().for_each(|sink| targets.assert_written(sink));
    assert_eq!(fs::read_to_string(targets.path(EVENTS)).unwrap().lines().count(), 2);
}

#[test]
fn a_directory_in_the_way() {
    for sink in [TERMINATION, RESULT, EVENTS] {
        let targets = Targets::new();
        fs::create_dir(targets.path(sink)).unwrap();
        let warnings = targets.write("all", false).unwrap();
        targets.assert_only_warned(sink, &warnings, "a directory");
        assert!(targets.path(sink).is_dir());
    }
}

#[test]
fn a_file_where_the_results_directory_should_be() {
    let targets = Targets::new();
    fs::write(targets.path(RESULTS), "mine").unwrap();
    let warnings = targets.write("all", false).unwrap();
    targets.assert_only_warned(RESULTS, &warnings, "not a directory");
    assert_eq!(fs::read_to_string(targets.path(RESULTS)).unwrap(), "mine");
}

#[test]
fn a_link_in_the_way_is_not_followed() {
    for sink in ALL {
        for dangling in [false, true] {
            let targets = Targets::new();
            let victim = targets.root.path().join("victim");
            match (dangling, sink) {
                (true, _) => {}
                (false, RESULTS) => fs::create_dir(&victim).unwrap(),
                (false, _) => fs::write(&victim, "precious").unwrap(),
            }
            symlink(&victim, targets.path(sink)).unwrap();
            let warnings = targets.write("all", false).unwrap();
            targets.assert_only_warned(sink, &warnings, "symbolic link");
            match (dangling, sink) {
                (true, _) => assert!(!victim.exists(), "{sink} created what the link points to"),
                (false, RESULTS) => assert_eq!(fs::read_dir(&victim).unwrap().count(), 0),
                (false, _) => assert_eq!(fs::read_to_string(&victim).unwrap(), "precious"),
            }
            assert!(targets.path(sink).symlink_metadata().unwrap().is_symlink());
        }
    }
}

#[test]
fn a_link_to_a_device_is_not_followed_either() {
    for sink in [TERMINATION, RESULT, EVENTS] {
        let targets = Targets::new();
        symlink("/dev/stdout", targets.path(sink)).unwrap();
        let warnings = targets.write("all", false).unwrap();
        targets.assert_only_warned(sink, &warnings, "symbolic link");
    }
}

#[test]
fn a_fifo_in_the_way_never_blocks() {
    for sink in [TERMINATION, RESULT, EVENTS] {
        for reader in [false, true] {
            let targets = Targets::new();
            let path = targets.path(sink);
            mkfifo(path, Mode::S_IRWXU).unwrap();
            // Opened for both it does not block, and is a reader for whoever opens it for writing.
            let held = reader.then(|| fs::OpenOptions::new().read(true).write(true).open(path).unwrap());
            let warnings = targets.write("all", false).unwrap();
            targets.assert_only_warned(sink, &warnings, "FIFO");
            assert!(path.symlink_metadata().unwrap().file_type().is_fifo());
            drop(held);
        }
    }
}

#[test]
fn a_socket_in_the_way() {
    for sink in [TERMINATION, RESULT, EVENTS] {
        let targets = Targets::new();
        // Bound by a relative name: a socket's path has room for some hundred bytes only.
        let _listener = std::os::unix::net::UnixListener::bind(targets.path(sink)).unwrap();
        let warnings = targets.write("all", false).unwrap();
        targets.assert_only_warned(sink, &warnings, "socket");
    }
}

#[test]
fn a_device_is_no_file_and_stays_a_device() {
    let before = fs::metadata("/dev/full").unwrap().ino();
    for sink in [TERMINATION, RESULT, EVENTS] {
        let mut targets = Targets::new();
        targets.paths.insert(sink, "/dev/full".into());
        let warnings = targets.write("all", false).unwrap();
        targets.assert_only_warned(sink, &warnings, "a device");
        assert_eq!(fs::metadata("/dev/full").unwrap().ino(), before, "{sink} replaced it");
    }
}

#[test]
fn no_directory_to_put_it_in() {
    for sink in ALL {
        let mut targets = Targets::new();
        let path = targets.root.path().join("missing").join("file");
        targets.paths.insert(sink, path);
        let warnings = targets.write("all", false).unwrap();
        targets.assert_only_warned(sink, &warnings, "does not exist");
    }
}

#[test]
fn traps_within_the_results_directory_are_replaced_and_lead_nowhere() {
    let targets = Targets::new();
    let dir = targets.path(RESULTS);
    fs::create_dir(dir).unwrap();
    let victim = targets.root.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, dir.join("status")).unwrap();
    mkfifo(&dir.join("turns"), Mode::S_IRWXU).unwrap();
    fs::create_dir(dir.join("reason")).unwrap();
    let warnings = targets.write("all", false).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("reason") && warnings[0].contains("a directory"), "{warnings:?}");
    ALL.iter().for_each(|sink| targets.assert_written(sink));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

/// Lets everybody into the directories of a run, except that `closed` may not be written.
fn open_for_all(targets: &Targets, closed: Option<&Path>) {
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(targets.root.path(), 0o777);
    for path in targets.paths.values() {
        set(path.parent().unwrap(), 0o777);
    }
    if let Some(path) = closed {
        set(path, if path.is_dir() { 0o555 } else { 0o444 });
    }
}

#[test]
fn a_file_that_may_not_be_written() {
    for sink in [TERMINATION, EVENTS] {
        let targets = Targets::new();
        fs::write(targets.path(sink), "old").unwrap();
        open_for_all(&targets, Some(targets.path(sink)));
        let Some(warnings) = targets.write("all", true) else {
            skip("nobody may become another user here");
            return;
        };
        targets.assert_only_warned(sink, &warnings, "not allowed");
        assert_eq!(fs::read_to_string(targets.path(sink)).unwrap(), "old");
    }
}

#[test]
fn a_directory_that_may_not_be_written() {
    for sink in ALL {
        let targets = Targets::new();
        if sink == RESULTS {
            fs::create_dir(targets.path(sink)).unwrap();
        }
        let closed = if sink == RESULTS { targets.path(sink) } else { targets.path(sink).parent().unwrap() };
        open_for_all(&targets, Some(closed));
        let Some(warnings) = targets.write("all", true) else {
            skip("nobody may become another user here");
            return;
        };
        targets.assert_only_warned(sink, &warnings, "not allowed");
        open_for_all(&targets, None);
    }
}

#[test]
fn a_file_that_may_be_written_in_a_directory_that_may_not_is_written_in_place() {
    let targets = Targets::new();
    let path = targets.path(RESULT);
    fs::write(path, "x".repeat(100_000)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    open_for_all(&targets, Some(path.parent().unwrap()));
    let Some(warnings) = targets.write("all", true) else {
        skip("nobody may become another user here");
        return;
    };
    assert_eq!(warnings, Vec::<String>::new());
    targets.assert_written(RESULT);
}

/// Runs with the directory of one sink replaced by a mount, and expects its warnings.
fn with_mount(mode: &str, word: &str) {
    for sink in ALL {
        let mut targets = Targets::new();
        let dir = targets.path(sink).parent().unwrap().to_owned();
        if mode == "all-read-only" {
            match sink {
                TERMINATION => fs::write(targets.path(sink), "old").unwrap(),
                RESULTS => fs::create_dir(targets.path(sink)).unwrap(),
                _ => {}
            }
        }
        // The helper mounts over the directory of its first path; for the other sinks that is made the directory of both.
        if sink != TERMINATION {
            targets.paths.insert(TERMINATION, dir.join("message"));
        }
        let Some(warnings) = targets.write(mode, false) else {
            skip("no mount namespace to be had here");
            return;
        };
        let expected = if sink == TERMINATION { 1 } else { 2 };
        assert_eq!(warnings.len(), expected, "{sink}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains(word)), "{warnings:?}");
        for other in ALL.iter().filter(|other| **other != sink && **other != TERMINATION) {
            targets.assert_written(other);
        }
    }
}

#[test]
fn a_read_only_mount() {
    with_mount("all-read-only", "read-only");
}

#[test]
fn a_full_file_system() {
    with_mount("all-full", "no room");
}

#[test]
fn an_event_that_found_no_room_is_taken_back_and_told_once() {
    let targets = Targets::new();
    let path = targets.path(EVENTS);
    let output = Command::new(WRITER).args(["events-limited".as_ref(), path.as_os_str()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let warnings = String::from_utf8(output.stdout).unwrap();
    assert!(warnings.lines().count() == 1 && warnings.contains("no room"), "{warnings}");
    let text = fs::read_to_string(path).unwrap();
    let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 1, "no half a line: {text}");
    assert!(text.ends_with('\n'));
}
