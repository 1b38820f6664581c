//! Skipping out loud, as the other tests of this project do it: said on stderr, and counted from the file in `AGENT_TESTS_SKIPPED`.

use std::io::Write as _;

/// Says that a test, or a part of it, cannot run here.
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
