//! Dialects: the ways in which platforms say a task and read its outcome.
//!
//! A dialect is two pure functions in a file of its own. One goes from the environment (and the arguments) to what was said of the task, as
//! [`Said`]; it counts below our own `AGENT_*` variables, so that these override it. The other goes from an outcome to the text that the
//! platform reads; it stands in the SDK beside our own form ([`agent_sdk::marker`]), and a dialect only names it. Which dialect speaks is
//! decided once, by [`Dialect::detect`], from what is there, and said in the log.

pub mod kelos;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::inputs::InputError;
use crate::inputs::settings::SETTINGS;
use crate::sinks::MarkerForm;

/// The variables that a process was given.
pub type Environment = BTreeMap<OsString, OsString>;

/// A way to say a task and to read its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Our own: the Agent Image Interface.
    #[default]
    Native,
    /// Kelos'.
    Kelos,
}

/// One thing that a platform said in its own words, as a setting of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Our setting, by its variable.
    pub setting: &'static str,
    /// Where it was said, by the name that the user knows.
    pub source: String,
    /// Its text as our setting takes it, or what is wrong with it.
    pub text: Result<String, InputError>,
}

impl Said {
    /// Whether it is about the repository, and so about whatever is started there.
    #[must_use]
    pub fn is_of_workspace(&self) -> bool {
        let path = SETTINGS.iter().find(|setting| setting.variable == self.setting).map_or("", |setting| setting.path);
        path.starts_with("workspace.") || path.starts_with("git.")
    }
}

impl Dialect {
    /// The dialect of whoever started this process so.
    #[must_use]
    pub fn detect(args: &[OsString], env: &Environment) -> Self {
        if kelos::speaks(args, env) { Self::Kelos } else { Self::Native }
    }

    /// Its name in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kelos => "kelos",
        }
    }

    /// What the platform said of the task.
    #[must_use]
    pub fn said(self, args: &[OsString], env: &Environment) -> Vec<Said> {
        match self {
            Self::Native => Vec::new(),
            Self::Kelos => kelos::said(args, env),
        }
    }

    /// Where this platform's user says the prompt.
    #[must_use]
    pub fn prompt_hint(self) -> &'static str {
        match self {
            Self::Native => "set AGENT_PROMPT or AGENT_PROMPT_FILE, or give the prompt as argument",
            Self::Kelos => kelos::PROMPT_HINT,
        }
    }

    /// Whether a run is to prepare everything and to start no agent.
    #[must_use]
    pub fn only_prepares(self, env: &Environment) -> bool {
        match self {
            Self::Native => false,
            Self::Kelos => kelos::only_prepares(env),
        }
    }

    /// Variables of the platform that no program of the run gets.
    #[must_use]
    pub fn kept_back(self) -> &'static [&'static str] {
        match self {
            Self::Native => &[],
            Self::Kelos => kelos::KEPT_BACK,
        }
    }

    /// What is printed on stderr before the setup command starts.
    #[must_use]
    pub fn before_setup(self) -> Option<&'static str> {
        match self {
            Self::Native => None,
            Self::Kelos => Some(kelos::SETUP_START),
        }
    }

    /// What is printed on stderr after the setup command has ended with this code.
    #[must_use]
    pub fn after_setup(self, code: u8) -> Option<String> {
        match self {
            Self::Native => None,
            Self::Kelos => Some(kelos::after_setup(code)),
        }
    }

    /// The block that is the last of stdout; `Native` has one that only this run can write.
    #[must_use]
    pub fn marker(self) -> MarkerForm {
        match self {
            Self::Native => MarkerForm::Native(crate::run::nonce()),
            Self::Kelos => MarkerForm::Kelos,
        }
    }

    /// Whether the block is printed also for a task that could not be read.
    ///
    /// A platform that takes the last block of a log for this run's must not find an earlier run's there.
    #[must_use]
    pub fn always_marks(self) -> bool {
        match self {
            Self::Native => false,
            Self::Kelos => true,
        }
    }
}

/// Puts our own command line in place of one that a platform gives to a program of its own name.
#[must_use]
pub fn command_line(args: Vec<OsString>) -> Vec<OsString> {
    kelos::command_line(args)
}

/// The name that a program was started under, without its directories. A login shell puts a dash before it.
fn program_name(args: &[OsString]) -> Option<&str> {
    let name = Path::new(args.first()?).file_name().and_then(OsStr::to_str)?;
    Some(name.strip_prefix('-').unwrap_or(name))
}
