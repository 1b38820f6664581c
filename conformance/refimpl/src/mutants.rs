//! Mutants: what this implementation can break on demand, one behaviour each, and which requirements see it.
//!
//! Where the code asks whether it is broken and the answer is yes, the mutant has landed: it leaves a line in the file that
//! `REFIMPL_LANDED` names. A suite that kills a mutant which never landed has killed something else.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::OnceLock;

use serde_json::{Value, json};

/// One way to break this implementation.
#[derive(Debug)]
pub struct Mutant {
    /// The requirement's slug; `.variant` after it where there are several.
    pub name: &'static str,
    /// What it does.
    pub breaks: &'static str,
    /// Exactly the requirements that a suite must find broken.
    pub kills: &'static [&'static str],
}

static CURRENT: OnceLock<&'static Mutant> = OnceLock::new();

/// Becomes the mutant of this name.
pub fn become_mutant(name: &str) -> Result<(), String> {
    let mutant = MUTANTS.iter().find(|mutant| mutant.name == name).ok_or_else(|| format!("there is no mutant `{name}`"))?;
    CURRENT.set(mutant).map_err(|_| "one mutant at a time".to_owned())
}

/// Whether this is broken now. Ask only where it is going to be.
pub fn broken(name: &str) -> bool {
    let is = CURRENT.get().is_some_and(|mutant| mutant.name == name);
    if is
        && let Some(path) = std::env::var_os("REFIMPL_LANDED")
        && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path)
    {
        // Without the line the mutant counts as one that never landed, which is what should be said then.
        let _ = writeln!(file, "{name}");
    }
    is
}

/// Whether it is a variant of this mutant.
pub fn is_any(name: &str) -> bool {
    CURRENT.get().is_some_and(|mutant| mutant.name.split('.').next() == Some(name))
}

/// For the mutants that want what a pod with restricted rights does not have: what is missing.
pub fn needs_what_is_not_there() -> Option<String> {
    let uid = nix::unistd::getuid();
    let is_known =
        || std::fs::read_to_string("/etc/passwd").unwrap_or_default().lines().any(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    let status = || std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let is_restricted = || status().lines().any(|line| line.starts_with("NoNewPrivs:") && line.ends_with('1'));
    if !uid.is_root() && !is_known() && broken("any-user") {
        return Some(format!("user {uid} has no name"));
    }
    if std::fs::write("/.refimpl", "").is_err_and(|error| error.raw_os_error() == Some(nix::libc::EROFS)) && broken("read-only-root") {
        return Some("the root file system cannot be written".to_owned());
    }
    (is_restricted() && broken("no-capabilities")).then(|| "programs may not gain privileges".to_owned())
}

/// The table as JSON.
pub fn list() -> Value {
    MUTANTS.iter().map(|mutant| json!({"name": mutant.name, "breaks": mutant.breaks, "kills": mutant.kills})).collect()
}

const fn mutant(name: &'static str, breaks: &'static str, kills: &'static [&'static str]) -> Mutant {
    Mutant { name, breaks, kills }
}

