//! Evidence as a directory, kept and read back.
//!
//! ```text
//! about.json                     suite, engine, image
//! SCENARIO/facts.json            what was told and seen
//! SCENARIO/stdout  stderr  termination  result.json  events.jsonl
//! SCENARIO/results/NAME          the results directory
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Evidence, Run};

/// By this file a directory is known as a scenario's.
const FACTS: &str = "facts.json";

/// Why evidence could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file.
    #[error("cannot {what} `{}`", path.display())]
    File {
        /// What was wanted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("`{}` is not evidence of this suite", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

/// Keeps evidence in a directory, which is made. What another go left there is removed: it may be of another image, and has other canaries.
///
/// # Errors
/// A file that cannot be written.
pub fn write(evidence: &Evidence, dir: &Path) -> Result<(), StoreError> {
    make_dir(dir)?;
    for old in list(dir)?.into_iter().filter(|entry| entry.join(FACTS).is_file()) {
        fs::remove_dir_all(&old).map_err(failed("clear", &old))?;
    }
    write_json(&dir.join("about.json"), &evidence.about)?;
    for (name, run) in &evidence.runs {
        write_run(run, &dir.join(name))?;
    }
    Ok(())
}

/// Reads evidence back.
///
/// # Errors
/// A file that cannot be read, or is not evidence.
pub fn read(dir: &Path) -> Result<Evidence, StoreError> {
    let mut evidence = Evidence { about: read_json(&dir.join("about.json"))?, ..Evidence::default() };
    for entry in list(dir)? {
        let name = entry.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        if let Some(name) = name.filter(|_| entry.join(FACTS).is_file()) {
            evidence.runs.insert(name, read_run(&entry)?);
        }
    }
    Ok(evidence)
}

fn write_run(run: &Run, dir: &Path) -> Result<(), StoreError> {
    make_dir(&dir.join("results"))?;
    write_json(&dir.join(FACTS), &run.facts)?;
    let optional = [("termination", &run.termination), ("result.json", &run.result_file), ("events.jsonl", &run.events_file)];
    let whole = [("stdout", &run.stdout), ("stderr", &run.stderr)];
    let files = optional.into_iter().filter_map(|(name, bytes)| Some((name, bytes.as_ref()?))).chain(whole);
    for (path, bytes) in files.map(|(name, bytes)| (dir.join(name), bytes)) {
        fs::write(&path, bytes).map_err(failed("write", &path))?;
    }
    for (name, bytes) in &run.results {
        let path = dir.join("results").join(name);
        fs::write(&path, bytes).map_err(failed("write", &path))?;
    }
    Ok(())
}

fn read_run(dir: &Path) -> Result<Run, StoreError> {
    let optional = |name: &str| {
        let path = dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    };
    let mut run = Run {
        facts: read_json(&dir.join(FACTS))?,
        stdout: optional("stdout")?.unwrap_or_default(),
        stderr: optional("stderr")?.unwrap_or_default(),
        termination: optional("termination")?,
        result_file: optional("result.json")?,
        events_file: optional("events.jsonl")?,
        ..Run::default()
    };
    let results = dir.join("results");
    // What is uploaded or committed loses directories with nothing in them.
    let results = if results.is_dir() { list(&results)? } else { Vec::new() };
    for path in results {
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            let bytes = fs::read(&path).map_err(failed("read", &path))?;
            run.results.insert(name.to_owned(), bytes);
        }
    }
    Ok(run)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).map_err(failed("read", dir))?;
    entries.map(|entry| Ok(entry.map_err(failed("read", dir))?.path())).collect()
}

fn make_dir(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(failed("make", dir))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(value).map_err(|source| StoreError::Malformed { path: path.to_owned(), source })?;
    fs::write(path, text).map_err(failed("write", path))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let bytes = fs::read(path).map_err(failed("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| StoreError::Malformed { path: path.to_owned(), source })
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(names: &[&str]) -> Evidence {
        Evidence { runs: names.iter().map(|name| ((*name).to_owned(), Run::default())).collect(), ..Evidence::default() }
    }

    #[test]
    fn what_is_kept_is_of_one_go_and_outlives_a_copy_without_empty_directories() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mine")).unwrap();
        write(&evidence(&["happy", "signal"]), dir.path()).unwrap();
        write(&evidence(&["happy"]), dir.path()).unwrap();
        assert!(dir.path().join("mine").is_dir());
        fs::remove_dir(dir.path().join("happy/results")).unwrap();
        assert_eq!(read(dir.path()).unwrap().runs.into_keys().collect::<Vec<_>>(), ["happy"]);
    }
}
