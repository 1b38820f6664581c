//! `agent-runner replay STREAM`: what a recorded stream would have resulted in. The unit test of whoever makes an agent image.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use agent_sdk::agent::{Agent, Detail, ProcessEnd};
use agent_sdk::outcome::Outcome;
use agent_sdk::task::Limits;
use agent_sdk::verdict::Phase;

use crate::cli::{ReplayArgs, ReplayLog};
use crate::dialects::Dialect;
use crate::run::follower::counts_of;
use crate::run::journal::Journal;
use crate::run::verdict::{Evidence, decide};
use crate::stream::filter::replay;
use crate::stream::follow::{Follower, Log};
use crate::stream::mask::Secrets;
use crate::stream::pretty::Pretty;

/// EX_NOINPUT of `sysexits.h`.
const NO_INPUT: u8 = 66;
/// EX_USAGE of `sysexits.h`.
const USAGE: u8 = 64;

/// Runs the command: the outcome as JSON on stdout; 0 whatever the outcome is, since the replay itself went well.
#[must_use]
pub fn run(args: &ReplayArgs) -> ExitCode {
    let agent: Box<dyn Agent> = match (&args.manifest, crate::agents::by_name(&args.kind)) {
        (Some(path), _) => match crate::agents::read(path) {
            Ok(agent) => Box::new(agent),
            Err(error) => {
                super::complain(&error.to_string(), Some(&error.hint()));
                return ExitCode::from(NO_INPUT);
            }
        },
        (None, Some(agent)) => agent,
        (None, None) => {
            super::complain(
                &format!("there is no agent `{}`", args.kind),
                Some("`agent-runner version` lists them; `--manifest` names a file"),
            );
            return ExitCode::from(USAGE);
        }
    };
    let stderr = match args.stderr.as_deref().map(std::fs::read).transpose() {
        Ok(bytes) => String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
        Err(error) => return unreadable(args.stderr.as_deref().unwrap_or(Path::new("-")), &error),
    };
    let secrets = Secrets::new();
    let log = match args.log {
        None => Log::Raw,
        Some(ReplayLog::Pretty) => Log::Pretty(Pretty::new(false, SystemTime::now())),
        Some(ReplayLog::Events) => Log::Events,
    };
    let detail = if args.log.is_some() { Detail::Full } else { Detail::Verdict };
    let follower = Follower::new(agent.reader(detail), log, &secrets);
    let mut stream: Box<dyn Read> = match open(&args.stream) {
        Ok(stream) => stream,
        Err(error) => return unreadable(&args.stream, &error),
    };
    let mut shown: Box<dyn Write> = if args.log.is_some() { Box::new(std::io::stderr()) } else { Box::new(std::io::sink()) };
    let followed = replay(follower, &mut stream, &mut shown);
    if let Some(error) = followed.input_error {
        return unreadable(&args.stream, &error);
    }
    let process = ProcessEnd::Exited(args.exit_code);
    let evidence = Evidence {
        stream: &followed.summary,
        process,
        stop: None,
        stderr_tail: &stderr,
        out_of_memory: false,
        by_hand: false,
        stopped_before_end: false,
    };
    let verdict = decide(Some(agent.as_ref()), &evidence, &Limits::default());
    let mut journal = Journal::new(None, crate::run::nonce(), Dialect::Native);
    journal.note_stream(&followed.summary, counts_of(&followed.summary, &followed.counts));
    let mut outcome = Outcome::new(crate::VERSION, Phase::Agent, verdict.origin, verdict.reason, verdict.message.clone());
    outcome.exit_code = verdict.exit_code(process);
    outcome.agent_exit_code = Some(process.code());
    let mut outcome = journal.fill(outcome);
    outcome.agent = Some(agent.name().to_owned());
    // How long the replay took says nothing of the run.
    outcome.phases_ms.clear();
    super::print(&format!("{}\n", serde_json::to_string_pretty(&outcome).unwrap_or_default()))
}

fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    Ok(Box::new(std::fs::File::open(path)?))
}

fn unreadable(path: &Path, error: &std::io::Error) -> ExitCode {
    super::complain(&format!("cannot read `{}`: {error}", path.display()), None);
    ExitCode::from(NO_INPUT)
}
