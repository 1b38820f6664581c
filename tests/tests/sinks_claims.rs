//! What the agent leaves in files, and what it says with `emit`: claims, within bounds, never facts.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use agent_runner::sinks::{Claims, EmitError, EmitTo, EventsFile, ResultsDir, SinkError, emit, read_outputs};
use agent_sdk::event::Event;
use agent_sdk::marker::{MarkerScanner, Nonce};
use agent_sdk::outcome::Outcome;
use agent_sdk::results::{Results, Voucher, key};
use agent_sdk::task::DeclaredOutput;
use agent_sdk::verdict::{Origin, Phase, Reason};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

fn values(claims: &Claims) -> Vec<(&str, &str)> {
    claims.values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn outcome(results: Results) -> Outcome {
    let mut outcome = Outcome::new("0.1.0", Phase::Done, Origin::Agent, Reason::Completed, "done");
    outcome.results = results;
    outcome
}

#[test]
fn files_of_the_agent_are_claims() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("results");
    let dir = ResultsDir::prepare(&path, None).unwrap();
    fs::write(path.join("summary"), "all tests pass\n").unwrap();
    fs::write(path.join("pr"), "https://forge/pull/1\r\n").unwrap();
    fs::write(path.join("lines"), "a\nb\n\n").unwrap();
    fs::write(path.join("empty"), "").unwrap();
    let claims = dir.read_claims();
    assert_eq!(values(&claims), [("empty", ""), ("lines", "a\nb\n"), ("pr", "https://forge/pull/1"), ("summary", "all tests pass")]);
    assert_eq!(claims.warnings, Vec::<String>::new());
}

#[test]
fn nothing_but_plain_small_text_files_with_valid_names_is_read() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("results");
    let dir = ResultsDir::prepare(&path, None).unwrap();
    fs::write(root.path().join("secret"), "of somebody else").unwrap();
    symlink(root.path().join("secret"), path.join("link")).unwrap();
    symlink("/dev/zero", path.join("endless")).unwrap();
    mkfifo(&path.join("fifo"), Mode::S_IRWXU).unwrap();
    fs::create_dir(path.join("subdir")).unwrap();
    fs::write(path.join(".hidden"), "x").unwrap();
    fs::write(path.join("with space"), "x").unwrap();
    fs::write(path.join("binary"), b"\xff\xfe").unwrap();
    fs::write(path.join("huge"), vec![b'x'; (1 << 20) + 1]).unwrap();
    fs::write(path.join("fits"), vec![b'x'; 1 << 20]).unwrap();
    // A hole takes no room on disk; it must not take any in memory either.
    fs::File::create(path.join("sparse")).unwrap().set_len(1 << 40).unwrap();
    let claims = dir.read_claims();
    assert_eq!(claims.values.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["fits"]);
    for name in ["link", "endless", "fifo", "subdir", ".hidden", "with space", "binary", "huge", "sparse"] {
        assert_eq!(
            claims.warnings.iter().filter(|warning| warning.contains(&format!("/{name}`"))).count(),
            1,
            "{name}: {:?}",
            claims.warnings
        );
    }
    assert!(claims.warnings.iter().any(|warning| warning.contains("1099511627776 bytes")), "the size is told: {:?}", claims.warnings);
}

#[test]
fn a_flood_of_files_is_bounded() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("results");
    let dir = ResultsDir::prepare(&path, None).unwrap();
    for i in 0..20 {
        fs::write(path.join(format!("a{i:02}")), vec![b'x'; 1 << 20]).unwrap();
    }
    for i in 0..600 {
        fs::write(path.join(format!("b{i}")), "x").unwrap();
    }
    let claims = dir.read_claims();
    assert!(claims.values.len() <= 256 && claims.values.iter().map(|(_, value)| value.len()).sum::<usize>() <= 8 << 20);
    assert!(claims.values.iter().filter(|(key, _)| key.starts_with('b')).count() > 200, "small ones are not kept out by large ones");
    assert!(!claims.warnings.is_empty() && claims.warnings.len() <= 257);
}

#[test]
fn a_forged_fact_is_refused_and_its_file_does_not_stay() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("results");
    let dir = ResultsDir::prepare(&path, None).unwrap();
    for name in ["commit", "branch", "status", "summary"] {
        fs::write(path.join(name), "forged").unwrap();
    }
    let mut results = Results::default();
    results.set_fact(key::BRANCH, "fix-7");
    let warnings = dir.read_claims().apply(&mut results);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    dir.write(&outcome(results), None).unwrap();
    assert_eq!(fs::read_to_string(path.join("branch")).unwrap(), "fix-7");
    assert_eq!(fs::read_to_string(path.join("status")).unwrap(), "succeeded");
    assert_eq!(fs::read_to_string(path.join("summary")).unwrap(), "forged");
    assert!(!path.join("commit").exists(), "there is no commit, so nobody may read one");
}

