//! `agent-runner gh`: GitHub's CLI, with the token that is in the file now. What stands before `gh` in an agent's `PATH` is a script that
//! names this command as its interpreter.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::workspace::credential::read_token;
use crate::workspace::gh::{PROGRAM, StandIn, real};

/// As a shell says that there is no such program.
const NOT_FOUND: u8 = 127;

/// EX_CONFIG of `sysexits.h`: the script is not one of ours.
const CONFIGURATION: u8 = 78;

/// Becomes the real program. Returns only if it cannot.
#[must_use]
pub fn run(script: &Path, arguments: &[OsString]) -> ExitCode {
    let settings = std::fs::read_to_string(script).map_err(|error| error.to_string());
    let stand_in = match settings.and_then(|text| StandIn::parse(&text).map_err(|error| error.to_string())) {
        Ok(stand_in) => stand_in,
        Err(problem) => {
            super::complain(&format!("`{}` does not say which token is meant: {problem}", script.display()), None);
            return ExitCode::from(CONFIGURATION);
        }
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(program) = real(&path, Some(script)) else {
        super::complain("`gh` was not found", Some("install GitHub's CLI in the image"));
        return ExitCode::from(NOT_FOUND);
    };
    let mut command = Command::new(&program);
    command.arg0(PROGRAM).args(arguments);
    match read_token(&stand_in.token_file) {
        Ok(token) => drop(command.envs(stand_in.variables(&token))),
        // Much of it needs no token; what does says so itself.
        Err(error) => super::complain(&error.to_string(), Some(error.hint())),
    }
    let error = command.exec();
    super::complain(&format!("`{}` cannot be executed: {error}", program.display()), None);
    ExitCode::from(NOT_FOUND - 1)
}
