//! How a run ended: closed lists of statuses, reasons, phases and origins, and what each reason means for whoever reads it.
//!
//! Exit codes follow what people know: `sysexits.h` for the runner's own (64 to 78), 124 for time (as `timeout(1)`), 126 and
//! 127 as a shell, 128+n for signal n. 80 and 81 stand just above sysexits' range and are ours. All are fit for a Job's `podFailurePolicy`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The agent finished its work.
    Succeeded,
    /// It could not be done.
    Failed,
    /// It was stopped before it was done: a limit, or an answer or a stream that was cut.
    Incomplete,
    /// A signal ended it.
    Cancelled,
    /// The whole task took too long, or the agent was silent for too long.
    TimedOut,
}

impl Status {
    /// The word used in every output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed-out",
        }
    }
}

/// The step of a run in which something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Inputs are read and checked.
    Inputs,
    /// The workspace is cloned or taken up.
    Workspace,
    /// Files are written for the agent.
    Configure,
    /// The setup command runs.
    Setup,
    /// The agent runs.
    Agent,
    /// The agent has ended; what is left of its processes is ended and the facts are collected.
    Collect,
    /// Everything is written.
    Done,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 7] = [Self::Inputs, Self::Workspace, Self::Configure, Self::Setup, Self::Agent, Self::Collect, Self::Done];

    /// The word used in every output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Workspace => "workspace",
            Self::Configure => "configure",
            Self::Setup => "setup",
            Self::Agent => "agent",
            Self::Collect => "collect",
            Self::Done => "done",
        }
    }
}

/// Whose doing the end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The runner: its inputs, workspace, limits, faults.
    Runner,
    /// The agent, or the model behind it.
    Agent,
    /// A signal from outside.
    Signal,
}

impl Origin {
    /// The word used in every output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::Agent => "agent",
            Self::Signal => "signal",
        }
    }
}

/// Which exit code a reason leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeRule {
    /// Always this one.
    Fixed(u8),
    /// The code of the program that failed, since it alone explains the end; this one if that was 0 or unknown.
    Own(u8),
    /// 128 + the signal; this one if the signal is unknown.
    Signal(u8),
}

impl CodeRule {
    /// The exit code, given the failed program's code and the signal, as far as they are known.
    #[must_use]
    pub fn exit_code(self, own: Option<u8>, signal: Option<i32>) -> u8 {
        match self {
            Self::Fixed(code) => code,
            Self::Own(fallback) => own.filter(|code| *code != 0).unwrap_or(fallback),
            Self::Signal(fallback) => {
                signal.and_then(|signal| u8::try_from(signal).ok()).and_then(|signal| signal.checked_add(128)).unwrap_or(fallback)
            }
        }
    }
}

/// The exit codes of failures, told apart by whether a retry makes sense: for a Job's `podFailurePolicy` and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitCodes {
    /// The same task, started again, fails again.
    pub for_good: Vec<u8>,
    /// It may well succeed.
    pub again: Vec<u8>,
}

impl ExitCodes {
    /// Of all reasons that have a code of their own. A code that several share leads to a retry if one of them does.
    #[must_use]
    pub fn by_retry() -> Self {
        let codes = |retry: bool| {
            let of = move |reason: &&Reason| reason.retry() == retry && **reason != Reason::Completed;
            Reason::ALL.iter().filter(of).filter_map(|reason| match reason.code_rule() {
                CodeRule::Fixed(code) | CodeRule::Signal(code) => Some(code),
                // The agent's own code may be any, and says nothing of a retry.
                CodeRule::Own(_) => None,
            })
        };
        let again: std::collections::BTreeSet<u8> = codes(true).collect();
        let for_good: std::collections::BTreeSet<u8> = codes(false).filter(|code| !again.contains(code)).collect();
        Self { for_good: for_good.into_iter().collect(), again: again.into_iter().collect() }
    }
}

