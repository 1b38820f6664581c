//! The program `agent-conformance`.

use std::process::ExitCode;

use agent_conformance::suite::engine::namespace;
use agent_conformance::suite::fake;

fn main() -> ExitCode {
    // Where a script lies this program is an agent, whatever its arguments are.
    fake::main_if_agent();
    // An engine has started this program again, to start a container: before there are threads.
    namespace::child_main().unwrap_or(ExitCode::FAILURE)
}
