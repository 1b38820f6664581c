//! Kelos: its controller starts `/kelos_entrypoint.sh PROMPT` in a clone that its init containers made, says the rest by `KELOS_*`
//! variables, and reads the exit code and the last block in the last 50 lines of the log
//! (<https://github.com/kelos-dev/kelos/blob/main/docs/agent-image-interface.md>).
//!
//! The block itself is [`agent_sdk::marker::kelos_block`]. Credentials stay in the environment: each agent finds its own.

use std::ffi::OsString;

use super::{Environment, Said, as_text, program_name, variable};
use crate::inputs::InputError;

/// The name of the program that the controller starts with the prompt as its one argument.
const ENTRYPOINT: &str = "kelos_entrypoint.sh";
/// The name of the filter that Kelos' own scripts put behind the agent.
const CAPTURE: &str = "kelos-capture";
/// Which agent does the task; always set.
const AGENT_TYPE: &str = "KELOS_AGENT_TYPE";
/// `1` where a Session is prepared, in which Kelos itself starts the agent later.
const SETUP_ONLY: &str = "KELOS_SESSION_SETUP_ONLY";

/// What a message may have in bytes: the kubelet shares 12288 between all containers of a pod, and Kelos starts up to six before ours
/// (`git-clone`, `remote-setup`, `branch-setup`, `workspace-files`, `plugin-setup`, `skills-install`). So there is room for one more.
pub(crate) const BUDGET: u32 = 1536;

/// Kelos' names of agents, and ours.
pub(crate) const AGENTS: &[(&str, &str)] =
    &[("claude-code", "claude"), ("codex", "codex"), ("gemini", "gemini"), ("opencode", "opencode"), ("cursor", "cursor")];

/// The variables that are settings of ours under another name.
const VARIABLES: &[(&str, &str)] = &[
    ("KELOS_MODEL", "AGENT_MODEL"),
    ("KELOS_EFFORT", "AGENT_EFFORT"),
    ("KELOS_BRANCH", "AGENT_BRANCH"),
    ("KELOS_BASE_BRANCH", "AGENT_BASE_BRANCH"),
    ("KELOS_GITHUB_TOKEN_FILE", "AGENT_TOKEN_FILE"),
    ("KELOS_AGENTS_MD", "AGENT_INSTRUCTIONS"),
    ("KELOS_PLUGIN_DIR", "AGENT_PLUGIN_DIR"),
    ("KELOS_MCP_SERVERS", "AGENT_MCP_SERVERS"),
    ("KELOS_SETUP_COMMAND", "AGENT_SETUP_COMMAND"),
];

/// Headers and variables of MCP servers are credentials; the servers get them from the agent's configuration.
pub(super) const KEPT_BACK: &[&str] = &["KELOS_MCP_SERVERS"];

/// Where a user says the prompt.
pub(super) const PROMPT_HINT: &str =
    "Kelos gives it as the container's one argument; AGENT_PROMPT_FILE names a file, for one of 128 KiB and more";

/// The banner before the setup command.
pub(super) const SETUP_START: &str = "\n---KELOS_SETUP_COMMAND_START---\n";

/// The banner after it.
pub(super) fn after_setup(code: u8) -> String {
    match code {
        0 => "\n---KELOS_SETUP_COMMAND_DONE---\n".to_owned(),
        code => format!("\n---KELOS_SETUP_COMMAND_FAILED--- exit={code}\n"),
    }
}

/// Whether it was Kelos, or a script in its image, that started us.
pub(super) fn speaks(args: &[OsString], env: &Environment) -> bool {
    matches!(program_name(args), Some(ENTRYPOINT | CAPTURE)) || variable(env, AGENT_TYPE).is_some()
}

/// Whether the agent is not to be started.
pub(super) fn only_prepares(env: &Environment) -> bool {
    variable(env, SETUP_ONLY).is_some_and(|value| value == "1")
}

/// `/kelos_entrypoint.sh PROMPT` is `run`, with the prompt left to [`said`]; `kelos-capture` is `capture`.
///
/// The controller gives one argument, the prompt, or none. More are a command line of ours: git calls its helper so, where the binary has
/// no other name.
pub(super) fn command_line(mut args: Vec<OsString>) -> Vec<OsString> {
    match program_name(&args) {
        Some(ENTRYPOINT) if args.len() <= 2 => vec![args.swap_remove(0), "run".into()],
        Some(CAPTURE) => {
            args.insert(1, "capture".into());
            args
        }
        _ => args,
    }
}

