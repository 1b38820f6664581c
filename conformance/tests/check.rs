//! `check` with a real engine and a real image: what each exit code is for, and the GitHub action around it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/image.rs"]
#[allow(dead_code, reason = "the tests of engines use the rest")]
mod image;
#[path = "support/skip.rs"]
mod skip;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use agent_conformance::suite::report::Report;
use agent_conformance::suite::verdict::Verdict;
use image::Image;

/// An image of another kind, in podman's storage: a shell that has heard of no interface. `None`, said loudly, where podman is not.
fn image() -> Option<Arc<Image>> {
    skip::have("podman", "podman").then(Image::shared)
}

fn said(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_agent-conformance")).args(arguments).env("NO_COLOR", "1").output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn report(arguments: &[&str]) -> (i32, Report) {
    let (code, out, err) = said(&[arguments, &["--report", "json=-"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
}

fn verdict(report: &Report, id: &str) -> Verdict {
    report.results.iter().find(|row| row.id == id).unwrap().verdict
}

#[test]
fn an_image_that_is_not_there_could_not_be_tested_and_one_line_says_so() {
    if !skip::have("podman", "podman") {
        return;
    }
    let (code, out, err) = said(&["check", "--engine", "podman", "localhost/no-such-image:0"]);
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.starts_with("error: there is no image `localhost/no-such-image:0`") && err.trim_end().lines().count() == 1, "{err}");
}

#[test]
fn an_engine_that_does_not_work_could_not_test_and_says_which_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_agent-conformance"))
        .args(["check", "--engine", "docker", "image"])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(
        err.starts_with("error: the engine `docker` cannot be used here: ") && err.contains("hint: `agent-conformance engines`"),
        "{err}"
    );
    let none = Command::new(env!("CARGO_BIN_EXE_agent-conformance")).args(["check", "image"]).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(none.status.code(), Some(3), "{none:?}");
    assert!(text(&none.stderr).starts_with("error: no engine works here: podman: "), "{none:?}");
}

#[test]
fn an_image_that_claims_nothing_is_judged_as_an_image_and_told_what_it_lacks() {
    let Some(image) = image() else { return };
    let dir = tempfile::tempdir().unwrap();
    let certificate = dir.path().join("certificate.json");
    let (code, out, err) = said(&["check", "--certificate", certificate.to_str().unwrap(), &image.name]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("claims no profile") && out.contains("note: the image claims no profile, so `image` alone was judged"), "{out}");
    assert!(out.contains("fail  IMG-001 interface-label") && out.contains("how to fix it"), "{out}");
    assert!(err.contains("no certificate: the image claims no profile") && !certificate.exists(), "{err}");
}

#[test]
fn a_failure_that_is_known_does_not_fail_a_run_and_one_that_is_gone_does() {
    let Some(image) = image() else { return };
    let dir = tempfile::tempdir().unwrap();
    let baseline = dir.path().join("known.toml");
    let known = |ids: &[&str]| {
        let entries: Vec<String> = ids.iter().map(|id| format!("[[known]]\nid = '{id}'\nreason = 'we know'\n")).collect();
        std::fs::write(&baseline, entries.concat()).unwrap();
        report(&["check", "--only", "IMG-004,IMG-005", "--profile", "image", "--baseline", baseline.to_str().unwrap(), &image.name])
    };
    let (code, report) = known(&[]);
    assert_eq!((code, verdict(&report, "IMG-004"), verdict(&report, "IMG-005")), (1, Verdict::Fail, Verdict::Pass), "{report:?}");
    let (code, report) = known(&["IMG-004"]);
    assert_eq!((code, verdict(&report, "IMG-004")), (0, Verdict::KnownFail), "{report:?}");
    let (code, report) = known(&["IMG-004", "IMG-005"]);
    assert_eq!((code, verdict(&report, "IMG-005")), (5, Verdict::Stale), "{report:?}");
    let (code, report) = known(&["IMG-004", "IMG-001"]);
    assert_eq!((code, report.notes.len()), (0, 1), "{report:?}");
}

#[test]
fn evidence_that_was_kept_is_judged_alike_without_an_engine() {
    let Some(image) = image() else { return };
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    let (code, before) = report(&["check", "--profile", "image", "--evidence", seen.to_str().unwrap(), &image.name]);
    let (again, after) = report(&["recheck", "--profile", "image", seen.to_str().unwrap()]);
    assert_eq!((code, before.results), (again, after.results));
}

#[test]
fn nothing_selected_is_no_success() {
    let Some(image) = image() else { return };
    let (code, report) = report(&["check", "--only", "TERM", "--profile", "image", &image.name]);
    assert_eq!((code, report.summary.as_str()), (4, "partial: nothing was tested"));
}

#[test]
fn reproduce_says_what_it_would_do_and_does_it() {
    let Some(image) = image() else { return };
    let (code, out, _) = said(&["reproduce", "interface-label", &image.name]);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.starts_with("IMG-001 interface-label\n") && out.contains(&format!("agent-conformance reproduce IMG-001 {} --run", image.name)),
        "{out}"
    );
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    let (code, out, err) = said(&["reproduce", "IMG-001", &image.name, "--run", "--evidence", seen.to_str().unwrap()]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(seen.join("about.json").is_file() && out.contains("fail  IMG-001"), "{out}");
    assert_eq!(said(&["reproduce", "IMG", &image.name]).0, 2);
}

#[test]
fn what_reproduce_holds_can_be_pasted_into_a_shell() {
    let Some(image) = image() else { return };
    let mut held = Command::new(env!("CARGO_BIN_EXE_agent-conformance"));
    held.args(["reproduce", "ENV-001", &image.name, "--engine", "podman", "--hold"]).stdout(std::process::Stdio::piped());
    let mut held = held.spawn().unwrap();
    let mut told = String::new();
    let mut lines = std::io::BufReader::new(held.stdout.take().unwrap());
    while !told.contains("held until Ctrl-C") {
        assert_ne!(std::io::BufRead::read_line(&mut lines, &mut told).unwrap(), 0, "it has ended: {told}");
    }
    let command = told.split("\n\n").find(|part| part.starts_with("podman ")).unwrap();
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    assert_eq!((done.status.code(), text(&done.stdout).as_str()), (Some(0), "from the image\n"), "{command}\n{done:?}");
    assert!(command.contains("'AGENT_PROMPT=Please do what the conformance suite asks.'"), "{command}");
    let stage = command.split("source=").nth(1).unwrap().split(',').next().unwrap();
    assert!(Path::new(stage).is_dir(), "{command}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(held.id().cast_signed()), nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!((held.wait().unwrap().code(), Path::new(stage).exists()), (Some(0), false), "{told}");
}

#[test]
fn a_suite_that_the_image_cannot_start_says_so_and_judges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let labels = serde_json::json!({"io.github.agent-runner.profiles": "core", "io.github.agent-runner.agent.path": "/agent"});
    let config = serde_json::json!({"config": {"Entrypoint": ["/runner"], "Labels": labels}});
    std::fs::write(dir.path().join("root.config.json"), config.to_string()).unwrap();
    let reference = format!("rootfs:{}", root.display());
    let (code, out, err) = said(&["check", "--engine", "namespace", "--only", "RUN-001", &reference]);
    if err.contains("cannot be used here") {
        return skip::skip(&err);
    }
    let is_static = cfg!(target_feature = "crt-static");
    assert_eq!(
        (code, err.contains("linked dynamically"), err.contains("`make release`")),
        (if is_static { 1 } else { 3 }, !is_static, !is_static),
        "{out}{err}"
    );
    // What only is looked at needs no agent.
    assert_eq!(said(&["check", "--engine", "namespace", "--only", "IMG-004", &reference]).0, 0);
}

#[test]
fn a_signal_ends_the_run_and_its_containers() {
    let Some(image) = image() else { return };
    let name = format!("localhost/agent-conformance-interrupt-{}", std::process::id());
    let container = text(&image::run(Command::new("podman").args(["create", &image.name])).stdout);
    let mut commit = Command::new("podman");
    commit.args(["commit", "--quiet"]);
    let labels = ["interface=1.0", "profiles=image core", "agent.path=/bin/agent", "agent.stream=none"];
    for change in labels.map(|label| format!("LABEL io.github.agent-runner.{label}")) {
        commit.args(["--change", &change]);
    }
    // As PID 1 it does not die of signals that it does not handle.
    commit.args(["--change", r#"ENTRYPOINT ["/bin/sleep", "1000"]"#, "--change", "CMD []", container.trim(), &name]);
    image::run(&mut commit);
    image::run(Command::new("podman").args(["rm", container.trim()]));
    let of_this_image = |format: &str| {
        let filter = format!("ancestor={name}");
        text(&image::run(Command::new("podman").args(["ps", "--all", "--filter", &filter, "--format", format])).stdout)
    };
    let mut check = Command::new(env!("CARGO_BIN_EXE_agent-conformance"));
    let mut check = check.args(["check", "--engine", "podman", "--jobs", "1", &name]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while !of_this_image("{{.Status}}").contains("Up ") {
        assert_eq!(check.try_wait().unwrap(), None, "it ended before a container ran");
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(check.id().cast_signed()), nix::sys::signal::Signal::SIGINT).unwrap();
    let done = check.wait_with_output().unwrap();
    let (left, err) = (of_this_image("{{.ID}}"), text(&done.stderr));
    image::run(Command::new("podman").args(["rmi", "--force", &name]));
    assert_eq!((done.status.code(), left.as_str()), (Some(130), ""), "{err}");
    assert!(err.contains("error: interrupted by SIGINT"), "{err}");
}

/// A runner makes a file that is for itself alone, and the suite is another user; it is no fault of the image's.
#[test]
fn what_the_suite_may_not_read_is_no_evidence() {
    const SOMEBODY: [&str; 3] = ["--reuid", "65534", "--clear-groups"];
    if !Command::new("setpriv").args(SOMEBODY).arg("true").status().is_ok_and(|status| status.success()) {
        return skip::skip("nobody here can run the suite as somebody else");
    }
    // Where everybody may come, wherever temporary files are.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let script = dir.path().join("runner");
    std::fs::write(&script, "#!/bin/sh\necho '{}' > \"$AGENT_RESULT_FILE\"\nchmod 000 \"$AGENT_RESULT_FILE\"\n").unwrap();
    // Whoever that is may not come to where it was built.
    let program = dir.path().join("agent-conformance");
    // Not by this process: a program that another thread starts meanwhile would have it open for writing.
    image::run(Command::new("cp").arg(env!("CARGO_BIN_EXE_agent-conformance")).arg(&program));
    for path in [dir.path(), &script, &program] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let reference = format!("exec:{}", script.display());
    let mut check = Command::new("setpriv");
    check.args(SOMEBODY).arg(&program).current_dir(dir.path()).env("TMPDIR", "/var/tmp");
    let output = check.args(["check", "--profile", "core", "--only", "OUT-001", &reference]).output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{out}{err}");
    assert!(out.contains("result.json` is closed to whom the suite runs as: run it as root"), "{out}{err}");
}

/// Whether it is unpacked or looked through, a large image takes its time.
#[test]
fn a_signal_before_the_first_scenario_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, temporary) = (dir.path().join("image.tar"), dir.path().join("tmp"));
    std::fs::create_dir(&temporary).unwrap();
    nix::unistd::mkfifo(&archive, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_agent-conformance"));
    check.args(["check", "--engine", "static", &format!("docker-archive:{}", archive.display())]).env("TMPDIR", &temporary);
    let mut check = check.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It reads by now: without a reader it cannot be opened.
    let mut fed = loop {
        let flags = nix::libc::O_NONBLOCK;
        match std::os::unix::fs::OpenOptionsExt::custom_flags(std::fs::OpenOptions::new().write(true), flags).open(&archive) {
            Ok(fed) => break fed,
            Err(_) => assert_eq!(check.try_wait().unwrap(), None, "it ended before it read"),
        }
        std::thread::yield_now();
    };
    nix::fcntl::fcntl(&fed, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(check.id().cast_signed()), nix::sys::signal::Signal::SIGINT).unwrap();
    let mut entry = [0_u8; 512];
    entry[..5].copy_from_slice(b"entry");
    entry[100..107].copy_from_slice(b"0000644");
    entry[124..135].copy_from_slice(b"00000000000");
    entry[148..156].fill(b' ');
    let sum: u32 = entry.iter().map(|byte| u32::from(*byte)).sum();
    entry[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    // Files without end, until nobody reads them any more.
    while std::io::Write::write_all(&mut fed, &entry).is_ok() {}
    let done = check.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{done:?}");
    assert!(text(&done.stderr).contains("interrupted by SIGINT"), "{done:?}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn engines_are_listed_with_what_is_wrong_with_them() {
    let (code, out, _) = said(&["engines"]);
    assert!(out.contains("podman  ") && out.contains("docker  "), "{out}");
    let isolating = out.lines().filter(|line| !line.starts_with("exec ") && !line.starts_with("static "));
    assert_eq!(
        code == 0,
        isolating.into_iter().any(|line| line.split_whitespace().nth(1).is_some_and(|word| word.starts_with("works"))),
        "{out}"
    );
    let (code, _, err) = said(&["check", "--engine", "runc", "exec:/bin/true"]);
    assert_eq!(code, 2, "a command is no image for runc: {err}");
    assert!(err.contains("is not for `exec:/bin/true`"), "{err}");
}

/// Runs the action's script as a GitHub runner would.
fn action(dir: &Path, inputs: &[(&str, &str)]) -> Output {
    let mut action = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("action.sh"));
    action.current_dir(dir).env("GITHUB_OUTPUT", dir.join("output")).env("GITHUB_STEP_SUMMARY", dir.join("summary"));
    action.env("INPUT_PROGRAM", env!("CARGO_BIN_EXE_agent-conformance"));
    for (name, value) in inputs {
        action.env(format!("INPUT_{name}"), value);
    }
    action.output().unwrap()
}

#[test]
fn the_action_annotates_sums_up_and_passes_the_exit_code_on() {
    let Some(image) = image() else { return };
    let dir = tempfile::tempdir().unwrap();
    let done = action(dir.path(), &[("IMAGE", &image.name), ("PROFILE", "image"), ("REPORT", "out")]);
    let out = text(&done.stdout);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let stop = out.lines().next().unwrap().strip_prefix("::stop-commands::").unwrap().to_owned();
    let (said, annotations) = out.split_once(&format!("\n::{stop}::\n")).unwrap();
    assert!(said.contains("fail  IMG-001 interface-label"), "{said}");
    assert!(annotations.starts_with("::error title=IMG-0") && annotations.lines().all(|line| line.starts_with("::")), "{annotations}");
    assert!(std::fs::read_to_string(dir.path().join("summary")).unwrap().starts_with("## ❌ not conformant"));
    assert_eq!(std::fs::read_to_string(dir.path().join("output")).unwrap(), "exit-code=1\nreport=out\n");
    for name in ["report.txt", "report.json", "report.xml", "report.html", "report.md", "report.tap"] {
        assert!(dir.path().join("out").join(name).is_file(), "{name}");
    }
}

#[test]
fn an_input_of_the_action_is_a_word_and_never_an_option_or_a_script() {
    if !skip::have("podman", "podman") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let done = action(dir.path(), &[("IMAGE", "--help $(touch pwned)"), ("REPORT", "out")]);
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    assert!(text(&done.stdout).contains("there is no image `--help"), "{done:?}");
    assert!(!dir.path().join("pwned").exists());
}

#[test]
fn each_input_of_the_action_reaches_its_script() {
    let read = |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (action, script) = (read("action.yml"), read("action.sh"));
    let inputs = action.split_once("\ninputs:\n").unwrap().1.split_once("\noutputs:\n").unwrap().0;
    let names: Vec<&str> = inputs.lines().filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names.iter().map(|name| name.trim_end_matches(':')) {
        let variable = format!("INPUT_{}", name.to_uppercase());
        assert!(action.contains(&format!("{variable}: ${{{{ inputs.{name} }}}}\n")) && script.contains(&variable), "{name}");
    }
    let run = action.split_once("      run: ").unwrap().1;
    assert!(!run.contains("${{"), "an expression in the script is text that an input can add to: {run}");
}
