//! Scripts: what the suite's agent does, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The scripts of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Script {
    /// What each role does.
    pub roles: BTreeMap<String, Vec<Step>>,
    /// Texts that files are searched for.
    pub canaries: Vec<String>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Read stdin to its end, and look for the prompt in all that was given.
    ReadPrompt,
    /// Write down where HEAD is, and the files of the working directory.
    LookAtHead,
    /// Write down whether the environment of PID 1 can be read.
    LookAtInit,
    /// Write down the files below HOME and the temporary directories that hold a canary.
    LookForSecrets,
    /// Print this; `${NAME}` is the value of a variable.
    Print(String),
    /// Print the content of a file of the stage.
    PrintFile(String),
    /// Print the content of the file that this variable names.
    PrintFileOf(String),
    /// Print this on stderr.
    PrintError(String),
    /// Write down that this place is reached.
    Mark(String),
    /// Wait until another process has reached this place.
    AwaitMark(String),
    /// Write a file; `${NAME}` in path and text is the value of a variable.
    Write {
        /// Where.
        path: String,
        /// What.
        text: String,
    },
    /// Make a file so long, without filling it.
    Extend {
        /// Where, likewise.
        path: String,
        /// How long.
        bytes: u64,
    },
    /// Make a symbolic link, likewise.
    Link {
        /// Where.
        path: String,
        /// To what.
        target: String,
    },
    /// Put objects into the repository of the working directory, and move the branch that HEAD is on.
    Commit {
        /// The commit.
        id: String,
        /// All its objects that the repository may lack: id, and what stands in the loose object's file, in base 64.
        objects: Vec<(String, String)>,
    },
    /// From now on write down this signal and go on.
    Ignore(i32),
    /// Wait until this signal comes, and write it down.
    Await(i32),
    /// Let so many milliseconds pass.
    Pass(u64),
    /// Start a process in a session of its own whose parent ends at once, so that it belongs to PID 1.
    Leave {
        /// Its role in the records.
        role: String,
        /// What it does.
        steps: Vec<Step>,
    },
    /// Leave so many processes that end at once, then write down how many zombies PID 1 has when there are none, or after ten seconds.
    Storm(u32),
    /// Start processes without end, which start others; what cannot be started is no fault.
    ForkStorm,
    /// Close stdout.
    CloseStdout,
    /// Write this to a file again and again until it is killed.
    Overwrite {
        /// The file; `${NAME}` is the value of a variable.
        path: String,
        /// The text.
        text: String,
    },
    /// Print this again and again until it is killed.
    PrintForever(String),
    /// Do nothing until it is killed.
    Stay,
    /// Die of this signal.
    Die(i32),
    /// End with this code. Without it a script ends with 0.
    Exit(u8),
}
