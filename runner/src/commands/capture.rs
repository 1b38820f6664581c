//! `agent-runner capture`: a filter for images that keep their own entrypoint script. Stdin goes to stdout unchanged; at its end the
//! report is made from what the stream said and from the repository in the current directory. Under the name `kelos-capture` it is the
//! filter of Kelos' own scripts.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::SystemTime;

use agent_sdk::agent::{Detail, ProcessEnd};
use agent_sdk::outcome::Outcome;
use agent_sdk::task::LogFormat;
use agent_sdk::verdict::Phase;

use super::supervised::inputs;
use crate::cli::setting_flags::SettingFlags;
use crate::inputs::{Inputs, Resolved, read_input_file};
use crate::run::failure::Failure;
use crate::run::follower::counts_of;
use crate::run::journal::Journal;
use crate::run::look::Patience;
use crate::run::prices::{self, by_prices};
use crate::run::report::{self, Ending};
use crate::run::verdict::{Evidence, decide};
use crate::stream::filter::capture;
use crate::stream::follow::{Follower, Log};
use crate::stream::pretty::Pretty;
use crate::workspace::base_as_found;
use crate::workspace::facts::facts;

/// Runs the command.
#[must_use]
pub fn run(settings: SettingFlags) -> ExitCode {
    crate::log::start();
    let given = Inputs { needs_agent: false, ..inputs(settings) };
    let mut journal = Journal::new(None, crate::run::nonce(), given.dialect);
    let resolved = given.resolve(read_input_file).map_err(Failure::from).and_then(|Resolved { task, warnings }| {
        let agent = crate::agents::find(&task)?;
        Ok((task, warnings, agent))
    });
    let (task, warnings, agent) = match resolved {
        Ok(resolved) => resolved,
        Err(failure) => {
            // The agent before us in the pipe must not be killed by our mistake: its bytes go on.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::stdout());
            let code = report::conclude(&mut journal, &given, Ending::Failed(failure));
            crate::log::flush();
            return ExitCode::from(code);
        }
    };
    crate::run::phases::gather_secrets(&mut journal, &given, &task, Some(agent.as_ref()));
    journal.take_task(&task);
    journal.take_agent(agent.name());
    journal.open(&task.sinks, Some(&task.workspace.dir));
    warnings.into_iter().for_each(|warning| journal.warn(warning));
    journal.enter(Phase::Agent);
    let log = match task.log {
        LogFormat::Raw => Log::Raw,
        LogFormat::Pretty => Log::Pretty(Pretty::new(false, SystemTime::now())),
        LogFormat::Events => Log::Events,
    };
    let detail = if task.log == LogFormat::Raw { Detail::Verdict } else { Detail::Full };
    let follower = Follower::new(agent.reader(detail), log, &journal.secrets);
    let followed = capture(follower, &mut std::io::stdin().lock(), std::io::stdout().as_fd());
    let (summary, unpriced) = by_prices(&followed.summary, &task);
    unpriced.into_iter().chain(prices::without_effect(&summary, &task)).for_each(|warning| journal.warn(warning));
    journal.note_stream(&summary, counts_of(&summary, &followed.counts));
    journal.enter(Phase::Collect);
    // A repository may lie above the current directory, which can only be seen from an absolute one.
    let dir = std::path::absolute(&task.workspace.dir).unwrap_or_else(|_| task.workspace.dir.clone());
    let base_branch = task.workspace.base_branch.clone();
    let looked_at = dir.clone();
    let look = move || facts(&looked_at, &base_as_found(&looked_at, base_branch.as_deref()));
    report::collect_facts(&mut journal, &dir, Patience::default(), look);
    // The agent's own code is the shell's to know (pipefail).
    let process = ProcessEnd::Exited(0);
    let evidence = Evidence {
        stream: &summary,
        process,
        stop: None,
        stderr_tail: "",
        out_of_memory: false,
        by_hand: false,
        stopped_before_end: false,
    };
    let verdict = decide(Some(agent.as_ref()), &evidence, &task.limits);
    let mut outcome = Outcome::new(crate::VERSION, Phase::Agent, verdict.origin, verdict.reason, verdict.message.clone());
    outcome.exit_code = verdict.exit_code(process);
    let mut outcome = journal.fill(outcome);
    journal.finish(&mut outcome);
    report::say(&outcome);
    crate::log::flush();
    // A filter waits for whoever reads it, with its last words as with the stream.
    journal.mark_to(&outcome, followed.ends_in_line_start, &mut std::io::stdout());
    crate::log::flush();
    ExitCode::from(outcome.exit_code)
}
