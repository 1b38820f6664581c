//! `agent-runner install`: into a volume, as an init container does it, for a container that shares nothing else.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use agent_tests::probe::{self, Running};
use agent_tests::volumes::{Container, UID};

#[test]
fn a_user_whom_nobody_knows_installs_into_a_volume_and_again() {
    let Some(mut container) = Container::new() else { return };
    let volume = container.volume("/runner");
    // A try before was killed in the middle, with the same process id: in a container it is always 1.
    fs::write(volume.join(".agent-runner.1.tmp"), "half").unwrap();
    for _ in 0..2 {
        let output = container.run(&["install", "/runner/agent-runner"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "/runner/agent-runner\n");
    }
    let installed = fs::metadata(volume.join("agent-runner")).unwrap();
    assert_eq!((installed.uid(), installed.mode() & 0o7777), (UID, 0o755));
    assert_eq!(installed.len(), fs::metadata(probe::runner()).unwrap().len());
    let names: Vec<_> = fs::read_dir(&volume).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["agent-runner"], "nothing is left beside it");
}

/// The kernel refuses to write to a program that is being executed: the old one stays as it is for whoever runs it.
#[test]
fn a_copy_that_is_being_executed_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let install = || Command::new(probe::runner()).arg("install").arg(directory.path()).output().unwrap();
    assert!(install().status.success());
    let copy = directory.path().join("agent-runner");
    let mut busy = Running::start(Command::new(&copy).args(["exec", "--", "cat"]).stdin(Stdio::piped()));
    std::io::Write::write_all(busy.child.stdin.as_mut().unwrap(), b"at work\n").unwrap();
    busy.expect("at work");
    let before = fs::metadata(&copy).unwrap().ino();
    let output = install();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(fs::metadata(&copy).unwrap().ino(), before);
    drop(busy.child.stdin.take());
    assert_eq!(busy.finish().0, 0);
}

#[test]
fn a_link_is_replaced_and_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (target, link) = (directory.path().join("precious"), directory.path().join("agent-runner"));
    fs::write(&target, "precious").unwrap();
    symlink(&target, &link).unwrap();
    assert!(Command::new(probe::runner()).arg("install").arg(&link).output().unwrap().status.success());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert!(!link.is_symlink());
}

#[test]
fn a_place_that_cannot_be_written_is_said_with_what_to_do() {
    let Some(mut container) = Container::new() else { return };
    let volume = container.volume("/runner");
    fs::set_permissions(&volume, PermissionsExt::from_mode(0o555)).unwrap();
    let output = container.run(&["install", "/runner/agent-runner"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{said}");
    assert!(
        said.contains("cannot install to `/runner/agent-runner`") && said.contains("hint: the volume must be mounted writable"),
        "{said}"
    );
}
