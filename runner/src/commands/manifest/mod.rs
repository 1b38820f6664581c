//! `agent-runner manifest`: two things of this name. With `--task` it prints the manifest by which a platform runs a task; `manifest check`
//! looks at the manifest by which an agent is described.

mod check;
mod print;

use std::process::ExitCode;

use crate::cli::{ManifestAction, ManifestArgs};

/// EX_USAGE of `sysexits.h`.
const USAGE: u8 = 64;

/// Runs the command.
#[must_use]
pub fn run(args: &ManifestArgs) -> ExitCode {
    match (&args.action, &args.print) {
        (Some(ManifestAction::Check(args)), _) => check::run(args),
        (None, Some(args)) => print::run(args),
        (None, None) => {
            super::complain(
                "nothing is to be printed",
                Some("agent-runner manifest --task task.yaml --image IMAGE, or agent-runner manifest check FILE"),
            );
            ExitCode::from(USAGE)
        }
    }
}
