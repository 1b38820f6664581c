//! The journal: everything known of a run while it goes on, and the one report at its end.
//!
//! Each change is made known at once (at most once a second) as the message that would be true if nothing more were written: in the
//! termination message's file, and on the board from which init takes the last words.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use agent_sdk::agent::StreamSummary;
use agent_sdk::marker::Nonce;
use agent_sdk::outcome::{Outcome, StreamCounts};
use agent_sdk::results::{Results, key};
use agent_sdk::task::{Sinks, Task};
use agent_sdk::termination::{Progress, interim};
use agent_sdk::usage::{Usage, UsageByModel};
use agent_sdk::verdict::Phase;

use crate::dialects::Dialect;
use crate::init::LastWordsBoard;
use crate::sinks::{ProgressFile, Writers};
use crate::stream::Queue;
use crate::stream::mask::Secrets;

/// Everything known of a run so far.
pub struct Journal {
    started: Instant,
    phase: Phase,
    phase_since: Instant,
    /// Whether the phase is not in the last message yet; the board has it.
    phase_waits: bool,
    phases_ms: BTreeMap<String, u64>,
    agent: Option<String>,
    /// Facts and claims so far.
    pub results: Results,
    usage: Usage,
    usage_complete: bool,
    usage_by_model: UsageByModel,
    answer: Option<String>,
    stream: StreamCounts,
    warnings: Vec<String>,
    put_back: Vec<String>,
    /// What must not be written anywhere.
    pub secrets: Secrets,
    board: Option<LastWordsBoard>,
    grace: std::time::Duration,
    nonce: Nonce,
    dialect: Dialect,
    progress: Option<ProgressFile>,
    sinks: Option<Sinks>,
    writers: Option<Writers>,
}

impl Journal {
    /// An empty one, at the start of everything, of a run whose outcome is read in this dialect.
    #[must_use]
    pub fn new(board: Option<LastWordsBoard>, nonce: Nonce, dialect: Dialect) -> Self {
        let now = Instant::now();
        Self {
            started: now,
            phase: Phase::Inputs,
            phase_since: now,
            phase_waits: false,
            phases_ms: BTreeMap::new(),
            agent: None,
            results: Results::default(),
            usage: Usage::default(),
            usage_complete: false,
            usage_by_model: UsageByModel::new(),
            answer: None,
            stream: StreamCounts::default(),
            warnings: Vec::new(),
            put_back: Vec::new(),
            secrets: Secrets::new(),
            board,
            grace: agent_sdk::task::Limits::default().grace.as_duration(),
            nonce,
            dialect,
            progress: None,
            sinks: None,
            writers: None,
        }
    }

    /// When the run started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The phase that it is in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The word that makes this run's marker blocks count.
    #[must_use]
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Where the outcome goes, once that is known.
    #[must_use]
    pub fn sinks(&self) -> Option<&Sinks> {
        self.sinks.as_ref()
    }

    /// From the next phase on the termination message stands for the run.
    ///
    /// `repository` is the work tree: nothing is written in it.
    pub fn open(&mut self, sinks: &Sinks, repository: Option<&Path>) {
        let secrets = self.secrets.clone();
        let mask = Box::new(move |text: &str| secrets.mask_text(text).into_owned());
        // Another word than the agent's: nobody but us can write a block that looks like the last one.
        let marker = self.dialect.marker();
        let (writers, warnings) = Writers::new(sinks, repository, Some(marker), mask);
        self.sinks = Some(sinks.clone());
        self.writers = Some(writers.with_results_room(self.dialect.results_room(sinks.termination_budget)));
        warnings.into_iter().for_each(|warning| self.warn(warning));
    }

    /// Takes what the task says of the run.
    pub fn take_task(&mut self, task: &Task) {
        self.agent = Some(task.agent.kind.clone());
        self.grace = task.limits.grace.as_duration();
    }

