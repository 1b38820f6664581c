//! Sinks: the places where the outcome is written, a file each.
//!
//! One outcome, many writers, each with a function `write`. A sink that fails never stops the next: it becomes one warning. At the
//! end they follow one another so that each can say what befell those before it:
//!
//! 1. [`ResultsDir`]: one file per result.
//! 2. [`ResultFile`]: the whole outcome. Its digest goes into
//! 3. [`TerminationSink`]: the termination message, written from the first moment on and for the last time here.
//! 4. [`marker`]: the block that is the last of stdout.
//!
//! [`EventsFile`] and [`ProgressFile`] are written while the stream flows. What the agent left for us ([`Claims`]) is read before anything
//! is written ([`ResultsDir::read_claims`], [`read_outputs`]). When the runner is dead, init calls [`write_last_words`].

mod claims;
mod emit;
mod error;
pub mod events;
mod last_words;
pub mod marker;
mod mask;
mod outputs;
mod place;
mod progress;
mod result_file;
mod results_dir;
pub mod share;
mod termination;
mod throttle;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use agent_sdk::outcome::Outcome;
use agent_sdk::results::Results;
use agent_sdk::task;
use agent_sdk::termination::fit;

pub use claims::Claims;
pub use emit::{EmitError, EmitTo, Emitted, emit};
pub use error::SinkError;
pub use events::EventsFile;
pub use last_words::write_last_words;
pub use marker::MarkerForm;
pub use mask::{Mask, mask_outcome};
pub use outputs::read_outputs;
pub use progress::ProgressFile;
pub use result_file::ResultFile;
pub use results_dir::ResultsDir;
pub use termination::{TerminationFile, TerminationSink, Written};
pub use throttle::Throttle;

/// All sinks of a run that are written from the outcome.
pub struct Writers {
    budget: usize,
    termination: TerminationSink,
    result_file: Option<ResultFile>,
    results_dir: Option<ResultsDir>,
    results_room: Option<usize>,
    marker: Option<MarkerForm>,
    mask: Box<Mask>,
}

impl Writers {
    /// The writers that a task asks for, and warnings about those that cannot be.
    ///
    /// `repository` is the work tree, if it is one of git: a results directory in it is refused. It need not exist yet.
    #[must_use]
    pub fn new(sinks: &task::Sinks, repository: Option<&Path>, marker: Option<MarkerForm>, mask: Box<Mask>) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let results_dir = sinks
            .results_dir
            .as_ref()
            .and_then(|path| ResultsDir::prepare(path, repository).map_err(|error| warnings.push(error.warning())).ok());
        let writers = Self {
            budget: usize::try_from(sinks.termination_budget).unwrap_or(usize::MAX),
            termination: TerminationSink::new(TerminationFile::new(&sinks.termination_log)),
            result_file: sinks.result_file.as_ref().map(ResultFile::new),
            results_dir,
            results_room: None,
            marker: marker.filter(|_| sinks.marker),
            mask,
        };
        (writers, warnings)
    }

    /// With this much room for all files of the results directory together.
    #[must_use]
    pub fn with_results_room(self, results_room: Option<usize>) -> Self {
        Self { results_room, ..self }
    }

    /// The results directory, if the task names one that can be used.
    #[must_use]
    pub fn results_dir(&self) -> Option<&Path> {
        self.results_dir.as_ref().map(ResultsDir::path)
    }

    /// The mask, for what else is written.
    pub fn mask(&self) -> &Mask {
        &*self.mask
    }

    /// Takes what the agent left in the results directory and in the declared outputs into `results`, and returns warnings.
    ///
    /// To be called when nothing of the agent is alive any more, and before [`finish`](Self::finish).
    #[must_use = "a claim that was refused has to be told"]
    pub fn take_claims(&self, work_tree: &Path, outputs: &[task::DeclaredOutput], results: &mut Results) -> Vec<String> {
        let mut warnings = self.results_dir.as_ref().map(|dir| dir.read_claims().apply(results)).unwrap_or_default();
        warnings.extend(read_outputs(work_tree, outputs).apply(results));
        warnings
    }

    /// Offers a new state of the run (an outcome made by [`interim`](agent_sdk::termination::interim)) to the termination message.
    ///
    /// Returns the message, for init to have if we are killed, and a warning if it cannot be written; that comes once only.
    pub fn interim(&mut self, outcome: &Outcome, now: Instant) -> (Vec<u8>, Option<String>) {
        let message = fit(&mask_outcome(outcome, &*self.mask), self.budget, None).into_bytes();
        let warning = self.termination.offer(message.clone(), now).err().map(|error| error.warning());
        (message, warning)
    }

    /// When [`tick`](Self::tick) has something to do; nothing while nothing waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.termination.deadline()
    }

    /// When [`interim`](Self::interim) writes at once: nothing before the first one.
    #[must_use]
    pub fn open_again(&self) -> Option<Instant> {
        self.termination.open_again()
    }

    /// Writes the state that waited for its time, and returns a warning if that failed for the first time.
    pub fn tick(&mut self, now: Instant) -> Option<String> {
        self.termination.tick(now).err().map(|error| error.warning())
    }

    /// Writes everything but the block, for the last time. Warnings are added to the outcome, and said at once: a platform reads the log's
    /// last lines, and those are the block's.
    pub fn finish(&mut self, outcome: &mut Outcome, say: &dyn Fn(&str)) {
        let mut masked = mask_outcome(outcome, &*self.mask);
        let mut warn = |masked: &mut Outcome, warning: Option<String>| {
            if let Some(warning) = warning {
                let warning = (self.mask)(&warning);
                say(&warning);
                masked.warnings.push(warning.clone());
                outcome.warnings.push(warning);
            }
        };

        if let Some(dir) = &self.results_dir {
            match attempt("results directory", || dir.write(&masked, self.results_room)) {
                Ok(warnings) => warnings.into_iter().for_each(|warning| warn(&mut masked, Some(warning))),
                Err(failure) => warn(&mut masked, Some(failure)),
            }
        }
        let whole = match self.result_file.as_ref().map(|file| attempt("result file", || file.write(&masked))) {
            None => None,
            Some(Ok(whole)) => Some(whole),
            Some(Err(failure)) => {
                warn(&mut masked, Some(failure));
                None
            }
        };
        let message = fit(&masked, self.budget, whole.as_ref());
        let failure = attempt("termination message", || self.termination.finish(message.as_bytes())).err();
        warn(&mut masked, failure);
    }

    /// Prints the block, if one is wanted; after [`finish`](Self::finish), so a failure can only be said.
    pub fn mark(&self, outcome: &Outcome, at_line_start: bool, stdout: &mut dyn Write, say: &dyn Fn(&str)) {
        let Some(form) = &self.marker else { return };
        let masked = mask_outcome(outcome, &*self.mask);
        if let Err(failure) = attempt("marker block", || marker::write(&masked, form, at_line_start, stdout)) {
            say(&(self.mask)(&failure));
        }
    }

    /// From here on no block is wanted; whether one was.
    pub fn leave_mark_out(&mut self) -> bool {
        self.marker.take().is_some()
    }
}

