//! Skipping out loud: a test that this machine cannot run says why, and is counted as skipped by `tests/run`.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Says that a test cannot run here. The caller returns right after it.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}: {why}\n");
    // Nothing can be done if stderr is gone.
    let _ = std::io::stderr().write_all(format!("SKIPPED: {line}").as_bytes());
    if let Some(path) = std::env::var_os("AGENT_TESTS_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(written.is_ok(), "a skip that is not counted would pass: {written:?}");
    }
}

/// Whether a program is here. If not, the test is skipped, and fails where `AGENT_TESTS_NO_SKIP` is set.
#[allow(dead_code, reason = "not every test looks for a program")]
pub fn have(program: &str, package: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        let why = format!("`{program}` (package {package}) is not here");
        assert!(std::env::var_os("AGENT_TESTS_NO_SKIP").is_none(), "{why}");
        skip(&why);
    }
    found
}