#[test]
fn what_stood_there_before_the_run_is_neither_taken_nor_removed() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("results");
    fs::create_dir(&path).unwrap();
    for name in ["commit", "from-another-step", "changed"] {
        fs::write(path.join(name), "before").unwrap();
    }
    let dir = ResultsDir::prepare(&path, None).unwrap();
    fs::remove_file(path.join("changed")).unwrap();
    fs::write(path.join("changed"), "by the agent").unwrap();
    let claims = dir.read_claims();
    assert_eq!(values(&claims), [("changed", "by the agent")]);
    dir.write(&outcome(Results::default()), None).unwrap();
    assert_eq!(fs::read_to_string(path.join("commit")).unwrap(), "before");
    assert_eq!(fs::read_to_string(path.join("from-another-step")).unwrap(), "before");
}

#[test]
fn a_results_directory_within_the_repository_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("repo");
    fs::create_dir_all(tree.join("sub")).unwrap();
    symlink(&tree, root.path().join("way-round")).unwrap();
    for inside in [tree.clone(), tree.join("results"), tree.join("sub/x/y"), root.path().join("way-round/results")] {
        assert!(matches!(ResultsDir::prepare(&inside, Some(&tree)), Err(SinkError::InsideRepository { .. })), "{inside:?}");
    }
    assert!(ResultsDir::prepare(root.path().join("repo-results"), Some(&tree)).is_ok());
    // A tree that is not cloned yet has nothing in it.
    assert!(ResultsDir::prepare(root.path().join("other"), Some(&root.path().join("not yet"))).is_ok());
}

fn declared(name: &str, path: &str, default: Option<&str>) -> DeclaredOutput {
    DeclaredOutput { name: name.into(), path: path.into(), default: default.map(str::to_owned) }
}

#[test]
fn declared_outputs_are_trimmed_and_have_defaults() {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path();
    fs::create_dir(tree.join(".outputs")).unwrap();
    fs::write(tree.join(".outputs/summary"), "\n  two\nlines \n\n").unwrap();
    symlink("summary", tree.join(".outputs/latest")).unwrap();
    let absolute = tree.join(".outputs/summary");
    let claims = read_outputs(
        tree,
        &[
            declared("summary", ".outputs/summary", None),
            declared("dotted", "./.outputs/./summary", None),
            declared("absolute", absolute.to_str().unwrap(), None),
            declared("linked-within", ".outputs/latest", None),
            declared("missing", "nowhere", Some("a default")),
            declared("absent", "nowhere", None),
        ],
    );
    let text = "two\nlines";
    assert_eq!(
        values(&claims),
        [("summary", text), ("dotted", text), ("absolute", text), ("linked-within", text), ("missing", "a default")]
    );
    assert_eq!(claims.warnings, Vec::<String>::new());
}

#[test]
fn declared_outputs_never_come_from_outside_the_work_tree() {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(root.path().join("secret"), "of the platform").unwrap();
    fs::create_dir(tree.join("real")).unwrap();
    symlink("../secret", tree.join("link")).unwrap();
    symlink(root.path().join("secret"), tree.join("absolute-link")).unwrap();
    symlink("..", tree.join("up")).unwrap();
    symlink("/proc/self/root", tree.join("magic")).unwrap();
    symlink("/dev/zero", tree.join("endless")).unwrap();
    mkfifo(&tree.join("fifo"), Mode::S_IRWXU).unwrap();
    fs::write(tree.join("huge"), vec![b'x'; (1 << 20) + 1]).unwrap();
    let secret = root.path().join("secret");
    let paths =
        ["link", "absolute-link", "up/secret", "../secret", "real/../../secret", "magic/etc/passwd", "endless", "fifo", "huge", "real", ""];
    let mut outputs: Vec<_> = paths.iter().enumerate().map(|(i, path)| declared(&format!("o{i}"), path, None)).collect();
    outputs.push(declared("outside", secret.to_str().unwrap(), Some("the default")));
    let claims = read_outputs(&tree, &outputs);
    assert_eq!(values(&claims), [("outside", "the default")]);
    for output in &outputs {
        // The empty path is the tree itself or nothing, as the kernel has it.
        let told = claims.warnings.iter().filter(|warning| warning.starts_with(&format!("output `{}`:", output.name))).count();
        assert_eq!(told, usize::from(!output.path.as_os_str().is_empty()), "{}: {:?}", output.path.display(), claims.warnings);
    }
}

const NONCE: &str = "4f0c8a1e9b7d6350aa12bb34cc56dd78";

