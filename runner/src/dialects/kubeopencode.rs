//! KubeOpenCode: its controller starts the Agent's command in the workspace that its init containers filled, says the rest by variables,
//! and reads the termination message (<https://github.com/kubeopencode/kubeopencode>).
//!
//! The message is our own: `parameters` stands in it as its reader and its Argo guide expect. The commands of its init containers are
//! [`crate::commands::kubeopencode`]. What configures OpenCode (`OPENCODE_CONFIG`, `OPENCODE_CONFIG_CONTENT`, `OPENCODE_PERMISSION`) goes
//! on to it as it is.

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Environment, Said, as_text, program_name, variable};
use crate::inputs::InputError;

/// The name of its own binary, under which its init containers are started.
pub const PROGRAM: &str = "kubeopencode";
/// The Task's name and namespace; both are always set, and by nobody else.
const TASK: [&str; 2] = ["TASK_NAME", "TASK_NAMESPACE"];
/// Where the Task's files are, and where the agent works.
pub const WORKSPACE: &str = "WORKSPACE_DIR";
/// Which directory that is where nothing is said.
pub const DEFAULT_WORKSPACE: &str = "/workspace";
/// The prompt's file in the workspace.
const PROMPT_FILE: &str = "task.md";
/// The outputs that a Task declares.
const OUTPUT_SPEC: &str = "OUTPUT_SPEC";
/// What a message may have in bytes: the kubelet shares 12288 between all containers of a pod, and the controller starts one for OpenCode,
/// one for its context, and one for each repository beside ours. So there is room for three repositories.
const BUDGET: &str = "2048";
/// More certificates to trust.
pub const CA_FILE: &str = "CUSTOM_CA_CERT_PATH";

/// Where a user says the prompt.
pub(super) const PROMPT_HINT: &str = "KubeOpenCode writes it to `task.md` in the workspace, from the Task's `description`";

/// Whether it was KubeOpenCode that started us.
pub(super) fn speaks(env: &Environment) -> bool {
    TASK.iter().all(|name| variable(env, name).is_some()) && variable(env, WORKSPACE).is_some()
}

/// `/kubeopencode git-init` is `agent-runner kubeopencode git-init`.
pub(super) fn command_line(mut args: Vec<OsString>) -> Vec<OsString> {
    if program_name(&args) == Some(PROGRAM) {
        args.insert(1, PROGRAM.into());
    }
    args
}

/// What the variables say of the task.
pub(super) fn said(env: &Environment) -> Vec<Said> {
    let Some(workspace) = variable(env, WORKSPACE) else { return Vec::new() };
    let prompt = Path::new(workspace).join(PROMPT_FILE).into_os_string();
    let mut said = vec![
        Said { setting: "AGENT_TYPE", source: "KubeOpenCode".to_owned(), text: Ok("opencode".to_owned()) },
        as_text("AGENT_WORKSPACE_DIR", WORKSPACE, workspace),
        as_text("AGENT_PROMPT_FILE", PROMPT_FILE, &prompt),
        Said { setting: "AGENT_TERMINATION_BUDGET", source: "KubeOpenCode".to_owned(), text: Ok(BUDGET.to_owned()) },
    ];
    said.extend(variable(env, CA_FILE).map(|path| as_text("AGENT_CA_BUNDLE_FILE", CA_FILE, path)));
    said.extend(variable(env, OUTPUT_SPEC).map(|spec| {
        let said = as_text("AGENT_OUTPUTS", OUTPUT_SPEC, spec);
        Said { text: said.text.and_then(|text| outputs(&text, Path::new(workspace))), ..said }
    }));
    said
}

