//! The commands that start programs, below init: `run`, `setup`, `clone`, `exec`, `demo`, `kubeopencode`.

use std::ffi::OsString;

use agent_sdk::task::Span;
use clap::error::ErrorKind;

use crate::cli::setting_flags::SettingFlags;
use crate::cli::{self, Command};
use crate::init::RunnerSide;
use crate::inputs::Inputs;
use crate::run::{self, Extent, Order};

/// Runs the command; its code is the container's.
#[must_use]
pub fn run(side: RunnerSide, args: Vec<OsString>) -> u8 {
    crate::log::start();
    let code = carry_out(side, args);
    crate::log::flush();
    code
}

fn carry_out(side: RunnerSide, args: Vec<OsString>) -> u8 {
    let cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // A closed stdout is no reason to fail.
            let _ = error.print();
            return 0;
        }
        Err(error) => return run::refuse(side, &Inputs::read(), error.to_string()),
    };
    let order = match cli.command {
        // A script in a platform's image calls us so also where the platform wants a setup only.
        Command::Run(args) => {
            let inputs = Inputs { prompt_argument: args.prompt, ..inputs(args.settings) };
            match inputs.dialect.only_prepares(&inputs.env) {
                true => Order { inputs: Inputs { prompt_argument: None, needs_agent: false, ..inputs }, extent: Extent::Setup },
                false => Order { inputs, extent: Extent::Agent },
            }
        }
        Command::Setup(settings) => prepare(settings, Extent::Setup),
        Command::Clone(settings) => prepare(settings, Extent::Clone),
        Command::Exec(args) => {
            let mut order = prepare(args.settings, Extent::Command(args.command));
            // Anybody's program may be silent for as long as it likes, has its own business after an agent's last word (a script may push),
            // and its output is its own to the last byte.
            let never = Span::MAX.to_string();
            order.inputs.defaults =
                vec![("limits.silenceTimeout", "0s".into()), ("limits.linger", never.into()), ("sinks.marker", false.into())];
            // And what a platform says of its agent is not said of it, not even where that agent starts it.
            order.inputs.said.retain(|said| said.is_of_any_program());
            order
        }
        Command::Demo(args) => return super::demo::run(side, &args),
        Command::KubeOpenCode(args) => return super::kubeopencode::run(side, args.command),
        // `needs_init` names the commands above and no other.
        other => return run::refuse(side, &Inputs::read(), format!("{other:?} is not run below init")),
    };
    run::run(side, &order)
}

/// What the platform gave, with the flags of this command line.
#[must_use]
pub fn inputs(settings: SettingFlags) -> Inputs {
    Inputs { flags: settings.flags, task_file: settings.task_file, ..Inputs::read() }
}

/// No agent is started, so no prompt is needed, and the agent need not be named.
fn prepare(settings: SettingFlags, extent: Extent) -> Order {
    Order { inputs: Inputs { needs_agent: false, ..inputs(settings) }, extent }
}
