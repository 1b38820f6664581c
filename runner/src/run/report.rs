//! The one report: from however a run ended to an outcome, the sinks, and the exit code.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_sdk::agent::{Agent, ProcessEnd, StreamSummary};
use agent_sdk::marker::{MarkerCounts, Scanned};
use agent_sdk::outcome::{Outcome, StreamCounts};
use agent_sdk::results::{Voucher, key};
use agent_sdk::task::{Sinks, Task};
use agent_sdk::verdict::{Origin, Phase, Reason};
use nix::errno::Errno;

use super::failure::Failure;
use super::journal::Journal;
use super::limits::Stop;
use super::look::{Patience, look};
use super::place::Place;
use super::verdict::{self, Evidence};
use crate::inputs::{Inputs, MessagePlace};
use crate::sinks::Claims;
use crate::stream::Flushed;
use crate::workspace::facts::{Base, Facts, facts};
use crate::workspace::takeup::repository_root;
use crate::workspace::{Hold, Prepared, WorkspaceError};

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// Before an agent could be judged.
    Failed(Failure),
    /// Everything was prepared, as asked, and no agent started.
    Prepared(Work),
    /// The agent has run.
    Agent(Box<AgentEnd>),
}

/// The work tree, for the facts.
#[derive(Debug, Clone)]
pub struct Work {
    /// The work tree's directory.
    pub dir: PathBuf,
    /// What the work started from.
    pub base: Base,
    /// Other runs are kept out while this is looked at.
    _hold: Option<Arc<Hold>>,
}

impl Work {
    /// Of a prepared workspace.
    #[must_use]
    pub fn of(prepared: &mut Prepared) -> Self {
        Self { dir: prepared.dir.clone(), base: Base::from(&*prepared), _hold: prepared.take_hold().map(Arc::new) }
    }

    fn facts(self) -> Result<Option<Facts>, WorkspaceError> {
        facts(&self.dir, &self.base)
    }
}

/// How an agent's run went, as far as its process and stream go.
#[derive(Debug)]
pub struct AgentRun {
    /// How its process ended.
    pub process: ProcessEnd,
    /// Why the runner stopped it, if it did.
    pub stop: Option<Stop>,
    /// The signal that asked for an end, also when that had begun: somebody waits for ours.
    pub signal: Option<i32>,
    /// How long it ran.
    pub duration: Duration,
    /// Whether the kernel killed for want of memory meanwhile.
    pub out_of_memory: bool,
    /// What its stream held.
    pub followed: Followed,
}

/// What a stream held, all told.
#[derive(Debug)]
pub struct Followed {
    /// What it said.
    pub summary: StreamSummary,
    /// Counted.
    pub counts: StreamCounts,
    /// The last part of stderr.
    pub stderr_tail: String,
    /// Its marker blocks.
    pub markers: Scanned,
    /// Whether the agent was told to stop before its stream said that it is done.
    pub stopped_before_end: bool,
    /// Whether what was written to our stdout ended with a line's end.
    pub ends_in_line_start: bool,
    /// What became of it on our stdout.
    pub stdout: Flushed,
    /// The same of our stderr.
    pub stderr: Flushed,
}

/// An agent that has run, and all that its report needs. The place goes when this is dropped: after the report.
pub struct AgentEnd {
    /// The agent.
    pub agent: Box<dyn Agent>,
    /// The task.
    pub task: Task,
    /// The place where it ran.
    pub place: Place,
    /// The work tree.
    pub work: Work,
    /// How it went.
    pub run: AgentRun,
    /// Whether it was a command named by hand.
    pub by_hand: bool,
}

impl std::fmt::Debug for AgentEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentEnd").field("agent", &self.agent.name()).field("run", &self.run).finish_non_exhaustive()
    }
}

