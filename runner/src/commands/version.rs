//! `agent-runner version`: of the runner, the interface, and the agents that it was held against.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::VersionArgs;

/// What `version --json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    runner: &'static str,
    interface_versions: [&'static str; 1],
    /// By agent: the versions whose behaviour was tried.
    agents: BTreeMap<String, Vec<String>>,
}

/// Runs the command.
#[must_use]
pub fn run(args: &VersionArgs) -> ExitCode {
    let agents = crate::agents::all();
    let versions = Versions {
        runner: crate::VERSION,
        interface_versions: [agent_sdk::INTERFACE_VERSION],
        agents: agents
            .iter()
            .map(|agent| (agent.name().to_owned(), agent.held_against().iter().map(ToString::to_string).collect()))
            .collect(),
    };
    if args.json {
        return super::print(&format!("{}\n", serde_json::to_string(&versions).unwrap_or_default()));
    }
    let mut text = format!("agent-runner {}\nAgent Image Interface {}\n", versions.runner, agent_sdk::INTERFACE_VERSION);
    for (agent, tried) in versions.agents.iter().filter(|(_, tried)| !tried.is_empty()) {
        text.push_str(&format!("{agent}: tried with {}\n", tried.join(", ")));
    }
    super::print(&text)
}
