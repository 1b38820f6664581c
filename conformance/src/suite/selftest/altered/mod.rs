//! Evidence mutants: good evidence, changed in one way each, and exactly the requirements that must then be found broken.
//!
//! They take milliseconds, so all of them are tried on every change. What they cannot show is that a scenario would have brought such
//! evidence; the mutants of the second implementation show that.

pub mod agent;
mod ends;
mod image;
mod inputs;
mod outputs;
mod workspace;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Found, find, in_scope};
use crate::suite::check::Check;
use crate::suite::evidence::{AgentEvent, AgentRecord, Evidence, HeadFact, Run};
use crate::suite::fake::AGENT;

/// One way to change evidence.
#[derive(Debug, Clone, Copy)]
pub struct Alteration {
    /// The requirement's slug that it is about, with a variant after a dot where there are several.
    pub name: &'static str,
    /// What is changed, in a half sentence.
    pub about: &'static str,
    /// Changes it.
    pub alter: fn(&mut Evidence),
    /// Exactly the requirements that must be found broken.
    pub kills: &'static [&'static str],
}

/// Those of evidence of an image's own agent.
pub fn of_agents() -> impl Iterator<Item = &'static Alteration> {
    agent::ALTERATIONS.iter()
}

/// Those of evidence of the second implementation.
pub fn all() -> impl Iterator<Item = &'static Alteration> {
    [image::ALTERATIONS, inputs::ALTERATIONS, workspace::ALTERATIONS, ends::ALTERATIONS, outputs::ALTERATIONS].into_iter().flatten()
}

impl Alteration {
    /// What the checks find when it is made.
    #[must_use]
    pub fn found(&self, good: &Evidence) -> Found {
        self.found_by(good, in_scope)
    }

    /// What the checks in scope find when it is made.
    #[must_use]
    pub fn found_by(&self, good: &Evidence, in_scope: impl Fn(&Check) -> bool) -> Found {
        let mut evidence = good.clone();
        (self.alter)(&mut evidence);
        find(&evidence, in_scope)
    }
}

/// The run of a scenario. Evidence without it is of another suite than this.
fn run<'a>(evidence: &'a mut Evidence, scenario: &str) -> &'a mut Run {
    evidence.runs.entry(scenario.to_owned()).or_default()
}

/// Changes the termination message of a scenario.
fn message(evidence: &mut Evidence, scenario: &str, change: impl FnOnce(&mut Value)) {
    let run = run(evidence, scenario);
    let mut value = run.message().unwrap_or_default();
    change(&mut value);
    run.termination = Some(value.to_string().into_bytes());
}

/// Changes the result file of a scenario.
fn outcome(evidence: &mut Evidence, scenario: &str, change: impl FnOnce(&mut Value)) {
    let run = run(evidence, scenario);
    let mut value = run.outcome().unwrap_or_default();
    change(&mut value);
    run.result_file = Some(value.to_string().into_bytes());
}

/// Changes what the programs of a role wrote down.
fn records(evidence: &mut Evidence, scenario: &str, role: &str, mut change: impl FnMut(&mut AgentEvent)) {
    let records = &mut run(evidence, scenario).facts.records;
    records.iter_mut().filter(|record| record.role == role).for_each(|record| change(&mut record.event));
}

/// Takes away what the programs of a role wrote down of a kind.
fn forget(evidence: &mut Evidence, scenario: &str, role: &str, is_it: impl Fn(&AgentEvent) -> bool) {
    run(evidence, scenario).facts.records.retain(|record| record.role != role || !is_it(&record.event));
}

/// The prompt did not come to the agent.
fn lose_prompt(evidence: &mut Evidence, scenario: &str) {
    records(evidence, scenario, AGENT, |event| {
        if let AgentEvent::StdinEnded { prompt, .. } = event {
            *prompt = None;
        }
    });
}

/// What the agent saw of HEAD.
fn head(evidence: &mut Evidence, scenario: &str, change: impl Fn(&mut HeadFact)) {
    records(evidence, scenario, AGENT, |event| {
        if let AgentEvent::Head(head) = event {
            change(head);
        }
    });
}

/// The agent's environment.
fn environment(evidence: &mut Evidence, scenario: &str, change: impl Fn(&mut BTreeMap<String, String>)) {
    records(evidence, scenario, AGENT, |event| {
        if let AgentEvent::Started { env, .. } = event {
            change(env);
        }
    });
}

/// The agent was started after all, as in `happy`.
fn start_agent(evidence: &mut Evidence, scenario: &str) {
    let started: Option<AgentRecord> = evidence.runs.get("happy").and_then(Run::agent_started).cloned();
    run(evidence, scenario).facts.records.extend(started);
}
