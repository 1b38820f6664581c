//! Section 9: the outcome, what is claimed in files, and the places that it is written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde_json::{Map, Value, json};

use crate::mutants::broken;
use crate::secrets::Secrets;
use crate::stream::{Stream, USAGE};

/// The results that the specification names, most worth keeping first. `pr` alone may be claimed.
pub const KNOWN: &[&str] = &[
    "branch",
    "commit",
    "pr",
    "input-tokens",
    "output-tokens",
    "cost-usd",
    "cache-read-tokens",
    "cache-write-tokens",
    "reasoning-tokens",
    "base-branch",
    "base-commit",
    "commits",
    "pushed",
    "dirty",
    "files-changed",
    "insertions",
    "deletions",
    "model",
    "session-id",
    "agent-version",
    "turns",
    "duration-ms",
    "exit-code",
    "cost-source",
];

/// Names that the verdict itself has in flat outputs.
const VERDICT: &[&str] = &["status", "reason", "message", "cut"];

/// The longest value that a file may give, and how many files count.
const MOST_BYTES: u64 = 1 << 20;
const MOST_FILES: usize = 256;

/// 1 to 63 letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
pub fn is_valid_key(key: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=63).contains(&key.len()) && key.as_bytes()[0].is_ascii_alphanumeric() && key.bytes().all(word)
}

/// Everything known at the end of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub status: String,
    pub reason: String,
    pub exit_code: u8,
    pub retry: bool,
    pub phase: &'static str,
    pub origin: &'static str,
    pub message: String,
    pub hint: String,
    pub agent: Option<String>,
    pub agent_exit_code: Option<u8>,
    pub signal: Option<i32>,
    /// The interface version that it follows.
    pub version: String,
    pub facts: BTreeMap<String, Value>,
    pub claims: BTreeMap<String, String>,
    pub usage: Map<String, Value>,
    pub usage_complete: bool,
    pub answer: Option<String>,
    pub warnings: Vec<String>,
    pub stream: Value,
}

impl Outcome {
    /// A result that this implementation saw itself.
    pub fn fact(&mut self, key: &str, value: impl Into<Value>) {
        self.facts.insert(key.to_owned(), value.into());
    }

    /// A result that somebody claims.
    pub fn claim(&mut self, key: &str, value: String) {
        let is_taken = (KNOWN.contains(&key) && key != "pr") || VERDICT.contains(&key);
        if is_taken && KNOWN.contains(&key) && broken("fact-wins") {
            self.facts.insert(key.to_owned(), value.into());
        } else if is_taken || !is_valid_key(key) {
            self.warnings.push(format!("claim not taken: `{}`", key.chars().take(80).collect::<String>()));
        } else {
            self.claims.insert(key.to_owned(), value);
        }
    }

    /// What the stream said.
    pub fn learn(&mut self, stream: &Stream) {
        self.usage = stream.usage.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())).collect();
        if broken("usage-absent") {
            self.usage.entry("reasoningTokens").or_insert(json!(0));
        }
        if !self.usage.is_empty() && broken("usage") {
            let part = |name: &str| self.usage.get(name).and_then(Value::as_u64).unwrap_or(0);
            let fresh = part("inputTokens").saturating_sub(part("cacheReadTokens") + part("cacheWriteTokens"));
            self.usage.insert("inputTokens".to_owned(), json!(fresh));
        }
        self.usage_complete = stream.usage_complete;
        self.answer.clone_from(&stream.answer);
        for (key, value) in [("session-id", &stream.session), ("model", &stream.model), ("agent-version", &stream.agent_version)] {
            if let Some(value) = value {
                self.fact(key, value.as_str());
            }
        }
        if let Some(turns) = stream.turns {
            self.fact("turns", turns);
        }
        self.stream = json!({
            "bytes": stream.bytes, "lines": stream.lines, "unknownLines": stream.unknown_lines,
            "malformedLines": stream.malformed_lines, "condensedLines": stream.condensed_lines,
        });
    }

    /// The results as flat text, in the order of their worth, and whether each is a claim.
    pub fn parameters(&self) -> Vec<(String, String, bool)> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let usage = |key: &str| USAGE.iter().find(|(_, name)| *name == key).and_then(|(part, _)| self.usage.get(*part));
        let known = KNOWN.iter().filter_map(|key| {
            let fact = self.facts.get(*key).or_else(|| usage(key)).map(|value| (text(value), false));
            let (value, is_claim) = fact.or_else(|| Some((self.claims.get(*key)?.clone(), true)))?;
            Some(((*key).to_owned(), value, is_claim))
        });
        let others = self.claims.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str()));
        known.chain(others.map(|(key, value)| (key.clone(), value.clone(), true))).collect()
    }

    /// The document of the result file.
    pub fn document(&self) -> Value {
        let facts = self.facts.iter().map(|(key, value)| (key.clone(), json!({"value": value, "voucher": "fact"})));
        let claims = self.claims.iter().filter(|(key, _)| !self.facts.contains_key(*key));
        let claims = claims.map(|(key, value)| (key.clone(), json!({"value": value, "voucher": "claim"})));
        let mut document = json!({
            "interfaceVersion": self.version,
            "runnerVersion": env!("CARGO_PKG_VERSION"),
            "status": self.status,
            "reason": self.reason,
            "exitCode": self.exit_code,
            "retry": self.retry,
            "phase": self.phase,
            "origin": self.origin,
            "message": self.message,
            "results": facts.chain(claims).collect::<Map<_, _>>(),
            "usage": self.usage,
            "usageComplete": self.usage_complete,
            "warnings": self.warnings,
        });
        if self.stream.is_object() {
            document["stream"] = self.stream.clone();
        }
        let optional = [
            ("hint", (!self.hint.is_empty()).then(|| json!(self.hint))),
            ("agent", self.agent.as_ref().map(|agent| json!(agent))),
            ("agentExitCode", self.agent_exit_code.map(|code| json!(code))),
            ("signal", self.signal.map(|signal| json!(signal))),
            ("answer", self.answer.as_ref().map(|answer| json!(answer))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                document[name] = value;
            }
        }
        if broken("result-file") {
            document["retry"] = json!("perhaps");
        }
        if broken("one-verdict") {
            document["reason"] = json!("RunnerFault");
        }
        document
    }

    /// The same without secrets; a claim whose name would change is left out.
    pub fn mask(&mut self, secrets: &Secrets) {
        let text = |text: &String| secrets.text(text);
        self.message = text(&self.message);
        self.answer = self.answer.as_ref().map(text);
        self.warnings = self.warnings.iter().map(text).collect();
        self.facts = self.facts.iter().map(|(key, value)| (key.clone(), secrets.value(value))).collect();
        let claims = std::mem::take(&mut self.claims);
        self.claims = claims.iter().filter(|(key, _)| text(key) == **key).map(|(key, value)| (key.clone(), text(value))).collect();
    }
}