/// What the arguments and the variables say of the task.
pub(super) fn said(args: &[OsString], env: &Environment) -> Vec<Said> {
    let mut said =
        vec![said_type(env), Said { setting: "AGENT_TERMINATION_BUDGET", source: "Kelos".to_owned(), text: Ok(BUDGET.to_string()) }];
    if program_name(args) == Some(ENTRYPOINT)
        && let [_, prompt] = args
        && !prompt.is_empty()
    {
        said.push(as_text("AGENT_PROMPT", "the argument", prompt));
    }
    said.extend(VARIABLES.iter().filter_map(|(theirs, ours)| Some(as_text(ours, theirs, variable(env, theirs)?))));
    said
}

fn said_type(env: &Environment) -> Said {
    let given = variable(env, AGENT_TYPE).map(|name| name.to_string_lossy());
    let known = AGENTS.iter().find(|(theirs, _)| given.as_deref() == Some(*theirs));
    let text = known.map(|(_, ours)| (*ours).to_owned()).ok_or_else(|| InputError {
        source: AGENT_TYPE.to_owned(),
        problem: format!("expected {}, got {}", names(), given.map_or_else(|| "nothing".to_owned(), |name| format!("`{name}`"))),
        hint: Some("it comes from the `type` of the Kelos Task; AGENT_TYPE overrides it, for an agent of the image's own".to_owned()),
    });
    Said { setting: "AGENT_TYPE", source: AGENT_TYPE.to_owned(), text }
}

