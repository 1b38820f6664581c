//! Ledgers: files that the agent writes beside its stream, read while it runs and once more at the end.
//!
//! Which they are, the agent's plan says; what they mean, its reader. Here they are found, without following links, and read once:
//! what was there before the agent started counts only if the agent goes on writing it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_sdk::agent::{Ledger, LedgerEntry, LedgerForm};

use crate::files::{Directory, FileError, Kind};

/// An agent's ledgers grow with each answer of its model; to look more often tells nobody more.
const INTERVAL: Duration = Duration::from_secs(1);
/// More files than years of sessions leave.
const FILES_LIMIT: usize = 20_000;
/// Lines of a ledger hold tool results: what is longer is left out, and the next one read.
const LINE_LIMIT: u64 = 16 << 20;
/// The same for a ledger that is written as a whole.
const WHOLE_LIMIT: u64 = 64 << 20;

/// The ledgers of one run.
#[derive(Debug)]
pub struct Ledgers {
    watched: Vec<Watched>,
    looked: Instant,
    /// Whether the agent has said something since.
    is_owed: bool,
}

#[derive(Debug)]
struct Watched {
    ledger: Ledger,
    files: BTreeMap<PathBuf, Seen>,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// Its length before the agent started; `None` if it was not there.
    earlier: Option<u64>,
    /// Up to where it was read.
    read: u64,
    /// Its length and time of change when it was last looked at.
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    length: u64,
    changed: (i64, i64),
}

impl Ledgers {
    /// Notes what is there before the agent starts.
    #[must_use]
    pub fn note(ledgers: Vec<Ledger>) -> Self {
        let watched = ledgers.into_iter().map(|ledger| {
            let mut files = BTreeMap::new();
            each_file(&ledger, &mut |_, _, path, state| {
                files.insert(path.to_owned(), Seen { earlier: Some(state.length), read: 0, state });
            });
            Watched { ledger, files }
        });
        Self { watched: watched.collect(), looked: Instant::now(), is_owed: false }
    }

    /// The agent has said something: whether it is time to look again. If it is not yet, [`Self::due`] says when.
    #[must_use]
    pub fn are_due(&mut self) -> bool {
        self.is_owed = !self.watched.is_empty();
        self.is_owed && self.looked.elapsed() >= INTERVAL
    }

    /// When to look once more though the agent says nothing: what it wrote after its last word may be that it is done.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.is_owed.then(|| self.looked + INTERVAL)
    }

    /// Hands over what was written since the last time.
    pub fn read(&mut self, take: &mut dyn FnMut(&LedgerEntry<'_>)) {
        for (number, Watched { ledger, files }) in self.watched.iter_mut().enumerate() {
            each_file(ledger, &mut |directory, name, path, state| {
                let seen = files.entry(path.to_owned()).or_default();
                if seen.state == state {
                    return;
                }
                seen.state = state;
                let entry = LedgerEntry { ledger: number, file: path, earlier: seen.earlier.is_some(), content: &[] };
                // A ledger that cannot be read tells nothing; the stream still does.
                let _ = match ledger.form {
                    LedgerForm::Lines => read_lines(directory, name, seen, entry, take),
                    LedgerForm::Whole => read_whole(directory, name, entry, take),
                };
            });
        }
        self.looked = Instant::now();
        self.is_owed = false;
    }
}

fn read_whole(directory: &Directory, name: &Path, entry: LedgerEntry<'_>, take: &mut dyn FnMut(&LedgerEntry<'_>)) -> Result<(), FileError> {
    if let Some((content, _)) = directory.read(name, WHOLE_LIMIT)? {
        take(&LedgerEntry { content: &content, ..entry });
    }
    Ok(())
}

/// All whole lines from where it was read up to; from the beginning if it was there before.
fn read_lines(
    directory: &Directory,
    name: &Path,
    seen: &mut Seen,
    entry: LedgerEntry<'_>,
    take: &mut dyn FnMut(&LedgerEntry<'_>),
) -> Result<(), FileError> {
    let Some((mut file, _)) = directory.open_file(name)? else { return Ok(()) };
    let io = |source| FileError::Io { doing: "read", path: directory.path().join(name), source };
    file.seek(SeekFrom::Start(seen.read)).map_err(io)?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line).map_err(io)? as u64;
        let whole = line.pop_if(|byte| *byte == b'\n').is_some();
        let skipped = if !whole && length == LINE_LIMIT { reader.skip_until(b'\n').map_err(io)? as u64 } else { 0 };
        if !whole && skipped == 0 {
            // The rest of a line that is being written comes the next time.
            return Ok(());
        }
        seen.read += length + skipped;
        if whole {
            take(&LedgerEntry { earlier: seen.earlier.is_some_and(|earlier| seen.read <= earlier), content: &line, ..entry });
        }
    }
}

/// Calls with each file of a ledger: its directory, its name in it, its path below the ledger's directory, and its state.
fn each_file(ledger: &Ledger, call: &mut dyn FnMut(&Directory, &Path, &Path, State)) {
    let mut left = FILES_LIMIT;
    // It may not be there yet.
    let Ok(top) = Directory::open(&ledger.dir) else { return };
    walk(&top, Path::new(""), ledger.depth, ledger, &mut left, call);
}

