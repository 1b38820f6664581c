//! A second implementation of the Agent Image Interface, written from its specification and as plain as it can be.
//!
//! It shows that the specification is enough to implement from, and that the suite tests the specification and not one program: it shares
//! no code with the runner, the SDK or the suite. It is no runner to use. It knows two agents: `native`, whose stdout is the interface's
//! own events, and `command`, whose stdout says nothing.
//!
//! ```text
//! inputs ─▶ workspace ─▶ setup ─▶ agent ─▶ collect ─▶ report
//! ```
//!
//! | module | section of the specification |
//! |---|---|
//! | [`inputs`] | 4 inputs, 11 versions |
//! | [`workspace`] | 5 phases: the clone, and what the repository says at the end |
//! | [`process`] | 6 processes and signals |
//! | [`reason`], [`verdict`] | 6 how a run ends, exit codes |
//! | [`run`], [`report`] | 5 and 9: the phases in their order, and the report |
//! | [`agent`] | 6 and 7: the agent's start, its limits, what becomes of its output |
//! | [`stream`] | 7 agent stream |
//! | [`message`] | 8 termination message |
//! | [`results`], [`marker`] | 9 result file, results directory, markers |
//! | [`secrets`] | 10 secrets |
//! | [`mutants`] | how it can be broken on demand |

mod agent;
mod inputs;
mod marker;
mod message;
mod mutants;
mod prices;
mod process;
mod reason;
mod report;
mod results;
mod run;
mod secrets;
mod stream;
mod verdict;
mod workspace;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    let by_environment = std::env::var("REFIMPL_MUTANT").ok().filter(|name| !name.is_empty());
    let mutant = match words.as_slice() {
        ["git-credential", ..] => return done(workspace::give_credentials(&args[1..])),
        ["--list-mutants", "--json"] => return done(writeln!(std::io::stdout(), "{:#}", mutants::list())),
        ["--list-mutants"] => {
            let lines: String = mutants::MUTANTS.iter().map(|mutant| format!("{:32} {}\n", mutant.name, mutant.breaks)).collect();
            return done(std::io::stdout().write_all(lines.as_bytes()));
        }
        ["--mutant", name] => Some((*name).to_owned()),
        [] => by_environment,
        _ => return done(Err(std::io::Error::other("usage: refimpl [--mutant NAME] | --list-mutants [--json]"))),
    };
    match mutant.map_or(Ok(()), |name| mutants::become_mutant(&name)) {
        Ok(()) => ExitCode::from(run::run()),
        Err(problem) => done(Err(std::io::Error::other(problem))),
    }
}

/// The end of a command that does no task.
fn done(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refimpl: {error}");
            ExitCode::from(64)
        }
    }
}
