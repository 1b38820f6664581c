//! The suite's own agent: this program, put at the place of the image's agent. It plays a script and writes down what it sees.
//!
//! So no image author has to build anything for the suite, and no API key is needed. The script lies in a directory of the host that the
//! container sees at [`STAGE`]; in engine `exec` the program itself lies there, in `bin/`. What it writes down goes to [`RECORDS`] there, a
//! line a record, each by one `write` to a file that is open for appending, so that processes do not mix their lines.
//!
//! [`main_if_agent`] comes first in the suite's `main`: where a script is found this process is an agent, and never returns.

pub mod actor;
mod look;
mod recorder;
pub mod script;

use std::fs;
use std::path::{Path, PathBuf};

pub use look::{contains, head_of};
pub use script::{Script, Step};

/// Where a container sees the stage.
pub const STAGE: &str = "/agent-conformance";
/// The scripts, by role.
pub const SCRIPTS: &str = "scripts.json";
/// What was written down.
pub const RECORDS: &str = "records.jsonl";
/// The prompt, where the agent is to look for it in what it is given.
pub const PROMPT: &str = "prompt";
/// Where the suite's program lies on the stage, under the name of each role.
pub const PROGRAMS: &str = "bin";
/// The role of whatever stands at the agent's path.
pub const AGENT: &str = "agent";
/// The role of the setup command.
pub const SETUP: &str = "setup";
/// The role of the MCP server, which serves in place of playing a script.
pub const MCP: &str = "mcp";

/// Becomes the agent where a script is found, and then never returns.
pub fn main_if_agent() {
    let Ok(program) = std::env::current_exe() else { return };
    let Some(stage) = stage_of(&program) else { return };
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_program = program.parent().is_some_and(|dir| dir == stage.join(PROGRAMS));
    let role = [SETUP, MCP].into_iter().find(|role| is_program && *role == name).unwrap_or(AGENT);
    std::process::exit(i32::from(actor::main(&stage, role)));
}

/// The stage that a program belongs to: the one that it lies on, or the container's.
fn stage_of(program: &Path) -> Option<PathBuf> {
    let own = program.parent().filter(|dir| dir.ends_with(PROGRAMS)).and_then(Path::parent).map(Path::to_owned);
    own.into_iter().chain([PathBuf::from(STAGE)]).find(|stage| fs::metadata(stage.join(SCRIPTS)).is_ok_and(|meta| meta.is_file()))
}