/// Reports, and returns the exit code. Nobody of the agent's tree is alive any more.
#[must_use]
pub fn conclude(journal: &mut Journal, inputs: &Inputs, ending: Ending) -> u8 {
    let outcome = match &ending {
        Ending::Failed(failure) => {
            if journal.sinks().is_none() {
                let place = match failure {
                    Failure::Inputs(errors) => errors.message.clone(),
                    _ => MessagePlace::default(),
                };
                journal.open(&fallback_sinks(inputs, place), None);
            }
            failed(journal, failure)
        }
        Ending::Prepared(work) => {
            let looked_at = work.clone();
            collect_facts(journal, &work.dir, Patience::default(), || looked_at.facts());
            Outcome::new(crate::VERSION, Phase::Done, Origin::Runner, Reason::Completed, "everything is prepared; no agent was asked for")
        }
        Ending::Agent(end) => judged(journal, end),
    };
    let mut outcome = journal.fill(outcome);
    journal.finish(&mut outcome);
    say(&outcome);
    let at_line_start = match &ending {
        Ending::Agent(end) => end.run.followed.ends_in_line_start,
        Ending::Failed(_) | Ending::Prepared(_) => true,
    };
    journal.mark(&outcome, at_line_start);
    outcome.exit_code
}

/// Before the task is known, only the termination message's place can be guessed: as the platform would have said it.
fn fallback_sinks(inputs: &Inputs, place: MessagePlace) -> Sinks {
    let mut sinks = Sinks::default();
    if let Some(path) = place.path {
        sinks.termination_log = path;
    }
    if let Some(budget) = place.budget {
        sinks.termination_budget = budget;
    }
    let given = |name: &'static str| inputs.flags.get(name).map(String::as_str).or_else(|| inputs.variable(name));
    if let Some(path) = given("AGENT_TERMINATION_LOG") {
        sinks.termination_log = PathBuf::from(path);
    }
    if let Some(budget) = given("AGENT_TERMINATION_BUDGET").and_then(|text| text.parse().ok()) {
        sinks.termination_budget = u32::clamp(budget, agent_sdk::task::MIN_TERMINATION_BUDGET, agent_sdk::task::MAX_TERMINATION_BUDGET);
    }
    sinks.marker = inputs.dialect.always_marks();
    sinks
}

fn failed(journal: &Journal, failure: &Failure) -> Outcome {
    let phase = failure.phase().unwrap_or(journal.phase());
    let message = journal.secrets.mask_text(&failure.to_string()).into_owned();
    let mut outcome = Outcome::new(crate::VERSION, phase, failure.origin(), failure.reason(), message);
    outcome.exit_code = failure.exit_code();
    if let Failure::Cancelled(signal) = failure {
        outcome.signal = Some(*signal);
    }
    if let Some(hint) = failure.hint() {
        outcome.hint = Some(hint);
    }
    outcome
}