/// Runs one sink so that neither its error nor a fault of ours in it stops the next.
fn attempt<T>(sink: &str, write: impl FnOnce() -> Result<T, SinkError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(write)) {
        Ok(Ok(written)) => Ok(written),
        Ok(Err(error)) => Err(format!("{sink}: {}", error.warning())),
        Err(_) => Err(format!("{sink}: not written because of a fault of the runner")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_sdk::termination::TerminationMessage;
    use agent_sdk::verdict::{Origin, Phase, Reason};
    use std::cell::RefCell;
    use std::io;

    /// A stdout with a fault in it.
    struct Faulty;

    impl Write for Faulty {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("a fault of the test's making")
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_fault_in_one_sink_costs_a_warning_and_each_sink_tells_of_those_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let sinks = task::Sinks {
            termination_log: dir.path().join("message"),
            result_file: Some(dir.path().join("result.json")),
            results_dir: Some(dir.path().join("results")),
            ..task::Sinks::default()
        };
        let mask = |text: &str| text.to_owned();
        let (mut writers, warnings) = Writers::new(&sinks, None, Some(MarkerForm::Kelos), Box::new(mask));
        assert_eq!(warnings, Vec::<String>::new());
        std::fs::remove_dir(dir.path().join("results")).unwrap();

        let mut outcome = Outcome::new("0.1.0", Phase::Done, Origin::Agent, Reason::Completed, "done");
        outcome.warnings.push("an old one".to_owned());
        let said = RefCell::new(Vec::new());
        let say = |warning: &str| said.borrow_mut().push(warning.to_owned());
        writers.finish(&mut outcome, &say);
        writers.mark(&outcome, true, &mut Faulty, &say);
        let warnings = said.into_inner();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("results directory: ") && warnings[1].starts_with("marker block: "), "{warnings:?}");
        assert_eq!(outcome.warnings.len(), 2);

        let result: Outcome = serde_json::from_slice(&std::fs::read(dir.path().join("result.json")).unwrap()).unwrap();
        assert_eq!(result.warnings, outcome.warnings);
        let message = TerminationMessage::parse(&std::fs::read(dir.path().join("message")).unwrap()).unwrap();
        assert_eq!(message.warnings, outcome.warnings);
        assert!(message.result_sha256.is_some());
    }
}
