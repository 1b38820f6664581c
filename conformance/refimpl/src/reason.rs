//! Why a run ended: the rows of the table of reasons that this implementation ever needs, as the specification has them.

/// Why a run ended; the names are those of the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Completed,
    InvalidTask,
    UnsupportedVersion,
    RepositoryNotFound,
    RefNotFound,
    CloneAuthFailed,
    CloneFailed,
    DiskFull,
    WorkspaceConflict,
    SetupFailed,
    AgentNotFound,
    NetworkFailed,
    TurnLimit,
    CostLimit,
    TokenLimit,
    TruncatedStream,
    DeadlineExceeded,
    SilenceTimeout,
    Cancelled,
    Killed,
    AgentFailed,
    RunnerFault,
}

/// The exit code of a reason.
#[derive(Debug, Clone, Copy)]
pub enum Code {
    /// Always this one.
    Fixed(u8),
    /// The failed program's own.
    Own,
    /// 128 + the signal.
    Signal,
}

impl Reason {
    /// Status, exit code, whether to try again, and what to do.
    pub fn row(self) -> (&'static str, Code, bool, &'static str) {
        use Code::{Fixed, Own, Signal};
        match self {
            Self::Completed => ("succeeded", Fixed(0), false, ""),
            Self::InvalidTask => ("failed", Fixed(65), false, "mend the inputs that the message names"),
            Self::UnsupportedVersion => ("failed", Fixed(76), false, "use an image that speaks that version"),
            Self::RepositoryNotFound => ("failed", Fixed(66), false, "check AGENT_REPO, and that the token may read the repository"),
            Self::RefNotFound => ("failed", Fixed(66), false, "check AGENT_REF against the repository's branches and tags"),
            Self::CloneAuthFailed => ("failed", Fixed(77), false, "check the token in AGENT_TOKEN_FILE"),
            Self::CloneFailed => ("failed", Fixed(74), false, "the message says what git answered"),
            Self::DiskFull => ("failed", Fixed(74), false, "give the workspace's volume more room"),
            Self::WorkspaceConflict => ("failed", Fixed(73), false, "point AGENT_WORKSPACE_DIR at an empty directory"),
            Self::SetupFailed => ("failed", Own, false, "the setup command's own output says why"),
            Self::AgentNotFound => ("failed", Fixed(69), false, "install the agent in the image"),
            Self::NetworkFailed => ("failed", Fixed(75), true, "check the endpoint, proxies and network policies"),
            Self::TurnLimit => ("incomplete", Fixed(80), false, "raise AGENT_MAX_TURNS, or split the task"),
            Self::CostLimit => ("incomplete", Fixed(80), false, "raise AGENT_MAX_COST_USD, or split the task"),
            Self::TokenLimit => ("incomplete", Fixed(80), false, "raise AGENT_MAX_OUTPUT_TOKENS, or split the task"),
            Self::TruncatedStream => ("incomplete", Fixed(75), true, "the agent stopped in mid-task; see the last lines of its stream"),
            Self::DeadlineExceeded => ("timed-out", Fixed(124), true, "raise AGENT_TIMEOUT, or split the task"),
            Self::SilenceTimeout => ("timed-out", Fixed(124), true, "raise AGENT_SILENCE_TIMEOUT if the model is slow"),
            Self::Cancelled => ("cancelled", Signal, true, ""),
            Self::Killed => ("failed", Signal, true, "look for an eviction or a node failure"),
            Self::AgentFailed => ("failed", Own, false, "the agent's last lines say why"),
            Self::RunnerFault => ("failed", Fixed(70), true, "the log says what this image could not do"),
        }
    }

    /// The container's exit code, from the failed program's own or the signal.
    pub fn exit_code(self, own: u8, signal: Option<i32>) -> u8 {
        match self.row().1 {
            Code::Fixed(code) => code,
            Code::Own if own == 0 => 1,
            Code::Own => own,
            Code::Signal => 128 + u8::try_from(signal.unwrap_or(9)).unwrap_or(9),
        }
    }
}

/// What ended a run: the reason, its words, the signal, and the code of the program that failed.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub reason: Reason,
    pub message: String,
    pub signal: Option<i32>,
    pub own_code: u8,
}

impl Verdict {
    /// A verdict without signal or code.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), signal: None, own_code: 0 }
    }

    /// Whose doing it was.
    pub fn origin(&self) -> &'static str {
        match self.reason {
            Reason::Cancelled => "signal",
            Reason::Completed | Reason::TruncatedStream | Reason::AgentFailed | Reason::Killed => "agent",
            _ => "runner",
        }
    }
}