fn judged(journal: &mut Journal, end: &AgentEnd) -> Outcome {
    let AgentRun { process, stop, signal, duration, out_of_memory, followed } = &end.run;
    journal.note_stream(&followed.summary, followed.counts);
    journal.results.set_fact(key::DURATION_MS, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    journal.results.set_fact(key::EXIT_CODE, u64::from(process.code()));
    // `exec -- CMD | head`: whoever reads has what they want.
    let has_enough = end.by_hand && followed.stdout == Flushed::Broken(Errno::EPIPE);
    if let Some(why) = loss(followed.stdout).filter(|_| !has_enough) {
        journal.stdout_is_lost(&why);
    }
    if let Some(why) = loss(followed.stderr) {
        journal.warn(format!("our stderr {why}"));
    }
    let deadline = end.task.limits.timeout.map(|limit| journal.started() + limit.as_duration());
    let work = end.work.clone();
    collect_facts(journal, &end.work.dir, Patience { hurried: is_hurried(*signal, *stop), deadline }, || work.facts());
    collect_claims(journal, end);
    let evidence = Evidence {
        stream: &followed.summary,
        process: *process,
        stop: *stop,
        stderr_tail: &followed.stderr_tail,
        out_of_memory: *out_of_memory,
        by_hand: end.by_hand,
        stopped_before_end: followed.stopped_before_end,
    };
    let verdict = verdict::decide(Some(end.agent.as_ref()), &evidence, &end.task.limits);
    let message = journal.secrets.mask_text(&verdict.message).into_owned();
    let mut outcome = Outcome::new(crate::VERSION, Phase::Agent, verdict.origin, verdict.reason, message);
    outcome.exit_code = verdict.exit_code(*process);
    outcome.signal = verdict.signal;
    outcome.agent_exit_code = Some(process.code());
    if verdict.reason != Reason::Completed && !followed.stderr_tail.is_empty() {
        outcome.stderr_tail = Some(followed.stderr_tail.clone());
    }
    outcome
}

/// What one of our outputs has not taken of the agent's, and why.
fn loss(flushed: Flushed) -> Option<String> {
    match flushed {
        Flushed::All => None,
        Flushed::Stuck => Some("is not read in time: the end of the agent's is missing there".to_owned()),
        Flushed::Broken(errno) => Some(format!("is broken ({}): what came of the agent's after that is missing there", errno.desc())),
    }
}

/// Whether somebody waits for the report: a signal was sent, be it when the end had begun already, or the time is over.
fn is_hurried(signal: Option<i32>, stop: Option<Stop>) -> bool {
    signal.is_some() || stop == Some(Stop::Deadline)
}

/// Looks at the repository that a directory is in, if it is in one.
pub fn collect_facts(
    journal: &mut Journal,
    dir: &Path,
    patience: Patience,
    facts: impl FnOnce() -> Result<Option<Facts>, WorkspaceError> + Send + 'static,
) {
    if repository_root(dir).is_none() {
        return;
    }
    // A change that waits is made known while a large repository is looked at: a kill does not wait for the report.
    let facts = match look(patience, &mut || journal.tick_if_due(), facts) {
        Ok(Ok(Some(facts))) => facts,
        // A directory that is no repository has no such facts.
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return journal.warn(format!("the repository could not be looked at: {error}")),
        Err(error) => return journal.warn(error.to_string()),
    };
    let results = &mut journal.results;
    results.set_fact_if(key::BRANCH, facts.branch);
    results.set_fact_if(key::COMMIT, facts.commit);
    results.set_fact_if(key::BASE_BRANCH, facts.base_branch);
    results.set_fact_if(key::BASE_COMMIT, facts.base_commit);
    results.set_fact_if(key::COMMITS, facts.commits);
    results.set_fact_if(key::FILES_CHANGED, facts.files_changed);
    results.set_fact_if(key::INSERTIONS, facts.insertions);
    results.set_fact_if(key::DELETIONS, facts.deletions);
    results.set_fact_if(key::DIRTY, facts.dirty);
    results.set_fact_if(key::PUSHED, facts.pushed);
}

/// What the agent said of itself: by marker blocks, by files in the results directory, by declared outputs; the last of a key wins.
fn collect_claims(journal: &mut Journal, end: &AgentEnd) {
    let markers = &end.run.followed.markers;
    let MarkerCounts { blocks: _, forged, unterminated, malformed, over_limit } = markers.counts;
    let ignored = [
        (forged, "marker blocks without this run's nonce"),
        (unterminated, "marker blocks that were not ended"),
        (malformed, "lines in marker blocks that are not `key: value`"),
        (over_limit, "values in marker blocks that are too long, or too many"),
    ];
    for (count, what) in ignored.into_iter().filter(|(count, _)| *count > 0) {
        journal.warn(format!("{count} {what} were ignored"));
    }
    let marked = Claims { values: markers.values.clone().into_iter().collect(), warnings: Vec::new() };
    let mut warnings = marked.apply(&mut journal.results);
    if journal.results_dir().is_none() {
        warnings.extend(end.place.claims().apply(&mut journal.results));
    }
    warnings.into_iter().for_each(|warning| journal.warn(warning));
    journal.take_claims(&end.work.dir);
}

/// What a person reads at the end of the log.
pub fn say(outcome: &Outcome) {
    let commit = outcome
        .results
        .get(key::COMMIT)
        .filter(|result| result.voucher == Voucher::Fact)
        .map(|result| format!(", commit {}", result.value));
    let (status, reason, code) = (outcome.status.as_str(), outcome.reason.as_str(), outcome.exit_code);
    let commit = commit.unwrap_or_default();
    let message = &outcome.message;
    if outcome.reason == Reason::Completed {
        tracing::info!("{status} ({reason}, exit code {code}{commit}): {message}");
    } else {
        let hint = outcome.hint.as_deref().map(|hint| format!("\n\nhint: {hint}")).unwrap_or_default();
        tracing::error!("{status} ({reason}, exit code {code}{commit}): {message}{hint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_came_after_the_end_had_begun_still_hurries_the_report() {
        assert!(is_hurried(Some(15), None) && is_hurried(Some(15), Some(Stop::Linger)) && is_hurried(None, Some(Stop::Deadline)));
        assert!(!is_hurried(None, None) && !is_hurried(None, Some(Stop::Silence)));
    }
}
