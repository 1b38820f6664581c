//! Argo Workflows: its executor starts the container's command, reads output parameters from files when it has ended, and from time to time
//! a file that says how far it has come (<https://argo-workflows.readthedocs.io/en/latest/progress/>).
//!
//! Which files are output parameters stands in the workflow's template: its `valueFrom.path` points into `AGENT_RESULTS_DIR`, which the
//! template sets too (`agent-runner manifest --for argo` prints both).

use std::path::PathBuf;

use super::{Environment, variable};

/// The step's place in the workflow; set in each container that Argo's executor starts.
const NODE: &str = "ARGO_NODE_ID";
/// Where the progress is written, as `N/M`.
const PROGRESS_FILE: &str = "ARGO_PROGRESS_FILE";

/// Whether it was Argo that started us.
pub(super) fn speaks(env: &Environment) -> bool {
    [NODE, PROGRESS_FILE].iter().any(|name| variable(env, name).is_some())
}

/// The file with the progress, where the workflow's controller asks for it.
pub(super) fn progress_file(env: &Environment) -> Option<PathBuf> {
    variable(env, PROGRESS_FILE).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::super::Dialect;
    use super::*;

    #[test]
    fn its_variables_say_who_speaks() {
        for (name, dialect) in [(NODE, Dialect::Argo), (PROGRESS_FILE, Dialect::Argo), ("ARGO_SERVER", Dialect::Native)] {
            let env = Environment::from([(name.into(), "/progress".into())]);
            assert_eq!(Dialect::detect(&[], &env, &|_| false), dialect, "{name}");
            assert_eq!(Dialect::detect(&[], &env, &|_| false).progress_file(&env), (name == PROGRESS_FILE).then(|| "/progress".into()));
        }
    }
}