/// The results directory: what is in it before the run is neither a claim nor ours to remove.
#[derive(Debug)]
pub struct ResultsDir {
    dir: OwnedFd,
    before: BTreeSet<String>,
}

impl ResultsDir {
    /// Opens it, after making it; a link is refused.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::open(path, flags, Mode::empty())?;
        let before = names(&dir).into_iter().collect();
        Ok(Self { dir, before })
    }

    /// What was left there: regular files with valid names. One line end at the end is not part of a value.
    pub fn claims(&self) -> Vec<(String, String)> {
        let names = names(&self.dir).into_iter().filter(|name| !self.before.contains(name) && is_valid_key(name)).take(MOST_FILES);
        let read = names.filter_map(|name| {
            let text = read_text(self.dir.as_fd(), &name)?;
            let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).unwrap_or(&text);
            Some((name, line.to_owned()))
        });
        read.collect()
    }

    /// Writes a file for each result and for the verdict; what the agent left by a known name that has no value goes.
    pub fn write(&self, outcome: &Outcome) -> std::io::Result<()> {
        let verdict = [("status", &outcome.status), ("reason", &outcome.reason), ("message", &outcome.message)];
        let mut entries: Vec<(String, String)> = outcome.parameters().into_iter().map(|(key, value, _)| (key, value)).collect();
        entries.extend(verdict.map(|(key, value)| (key.to_owned(), value.clone())));
        let is_ours = |name: &String| KNOWN.contains(&name.as_str()) || VERDICT.contains(&name.as_str());
        for name in names(&self.dir).iter().filter(|name| is_ours(name) && !self.before.contains(*name)) {
            if broken("links-not-followed.write") {
                break;
            }
            // One that cannot be removed cannot be written either, and says so below.
            let _ = unlinkat(&self.dir, name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        for (key, value) in entries {
            if key == "duration-ms" && broken("results-directory") {
                continue;
            }
            if !broken("links-not-followed.write") {
                let _ = unlinkat(&self.dir, key.as_str(), UnlinkatFlags::NoRemoveDir);
            }
            let mut flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
            if !broken("links-not-followed.write") {
                flags |= OFlag::O_NOFOLLOW | OFlag::O_EXCL;
            }
            let file = openat(&self.dir, key.as_str(), flags, Mode::from_bits_truncate(0o644))?;
            File::from(file).write_all(value.as_bytes())?;
        }
        Ok(())
    }
}

fn names(dir: &OwnedFd) -> Vec<String> {
    let opened = Dir::openat(dir, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let entries = opened.into_iter().flat_map(|dir| dir.into_iter().flatten());
    let mut names: Vec<String> = entries.filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned())).collect();
    names.retain(|name| name != "." && name != "..");
    names.sort();
    names
}

/// A regular file's text, if it is one, and not too long.
fn read_text(dir: impl AsFd, name: &str) -> Option<String> {
    let mut flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    if !broken("links-not-followed.read") {
        flags |= OFlag::O_NOFOLLOW;
    }
    let file = File::from(openat(dir, name, flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MOST_BYTES).then(|| String::from_utf8(bytes).ok())?
}

/// The declared outputs: files below the work tree, reached without following a link, trimmed.
pub fn read_outputs(work_tree: &Path, outputs: &[Value]) -> Vec<(String, String)> {
    let read = |path: &str| {
        let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = nix::fcntl::open(work_tree, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        for part in dirs.split('/').filter(|part| !part.is_empty()) {
            dir = openat(&dir, part, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        }
        Some(read_text(&dir, name)?.trim().to_owned())
    };
    let value = |output: &Value| {
        let given = output["path"].as_str().and_then(read).filter(|_| !broken("declared-outputs.file"));
        given.or_else(|| output["default"].as_str().map(str::to_owned).filter(|_| !broken("declared-outputs.default")))
    };
    outputs.iter().filter_map(|output| Some((output["name"].as_str()?.to_owned(), value(output)?))).collect()
}

/// A file of ours, in place of whatever stands there. A link is replaced and not followed; what is mounted there is written into.
pub fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).custom_flags(nix::libc::O_NOFOLLOW);
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => options.truncate(true),
        _ => options.create_new(true),
    };
    options.open(path)
}
