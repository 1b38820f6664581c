//! What the suite's own programs and servers wrote down during a scenario.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line of the log of the suite's programs in the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentRecord {
    /// Who: `agent`, `setup`, or the name that a script gave to a process that it started.
    pub role: String,
    /// Its PID, in its own namespace.
    pub pid: i32,
    /// Milliseconds since an arbitrary moment, of one clock for all records of a container.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub event: AgentEvent,
}

/// What a program of the suite saw or did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum AgentEvent {
    /// It was started.
    Started {
        /// Its arguments, its name first; each at most 4 KiB.
        args: Vec<String>,
        /// Its environment; each value at most 4 KiB.
        env: BTreeMap<String, String>,
        /// Its working directory.
        cwd: String,
        /// User and group.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Signals that were blocked, and that were ignored, as the kernel's bit masks.
        blocked: u64,
        /// Those that were ignored.
        ignored: u64,
    },
    /// Stdin came to its end.
    StdinEnded {
        /// How many bytes it had.
        bytes: u64,
        /// How the prompt came, if it is known and came whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<PromptWay>,
    },
    /// HEAD of its working directory, and how far the work tree differs from it.
    Head(HeadFact),
    /// It reached a place in its script that the scenario waits for.
    Mark {
        /// The place.
        name: String,
    },
    /// A signal came.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// How many zombies it saw among the children of PID 1, when there were none or patience was over.
    Zombies {
        /// How many.
        left: u64,
    },
    /// Whether it could read the environment of PID 1.
    InitEnvironment {
        /// Whether it could.
        readable: bool,
    },
    /// Files that hold a canary and that it did not write itself.
    SecretFiles {
        /// Path and permission bits.
        files: BTreeMap<String, u32>,
    },
    /// Something that its script wanted could not be done.
    Failed {
        /// What and why.
        what: String,
    },
    /// It ends now.
    Ended {
        /// With this code.
        code: u8,
    },
}

/// How a prompt came to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptWay {
    /// On stdin.
    Stdin,
    /// As an argument, or a part of one.
    Argument,
    /// In a file that an argument names.
    File,
    /// In a variable other than those that the platform set.
    Variable,
}

/// HEAD of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadFact {
    /// The branch, if it is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The commit, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Files of the work tree, `.git` aside, at most a hundred, each with the id that its content has in git.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// One request to the suite's git server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitRequest {
    /// Method and path, with its query.
    pub request: String,
    /// Whether it carried credentials, and whether they were the right ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<bool>,
    /// The status that was answered; 0 where the scenario never answers.
    pub status: u16,
    /// The object ids that were asked for.
    #[serde(default)]
    pub wants: Vec<String>,
}

/// One request to the suite's MCP server over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpRequest {
    /// The JSON-RPC method; empty if the request was none.
    pub method: String,
    /// The header that the task gives, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

/// One request to the scripted model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelRequest {
    /// Method and path.
    pub request: String,
    /// The model that was asked for, as far as it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The status that was answered.
    pub status: u16,
    /// Which of the scenario's sentinels stand in the body.
    pub sentinels: Vec<String>,
    /// Names of the tools that were offered.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Whether it is a question of the conversation (not a title, a probe, a count).
    pub question: bool,
}
