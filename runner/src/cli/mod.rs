//! The command line: what can be said, and which command it is. Each command is a file under `commands`; this one only names them.

pub mod setting_flags;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use setting_flags::SettingFlags;

use crate::inputs::settings::{Kind, SETTINGS, Setting};
use crate::manifests::Platform;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "agent-runner",
    version,
    about = "PID 1 for a container in which a coding agent does one task on a git repository",
    long_about = "PID 1 for a container in which a coding agent does one task on a git repository.\n\n\
        It clones the workspace, configures the agent, starts it, follows its stream, and leaves branch, commit, tokens, cost and \
        reason in the Kubernetes termination message. Without a command it is `agent-runner run`.",
    after_help = "Try it without an API key:\n  agent-runner demo\n\nExit codes: 0 done, 64 usage, 65 bad task, 66 no such repository or ref, 69 no agent or no quota, 70 our fault, 73/74 files, \
        75 try again later, 76 no such interface version, 77 not allowed, 78 bad configuration, 80 incomplete, 81 refused, 124 out of time, 128+n signal."
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do one task: clone, configure, start the agent, follow it, report (the default command)
    #[command(
        after_help = "Example:\n  AGENT_TOKEN_FILE=/run/token agent-runner run --type claude \\\n    --repo https://github.com/acme/app --branch fix-42 \\\n    --prompt 'Fix issue 42, add a test, commit.'"
    )]
    Run(RunArgs),
    /// Prepare everything that `run` would, and start no agent
    #[command(
        after_help = "Example, for an init container or an interactive session:\n  agent-runner setup --type claude --repo https://github.com/acme/app \\\n    --workspace-dir /workspace/repo"
    )]
    Setup(SettingFlags),
    /// Clone the workspace only
    #[command(
        after_help = "Example:\n  agent-runner clone --repo https://github.com/acme/app --ref main \\\n    --workspace-dir /workspace/repo"
    )]
    Clone(SettingFlags),
    /// Run any command as PID 1 would have it, follow its stdout, and report
    #[command(
        after_help = "Example, an entrypoint script that prints results with `agent-runner emit`:\n  agent-runner exec -- ./agent.sh --fast\n\nExample, Claude started by hand, its stream understood:\n  agent-runner exec --type claude -- \\\n    claude -p --output-format stream-json --verbose 'Say hi'"
    )]
    Exec(ExecArgs),
    /// A filter: forward stdin to stdout unchanged, and report what the stream said
    #[command(
        after_help = "Example:\n  claude -p --output-format stream-json --verbose 'Say hi' |\n    agent-runner capture --type claude --result-file result.json"
    )]
    Capture(SettingFlags),
    /// Print one result, so that the runner around this script records it as a claim
    #[command(after_help = "Example, within a script that `agent-runner exec` runs:\n  agent-runner emit summary 'Renamed two functions'")]
    Emit(EmitArgs),
    /// Show what a recorded stream would have resulted in
    #[command(
        after_help = "Example:\n  agent-runner replay stream.jsonl --type claude --exit-code 1\n\nExample, for the author of a manifest:\n  agent-runner replay stream.jsonl --manifest agent.toml --log events"
    )]
    Replay(ReplayArgs),
    /// Print what runs a task on a platform (Job, Pod, Argo, Tekton, Kelos); `manifest check` looks after an agent's manifest
    #[command(
        after_help = "Example, a Job whose runner comes from an init container:\n  agent-runner manifest --task task.yaml --for job \\\n    --image registry.example/claude \\\n    --runner-image registry.example/agent-runner \\\n    --secret ANTHROPIC_API_KEY=anthropic/api-key \\\n    --secret-file /run/secrets/git/token=git-token/token\n\nExample, what is wrong with the description of an agent:\n  agent-runner manifest check /etc/agent-runner/agents/mine.toml"
    )]
    Manifest(ManifestArgs),
    /// Copy this binary to a directory or path, for instance a volume that any image mounts
    #[command(after_help = "Example, as an init container:\n  agent-runner install /runner/agent-runner")]
    Install(InstallArgs),
    /// Say what is missing in this image or task before a task does
    #[command(after_help = "Example:\n  agent-runner doctor --type claude --repo https://github.com/acme/app")]
    Doctor(SettingFlags),
    /// Do a whole task on a local repository with a scripted agent: no network, no API key
    #[command(after_help = "Example:\n  agent-runner demo --keep")]
    Demo(DemoArgs),
    /// Print a JSON Schema
    #[command(after_help = "Example:\n  agent-runner schema task > task.schema.json")]
    Schema(SchemaArgs),
    /// Print versions
    #[command(after_help = "Example:\n  agent-runner version --json")]
    Version(VersionArgs),
    /// Print a shell completion script
    #[command(after_help = "Example:\n  agent-runner completions bash > /etc/bash_completion.d/agent-runner")]
    Completions(CompletionArgs),
    /// Stand in for the commands of KubeOpenCode's init containers, with its variables
    #[command(
        name = "kubeopencode",
        after_help = "Example, with this binary at /kubeopencode, as its controller calls it:\n  GIT_REPO=https://github.com/acme/app GIT_ROOT=/git /kubeopencode git-init"
    )]
    KubeOpenCode(KubeOpenCodeArgs),
    /// git's credential helper: answers with the token that is in the file now
    #[command(
        name = "git-credential",
        after_help = "Example, in a repository's git configuration:\n  [credential \"https://github.com\"]\n    helper = /usr/local/bin/agent-runner git-credential \\\n      --token-file /run/token --origin https://github.com"
    )]
    GitCredential(GitCredentialArgs),
    /// GitHub's CLI with the token that is in the file now: the agent finds it as `gh`, where the image has one and the task names a token
    /// file
    #[command(
        after_help = "Example, as an executable file `gh` that stands first in PATH (the runner makes one for each run):\n  #!/usr/local/bin/agent-runner gh\n  {\"tokenFile\":\"/run/secrets/git/token\",\"host\":\"github.com\"}"
    )]
    Gh(GhArgs),
    /// The scripted agent of `demo`
    #[command(name = "demo-agent", hide = true)]
    DemoAgent,
}