macro_rules! reasons {
    ($( $(#[$doc:meta])* $name:ident { $status:ident, $code:expr, retry: $retry:expr, hint: $hint:expr } )*) => {
        /// Why a run ended as it did. The list is closed: a reader may match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Reason { $( $(#[$doc])* $name, )* }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Reason] = &[ $( Reason::$name, )* ];

            /// The word used in every output.
            #[must_use]
            pub fn as_str(self) -> &'static str { match self { $( Self::$name => stringify!($name), )* } }

            /// The status that goes with it.
            #[must_use]
            pub fn status(self) -> Status { match self { $( Self::$name => Status::$status, )* } }

            /// The exit code that goes with it.
            #[must_use]
            pub fn code_rule(self) -> CodeRule { use CodeRule::{Fixed, Own, Signal}; match self { $( Self::$name => $code, )* } }

            /// Whether the same task, started again later and unchanged, may well succeed.
            #[must_use]
            pub fn retry(self) -> bool { match self { $( Self::$name => $retry, )* } }

            /// What a person can do about it; empty where there is nothing to do.
            #[must_use]
            pub fn hint(self) -> &'static str { match self { $( Self::$name => $hint, )* } }
        }
    };
}

reasons! {
    /// The agent finished its work.
    Completed { Succeeded, Fixed(0), retry: false, hint: "" }
    /// The command line is wrong.
    UsageError { Failed, Fixed(64), retry: false, hint: "see `agent-runner --help`" }
    /// The task document, a variable or a flag has a wrong value.
    InvalidTask { Failed, Fixed(65), retry: false, hint: "mend the fields named in the message; `agent-runner schema task` prints the schema" }
    /// The platform asks for an interface version that this runner does not speak.
    UnsupportedVersion { Failed, Fixed(76), retry: false, hint: "use an image whose runner speaks that version; `agent-runner version --json` lists them" }
    /// The repository does not exist, or the credentials do not see it.
    RepositoryNotFound { Failed, Fixed(66), retry: false, hint: "check AGENT_REPO, and that the token may read the repository" }
    /// The repository has no such branch, tag or commit.
    RefNotFound { Failed, Fixed(66), retry: false, hint: "check AGENT_REF and AGENT_BASE_BRANCH against the repository's branches and tags" }
    /// The git server refused the credentials, or asks for some and none were given.
    CloneAuthFailed { Failed, Fixed(77), retry: false, hint: "check the token in AGENT_TOKEN_FILE, or the SSH key" }
    /// The clone failed for another reason.
    CloneFailed { Failed, Fixed(74), retry: false, hint: "the message says what the git server or the file system answered" }
    /// The file system has no room.
    DiskFull { Failed, Fixed(74), retry: false, hint: "give the workspace's volume more room, or clone with AGENT_DEPTH=1" }
    /// The workspace directory holds something else, or a file may not be written there.
    WorkspaceConflict { Failed, Fixed(73), retry: false, hint: "point AGENT_WORKSPACE_DIR at an empty directory or at a clone of the same repository" }
    /// Writing the agent's configuration failed.
    ConfigurationFailed { Failed, Fixed(78), retry: false, hint: "check HOME and the agent's configuration directory: they must be writable and hold no links out" }
    /// The setup command ended with a code other than 0.
    SetupFailed { Failed, Own(1), retry: false, hint: "the setup command's own output says why; AGENT_SETUP_COMMAND is executed without a shell" }
    /// The agent's program is not in the image, or cannot be executed.
    AgentNotFound { Failed, Fixed(69), retry: false, hint: "install the agent in the image and put it on PATH; `agent-runner doctor` says what is missing" }
    /// The model provider refused the credentials.
    AuthenticationFailed { Failed, Fixed(77), retry: false, hint: "check the API key or token that the agent was given" }
    /// The credentials are known but may not do this.
    PermissionDenied { Failed, Fixed(77), retry: false, hint: "check what the API key may use: model, organisation, region" }
    /// Too many requests.
    RateLimited { Failed, Fixed(75), retry: true, hint: "start the task again later, or run fewer at once" }
    /// The model provider has no capacity.
    Overloaded { Failed, Fixed(75), retry: true, hint: "start the task again later" }
    /// The model provider failed.
    ServerError { Failed, Fixed(75), retry: true, hint: "start the task again later; the provider's status page may say more" }
    /// The account has no credit or quota left.
    QuotaExceeded { Failed, Fixed(69), retry: false, hint: "add credit or quota to the account that the key belongs to" }
    /// The model endpoint, or the git server, could not be reached, or the connection broke.
    NetworkFailed { Failed, Fixed(75), retry: true, hint: "check the endpoint, proxies and network policies" }
    /// The provider does not know the model.
    ModelNotFound { Failed, Fixed(78), retry: false, hint: "check AGENT_MODEL" }
    /// The provider rejected the request as malformed.
    RequestRejected { Failed, Own(1), retry: false, hint: "the agent and the model gateway disagree about the protocol; the message quotes the answer" }
    /// The model would not do it.
    Refused { Failed, Fixed(81), retry: false, hint: "change the prompt" }
    /// The conversation no longer fits the model's context window.
    ContextWindowExceeded { Incomplete, Fixed(80), retry: false, hint: "shorten the prompt, split the task, or use a model with a larger context window" }
    /// The model's answer was cut at its output limit.
    OutputLimit { Incomplete, Fixed(80), retry: false, hint: "split the task, or raise the model's output limit" }
    /// The run reached its limit of turns.
    TurnLimit { Incomplete, Fixed(80), retry: false, hint: "raise AGENT_MAX_TURNS, or split the task" }
    /// The run reached its limit of cost.
    CostLimit { Incomplete, Fixed(80), retry: false, hint: "raise AGENT_MAX_COST_USD, or split the task" }
    /// The run reached its limit of generated tokens.
    TokenLimit { Incomplete, Fixed(80), retry: false, hint: "raise AGENT_MAX_OUTPUT_TOKENS, or split the task" }
    /// The agent went round in steps that cost nothing and did nothing.
    Stalled { Incomplete, Fixed(75), retry: true, hint: "the stream's last lines say what it repeated" }
    /// The agent ended with code 0, but its stream never said that it was done.
    TruncatedStream { Incomplete, Fixed(75), retry: true, hint: "the agent stopped in mid-task; see the last lines of its stream" }
    /// The whole task took longer than its limit.
    DeadlineExceeded { TimedOut, Fixed(124), retry: true, hint: "raise AGENT_TIMEOUT, or split the task" }
    /// The agent printed nothing for longer than its limit.
    SilenceTimeout { TimedOut, Fixed(124), retry: true, hint: "raise AGENT_SILENCE_TIMEOUT if the model is slow; otherwise see the stream's last lines" }
    /// A signal asked the runner to end.
    Cancelled { Cancelled, Signal(143), retry: true, hint: "" }
    /// The kernel ended a process because memory ran out.
    OutOfMemory { Failed, Fixed(137), retry: false, hint: "raise the container's memory limit" }
    /// The agent or the runner was killed, or the runner never got to its last word.
    Killed { Failed, Signal(137), retry: true, hint: "look for an eviction, a node failure, or a shorter terminationGracePeriodSeconds than AGENT_GRACE" }
    /// The agent failed and said no more than its exit code.
    AgentFailed { Failed, Own(1), retry: false, hint: "the agent's last lines say why" }
    /// A fault of the runner itself.
    RunnerFault { Failed, Fixed(70), retry: true, hint: "please report this, with the log, as a bug of agent-runner" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_found_by_its_number() {
        for (number, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, number, "{phase:?}");
        }
    }

    #[test]
    fn every_failure_has_a_code_other_than_zero_and_only_success_has_zero() {
        for reason in Reason::ALL {
            for own in [None, Some(0), Some(3)] {
                let code = reason.code_rule().exit_code(own, None);
                assert_eq!(code == 0, *reason == Reason::Completed, "{}", reason.as_str());
            }
        }
    }

    #[test]
    fn no_code_is_both_for_good_and_for_a_retry() {
        let codes = ExitCodes::by_retry();
        assert!(codes.for_good.iter().all(|code| !codes.again.contains(code)));
        assert_eq!(codes.for_good, [64, 65, 66, 69, 73, 74, 76, 77, 78, 80, 81]);
        assert_eq!(codes.again, [70, 75, 124, 137, 143]);
    }

    #[test]
    fn a_signal_gives_128_plus_its_number() {
        assert_eq!(Reason::Cancelled.code_rule().exit_code(None, Some(2)), 130);
        assert_eq!(Reason::Cancelled.code_rule().exit_code(Some(1), None), 143);
    }

    #[test]
    fn the_agents_own_code_survives_where_it_alone_explains_the_end() {
        assert_eq!(Reason::AgentFailed.code_rule().exit_code(Some(42), None), 42);
        assert_eq!(Reason::AgentFailed.code_rule().exit_code(Some(0), None), 1);
        assert_eq!(Reason::RateLimited.code_rule().exit_code(Some(42), None), 75);
    }

    #[test]
    fn names_are_the_same_in_json() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