fn names() -> String {
    let names: Vec<String> = AGENTS.iter().map(|(theirs, _)| format!("`{theirs}`")).collect();
    format!("one of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use agent_sdk::task::McpServer;

    use super::super::Dialect;
    use super::*;
    use crate::cli::with_default_command;
    use crate::inputs::{InputErrors, Inputs, Resolved};

    fn args(words: &[&str]) -> Vec<OsString> {
        words.iter().copied().map(OsString::from).collect()
    }

    fn env(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn resolve(words: &[&str], pairs: &[(&str, &str)]) -> Result<Resolved, InputErrors> {
        Inputs::of(&args(words), env(pairs), &|_| false).resolve(|_: &Path| Err(std::io::ErrorKind::NotFound.into()))
    }

    const STARTED: &[&str] = &["/kelos_entrypoint.sh", "Do it."];

    #[test]
    fn the_name_or_the_agents_type_says_who_speaks() {
        let typed = [(AGENT_TYPE, "codex")];
        for (words, pairs, dialect) in [
            (&["/kelos_entrypoint.sh", "x"][..], &[][..], Dialect::Kelos),
            (&["-kelos_entrypoint.sh"], &[], Dialect::Kelos),
            (&["/kelos/kelos-capture"], &[], Dialect::Kelos),
            (&["agent-runner", "capture"], &typed, Dialect::Kelos),
            (&["agent-runner"], &[], Dialect::Native),
            (&["agent-runner"], &[(AGENT_TYPE, "")], Dialect::Native),
            (&["/kelos_entrypoint.sh.orig"], &[], Dialect::Native),
            (&[], &[], Dialect::Native),
        ] {
            assert_eq!(Dialect::detect(&args(words), &env(pairs), &|_| false), dialect, "{words:?} {pairs:?}");
        }
    }

    #[test]
    fn one_argument_is_a_prompt_whatever_it_looks_like() {
        for prompt in ["run", "demo", "--help", "- fix this\n- and that", "/review \"it\"", "--type=codex"] {
            let given = args(&["/kelos_entrypoint.sh", prompt]);
            assert_eq!(with_default_command(command_line(given)), args(&["/kelos_entrypoint.sh", "run"]), "{prompt}");
            let task = resolve(&["/kelos_entrypoint.sh", prompt], &[(AGENT_TYPE, "claude-code")]).unwrap().task;
            assert_eq!(task.prompt.as_deref(), Some(prompt));
        }
    }

    #[test]
    fn other_names_and_longer_command_lines_are_ours() {
        for (given, ours) in [
            (&["/kelos_entrypoint.sh"][..], &["/kelos_entrypoint.sh", "run"][..]),
            (&["/kelos/kelos-capture"], &["/kelos/kelos-capture", "capture"]),
            (&["/kelos_entrypoint.sh", "git-credential", "get"], &["/kelos_entrypoint.sh", "git-credential", "get"]),
            (&["agent-runner", "version"], &["agent-runner", "version"]),
        ] {
            assert_eq!(with_default_command(command_line(args(given))), args(ours));
        }
        // What is no prompt is none.
        assert!(resolve(&["/kelos_entrypoint.sh", "setup", "--log=raw"], &[(AGENT_TYPE, "codex")]).is_err());
    }

    #[test]
    fn kelos_agents_are_ours() {
        for (theirs, ours) in AGENTS {
            assert_eq!(resolve(STARTED, &[(AGENT_TYPE, theirs)]).unwrap().task.agent.kind, *ours);
        }
    }

    #[test]
    fn every_variable_reaches_the_task() {
        let servers =
            r#"{"mcpServers":{"a":{"type":"http","url":"http://h","headers":{"X":"y"}},"b":{"command":"c","args":["d"],"env":{"E":"f"}}}}"#;
        let task = resolve(
            STARTED,
            &[
                (AGENT_TYPE, "claude-code"),
                ("KELOS_MODEL", "opus"),
                ("KELOS_EFFORT", "high"),
                ("KELOS_BRANCH", "feature/x"),
                ("KELOS_BASE_BRANCH", "main"),
                ("KELOS_GITHUB_TOKEN_FILE", "/kelos/github-token/GITHUB_TOKEN"),
                ("KELOS_AGENTS_MD", "Be kind.\n"),
                ("KELOS_PLUGIN_DIR", "/kelos/plugin"),
                ("KELOS_MCP_SERVERS", servers),
                ("KELOS_SETUP_COMMAND", r#"["sh","-c","make deps"]"#),
                ("KELOS_TASK_NAME", "only a name"),
            ],
        )
        .unwrap()
        .task;
        assert_eq!((task.agent.model.as_deref(), task.agent.effort.as_deref()), (Some("opus"), Some("high")));
        assert_eq!((task.workspace.branch.as_deref(), task.workspace.base_branch.as_deref()), (Some("feature/x"), Some("main")));
        assert_eq!((task.workspace.repo, task.workspace.dir), (None, ".".into()), "the tree is taken as it is");
        assert_eq!(task.git.token_file, Some("/kelos/github-token/GITHUB_TOKEN".into()));
        assert_eq!((task.instructions.as_deref(), task.plugin_dir), (Some("Be kind.\n"), Some("/kelos/plugin".into())));
        assert_eq!(task.setup_command, ["sh", "-c", "make deps"]);
        assert!(matches!(&task.mcp_servers["a"], McpServer::Http { url, .. } if url == "http://h"));
        assert!(matches!(&task.mcp_servers["b"], McpServer::Stdio { command, .. } if command == "c"));
    }

    #[test]
    fn all_containers_of_the_pod_share_the_room_for_messages() {
        let budget = |pairs: &[(&str, &str)]| {
            let pairs = [&[(AGENT_TYPE, "codex")], pairs].concat();
            resolve(STARTED, &pairs).unwrap().task.sinks.termination_budget
        };
        assert_eq!((budget(&[]), budget(&[("AGENT_TERMINATION_BUDGET", "4096")])), (1536, 4096));
    }

    #[test]
    fn our_own_variables_override_also_what_is_wrong() {
        let pairs = [
            (AGENT_TYPE, "somebody"),
            ("KELOS_MODEL", "opus"),
            ("KELOS_SETUP_COMMAND", "{"),
            ("AGENT_TYPE", "native"),
            ("AGENT_PROMPT", "Do that."),
            ("AGENT_MODEL", "haiku"),
            ("AGENT_SETUP_COMMAND", r#"["true"]"#),
        ];
        let task = resolve(STARTED, &pairs).unwrap().task;
        assert_eq!((task.agent.kind.as_str(), task.prompt.as_deref()), ("native", Some("Do that.")));
        assert_eq!((task.agent.model.as_deref(), task.setup_command), (Some("haiku"), vec!["true".to_owned()]));
    }

    #[test]
    fn one_error_names_every_wrong_variable_as_the_user_set_it() {
        let pairs =
            [(AGENT_TYPE, "claude"), ("KELOS_MCP_SERVERS", "{"), ("KELOS_SETUP_COMMAND", r#"["make", 7]"#), ("KELOS_BASE_BRANCH", "a b")];
        let error = resolve(&["/kelos_entrypoint.sh"], &pairs).unwrap_err();
        assert_eq!(error.errors.len(), 5, "{error}");
        insta::assert_snapshot!(error.to_string());
        let servers = r#"{"mcpServers":{"a":{"url":"http://h","header":{}},"b":{}}}"#;
        let error = resolve(STARTED, &[("KELOS_MCP_SERVERS", servers)]).unwrap_err();
        insta::assert_snapshot!(error.to_string());
    }

    #[test]
    fn a_setup_needs_no_prompt_and_its_word_is_one() {
        for (value, only) in [("1", true), ("0", false), ("true", false), ("", false)] {
            assert_eq!(only_prepares(&env(&[(SETUP_ONLY, value)])), only, "{value:?}");
        }
        let given =
            Inputs { needs_agent: false, ..Inputs::of(&args(&["/kelos_entrypoint.sh"]), env(&[(AGENT_TYPE, "codex")]), &|_| false) };
        assert_eq!(given.resolve(|_| Ok(Vec::new())).unwrap().task.agent.kind, "codex");
    }
}