/// Arguments of `run`.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// What the agent is asked to do, if it is not given otherwise
    pub prompt: Option<String>,
    /// All settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// All settings.
    #[command(flatten)]
    pub settings: SettingFlags,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Arguments of `emit`.
#[derive(Debug, Args)]
pub struct EmitArgs {
    /// The result's key: letters, digits, `.`, `_` and `-`
    pub key: String,
    /// Its value; `-` reads it from stdin
    #[arg(allow_hyphen_values = true)]
    pub value: String,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The recorded stream; `-` reads stdin
    pub stream: PathBuf,
    /// Which agent's stream it is
    #[arg(long = "type", default_value = "claude", value_name = "NAME")]
    pub kind: String,
    /// The manifest of the agent whose stream it is
    #[arg(long, value_name = "FILE", conflicts_with = "kind")]
    pub manifest: Option<PathBuf>,
    /// The agent's exit code
    #[arg(long, default_value_t = 0, value_name = "CODE")]
    pub exit_code: u8,
    /// The agent's recorded stderr
    #[arg(long, value_name = "FILE")]
    pub stderr: Option<PathBuf>,
    /// Show the stream as this on stderr while it is read
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log: Option<ReplayLog>,
}

/// Arguments of `manifest`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ManifestArgs {
    /// What else can be done.
    #[command(subcommand)]
    pub action: Option<ManifestAction>,
    /// What is to be printed.
    #[command(flatten)]
    pub print: Option<ManifestPrintArgs>,
}

/// What can be done with an agent's manifest.
#[derive(Debug, Subcommand)]
pub enum ManifestAction {
    /// Name everything that is wrong with an agent's manifest (agent.toml); else show what would be started and written
    #[command(after_help = "Example:\n  agent-runner manifest check agent.toml")]
    Check(ManifestCheckArgs),
}

/// Arguments of `manifest --task`.
#[derive(Debug, Args)]
pub struct ManifestPrintArgs {
    /// The task document, YAML or JSON
    #[arg(long, value_name = "FILE")]
    pub task: PathBuf,
    /// What it is to run on
    #[arg(long = "for", value_enum, value_name = "PLATFORM", default_value = "job")]
    pub platform: Platform,
    /// The image with the agent
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    /// The image with the runner, where the agent's has none
    #[arg(long, value_name = "IMAGE")]
    pub runner_image: Option<String>,
    /// How the runner gets from its image to the agent [default: init with a runner image, else image]
    #[arg(long, value_enum, value_name = "HOW")]
    pub runner_from: Option<RunnerFrom>,
    /// The name of what is printed [default: from the working branch]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Its namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// A variable for the agent from a Secret; may be given several times
    #[arg(long, value_name = "VARIABLE=SECRET/KEY")]
    pub secret: Vec<String>,
    /// A file from a Secret, such as the token that the task names; may be given several times
    #[arg(long, value_name = "FILE=SECRET/KEY")]
    pub secret_file: Vec<String>,
    /// The MCP servers, in a file from a Secret, instead of in the task
    #[arg(long, value_name = "FILE")]
    pub mcp_servers_file: Option<PathBuf>,
    /// How often a Job, or Argo, tries a run again that failed for a reason that may pass; limits of time and cost are for each try
    /// [default: 3]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
}