/// Its `{"parameters":[…]}` as our list. Only the form around it is looked at here: what is wrong within is found with the task.
fn outputs(spec: &str, workspace: &Path) -> Result<String, InputError> {
    let wrong = |problem: String| InputError {
        source: OUTPUT_SPEC.to_owned(),
        problem,
        hint: Some(r#"its form is {"parameters":[{"name":"summary","path":".outputs/summary","default":""}]}"#.to_owned()),
    };
    let parsed: Value = serde_json::from_str(spec).map_err(|error| wrong(format!("expected JSON: {error}")))?;
    let parameters = parsed.get("parameters").unwrap_or(&Value::Null);
    let list = match parameters {
        Value::Null => &Vec::new(),
        Value::Array(list) => list,
        _ => return Err(wrong("expected `parameters` to be a list".to_owned())),
    };
    let ours = |parameter: &Value| match parameter {
        Value::Object(fields) => {
            let known = ["name", "path", "default"].into_iter().filter_map(|name| Some((name, fields.get(name)?)));
            Value::Object(Map::from_iter(known.map(|(name, value)| (name.to_owned(), within(name, value, workspace)))))
        }
        other => other.clone(),
    };
    Ok(Value::from_iter(list.iter().map(ours)).to_string())
}

/// A path may also be written as the container knows it.
fn within(name: &str, value: &Value, workspace: &Path) -> Value {
    let relative = value.as_str().filter(|_| name == "path").and_then(|path| Path::new(path).strip_prefix(workspace).ok()?.to_str());
    relative.map_or_else(|| value.clone(), |path| json!(path))
}

#[cfg(test)]
mod tests {
    use super::super::Dialect;
    use super::*;
    use crate::inputs::{InputErrors, Inputs, Resolved};

    fn env(pairs: &[(&str, &str)]) -> Environment {
        let base = [("TASK_NAME", "fix"), ("TASK_NAMESPACE", "team"), (WORKSPACE, "/workspace")];
        base.iter().chain(pairs).map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn resolve(pairs: &[(&str, &str)]) -> Result<Resolved, InputErrors> {
        Inputs::of(&["agent-runner".into()], env(pairs), &|_| false).resolve(|path: &Path| match path.to_str() {
            Some("/workspace/task.md") => Ok(b"- fix it\n".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        })
    }

    #[test]
    fn its_three_variables_together_say_who_speaks() {
        let whole = env(&[]);
        assert_eq!(Dialect::detect(&[], &whole, &|_| false), Dialect::KubeOpenCode);
        for name in ["TASK_NAME", "TASK_NAMESPACE", WORKSPACE] {
            let mut less = whole.clone();
            less.remove(std::ffi::OsStr::new(name));
            assert_eq!(Dialect::detect(&[], &less, &|_| false), Dialect::Native, "{name}");
        }
    }

    #[test]
    fn the_workspace_and_its_task_become_ours() {
        let spec =
            r#"{"parameters":[{"name":"pr-url","path":"/workspace/.outputs/pr"},{"name":"summary","path":"s.md","default":"none","x":1}]}"#;
        let task = resolve(&[(OUTPUT_SPEC, spec), (CA_FILE, "/etc/ssl/custom/ca.crt")]).unwrap().task;
        assert_eq!((task.agent.kind.as_str(), task.prompt.as_deref()), ("opencode", Some("- fix it\n")));
        assert_eq!((task.workspace.dir, task.workspace.repo), ("/workspace".into(), None));
        assert_eq!(task.git.ca_bundle_file, Some("/etc/ssl/custom/ca.crt".into()));
        let outputs: Vec<_> = task
            .sinks
            .outputs
            .iter()
            .map(|output| (output.name.as_str(), output.path.to_str().unwrap(), output.default.as_deref()))
            .collect();
        assert_eq!(outputs, [("pr-url", ".outputs/pr", None), ("summary", "s.md", Some("none"))]);
    }

    #[test]
    fn our_own_variables_override_it() {
        let task =
            resolve(&[("AGENT_TYPE", "claude"), ("AGENT_PROMPT", "Do that."), (OUTPUT_SPEC, "{"), ("AGENT_OUTPUTS", "[]")]).unwrap().task;
        assert_eq!((task.agent.kind.as_str(), task.prompt.as_deref()), ("claude", Some("Do that.")));
    }

    #[test]
    fn a_wrong_specification_is_named_by_its_variable() {
        for (spec, part) in [
            ("{", "OUTPUT_SPEC: expected JSON"),
            (r#"{"parameters":{}}"#, "OUTPUT_SPEC: expected `parameters` to be a list"),
            (r#"{"parameters":[{"name":"a b","path":"x"}]}"#, "OUTPUT_SPEC (sinks.outputs[0].name)"),
            (r#"{"parameters":[{"name":"a","path":"../x"}]}"#, "OUTPUT_SPEC (sinks.outputs[0].path)"),
            (r#"{"parameters":["a"]}"#, "OUTPUT_SPEC (sinks.outputs[0])"),
        ] {
            let error = resolve(&[(OUTPUT_SPEC, spec)]).unwrap_err().to_string();
            assert!(error.contains(part), "{spec}: {error}");
        }
        assert_eq!(resolve(&[(OUTPUT_SPEC, "{}")]).unwrap().task.sinks.outputs, []);
    }

    #[test]
    fn its_own_commands_are_found_under_its_name() {
        let words = |words: &[&str]| words.iter().copied().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(command_line(words(&["/kubeopencode", "git-init"])), words(&["/kubeopencode", "kubeopencode", "git-init"]));
        assert_eq!(command_line(words(&["agent-runner", "run"])), words(&["agent-runner", "run"]));
    }
}
