//! `agent-runner git-credential`: git's credential helper, which answers with the token that is in the file now.

use std::process::ExitCode;

use crate::cli::GitCredentialArgs;
use crate::workspace::credential::{HelperArgs, serve};

/// Runs the command.
#[must_use]
pub fn run(args: &GitCredentialArgs) -> ExitCode {
    let helper = HelperArgs { token_file: args.token_file.clone(), username: args.username.clone(), origin: args.origin.clone() };
    serve(&args.action, &helper, &mut std::io::stdin().lock(), &mut std::io::stdout(), &mut std::io::stderr())
}