/// All of them, by area.
pub const MUTANTS: &[Mutant] = &[
    // Versions.
    mutant("default-version", "without a version it follows 0.9", &["VER-001"]),
    mutant("spoken-version", "it refuses the version that it claims to speak", &["VER-002"]),
    mutant("unspoken-version-code", "an unspoken version ends with code 65", &["VER-003"]),
    mutant("unspoken-version-names-both", "the message names neither version", &["VER-004"]),
    mutant("unspoken-version-no-agent", "the agent is started first", &["VER-005"]),
    mutant("message-names-version", "no `interfaceVersion` in the message", &["VER-006", "VER-001"]),
    // Inputs.
    mutant("prompt-variable", "the prompt in AGENT_PROMPT loses its last byte", &["ENV-001", "ENV-004", "ENV-010"]),
    mutant("prompt-file", "the prompt in AGENT_PROMPT_FILE loses its last byte", &["ENV-002"]),
    mutant("prompt-mebibyte", "a prompt is cut at 64 KiB", &["ENV-003"]),
    mutant("prompt-exact", "backslashes in a prompt are dropped", &["ENV-004"]),
    mutant("missing-prompt", "a wrong input ends with code 64", &["ENV-005"]),
    mutant("wrong-input-no-agent", "the agent is started first", &["ENV-006"]),
    mutant("every-wrong-input", "only the first wrong input is named", &["ENV-007"]),
    mutant("unknown-variables", "a variable that nobody knows is a wrong input", &["ENV-008"]),
    mutant("task-document.json", "a document in JSON is not read", &["ENV-009", "ENV-010"]),
    mutant("task-document.yaml", "a document in YAML is refused", &["ENV-009"]),
    mutant("variable-wins", "the document wins over variables", &["ENV-010"]),
    mutant("platform-variables-pass", "a platform's variables do not pass", &["ENV-011"]),
    // Workspace.
    mutant(
        "clone",
        "the clone lies beside the workspace",
        &["WS-001", "TERM-011", "WS-002", "WS-004", "WS-008", "WS-012", "WS-013", "WS-014"],
    ),
    mutant("ref", "AGENT_REF is ignored", &["WS-002", "WS-006", "WS-007", "WS-008", "WS-013", "WS-014"]),
    mutant(
        "working-directory",
        "the agent starts in /",
        &["WS-003", "OUT-011", "WS-001", "WS-002", "WS-004", "WS-008", "WS-012", "WS-014"],
    ),
    mutant("working-branch", "HEAD is detached", &["WS-004", "WS-012"]),
    mutant("only-what-is-asked", "every branch is fetched", &["WS-005"]),
    mutant("ref-not-found", "an unknown ref is another kind of failure", &["WS-006"]),
    mutant("no-workspace-no-agent", "the agent is started although the clone failed", &["WS-007"]),
    mutant("failed-clone-leaves-nothing", "a failed clone is left as it is", &["WS-008"]),
    mutant("token-file", "the token is not offered", &["WS-009", "WS-011"]),
    mutant("token-refused", "refused credentials are another kind of failure", &["WS-010"]),
    mutant("token-not-in-git-config", "the token stands in .git/config", &["WS-011"]),
    mutant("commit-fact", "branch and commit are those before the agent", &["WS-012"]),
    mutant("base-commit-fact", "there is no `base-commit`", &["WS-013"]),
    mutant("clean-work-tree", "a file is left in the work tree", &["WS-014"]),
    mutant("clean-work-tree.changed", "the task's instructions are added to the repository's", &["WS-014"]),
    mutant("signal-while-cloning", "SIGTERM while cloning is a failure", &["WS-015"]),
    // Configuration.
    mutant("setup-command.after", "the setup command comes after the agent", &["CFG-001", "CFG-003"]),
    mutant("setup-command.words", "the setup command's arguments are split at spaces", &["CFG-001"]),
    mutant("setup-command.directory", "the setup command starts in /", &["CFG-001"]),
    mutant("setup-fails", "a setup command that fails ends with code 1", &["CFG-002"]),
    mutant("setup-fails-no-agent", "the agent is started although the setup command failed", &["CFG-003"]),
    mutant("any-user", "a user without a name is refused", &["CFG-004"]),
    mutant("read-only-root", "a root file system that cannot be written is refused", &["CFG-005"]),
    mutant("no-capabilities", "`no_new_privs` is refused", &["CFG-006"]),
    // Runs.
    mutant(
        "success",
        "an agent that succeeded has failed",
        &[
            "RUN-001", "CFG-003", "CFG-004", "CFG-005", "CFG-006", "ENV-006", "ENV-008", "OUT-008", "OUT-009", "RUN-014", "RUN-015",
            "SEC-001", "SEC-002", "SEC-003", "SEC-004", "SEC-005", "SEC-006", "SEC-007", "SEC-008", "STR-003", "STR-005", "STR-006",
            "TERM-003", "TERM-008", "TERM-009", "VER-002", "VER-005",
        ],
    ),
    mutant("agent-exit-code", "an agent's exit code becomes 1", &["RUN-002"]),
    mutant("agent-killed", "an agent that was killed ends with code 1", &["RUN-003"]),
    mutant("signal-forwarded", "the agent gets SIGUSR1 in place of SIGTERM", &["RUN-004", "RUN-007"]),
    mutant("cancelled", "a run that a signal ended has failed", &["RUN-005", "RUN-006"]),
    mutant("interrupted", "SIGINT ends with code 143", &["RUN-006"]),
    mutant("grace", "an agent that ignores SIGTERM lives for longer than the grace", &["RUN-007"]),
    mutant("grace.short", "an agent that ignores SIGTERM is killed before a third of its grace is over", &["RUN-007"]),
    mutant("escaped-processes", "what an agent leaves behind is killed at once", &["RUN-008"]),
    mutant("reaping", "only the agent itself is reaped while it runs", &["RUN-009"]),
    mutant(
        "stdin-end",
        "stdin stays open where there is a token",
        &[
            "RUN-010", "CFG-003", "ENV-001", "ENV-006", "OUT-001", "OUT-002", "OUT-003", "OUT-004", "OUT-005", "OUT-008", "OUT-009",
            "OUT-012", "RUN-001", "SEC-001", "SEC-002", "SEC-003", "SEC-004", "SEC-005", "SEC-006", "SEC-007", "SEC-008", "STR-003",
            "STR-004", "STR-005", "STR-006", "TERM-003", "TERM-004", "TERM-008", "VER-005", "WS-009", "WS-011",
        ],
    ),
    mutant("signal-state.blocked", "the agent starts with a signal blocked", &["RUN-011"]),
    mutant("signal-state.ignored", "the agent starts with a signal ignored", &["RUN-011"]),
    mutant("timeout", "a run that takes too long has failed", &["RUN-012"]),
    mutant("agent-not-found", "an agent that is not there ends with code 127", &["RUN-013"]),
    mutant("stdout-held-open", "the end of stdout is waited for", &["RUN-014", "RUN-008"]),
    mutant("lingering-agent.lives-on", "an agent that lingers is left alone", &["RUN-015"]),
    mutant("lingering-agent.harm", "an agent that lingers has failed", &["RUN-015"]),
    // Stream.
    mutant("stdout-unchanged", "stdout becomes UTF-8", &["STR-001"]),
    mutant("stderr-passes", "the agent's stderr is dropped", &["STR-002"]),
    mutant("unknown-lines", "a malformed line is a failure", &["STR-003"]),
    mutant("usage", "input tokens come without the cache", &["STR-004"]),
    mutant("usage-absent", "reasoning tokens that nobody told of are 0", &["STR-005"]),
    mutant("prices", "the task's prices have no effect", &["STR-011"]),
    mutant("prices.cache", "tokens of the cache cost as much as all others", &["STR-011"]),
    mutant("prices.source", "the cost by the task's prices is the agent's", &["STR-011"]),
    mutant("stream-speaks-first", "code 0 is a success whatever the stream says", &["STR-006"]),
    mutant("truncated-stream", "a stream without an end is a success", &["STR-007"]),
    mutant("events-log", "lines of the log of events begin with a word", &["STR-008"]),
    // Termination message.
    mutant(
        "one-object.none",
        "the message is emptied at the end",
        &[
            "TERM-001", "CFG-002", "ENV-007", "OUT-002", "OUT-003", "OUT-004", "OUT-007", "OUT-008", "OUT-009", "OUT-010", "OUT-011",
            "RUN-001", "RUN-005", "RUN-006", "RUN-012", "RUN-013", "RUN-015", "SEC-002", "SEC-008", "STR-004", "STR-005", "STR-006",
            "STR-007", "TERM-002", "TERM-003", "TERM-004", "TERM-005", "TERM-006", "TERM-009", "TERM-010", "TERM-011", "VER-001",
            "VER-004", "VER-006", "WS-006", "WS-010", "WS-012", "WS-013", "WS-015",
        ],
    ),
    mutant(
        "one-object.two",
        "two objects stand there",
        &[
            "TERM-001", "CFG-002", "ENV-007", "OUT-002", "OUT-003", "OUT-004", "OUT-007", "OUT-008", "OUT-009", "OUT-010", "OUT-011",
            "RUN-001", "RUN-005", "RUN-006", "RUN-012", "RUN-013", "RUN-015", "SEC-002", "SEC-008", "STR-004", "STR-005", "STR-006",
            "STR-007", "TERM-002", "TERM-003", "TERM-004", "TERM-005", "TERM-006", "TERM-009", "TERM-010", "TERM-011", "VER-001",
            "VER-004", "VER-006", "WS-006", "WS-010", "WS-012", "WS-013", "WS-015",
        ],
    ),
    mutant("schema", "`retry` is a text", &["TERM-002", "TERM-007"]),
    mutant("budget", "the budget is ignored", &["TERM-003", "TERM-006", "TERM-011"]),
    mutant("exit-code", "`exitCode` is 0", &["TERM-004", "OUT-002"]),
    mutant("status-of-reason", "an agent that failed is `incomplete`", &["TERM-005"]),
    mutant("cut-is-named", "there is no `cut`", &["TERM-006"]),
    mutant("valid-when-killed", "the message while the agent runs is one of success", &["TERM-007"]),
    mutant("unwritable", "a message that cannot be written is a failure", &["TERM-008"]),
    mutant("last-writer", "the report comes before the end of what the agent left", &["TERM-009"]),
    mutant(
        "every-path",
        "a run that ends early leaves an empty message",
        &["TERM-010", "CFG-002", "ENV-007", "RUN-013", "TERM-002", "TERM-004", "TERM-005", "VER-004", "WS-006", "WS-010"],
    ),
    mutant("small-budget", "neither commit nor branch in a small message", &["TERM-011"]),
    // Outputs.
    mutant("result-file", "`retry` in the result file is a text", &["OUT-001"]),
    mutant("one-verdict", "the result file has another reason", &["OUT-002"]),
    mutant("results-directory", "one result has no file", &["OUT-003"]),
    mutant("marker-block.none", "there is no marker block", &["OUT-004", "OUT-005"]),
    mutant("marker-block.not-last", "a line follows the marker block", &["OUT-004", "OUT-005"]),
    mutant("marker-nonce-fresh", "the marker block has the agent's nonce", &["OUT-005"]),
    mutant("nonce.short", "the nonce has three letters", &["OUT-006"]),
    mutant("nonce.fixed", "the nonce is the same in each run", &["OUT-006"]),
    mutant("claims-by-nonce", "the agent's own blocks are ignored", &["OUT-007"]),
    mutant("forged-marker", "blocks with any nonce but the agent's count", &["OUT-008"]),
    mutant("fact-wins", "a claim replaces a fact", &["OUT-009"]),
    mutant("claims-by-file", "files in the results directory are ignored", &["OUT-010", "SEC-004", "TERM-006"]),
    mutant("declared-outputs.file", "a declared file is ignored", &["OUT-011"]),
    mutant("declared-outputs.default", "the default of a declared file is ignored", &["OUT-011"]),
    mutant("events-file", "lines of the events file begin with a word", &["OUT-012"]),
    // Secrets.
    mutant("token-not-in-environment.variable", "the token stands in the agent's environment", &["SEC-001"]),
    mutant("token-not-in-environment.argument", "the token is an argument of the agent", &["SEC-001"]),
    mutant("message-without-secrets", "the message is not masked", &["SEC-002"]),
    mutant("log-without-secrets.stdout", "stdout is not masked", &["SEC-003"]),
    mutant("log-without-secrets.stderr", "stderr is not masked", &["SEC-003"]),
    mutant("sinks-without-secrets.result-file", "the result file is not masked", &["SEC-004"]),
    mutant("sinks-without-secrets.results-directory", "the results directory is not masked", &["SEC-004"]),
    mutant("sinks-without-secrets.events", "the events file is not masked", &["SEC-004"]),
    mutant("sinks-without-secrets.marker", "the marker block is not masked", &["SEC-004", "SEC-003"]),
    mutant("private-files", "a copy of the token lies in /tmp for all to read", &["SEC-005"]),
    mutant("environ-closed", "the environment of PID 1 can be read", &["SEC-006"]),
    mutant("no-early-network", "the model's endpoint is asked before the agent starts", &["SEC-007"]),
    mutant("links-not-followed.read", "a link is read as a claim", &["SEC-008"]),
    mutant("links-not-followed.write", "a result is written through a link", &["SEC-008"]),
];
