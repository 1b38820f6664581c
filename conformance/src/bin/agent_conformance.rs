//! The program `agent-conformance`.

use std::process::ExitCode;

use agent_conformance::suite::engine::namespace;

fn main() -> ExitCode {
    // an engine has started this program again, to start a container: before there are threads
    namespace::child_main().unwrap_or(ExitCode::FAILURE)
}
