//! `scripted-model`: the scripted model server as a program. Everything it does is in `agent_conformance::model`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use agent_conformance::model::{Scenario, ScenarioError, ScriptedModel, builtin};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

const AFTER_HELP: &str = "\
The address is the first line of standard output, as JSON; requests are answered from
then on. Other scenarios are served below /s/SCENARIO/RUN, each RUN with a state of its
own. The server ends on SIGTERM or SIGINT.

Example: a whole task of the real Claude Code, with no API key and no network:

  $ scripted-model --listen 127.0.0.1:8399 --record /tmp/records &
  {\"url\":\"http://127.0.0.1:8399\",\"scenario\":\"success\"}
  $ export ANTHROPIC_BASE_URL=http://127.0.0.1:8399 ANTHROPIC_API_KEY=any
  $ claude --dangerously-skip-permissions -p 'do it'
  $ cat /tmp/records/bill.json

A scenario of your own is a TOML file; `scripted-model --show success` prints one to
start from.";

/// Plays a scripted model for coding agents, on loopback, and records what it was asked and what it billed.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Arguments {
    /// Loopback address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Name of a built-in scenario, or path of a TOML or JSON file
    #[arg(long, default_value = "success", value_name = "NAME|FILE")]
    scenario: String,
    /// Set a parameter of the scenario; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// Directory for the records: NNNN.json and NNNN.body for each request, and bill.json
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// List the built-in scenarios and end
    #[arg(long)]
    list: bool,
    /// Print a built-in scenario's file and end
    #[arg(long, value_name = "NAME")]
    show: Option<String>,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.into(), value.into()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("scripted-model: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    if arguments.list {
        for name in builtin::names() {
            writeln!(out, "{name:27}{}", Scenario::builtin(name)?.about)?;
        }
        return Ok(());
    }
    if let Some(name) = &arguments.show {
        let text = builtin::text(name).ok_or_else(|| ScenarioError::Unknown { name: name.clone(), known: builtin::names().collect() })?;
        return Ok(out.write_all(text.as_bytes())?);
    }
    let mut scenario = Scenario::read(&arguments.scenario)?;
    for (name, value) in &arguments.settings {
        scenario = scenario.with(name, value)?;
    }
    let name = scenario.name.clone();
    let mut builder = ScriptedModel::builder(scenario).listen(arguments.listen);
    if let Some(directory) = &arguments.record {
        builder = builder.record_to(directory);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _guard = runtime.enter();
    // Before the address is told: whoever knows it may send the signal at once.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let model = builder.start()?;
    writeln!(out, "{}", serde_json::json!({"url": model.base_url(), "scenario": name}))?;
    out.flush()?;
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    drop(model);
    Ok(())
}