fn scanned(stdout: &[u8]) -> std::collections::BTreeMap<String, String> {
    let mut scanner = MarkerScanner::native(&Nonce::parse(NONCE).unwrap());
    stdout.split_inclusive(|byte| *byte == b'\n').for_each(|line| scanner.line(line));
    scanner.finish().values
}

#[test]
fn emit_says_it_in_every_place_that_there_is() {
    let root = tempfile::tempdir().unwrap();
    let value = "two\nlines, \\ and \"quotes\" ";
    for (nonce, results_dir) in [(Some(NONCE), None), (None, Some(root.path())), (Some(NONCE), Some(root.path()))] {
        let mut stdout = Vec::new();
        let emitted = emit("summary", value, EmitTo { nonce, results_dir }, &mut stdout).unwrap();
        assert_eq!((emitted.marker, emitted.file.is_some(), emitted.warning), (nonce.is_some(), results_dir.is_some(), None));
        if nonce.is_some() {
            assert_eq!(scanned(&stdout)["summary"], value);
        }
        if let Some(file) = emitted.file {
            assert_eq!(fs::read_to_string(file).unwrap(), value);
        }
    }
}

#[test]
fn emit_refuses_with_a_reason_and_a_hint() {
    let run = EmitTo { nonce: Some(NONCE), results_dir: None };
    let long = "x".repeat((64 << 10) + 1);
    let cases = [
        ("bad key", "v", run, "`bad key` is not made of"),
        ("../x", "v", run, "`../x` is not made of"),
        ("commit", "v", run, "only the runner may set"),
        ("status", "v", run, "only the runner may set"),
        ("summary", "v", EmitTo::default(), "neither `AGENT_NONCE` nor `AGENT_RESULTS_DIR`"),
        ("summary", "v", EmitTo { nonce: Some("short"), results_dir: None }, "is not a word"),
        ("summary", long.as_str(), run, "65537 bytes, more than the 65536"),
        ("summary", "v", EmitTo { nonce: None, results_dir: Some(Path::new("/nowhere/at/all")) }, "`/nowhere/at/all` does not exist"),
    ];
    for (key, value, to, words) in cases {
        let mut stdout = Vec::new();
        let error = emit(key, value, to, &mut stdout).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.hint().is_empty() && stdout.is_empty());
    }
}

#[test]
fn emit_with_one_place_broken_uses_the_other_and_says_so() {
    /// A pipe that nobody reads.
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let root = tempfile::tempdir().unwrap();
    let both = EmitTo { nonce: Some(NONCE), results_dir: Some(root.path()) };
    let emitted = emit("summary", "v", both, &mut Closed).unwrap();
    assert!(!emitted.marker && emitted.file.is_some() && emitted.warning.is_some());
    let broken = EmitTo { nonce: Some(NONCE), results_dir: Some(Path::new("/nowhere/at/all")) };
    let emitted = emit("summary", "v", broken, &mut Vec::new()).unwrap();
    assert!(emitted.marker && emitted.warning.unwrap().contains("does not exist"));
    assert!(matches!(emit("summary", "v", EmitTo { nonce: Some(NONCE), results_dir: None }, &mut Closed), Err(EmitError::Stdout(_))));
}

fn text(text: &str) -> Event {
    Event::Text { text: text.to_owned(), parent: None }
}

fn plain(text: &str) -> String {
    text.to_owned()
}

#[test]
fn events_are_whole_lines_also_after_a_run_that_was_killed_within_one() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("events.jsonl");
    fs::write(&path, "{\"type\":\"text\",\"te").unwrap();
    let mut file = EventsFile::open(&path).unwrap();
    file.append(&text("one\nline"), &plain);
    file.idle().unwrap();
    let written = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = written.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(serde_json::from_str::<Event>(lines[1]).unwrap(), text("one\nline"));
}

#[test]
fn events_stop_at_their_limit_with_a_word() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("events.jsonl");
    let mut file = EventsFile::open_with_limit(&path, 10_000).unwrap();
    for _ in 0..1000 {
        file.append(&text(&"x".repeat(100)), &plain);
    }
    file.idle().unwrap();
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.len() < 10_500, "{}", written.len());
    let events: Vec<Event> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(matches!(events.last().unwrap(), Event::Warning { message } if message.contains("full")));
    assert!(events.len() > 50);
}

#[test]
fn claims_never_lose_their_voucher() {
    let mut results = Results::default();
    let claims = Claims { values: vec![("summary".into(), "v".into())], warnings: Vec::new() };
    assert_eq!(claims.apply(&mut results), Vec::<String>::new());
    assert_eq!(results.get("summary").unwrap().voucher, Voucher::Claim);
}
