//! What is started, from the image's configuration and the start: for the engines that do this themselves.

use std::collections::BTreeMap;

use super::account::Account;
use super::{EngineError, Start};
use crate::suite::subject::ImageConfig;

/// Where programs are looked for if the image says nothing, as container engines have it.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Arguments, environment and directory of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// The program and its arguments.
    pub(super) args: Vec<String>,
    /// All of its environment.
    pub(super) env: BTreeMap<String, String>,
    /// Where it starts.
    pub(super) cwd: String,
}

/// Puts the start over the image's configuration.
pub(super) fn process(engine: &'static str, config: &ImageConfig, account: &Account, start: &Start) -> Result<Process, EngineError> {
    let args: Vec<String> = config.entrypoint.iter().chain(start.args.as_ref().unwrap_or(&config.cmd)).cloned().collect();
    if args.is_empty() {
        return Err(EngineError::Failed { engine, what: "start the image", why: "it has neither an entry point nor a command".to_owned() });
    }
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned()), ("HOME".to_owned(), account.home.clone())]);
    env.extend(config.env.iter().filter_map(|entry| entry.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())));
    env.extend(start.env.clone());
    let cwd = if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() };
    Ok(Process { args, env, cwd })
}
