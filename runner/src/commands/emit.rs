//! `agent-runner emit KEY VALUE`: prints one result, so that the runner around this script records it as a claim.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::EmitArgs;
use crate::inputs::settings::NONCE;
use crate::sinks::{EmitTo, emit};

/// EX_DATAERR of `sysexits.h`.
const DATA: u8 = 65;

/// Runs the command.
#[must_use]
pub fn run(args: &EmitArgs) -> ExitCode {
    let value = match read_value(&args.value) {
        Ok(value) => value,
        Err(error) => {
            super::complain(&format!("cannot read the value from stdin: {error}"), None);
            return ExitCode::from(DATA);
        }
    };
    let nonce = std::env::var(NONCE).ok();
    let results_dir = std::env::var_os("AGENT_RESULTS_DIR");
    let to = EmitTo { nonce: nonce.as_deref(), results_dir: results_dir.as_deref().map(Path::new) };
    match emit(&args.key, &value, to, &mut std::io::stdout()) {
        Ok(emitted) => {
            if let Some(warning) = emitted.warning {
                super::tell(&format!("warning: {warning}"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            super::complain(&error.to_string(), Some(error.hint()));
            ExitCode::from(DATA)
        }
    }
}

fn read_value(given: &str) -> std::io::Result<String> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let mut value = String::new();
    std::io::stdin().read_to_string(&mut value)?;
    Ok(value.trim_end_matches('\n').to_owned())
}