    /// Takes the agent's own name, where the task named its manifest.
    pub fn take_agent(&mut self, name: &str) {
        self.agent = Some(name.to_owned());
    }

    /// The run has a directory of its own, which init removes should we not come to it.
    pub fn note_place(&mut self, directory: &Path) {
        if let Some(board) = &mut self.board {
            // What is longer than any path is none.
            let _ = board.note_place(directory);
        }
    }

    /// From here on the platform reads in this file how far the run has come.
    pub fn tell_progress(&mut self, path: Option<PathBuf>) {
        self.progress = path.map(ProgressFile::new);
        self.write_progress(self.phase);
    }

    /// Somebody may look at it while the run goes on. A file that cannot be written is said once, and left.
    fn write_progress(&mut self, phase: Phase) {
        let Some(Err(error)) = self.progress.as_ref().map(|progress| progress.write(phase)) else { return };
        self.progress = None;
        self.warn(format!("progress file: {}", error.warning()));
    }

    /// The run enters a phase.
    pub fn enter(&mut self, phase: Phase) {
        self.close_phase();
        self.phase = phase;
        tracing::info!(phase = phase.as_str(), "phase");
        self.write_progress(phase);
        let is_too_soon = self.writers.as_ref().and_then(Writers::open_again).is_some_and(|open| Instant::now() < open);
        match &mut self.board {
            // Phases follow one another within a millisecond: no message is made that would only wait.
            Some(board) if is_too_soon => {
                board.note_phase(phase as u8);
                self.phase_waits = true;
            }
            _ => self.touch(),
        }
    }

    fn close_phase(&mut self) {
        let now = Instant::now();
        let passed = u64::try_from((now - self.phase_since).as_millis()).unwrap_or(u64::MAX);
        *self.phases_ms.entry(self.phase.as_str().to_owned()).or_default() += passed;
        self.phase_since = now;
    }

    /// Something is amiss that does not stop the run: said in the log and in the outcome.
    pub fn warn(&mut self, warning: impl Into<String>) {
        let warning = self.secrets.mask_text(&warning.into()).into_owned();
        tracing::warn!("{warning}");
        self.warnings.push(warning);
    }

    /// Files of the repository that were put back or hidden.
    pub fn put_back(&mut self, paths: Vec<String>) {
        self.put_back = paths;
    }

    /// Takes what the stream has said so far, and makes it known when the time has come.
    pub fn note_stream(&mut self, summary: &StreamSummary, counts: StreamCounts) {
        self.usage = summary.usage;
        self.usage_complete = summary.end.is_some();
        self.usage_by_model.clone_from(&summary.usage_by_model);
        self.answer.clone_from(&summary.answer);
        self.stream = counts;
        let text = [(key::MODEL, &summary.model), (key::SESSION_ID, &summary.session_id), (key::AGENT_VERSION, &summary.agent_version)];
        for (key, value) in text {
            self.results.set_fact_if(key, value.clone());
        }
        self.results.set_fact_if(key::TURNS, summary.turns);
        let usage = &summary.usage;
        let counts = [
            (key::INPUT_TOKENS, usage.input_tokens),
            (key::OUTPUT_TOKENS, usage.output_tokens),
            (key::CACHE_READ_TOKENS, usage.cache_read_tokens),
            (key::CACHE_WRITE_TOKENS, usage.cache_write_tokens),
            (key::REASONING_TOKENS, usage.reasoning_tokens),
        ];
        for (key, value) in counts {
            self.results.set_fact_if(key, value);
        }
        self.results.set_fact_if(key::COST_USD, usage.cost_usd);
        self.results.set_fact_if(key::COST_SOURCE, usage.cost_source.map(agent_sdk::usage::CostSource::as_str));
    }