/// How the runner gets to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RunnerFrom {
    /// An init container copies it into a volume.
    Init,
    /// Its image is mounted as a volume (Kubernetes 1.35, or the feature gate ImageVolume).
    ImageVolume,
    /// The agent's image has it.
    Image,
}

/// Arguments of `manifest check`.
#[derive(Debug, Args)]
pub struct ManifestCheckArgs {
    /// The manifest
    pub file: PathBuf,
}

/// Arguments of `kubeopencode`.
#[derive(Debug, Args)]
pub struct KubeOpenCodeArgs {
    /// Which command.
    #[command(subcommand)]
    pub command: KubeOpenCodeCommand,
}

/// The commands of KubeOpenCode's init containers; all they are told, they are told by variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum KubeOpenCodeCommand {
    /// Clone a repository into a volume (GIT_REPO, GIT_REF, GIT_ROOT, GIT_LINK, GIT_WORKSPACE_DIR …)
    GitInit,
    /// Copy files of ConfigMaps into the workspace (FILE_MAPPINGS, DIR_MAPPINGS, CONFIGMAP_PATH, WORKSPACE_DIR)
    ContextInit,
    /// Put what is behind a URL into a file (URL_SOURCE, URL_TARGET, URL_HEADERS, URL_TIMEOUT, URL_AUTH_TOKEN …)
    UrlFetch,
    /// Install OpenCode's plugins by npm (PLUGIN_PACKAGES, PLUGIN_DIR)
    PluginInit,
}

/// How `replay` shows a stream.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ReplayLog {
    /// For people.
    Pretty,
    /// Normalised events.
    Events,
}

/// Arguments of `install`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// A directory, or the new path of the binary
    pub dest: PathBuf,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the directory of the demo and say where it is
    #[arg(long)]
    pub keep: bool,
}

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which document
    #[arg(value_enum)]
    pub document: SchemaDocument,
}

/// The documents that have a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaDocument {
    /// The task document.
    Task,
    /// `result.json`.
    Outcome,
    /// One line of `events.jsonl`.
    Event,
    /// The termination message.
    Termination,
    /// `agent.toml`, by which an agent is described.
    Manifest,
}

/// Arguments of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Arguments of `git-credential`.
#[derive(Debug, Args)]
pub struct GitCredentialArgs {
    /// File with the token, read now
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// The only place that gets it, as `scheme://host[:port]`
    #[arg(long, value_name = "ORIGIN")]
    pub origin: String,
    /// The user name that goes with it
    #[arg(long, default_value = "x-access-token", value_name = "NAME")]
    pub username: String,
    /// `get`, `store` or `erase`, as git calls it
    pub action: String,
}

/// The words that name a command, or ask for help: so that a command line can be looked at without the whole definition being made, which
/// takes longer than anything else before the fork.
const NAMED: &[&str] = &[
    "-h",
    "--help",
    "-V",
    "--version",
    "help",
    "run",
    "setup",
    "clone",
    "exec",
    "capture",
    "emit",
    "replay",
    "manifest",
    "install",
    "doctor",
    "demo",
    "schema",
    "version",
    "completions",
    "kubeopencode",
    "git-credential",
    "gh",
    "demo-agent",
];

/// Arguments of `gh`.
#[derive(Debug, Args)]
pub struct GhArgs {
    /// The script that names this command as its interpreter
    pub script: PathBuf,
    /// What is for GitHub's CLI
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
}

/// Puts `run` in front where no command is named, so that flags alone are enough.
#[must_use]
pub fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.is_empty() {
        args.push("agent-runner".into());
    }
    if !args.get(1).is_some_and(|word| NAMED.iter().any(|name| word == name)) {
        args.insert(1, "run".into());
    }
    args
}

/// Reads a command line.
///
/// # Errors
/// As clap has it: what is wrong, or the help that was asked for.
pub fn parse(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    match args.as_slice() {
        // As a container has it: everything is said by variables, so there is nothing to read, and no definition to make.
        [_, command] if command == "run" => Ok(Cli { command: Command::Run(RunArgs::default()) }),
        _ => {
            let cli = Cli::try_parse_from(args)?;
            match &cli.command {
                Command::Run(run) => check_prompt(run).map(|()| cli),
                _ => Ok(cli),
            }
        }
    }
}

