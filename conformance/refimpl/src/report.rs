//! Sections 8 and 9, the end of a run: every place that the outcome is written to, the termination message last of all.

use std::io::Write as _;
use std::path::Path;

use crate::agent::print_error;
use crate::marker;
use crate::message;
use crate::mutants::{broken, is_any};
use crate::reason::{Reason, Verdict};
use crate::results::{self, Outcome};
use crate::run::Run;

impl Run<'_> {
    /// The report: every place of section 9, then the message, last of all.
    pub fn report(&mut self, verdict: &Verdict) -> u8 {
        if let Some(file) = self.task.text("git.tokenFile") {
            // It may have been renewed.
            self.secrets.add_file(file.as_ref());
        }
        let mut outcome = std::mem::take(&mut self.outcome);
        (outcome.agent, outcome.version) = (self.told.agent.clone(), self.told.version.clone());
        fill(&mut outcome, verdict, self.told.phase);
        let mut plain = None;
        if is_any("sinks-without-secrets") || is_any("message-without-secrets") {
            plain = Some(outcome.clone());
        }
        outcome.mask(&self.secrets);
        let choose = |name: &str| plain.as_ref().filter(|_| broken(name)).unwrap_or(&outcome);

        let mut warnings = Vec::new();
        let result_file = self.task.text("sinks.resultFile");
        if let Some(path) = result_file {
            let document = format!("{:#}\n", choose("sinks-without-secrets.result-file").document());
            if let Err(error) = results::create(Path::new(path)).and_then(|mut file| file.write_all(document.as_bytes())) {
                warnings.push(format!("the result file `{path}`: {error}"));
            }
        }
        if self.task.text("sinks.resultsDir").is_some()
            && let Some(dir) = &self.results_dir
            && let Err(error) = dir.write(choose("sinks-without-secrets.results-directory"))
        {
            warnings.push(format!("the results directory: {error}"));
        }
        if self.task.switch("sinks.marker") != Some(false) && !broken("marker-block.none") {
            self.print_marker(choose("sinks-without-secrets.marker"));
        }
        let mut last = choose("message-without-secrets").clone();
        last.warnings.extend(warnings);
        let is_early = last.agent_exit_code.is_none() && last.status == "failed" && broken("every-path");
        let written = if is_early || broken("one-object.none") {
            let _ = std::fs::write(&self.told.place.path, "");
            Ok(())
        } else {
            let message = message::fit(&last, result_file, self.told.place.budget);
            self.told.place.write(&if broken("one-object.two") { format!("{message}{{}}") } else { message })
        };
        let mut code = last.exit_code;
        if let Err(error) = written {
            print_error(format!("refimpl: the termination message `{}`: {error}\n", self.told.place.path.display()).as_bytes());
            if broken("unwritable") {
                code = 70;
            }
        }
        print_error(format!("refimpl: {} ({}, exit code {code}): {}\n", outcome.status, outcome.reason, outcome.message).as_bytes());
        code
    }

    /// The results as the last lines of stdout, under a nonce that nobody knew.
    fn print_marker(&self, outcome: &Outcome) {
        let mut entries: Vec<(String, String)> = outcome.parameters().into_iter().map(|(key, value, _)| (key, value)).collect();
        entries.push(("status".to_owned(), outcome.status.clone()));
        entries.push(("reason".to_owned(), outcome.reason.clone()));
        entries.push(("message".to_owned(), outcome.message.clone()));
        let nonce = if broken("marker-nonce-fresh") { self.nonce.clone() } else { marker::nonce() };
        let mut text = marker::block(&nonce, &entries);
        if !self.at_line_start {
            text.insert(0, '\n');
        }
        if broken("marker-block.not-last") {
            text.push_str("done\n");
        }
        // A platform that closed our stdout reads the file.
        let _ = std::io::stdout().lock().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
    }
}

/// What follows from a verdict.
pub fn fill(outcome: &mut Outcome, verdict: &Verdict, phase: &'static str) {
    let (status, _, retry, hint) = verdict.reason.row();
    outcome.status = status.to_owned();
    outcome.reason = format!("{:?}", verdict.reason);
    outcome.exit_code = verdict.reason.exit_code(verdict.own_code, verdict.signal);
    if verdict.reason == Reason::UnsupportedVersion && broken("unspoken-version-code") {
        outcome.exit_code = 65;
    }
    if verdict.reason == Reason::InvalidTask && broken("missing-prompt") {
        outcome.exit_code = 64;
    }
    if verdict.reason == Reason::AgentFailed && broken("status-of-reason") {
        outcome.status = "incomplete".to_owned();
    }
    outcome.retry = retry;
    outcome.hint = hint.to_owned();
    outcome.phase = if phase == "collect" { "agent" } else { phase };
    outcome.origin = verdict.origin();
    outcome.message.clone_from(&verdict.message);
    outcome.signal = verdict.signal;
}
