//! Skipping out loud: a test that this machine cannot run says why, and is counted as skipped by `tests/run`.

use std::io::Write;

/// Says that a test cannot run here. The caller returns right after it.
///
/// The line goes past the test harness's capture to stderr, and to the file in `AGENT_TESTS_SKIPPED`, from which the
/// skipped tests are counted (one line per test: the calling test's name stands in it).
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
