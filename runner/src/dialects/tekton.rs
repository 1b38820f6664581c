//! Tekton: a Task's step leaves its results as files in `/tekton/results`, of which Tekton reads those that the Task declares
//! (<https://tekton.dev/docs/pipelines/tasks/#emitting-results>).
//!
//! It hands them on in a termination message of its own, with the rest that it has to say there: a step whose results do not fit has
//! failed, whatever it did. So they are held below what is left of the message.

use std::path::Path;

use super::Said;

/// Where results are left.
pub(crate) const RESULTS: &str = "/tekton/results";

/// What Tekton adds to the message: the start's time, the exit code, a reason, and the names of both.
const OWN_PART: usize = 512;

/// Whether it was Tekton that started us.
pub(super) fn speaks(is_there: &dyn Fn(&Path) -> bool) -> bool {
    is_there(Path::new(RESULTS))
}

/// Where the results go.
pub(super) fn said() -> Vec<Said> {
    vec![Said { setting: "AGENT_RESULTS_DIR", source: RESULTS.to_owned(), text: Ok(RESULTS.to_owned()) }]
}

/// How many bytes all results may have together, given what the container's message may have.
pub(super) fn results_room(termination_budget: u32) -> usize {
    (termination_budget as usize).saturating_sub(OWN_PART)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Dialect;
    use super::*;
    use crate::inputs::Inputs;

    fn of(env: &[(&str, &str)], is_there: &dyn Fn(&Path) -> bool) -> Inputs {
        let env: BTreeMap<_, _> = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Inputs::of(&["agent-runner".into()], env, is_there)
    }

    #[test]
    fn its_directory_says_who_speaks_and_takes_the_results() {
        let env = [("AGENT_TYPE", "claude"), ("AGENT_PROMPT", "x")];
        let given = of(&env, &|path| path == Path::new(RESULTS));
        assert_eq!(given.dialect, Dialect::Tekton);
        let task = given.resolve(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap().task;
        assert_eq!(task.sinks.results_dir, Some(RESULTS.into()));
        assert_eq!(of(&env, &|_| false).dialect, Dialect::Native);
    }

    #[test]
    fn a_directory_that_the_task_names_counts_more() {
        let given = of(&[("AGENT_TYPE", "claude"), ("AGENT_PROMPT", "x"), ("AGENT_RESULTS_DIR", "/results")], &|_| true);
        let task = given.resolve(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap().task;
        assert_eq!(task.sinks.results_dir, Some("/results".into()));
    }
}
