//! What `check` and `reproduce` have in common: running scenarios, with progress.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use clap::Args;
use tempfile::TempDir;

use super::error::CommandError;
use super::progress::ProgressLine;
use crate::suite::engine::Engine;
use crate::suite::evidence::Evidence;
use crate::suite::scenario::{self, GatherOptions};
use crate::suite::stop;
use crate::suite::subject::{LOADERS, Subject};

/// More at once would make scenarios that wait for time-outs compete for the machine.
const MOST_AT_ONCE: usize = 4;

/// How scenarios are run.
#[derive(Debug, Args)]
pub struct GatheringArguments {
    /// How long one scenario may take before it is killed, such as `90s`; those with the image's own agent have three minutes at least
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How many scenarios run at once; without, as many as there are processors, and at most 4
    #[arg(long, value_name = "COUNT")]
    jobs: Option<std::num::NonZeroUsize>,
}

/// That the image can start the suite's program as its agent, as far as its files tell. In one without glibc only the static program runs.
pub fn can_start_the_suite(subject: &Subject) -> Result<(), CommandError> {
    match &subject.files {
        Some(files) if !cfg!(target_feature = "crt-static") && files.loaders.is_empty() => {
            Err(CommandError::Dynamic { loaders: LOADERS.join(", ") })
        }
        _ => Ok(()),
    }
}

/// A directory for what the scenarios need, which is gone with the first, and how they are run there.
pub fn workplace(at_once: usize, patience: Duration) -> Result<(TempDir, GatherOptions), CommandError> {
    let work = tempfile::Builder::new().prefix("agent-conformance-").tempdir();
    let work = work.map_err(no_directory)?;
    let program = std::env::current_exe();
    let program = program.map_err(|source| CommandError::File { what: "find", path: "/proc/self/exe".into(), source, given: false })?;
    let options = GatherOptions { work: work.path().to_owned(), program, at_once, patience };
    Ok((work, options))
}

/// That the directory for temporary files is no good.
pub fn no_directory(source: io::Error) -> CommandError {
    CommandError::File { what: "make a directory in", path: std::env::temp_dir(), source, given: false }
}

/// Runs scenarios with an image.
pub fn gather(
    arguments: &GatheringArguments,
    engine: &dyn Engine,
    subject: &Subject,
    scenarios: &BTreeSet<&str>,
) -> Result<Evidence, CommandError> {
    if !scenarios.is_empty() {
        can_start_the_suite(subject)?;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = arguments.jobs.map_or(processors.min(MOST_AT_ONCE), usize::from);
    let (_work, options) = workplace(at_once, arguments.timeout)?;
    let progress = ProgressLine::new();
    let evidence = scenario::gather(engine, subject, scenarios, &options, &|happening| progress.on(happening));
    match stop::asked() {
        Some(signal) => Err(CommandError::Interrupted(signal)),
        None => Ok(evidence),
    }
}
