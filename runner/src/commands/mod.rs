//! The commands, a file each: thin wrappers over the library. Those that start programs take the runner's side of init.

pub mod capture;
pub mod completions;
pub mod demo;
pub mod demo_agent;
pub mod doctor;
pub mod emit;
pub mod gh;
pub mod git_credential;
pub mod install;
pub mod kubeopencode;
pub mod manifest;
pub mod plain;
pub mod replay;
pub mod schema;
pub mod supervised;
pub mod version;

use std::process::ExitCode;

/// Prints an error as people read it: the fragment, and a hint below a blank line.
pub(crate) fn complain(problem: &str, hint: Option<&str>) {
    let hint = hint.filter(|hint| !hint.is_empty()).map(|hint| format!("\n\nhint: {hint}")).unwrap_or_default();
    tell(&format!("error: {problem}{hint}"));
}

/// Says something to a person on stderr. If stderr is gone, nobody can be told, and `eprintln!` would panic.
pub(crate) fn tell(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes machine output to stdout. A reader that went away is no fault of ours.
pub(crate) fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write to stdout: {error}"), None);
            ExitCode::from(74)
        }
    }
}
