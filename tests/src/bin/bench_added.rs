//! How much time the runner adds before the agent starts and after it ends, against what people use today, paired in one run.
//!
//! The peer does with its usual parts what the runner does with instructions, MCP servers and a setup command configured: `tini -g --
//! bash`, `node` once for the MCP servers and once for the setup command, and the agent piped through a filter that looks for the result.
//! The other peer is the agent started bare. Time is the agent's own stamps against ours: what is added is all that is not the agent.
//!
//! And how soon it is over, last message and all, when it is told to end and its agent does so at once: a container gets SIGTERM and then
//! has little time.
//!
//! Usage: `bench_added RUNNER [RUNS]`; needs tini, bash and node.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent_tests::runs::wait_until;

const PEER: &str = r##"#!/bin/bash
set -euo pipefail
mkdir -p "$HOME/.claude"
printf '%s' "$INSTRUCTIONS" > "$HOME/.claude/CLAUDE.md"
node -e '
const fs = require("fs"), path = process.env.HOME + "/.claude.json";
let config = {}; try { config = JSON.parse(fs.readFileSync(path, "utf8")); } catch {}
config.mcpServers = Object.assign(config.mcpServers || {}, JSON.parse(process.env.MCP).mcpServers);
fs.writeFileSync(path, JSON.stringify(config));'
node -e '
const { spawnSync } = require("child_process"), [program, ...args] = JSON.parse(process.env.SETUP);
process.exit(spawnSync(program, args, { stdio: "inherit" }).status ?? 1);'
"$AGENT" -p hello | "$FILTER"
"##;

/// An agent that has begun, and that a signal ends.
const WAITING: &str = "#!/bin/sh\n: >\"$STAMPS\"\nexec sleep 1000\n";

const MCP: &str = r#"{"mcpServers":{"one":{"command":"/bin/true","args":["--x"],"env":{"K":"v"}},"two":{"url":"http://127.0.0.1:1/mcp"}}}"#;
const SETUP: &str = r#"["/bin/true"]"#;

fn now() -> u128 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(|time| std::time::Duration::from(time).as_nanos()).unwrap_or_default()
}

/// Nanoseconds before the agent's start and after its end.
fn measure(stamps: &Path, mut command: Command) -> (u128, u128) {
    let _ = std::fs::remove_file(stamps);
    let begin = now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the subject starts");
    let end = now();
    assert!(status.success(), "{command:?} ended with {status}");
    let text = std::fs::read_to_string(stamps).expect("the agent has run");
    let mut lines = text.lines().map(|line| line.parse::<u128>().expect("a stamp"));
    let (start, finish) = (lines.next().expect("start"), lines.next().expect("end"));
    (start - begin, end - finish)
}

/// Nanoseconds from SIGTERM to the end of a run, whose message says that it was told to.
fn measure_end(begun: &Path, message: &Path, mut command: Command) -> u128 {
    use nix::sys::signal::{Signal, kill};
    let _ = std::fs::remove_file(begun);
    let mut run = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the subject starts");
    wait_until("the agent", || begun.exists());
    let told = now();
    kill(nix::unistd::Pid::from_raw(run.id() as i32), Signal::SIGTERM).expect("it can be told");
    run.wait().expect("it ends");
    let end = now();
    let message = std::fs::read_to_string(message).expect("a message");
    assert!(message.contains(r#""reason":"Cancelled""#), "{message}");
    end - told
}

fn median(mut values: Vec<u128>) -> f64 {
    values.sort_unstable();
    values[values.len() / 2] as f64 / 1e6
}

fn main() {
    let mut args = std::env::args().skip(1);
    let built = PathBuf::from(args.next().expect("usage: bench_added RUNNER [RUNS]"));
    let runs: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(41);
    let here = std::env::current_exe().expect("own path");
    let sibling = |name: &str| here.with_file_name(name);
    let dir = tempfile::tempdir().expect("a directory");
    // As it is installed: a file that is written lies in the page cache in large pieces, as the peers' do, and one that a linker has mapped
    // in single pages, each of which costs a fault of its own: half a millisecond a run.
    let runner = dir.path().join("agent-runner");
    std::fs::copy(&built, &runner).expect("the runner can be installed");
    let stamps = dir.path().join("stamps");
    let script = dir.path().join("entrypoint.sh");
    std::fs::write(&script, PEER).expect("the peer's script");
    let message = dir.path().join("termination-log");
    let waiting = dir.path().join("waiting");
    std::fs::write(&waiting, WAITING).expect("the waiting agent");
    std::fs::set_permissions(&waiting, PermissionsExt::from_mode(0o755)).expect("a program");
    let work = dir.path().join("work");
    std::fs::create_dir(&work).expect("a work directory");
    let env = |command: &mut Command, home: &str| {
        let home = dir.path().join(home);
        std::fs::create_dir_all(&home).expect("a home");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("STAMPS", &stamps)
            .current_dir(&work);
    };
    let bare = || {
        let mut command = Command::new(sibling("stamp_agent"));
        env(&mut command, "bare");
        command
    };
    let peer = || {
        let mut command = Command::new("tini");
        command.args(["-s", "-g", "--", "bash"]).arg(&script);
        env(&mut command, "peer");
        command
            .env("INSTRUCTIONS", "Be brief.")
            .env("MCP", MCP)
            .env("SETUP", SETUP)
            .env("AGENT", sibling("stamp_agent"))
            .env("FILTER", sibling("line_filter"));
        command
    };
    let ours = || {
        let mut command = Command::new(&runner);
        env(&mut command, "ours");
        command.env("AGENT_TYPE", "claude").env("AGENT_PROGRAM", sibling("stamp_agent")).env("AGENT_PROMPT", "hello");
        command.env("AGENT_INSTRUCTIONS", "Be brief.").env("AGENT_MCP_SERVERS", MCP).env("AGENT_SETUP_COMMAND", SETUP);
        command.env("AGENT_TERMINATION_LOG", &message);
        command
    };
    let told_to_end = || {
        let mut command = ours();
        command.env("AGENT_PROGRAM", &waiting);
        command
    };
    let mut times: [Vec<(u128, u128)>; 3] = Default::default();
    for round in 0..=runs {
        let measured = [measure(&stamps, bare()), measure(&stamps, peer()), measure(&stamps, ours())];
        // the first round warms the caches
        if round > 0 {
            times.iter_mut().zip(measured).for_each(|(times, one)| times.push(one));
        }
    }
    let of = |which: usize, part: fn(&(u128, u128)) -> u128| median(times[which].iter().map(part).collect());
    println!("added time, medians of {runs} paired runs, ms (before the agent + after it)");
    for (which, name) in ["bare exec", "tini, bash, node twice, filter", "agent-runner"].iter().enumerate() {
        println!("  {name:<31} {:8.2} + {:6.2} = {:8.2}", of(which, |t| t.0), of(which, |t| t.1), of(which, |t| t.0 + t.1));
    }
    let total = |which: usize| of(which, |t| t.0 + t.1);
    println!(
        "  the peer takes {:.1} times as long as agent-runner; agent-runner adds {:.2} ms over bare exec",
        total(1) / total(2),
        total(2) - total(0)
    );
    let ends = (0..runs).map(|_| measure_end(&stamps, &message, told_to_end())).collect();
    println!("  SIGTERM to the end of the run, with its message: {:.2} ms, median of {runs}", median(ends));
}
