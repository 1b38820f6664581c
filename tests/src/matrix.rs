//! The matrix of a real CLI and the scenarios that come with the suite: what is alike in every cell, whatever the agent.
//!
//! How an agent's tokens compare to the bill, and where an older version says less, is for each agent's own test.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeSet;

use agent_conformance::model::{Scenario, builtin};

use crate::agent_run::AgentRun;
use crate::clis::{self, Cli};
use crate::probe;
use crate::runs::{Ended, Origin, Wanted, in_parallel};

/// A scenario that ends by itself, and how.
pub type Row = (&'static str, Wanted<'static>);

/// Scenarios in which the tool call that commits is answered.
const COMMITTING: &[&str] = &["success", "flaky-429", "flaky-500", "late-401", "late-500", "cut-late"];

/// Makes of a table, `test: scenario, status, reason, code, retry;` a row, the constant `TRIED` and a test of each row, which calls the
/// file's `play`.
#[macro_export]
macro_rules! scenarios {
    ($($test:ident: $scenario:literal, $status:literal, $reason:literal, $code:literal, $retry:literal;)*) => {
        const TRIED: &[$crate::matrix::Row] = &[$(($scenario, $crate::runs::wanted($status, $reason, $code, $retry))),*];

        /// Status, reason, exit code, retry and tokens are right in …
        mod the_outcome_is_right_in {
            $(#[test]
            fn $test() {
                super::play($scenario, $crate::runs::wanted($status, $reason, $code, $retry));
            })*
        }
    };
}

/// What the older versions play, each one in turn: a scenario of each way to end, and of each thing to do. The others differ from one of these
/// by a status alone, and that only the newest is asked each time; with [`WHOLE`] each version plays all of them.
const WITH_OLDER: &[&str] = &[
    "success",
    "text-only",
    "thinking",
    "subagent",
    "mcp-call",
    "tool-fails",
    "empty",
    "max-tokens",
    "refusal",
    "context-too-long",
    "quota",
    "http-401",
    "http-429",
    "http-500",
    "late-401",
    "cut-mid-stream",
    "flaky-429",
];

/// The variable that asks for the whole matrix: `AGENT_TESTS_MATRIX=whole`.
const WHOLE: &str = "AGENT_TESTS_MATRIX";

/// The run of a cell: where the scenario calls an MCP server's tool, with that server.
#[must_use]
pub fn cell(cli: &Cli, scenario: &str) -> AgentRun {
    let run = AgentRun::with_cli(cli, &Origin::start(), Scenario::builtin(scenario).unwrap());
    if scenario != "mcp-call" {
        return run;
    }
    let servers = serde_json::json!({"mcpServers": {"probe": {"command": probe::program("echo-mcp")}}});
    run.with("AGENT_MCP_SERVERS", servers.to_string())
}

/// Asserts what the message says of the repository. `reaches_tools` is whether the CLI got as far as the scenario goes.
///
/// # Panics
/// It says something else.
pub fn assert_repository(run: &AgentRun, ended: &Ended, scenario: &str, reaches_tools: bool) {
    let is_committed = reaches_tools && COMMITTING.contains(&scenario);
    let commit = run.scene.git(&["rev-parse", "HEAD"]);
    let said = ["branch", "commit", "commits"].map(|key| ended.parameter(key).unwrap_or("absent"));
    assert_eq!(said, ["work", commit.as_str(), if is_committed { "1" } else { "0" }], "{ended}");
}

/// Plays what is to be played with the other versions that are pinned, the first scenario with all of them: two at a time, since a run also
/// waits.
///
/// # Panics
/// One of them ended otherwise than it should.
pub fn with_older(agent: &str, rows: &[Row], play: impl Fn(&Cli, &str, Wanted<'_>) + Sync) {
    let clis = clis::older(agent);
    let is_whole = std::env::var_os(WHOLE).is_some_and(|wish| wish == "whole");
    let is_played = |scenario: &str, version: usize| {
        let place = WITH_OLDER.iter().position(|name| *name == scenario);
        is_whole || place.is_some_and(|place| place == 0 || place % clis.len() == version)
    };
    let mut cells = Vec::new();
    for (scenario, wanted) in rows {
        let players = clis.iter().enumerate().filter(|(version, _)| is_played(scenario, *version));
        cells.extend(players.map(|(_, cli)| (cli, *scenario, *wanted)));
    }
    in_parallel(2, &cells, |(cli, scenario, wanted)| play(cli, scenario, *wanted));
}

/// Asserts that every scenario that comes with the suite is in the table, or among those that are tried apart.
///
/// # Panics
/// One is not.
pub fn assert_all_are_tried(rows: &[Row], apart: &[&str]) {
    let unknown: Vec<_> = WITH_OLDER.iter().filter(|scenario| !builtin::names().any(|name| name == **scenario)).collect();
    assert!(unknown.is_empty(), "no scenarios of the suite: {unknown:?}");
    let tried: BTreeSet<&str> = rows.iter().map(|(scenario, _)| scenario).chain(apart).copied().collect();
    assert_eq!(tried, builtin::names().collect());
}
