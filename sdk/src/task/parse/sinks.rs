//! Where the outcome is written.

use std::path::PathBuf;

use serde_json::Value;

use super::super::fields::Fields;
use super::super::{DeclaredOutput, MAX_TERMINATION_BUDGET, MIN_TERMINATION_BUDGET, Sinks};
use super::{Errors, inner_path, read_each};
use crate::results::is_valid_key;

pub(super) fn read_sinks(fields: &mut Fields<'_>, e: Errors<'_>) -> Sinks {
    let default = Sinks::default();
    let Some(object) = fields.object("sinks", e) else { return default };
    let mut s = Fields::new("sinks", object);
    let range = "a number of bytes from 128 to 4096";
    let budget = s.integer("terminationBudget", range, e);
    let in_range = |budget: &u64| (u64::from(MIN_TERMINATION_BUDGET)..=u64::from(MAX_TERMINATION_BUDGET)).contains(budget);
    if let Some(budget) = budget.filter(|budget| !in_range(budget)) {
        s.error("terminationBudget", &Value::from(budget), range, e);
    }
    let sinks = Sinks {
        termination_log: s.text("terminationLog", e).map_or(default.termination_log, PathBuf::from),
        termination_budget: budget.and_then(|budget| u32::try_from(budget).ok()).unwrap_or(default.termination_budget),
        result_file: s.text("resultFile", e).map(PathBuf::from),
        results_dir: s.text("resultsDir", e).map(PathBuf::from),
        events_file: s.text("eventsFile", e).map(PathBuf::from),
        marker: s.boolean("marker", e).unwrap_or(default.marker),
        outputs: read_each(&mut s, "outputs", e, |output, e| {
            let name = output.required("name", "a result key: 1 to 63 letters, digits, `.`, `_` and `-`", e, |value| {
                value.as_str().filter(|key| is_valid_key(key)).map(str::to_owned)
            });
            let path =
                output.required("path", "a relative path that stays inside the work tree", e, |value| value.as_str().and_then(inner_path));
            let default = output.read("default", "text", e, |value| value.as_str().map(str::to_owned));
            Some(DeclaredOutput { name: name?, path: path?, default })
        }),
    };
    s.finish(e);
    sinks
}
