//! Dialects: the ways in which platforms say a task and read its outcome.
//!
//! A dialect is two pure functions in a file of its own. One goes from the environment (and the arguments) to what was said of the task, as
//! [`Said`]; it counts below our own `AGENT_*` variables, so that these override it. The other goes from an outcome to the text that the
//! platform reads; it stands in the SDK beside our own form ([`agent_sdk::marker`]), and a dialect only names it. Which dialect speaks is
//! decided once, by [`Dialect::detect`], from what is there, and said in the log.

pub mod argo;
pub mod kelos;
pub mod kubeopencode;
pub mod tekton;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

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
    /// KubeOpenCode's.
    KubeOpenCode,
    /// Tekton's.
    Tekton,
    /// Argo Workflows'.
    Argo,
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
    /// Whether it is about the repository or about where results go, and so about whatever is started there.
    #[must_use]
    pub fn is_of_any_program(&self) -> bool {
        let path = SETTINGS.iter().find(|setting| setting.variable == self.setting).map_or("", |setting| setting.path);
        ["workspace.", "git.", "sinks."].iter().any(|part| path.starts_with(part))
    }
}

impl Dialect {
    /// The dialect of whoever started this process so. `is_there` says whether a directory is.
    #[must_use]
    pub fn detect(args: &[OsString], env: &Environment, is_there: &dyn Fn(&Path) -> bool) -> Self {
        if kelos::speaks(args, env) {
            Self::Kelos
        } else if kubeopencode::speaks(env) {
            Self::KubeOpenCode
        } else if tekton::speaks(is_there) {
            Self::Tekton
        } else if argo::speaks(env) {
            Self::Argo
        } else {
            Self::Native
        }
    }

    /// Its name in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kelos => "kelos",
            Self::KubeOpenCode => "kubeopencode",
            Self::Tekton => "tekton",
            Self::Argo => "argo",
        }
    }

    /// What the platform said of the task.
    #[must_use]
    pub fn said(self, args: &[OsString], env: &Environment) -> Vec<Said> {
        match self {
            Self::Native | Self::Argo => Vec::new(),
            Self::Kelos => kelos::said(args, env),
            Self::KubeOpenCode => kubeopencode::said(env),
            Self::Tekton => tekton::said(),
        }
    }

    /// Where this platform's user says the prompt.
    #[must_use]
    pub fn prompt_hint(self) -> &'static str {
        match self {
            Self::Native | Self::Tekton | Self::Argo => "set AGENT_PROMPT or AGENT_PROMPT_FILE, or give the prompt as argument",
            Self::Kelos => kelos::PROMPT_HINT,
            Self::KubeOpenCode => kubeopencode::PROMPT_HINT,
        }
    }

    /// Whether a run is to prepare everything and to start no agent.
    #[must_use]
    pub fn only_prepares(self, env: &Environment) -> bool {
        match self {
            Self::Kelos => kelos::only_prepares(env),
            Self::Native | Self::KubeOpenCode | Self::Tekton | Self::Argo => false,
        }
    }

    /// Variables of the platform that no program of the run gets.
    #[must_use]
    pub fn kept_back(self) -> &'static [&'static str] {
        match self {
            Self::Kelos => kelos::KEPT_BACK,
            Self::Native | Self::KubeOpenCode | Self::Tekton | Self::Argo => &[],
        }
    }

    /// What is printed on stderr before the setup command starts.
    #[must_use]
    pub fn before_setup(self) -> Option<&'static str> {
        match self {
            Self::Kelos => Some(kelos::SETUP_START),
            Self::Native | Self::KubeOpenCode | Self::Tekton | Self::Argo => None,
        }
    }

    /// What is printed on stderr after the setup command has ended with this code.
    #[must_use]
    pub fn after_setup(self, code: u8) -> Option<String> {
        match self {
            Self::Kelos => Some(kelos::after_setup(code)),
            Self::Native | Self::KubeOpenCode | Self::Tekton | Self::Argo => None,
        }
    }

    /// The block that is the last of stdout; most have one that only this run can write.
    #[must_use]
    pub fn marker(self) -> MarkerForm {
        match self {
            Self::Kelos => MarkerForm::Kelos,
            Self::Native | Self::KubeOpenCode | Self::Tekton | Self::Argo => MarkerForm::Native(crate::run::nonce()),
        }
    }

    /// Whether the block is printed also for a task that could not be read.
    ///
    /// A platform that takes the last block of a log for this run's must not find an earlier run's there.
    #[must_use]
    pub fn always_marks(self) -> bool {
        match self {
            Self::Kelos => true,
            Self::Native | Self::KubeOpenCode | Self::Tekton | Self::Argo => false,
        }
    }

    /// How many bytes all files of the results directory may have together, as the platform writes them, given the budget of the
    /// termination message; `None` for as many as there are.
    #[must_use]
    pub fn results_room(self, termination_budget: u32) -> Option<usize> {
        match self {
            Self::Tekton => Some(tekton::results_room(termination_budget)),
            Self::Native | Self::Kelos | Self::KubeOpenCode | Self::Argo => None,
        }
    }

    /// The file in which the platform reads how far the run has come.
    #[must_use]
    pub fn progress_file(self, env: &Environment) -> Option<PathBuf> {
        match self {
            Self::Argo => argo::progress_file(env),
            Self::Native | Self::Kelos | Self::KubeOpenCode | Self::Tekton => None,
        }
    }
}

/// Puts our own command line in place of one that a platform gives to a program of its own name.
#[must_use]
pub fn command_line(args: Vec<OsString>) -> Vec<OsString> {
    kubeopencode::command_line(kelos::command_line(args))
}

/// The name that a program was started under, without its directories. A login shell puts a dash before it.
fn program_name(args: &[OsString]) -> Option<&str> {
    let name = Path::new(args.first()?).file_name().and_then(OsStr::to_str)?;
    Some(name.strip_prefix('-').unwrap_or(name))
}

/// A variable; an empty one counts as unset, since platforms template them so.
fn variable<'a>(env: &'a Environment, name: &str) -> Option<&'a OsString> {
    env.get(OsStr::new(name)).filter(|value| !value.is_empty())
}

/// A platform's text as a setting of ours.
fn as_text(setting: &'static str, source: &str, value: &OsString) -> Said {
    let text = value.to_str().map(str::to_owned).ok_or_else(|| InputError {
        source: source.to_owned(),
        problem: "expected UTF-8 text".to_owned(),
        hint: None,
    });
    Said { setting, source: source.to_owned(), text }
}
