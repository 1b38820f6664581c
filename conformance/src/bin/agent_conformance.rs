//! `agent-conformance`: the suite as a program. Everything it does is in [`agent_conformance::commands`].

use std::process::ExitCode;

use agent_conformance::commands::{Cli, run};
use agent_conformance::suite::engine::namespace;
use agent_conformance::suite::fake;
use clap::Parser as _;

fn main() -> ExitCode {
    // Where a script lies this program is an agent, whatever its arguments are.
    fake::main_if_agent();
    // An engine has started this program again, to start a container: before there are threads.
    if let Some(code) = namespace::child_main() {
        return code;
    }
    run(Cli::parse())
}