    /// Something changed: makes it known now, or when the second is over ([`Self::due`]).
    pub fn touch(&mut self) {
        self.phase_waits = false;
        let outcome = interim(&Progress {
            runner_version: crate::VERSION,
            phase: self.phase,
            agent: self.agent.as_deref(),
            results: &self.results,
            usage: &self.usage,
        });
        let (Some(sinks), Some(writers)) = (&self.sinks, &mut self.writers) else { return };
        let (message, warning) = writers.interim(&outcome, Instant::now());
        if let Some(board) = &mut self.board {
            // What does not fit leaves what was published before, which is true enough.
            let _ = board.publish(&sinks.termination_log, sinks.termination_budget as usize, &message, self.grace);
        }
        warning.into_iter().for_each(|warning| self.warn(warning));
    }

    /// When a change that waits is to be made known.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let writers = self.writers.as_ref()?;
        if self.phase_waits { writers.open_again() } else { writers.deadline() }
    }

    /// [`Self::tick`], if something is due.
    pub fn tick_if_due(&mut self) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.tick();
        }
    }

    /// The directory of results that the task names, if it can be used.
    #[must_use]
    pub fn results_dir(&self) -> Option<&Path> {
        self.writers.as_ref()?.results_dir()
    }

    /// Makes known a change that waited for its time.
    pub fn tick(&mut self) {
        if self.phase_waits {
            return self.touch();
        }
        let warning = self.writers.as_mut().and_then(|writers| writers.tick(Instant::now()));
        warning.into_iter().for_each(|warning| self.warn(warning));
    }

    /// Takes what the agent left for us as claims.
    pub fn take_claims(&mut self, work_tree: &Path) {
        let (Some(sinks), Some(writers)) = (&self.sinks, &self.writers) else { return };
        let warnings = writers.take_claims(work_tree, &sinks.outputs, &mut self.results);
        warnings.into_iter().for_each(|warning| self.warn(warning));
    }

    /// Writes everything for the last time, but for the block.
    pub fn finish(&mut self, outcome: &mut Outcome) {
        let Some(writers) = &mut self.writers else { return };
        // Too late for what is written already; the log still has them.
        writers.finish(outcome, &|warning| tracing::warn!("{warning}"));
        if let Some(board) = &mut self.board {
            board.close();
        }
    }

    /// Prints the block, after everything else that is printed. `at_line_start`: whether stdout has come to a line's end.
    pub fn mark(&self, outcome: &Outcome, at_line_start: bool) {
        crate::log::flush();
        // Closed, nobody can read a block.
        let Ok(stdout) = std::io::stdout().as_fd().try_clone_to_owned() else { return };
        self.mark_to(outcome, at_line_start, &mut Queue::new("marker", stdout));
    }

    /// [`Self::mark`] for who waits as long as it takes.
    pub fn mark_to(&self, outcome: &Outcome, at_line_start: bool, stdout: &mut dyn Write) {
        let Some(writers) = &self.writers else { return };
        writers.mark(outcome, at_line_start, stdout, &|warning| tracing::warn!("{warning}"));
    }

    /// Our stdout has not taken everything, so there is no place for a block.
    pub fn stdout_is_lost(&mut self, why: &str) {
        let block = self.writers.as_mut().is_some_and(Writers::leave_mark_out);
        let block = if block { ", and no marker block is printed" } else { "" };
        self.warn(format!("our stdout {why}{block}"));
    }

    /// Fills an outcome with everything that is known.
    #[must_use]
    pub fn fill(&mut self, mut outcome: Outcome) -> Outcome {
        self.close_phase();
        self.write_progress(Phase::Done);
        outcome.agent.clone_from(&self.agent);
        outcome.results = std::mem::take(&mut self.results);
        outcome.usage = self.usage;
        outcome.usage_complete = self.usage_complete;
        outcome.usage_by_model = std::mem::take(&mut self.usage_by_model);
        outcome.answer = self.answer.take();
        outcome.warnings = std::mem::take(&mut self.warnings);
        outcome.put_back = std::mem::take(&mut self.put_back);
        outcome.phases_ms = std::mem::take(&mut self.phases_ms);
        outcome.stream = self.stream;
        outcome
    }
}