/// A switch takes its value after `=` only, so `--submodules true` would ask the agent to do `true`.
fn check_prompt(run: &RunArgs) -> Result<(), clap::Error> {
    let Some(prompt) = run.prompt.as_deref().map(str::trim) else { return Ok(()) };
    let is_boolean = ["true", "false", "yes", "no", "0", "1"].iter().any(|word| prompt.eq_ignore_ascii_case(word));
    let given = |setting: &&Setting| matches!(setting.kind, Kind::Switch) && run.settings.flags.contains_key(setting.variable);
    match SETTINGS.iter().find(given) {
        Some(switch) if is_boolean => {
            let flag = switch.flag();
            let problem = format!("`{prompt}` would be the prompt: write --{flag}={prompt}, or the prompt as --prompt={prompt}\n");
            Err(Cli::command().error(clap::error::ErrorKind::ValueValidation, problem))
        }
        _ => Ok(()),
    }
}

/// Whether a command line starts programs that init has to watch over. It must be known before anything else happens, so
/// only the command's name is looked at.
#[must_use]
pub fn needs_init(args: &[OsString]) -> bool {
    let help = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "-h" || arg == "--help");
    !help && matches!(args.get(1).and_then(|word| word.to_str()), Some("run" | "setup" | "clone" | "exec" | "demo" | "kubeopencode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Vec<OsString> {
        std::iter::once("agent-runner").chain(words.iter().copied()).map(OsString::from).collect()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_known_without_the_definition() {
        let mut command = Cli::command();
        command.build();
        let mut defined: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let mut named: Vec<&str> = NAMED.iter().copied().filter(|name| !name.starts_with('-')).collect();
        defined.sort_unstable();
        named.sort_unstable();
        assert_eq!(named, defined);
    }

    #[test]
    fn run_without_arguments_is_what_its_definition_makes_of_it() {
        let [read, known] = [Cli::try_parse_from(args(&["run"])), parse(args(&["run"]))].map(|cli| format!("{:?}", cli.unwrap()));
        assert_eq!(read, known);
    }

    #[test]
    fn flags_alone_mean_run() {
        for words in [&[][..], &["--type", "claude"], &["Fix it"]] {
            assert_eq!(with_default_command(args(words))[1], "run", "{words:?}");
        }
        assert_eq!(with_default_command(args(&["demo"]))[1], "demo");
        assert_eq!(with_default_command(args(&["--help"]))[1], "--help");
    }

    #[test]
    fn a_prompt_may_begin_with_a_dash() {
        let cli = Cli::try_parse_from(args(&["run", "--prompt", "- do this", "--type=claude", "--submodules"])).unwrap();
        let Command::Run(run) = cli.command else { panic!("not run") };
        assert_eq!(run.settings.flags["AGENT_PROMPT"], "- do this");
        assert_eq!(run.settings.flags["AGENT_SUBMODULES"], "true");
    }

    #[test]
    fn the_value_of_a_switch_is_no_prompt() {
        for words in [&["run", "--submodules", "true"][..], &["run", "--marker", "No"], &["run", "0", "--lfs"]] {
            let error = parse(args(words)).unwrap_err().to_string();
            assert!(error.contains("would be the prompt: write --"), "{error}");
        }
        for words in [&["run", "--submodules=true", "Fix it"][..], &["run", "--submodules", "Fix it"], &["run", "yes"]] {
            assert!(parse(args(words)).is_ok(), "{words:?}");
        }
        let cli = parse(args(&["run", "--lfs", "--prompt=true"])).unwrap();
        assert!(matches!(cli.command, Command::Run(RunArgs { prompt: None, .. })));
    }

    #[test]
    fn every_command_teaches_with_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }

    /// What is longer is wrapped in the midst of a command on a terminal of the usual width, and cannot be pasted.
    #[test]
    fn every_example_can_be_pasted() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let long: Vec<_> = help.lines().filter(|line| line.starts_with("  ") && line.len() > 80).collect();
            assert!(long.is_empty(), "{}: {long:#?}", command.get_name());
        }
    }

    #[test]
    fn help_needs_no_init_and_a_wrapped_help_does() {
        assert!(!needs_init(&args(&["run", "--help"])));
        assert!(needs_init(&args(&["exec", "--", "prog", "--help"])));
        assert!(!needs_init(&args(&["schema", "task"])));
    }
}
