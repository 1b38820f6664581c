//! The flags that come from the table of settings: one per variable, the same words.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::inputs::settings::{Kind, SETTINGS, TASK_FILE};

/// What was given of them.
#[derive(Debug, Clone, Default)]
pub struct SettingFlags {
    /// Values by their variable's name.
    pub flags: BTreeMap<&'static str, String>,
    /// The task document.
    pub task_file: Option<PathBuf>,
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            if let Some(value) = matches.get_one::<String>(setting.variable) {
                self.flags.insert(setting.variable, value.clone());
            }
        }
        if let Some(path) = matches.get_one::<PathBuf>(TASK_FILE) {
            self.task_file = Some(path.clone());
        }
        Ok(())
    }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        // Seven commands have them, and one of these is called: the others' are not made.
        command.defer(with_flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The command with a flag for each setting.
fn with_flags(command: Command) -> Command {
    let task_file = Arg::new(TASK_FILE)
        .long("task-file")
        .visible_alias("task")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(format!("Task document, YAML or JSON; the settings below win over it [env: {TASK_FILE}]"))
        .help_heading("Task");
    SETTINGS.iter().fold(command.arg(task_file), |command, setting| {
        let arg = Arg::new(setting.variable)
            .long(setting.flag())
            .value_name(setting.value_name)
            .help(format!("{} [env: {}]", setting.help, setting.variable))
            .help_heading(setting.group)
            .action(ArgAction::Set)
            // A prompt or an argument may begin with a dash.
            .allow_hyphen_values(true);
        command.arg(match setting.kind {
            Kind::Switch => arg.num_args(0..=1).default_missing_value("true").require_equals(true).allow_hyphen_values(false),
            _ => arg,
        })
    })
}
