//! The commands that need no second process.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{self, Command};

/// EX_USAGE of `sysexits.h`.
const USAGE: u8 = 64;

/// Runs the command.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    // As the kernel calls an interpreter: what follows the script is somebody else's command line, `--help` too.
    if let [_, command, script, arguments @ ..] = args.as_slice()
        && command == "gh"
        && !script.as_encoded_bytes().starts_with(b"-")
    {
        return super::gh::run(Path::new(script), arguments);
    }
    let cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stdout or stderr is no reason to fail otherwise.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Capture(args) => super::capture::run(args),
        Command::Emit(args) => super::emit::run(&args),
        Command::Replay(args) => super::replay::run(&args),
        Command::Manifest(args) => super::manifest::run(&args),
        Command::Install(args) => super::install::run(&args),
        Command::Doctor(args) => super::doctor::run(args),
        Command::Schema(args) => super::schema::run(&args),
        Command::Version(args) => super::version::run(&args),
        Command::Completions(args) => super::completions::run(&args),
        Command::GitCredential(args) => super::git_credential::run(&args),
        Command::Gh(args) => super::gh::run(&args.script, &args.arguments),
        Command::DemoAgent => super::demo_agent::run(),
        // `needs_init` sends these elsewhere; `--help` of theirs ends in the parser.
        Command::Run(_) | Command::Setup(_) | Command::Clone(_) | Command::Exec(_) | Command::Demo(_) | Command::KubeOpenCode(_) => {
            ExitCode::from(USAGE)
        }
    }
}
