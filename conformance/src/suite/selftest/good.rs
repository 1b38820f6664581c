//! Good evidence, as the second implementation left it, kept in the tree for what has to be tried in milliseconds: a JSON file a scenario,
//! with output as text, so that people can read it and see in a diff what has changed.
//!
//! `fixtures/evidence-good` is of the second implementation; `selftest --keep-good` writes it. `fixtures/evidence-agent` is of the runner
//! with the real Claude Code 2.1, from `check --profile agent --evidence`, without its output and whatever else no check reads.
//!
//! Three megabytes that the suite can make again are not kept: what the agent of `stream-odd` prints.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::suite::evidence::{About, Evidence, Run, RunFacts};
use crate::suite::scenario::streams::odd_bytes;
use crate::suite::stream::Stream;

/// The scenario whose output is made again.
const ODD: &str = "stream-odd";
/// The file of what all scenarios share.
const ABOUT: &str = "about.json";

/// Why good evidence could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum GoodError {
    /// A file.
    #[error("good evidence in `{}`", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A run, as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    facts: RunFacts,
    stdout: String,
    stderr: String,
    termination: Option<String>,
    result_file: Option<String>,
    events_file: Option<String>,
    results: BTreeMap<String, String>,
}

impl Kept {
    fn of(run: &Run, text: impl Fn(&[u8]) -> io::Result<String>) -> io::Result<Self> {
        let optional = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(&text).transpose();
        Ok(Self {
            facts: serde_json::from_str(&text(&serde_json::to_vec(&run.facts)?)?)?,
            stdout: text(&run.stdout)?,
            stderr: text(&run.stderr)?,
            termination: optional(&run.termination)?,
            result_file: optional(&run.result_file)?,
            events_file: optional(&run.events_file)?,
            results: run.results.iter().map(|(name, bytes)| Ok((name.clone(), text(bytes)?))).collect::<io::Result<_>>()?,
        })
    }

    fn into_run(self) -> Run {
        Run {
            facts: self.facts,
            stdout: self.stdout.into_bytes(),
            stderr: self.stderr.into_bytes(),
            termination: self.termination.map(String::into_bytes),
            result_file: self.result_file.map(String::into_bytes),
            events_file: self.events_file.map(String::into_bytes),
            results: self.results.into_iter().map(|(name, text)| (name, text.into_bytes())).collect(),
        }
    }
}

fn odd(about: &About) -> Vec<u8> {
    odd_bytes(Stream::of(about.subject.stream()).unwrap_or(Stream::Other))
}

/// Reads it from its directory.
///
/// # Errors
/// It is not there, or not good evidence of this suite.
pub fn read(dir: &Path) -> Result<Evidence, GoodError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| GoodError::File { path, source }
    };
    let mut evidence = Evidence { about: read_json(&dir.join(ABOUT)).map_err(failed(&dir.join(ABOUT)))?, ..Evidence::default() };
    for entry in fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.file_name().is_some_and(|name| name != ABOUT) {
            let mut run = read_json::<Kept>(&path).map_err(failed(&path))?.into_run();
            if name == ODD {
                run.stdout.splice(0..0, odd(&evidence.about));
            }
            evidence.runs.insert(name, run);
        }
    }
    Ok(evidence)
}

/// Keeps it in a directory. Canaries become other words: nobody's scanner is to take them for tokens that leaked.
///
/// # Errors
/// It cannot be written, or is no text.
pub fn write(evidence: &Evidence, dir: &Path) -> Result<(), GoodError> {
    let failed = |source| GoodError::File { path: dir.to_owned(), source };
    let mut about = evidence.about.clone();
    about.canaries.iter_mut().for_each(|(name, canary)| *canary = stand_in(name));
    fs::create_dir_all(dir).and_then(|()| write_json(&dir.join(ABOUT), &about)).map_err(failed)?;
    let printed = odd(&evidence.about);
    for (name, run) in &evidence.runs {
        let text = |bytes: &[u8]| {
            let bytes = bytes.strip_prefix(printed.as_slice()).unwrap_or(bytes);
            let text = String::from_utf8(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(evidence.about.canaries.iter().fold(text, |text, (name, canary)| text.replace(canary.as_str(), &stand_in(name))))
        };
        Kept::of(run, text).and_then(|kept| write_json(&dir.join(format!("{name}.json")), &kept)).map_err(failed)?;
    }
    Ok(())
}

fn stand_in(name: &str) -> String {
    format!("the-suites-canary-for-{name}")
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
