//! The README's and the tutorial's own commands, as somebody would paste them: each `sh` block is run by a shell in an empty directory,
//! with the built binaries on PATH; the tutorial's one after the other in the same. Blocks that need a cluster, a key or an image are
//! marked `no-test` there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The `sh` blocks without `no-test`, with the line that each begins on.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line) {
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, block)), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, "```sh") => open = Some((number + 1, String::new())),
            _ => {}
        }
    }
    blocks
}

fn paste(block: &str, dir: &Path) -> Output {
    // what `mktemp` makes goes with this
    let scratch = tempfile::tempdir().unwrap();
    // this test's own binary lies in TARGET/debug/deps, the programs one above
    let bin = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap()))).unwrap();
    let mut shell = Command::new("sh");
    shell.arg("-euc").arg(block).current_dir(dir).env("PATH", path).env("TMPDIR", scratch.path()).env("DEMO_SCOPE", "--workspace --bins");
    // what cargo tells this test about its package would make build scripts run again
    let told = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in told.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        shell.env_remove(name);
    }
    shell.output().unwrap()
}

#[test]
fn every_command_of_the_readme_works_as_pasted() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = blocks(&text);
    assert!(blocks.len() >= 3, "the README has lost its commands");
    for (line, block) in blocks {
        let empty = tempfile::tempdir().unwrap();
        // `make` is typed in the checkout, everything else anywhere
        let dir = if block.starts_with("make ") { root() } else { empty.path().to_owned() };
        let output = paste(&block, &dir);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "README.md line {line}: {block}\n{stdout}\n{stderr}");
        assert!(!stdout.is_empty(), "README.md line {line} prints nothing: {block}\n{stderr}");
    }
}

#[test]
fn the_demo_shows_a_whole_task() {
    let output = paste("agent-runner demo", &root());
    let stdout = String::from_utf8(output.stdout).unwrap();
    // what the agent says comes first, then the message
    let message: serde_json::Value = serde_json::from_str(&stdout[stdout.find("\n{\n").unwrap()..]).unwrap();
    assert_eq!(message["status"], "succeeded");
    assert_eq!(message["parameters"]["branch"], "demo");
    assert_eq!(message["parameters"]["commits"], "1");
    assert_eq!(message["parameters"]["commit"].as_str().unwrap().len(), 40);
}

#[test]
fn the_tutorial_can_be_pasted_from_its_first_line_to_its_last() {
    let text = std::fs::read_to_string(root().join("docs/your-own-agent-image.md")).unwrap();
    let blocks = blocks(&text);
    assert!(blocks.len() >= 5, "the tutorial has lost its commands");
    let all: String = blocks.iter().map(|(_, block)| block.as_str()).collect();
    let empty = tempfile::tempdir().unwrap();
    let output = paste(&all, empty.path());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let message = std::fs::read_to_string(empty.path().join("message")).unwrap();
    let message: serde_json::Value = serde_json::from_str(&message).unwrap();
    assert_eq!(message["parameters"]["branch"], "greeting");
    assert_eq!(message["parameters"]["commits"], "1");
}