fn walk(
    directory: &Directory,
    below: &Path,
    depth: usize,
    ledger: &Ledger,
    left: &mut usize,
    call: &mut dyn FnMut(&Directory, &Path, &Path, State),
) {
    // What vanishes while it is looked at is no ledger any more.
    for (name, kind) in directory.entries().unwrap_or_default() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = below.join(&name);
        match kind {
            Kind::Directory if depth > 0 => {
                if let Ok(inner) = directory.descend(&name) {
                    walk(&inner, &path, depth - 1, ledger, left, call);
                }
            }
            Kind::File if depth == 0 && is_named(&name, ledger) => {
                if let Ok(Some((_, stat))) = directory.open_file(&name) {
                    let length = u64::try_from(stat.st_size).unwrap_or_default();
                    call(directory, &name, &path, State { length, changed: (stat.st_mtime, stat.st_mtime_nsec) });
                }
            }
            Kind::File | Kind::Directory | Kind::Link | Kind::Other => {}
        }
    }
}

fn is_named(name: &Path, ledger: &Ledger) -> bool {
    let name = name.as_os_str().as_encoded_bytes();
    name.starts_with(ledger.prefix.as_bytes()) && name.ends_with(ledger.suffix.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    fn ledger(dir: &Path, form: LedgerForm) -> Ledger {
        Ledger { dir: dir.to_owned(), depth: 1, prefix: "rollout-", suffix: ".jsonl", form }
    }

    fn append(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn read(ledgers: &mut Ledgers) -> Vec<String> {
        let mut all = Vec::new();
        ledgers.read(&mut |entry| {
            let earlier = if entry.earlier { " earlier" } else { "" };
            all.push(format!("{}{earlier}: {}", entry.file.display(), String::from_utf8_lossy(entry.content)));
        });
        all
    }

    #[test]
    fn each_line_is_handed_over_once_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap().join("not-yet");
        let mut ledgers = Ledgers::note(vec![ledger(&dir, LedgerForm::Lines)]);
        assert!(read(&mut ledgers).is_empty());
        append(&dir.join("day/rollout-1.jsonl"), "one\ntw");
        append(&dir.join("day/other.jsonl"), "no\n");
        append(&dir.join("rollout-top.jsonl"), "no\n");
        append(&dir.join("day/deeper/rollout-2.jsonl"), "no\n");
        assert_eq!(read(&mut ledgers), ["day/rollout-1.jsonl: one"]);
        assert!(read(&mut ledgers).is_empty());
        append(&dir.join("day/rollout-1.jsonl"), "o\n\n");
        assert_eq!(read(&mut ledgers), ["day/rollout-1.jsonl: two", "day/rollout-1.jsonl: "]);
    }

    #[test]
    fn what_was_there_counts_only_where_the_agent_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        append(&dir.join("day/rollout-old.jsonl"), "old\n");
        append(&dir.join("day/rollout-resumed.jsonl"), "before\n");
        let mut ledgers = Ledgers::note(vec![ledger(&dir, LedgerForm::Lines)]);
        assert!(read(&mut ledgers).is_empty());
        append(&dir.join("day/rollout-resumed.jsonl"), "now\n");
        assert_eq!(read(&mut ledgers), ["day/rollout-resumed.jsonl earlier: before", "day/rollout-resumed.jsonl: now"]);
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let mut ledgers = Ledgers::note(vec![ledger(&dir, LedgerForm::Lines)]);
        append(&dir.join("day/rollout-1.jsonl"), &format!("{}\nshort\n", "x".repeat(usize::try_from(LINE_LIMIT).unwrap() + 5)));
        assert_eq!(read(&mut ledgers), ["day/rollout-1.jsonl: short"]);
    }

    #[test]
    fn a_ledger_written_as_a_whole_is_read_whenever_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let mut ledgers = Ledgers::note(vec![ledger(&dir, LedgerForm::Whole)]);
        for text in ["{}", "{\"a\":1}"] {
            fs::create_dir_all(dir.join("day")).unwrap();
            fs::write(dir.join("day/rollout-1.jsonl"), text).unwrap();
            assert_eq!(read(&mut ledgers), [format!("day/rollout-1.jsonl: {text}")]);
            assert!(read(&mut ledgers).is_empty());
        }
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        append(&dir.join("elsewhere/rollout-1.jsonl"), "secret\n");
        fs::create_dir_all(dir.join("ledger/day")).unwrap();
        std::os::unix::fs::symlink(dir.join("elsewhere"), dir.join("ledger/linked")).unwrap();
        std::os::unix::fs::symlink(dir.join("elsewhere/rollout-1.jsonl"), dir.join("ledger/day/rollout-2.jsonl")).unwrap();
        let mut ledgers = Ledgers::note(vec![ledger(&dir.join("ledger"), LedgerForm::Lines)]);
        append(&dir.join("elsewhere/rollout-1.jsonl"), "more\n");
        assert!(read(&mut ledgers).is_empty());
    }
}
