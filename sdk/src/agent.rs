//! The trait that an agent implements, and what it is asked and answers.
//!
//! An agent is asked three things, all pure: what to write and start ([`Agent::plan`]), what the lines of its stream mean
//! ([`Agent::reader`]), and why it ended ([`Agent::judge`]). Everything about one agent stands in its one folder under [`crate::agents`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::event::Event;
use crate::task::Task;
use crate::usage::{Usage, UsageByModel};
use crate::verdict::Reason;

/// A coding agent: how it is configured and started, how its stream is read, what its end means.
pub trait Agent: Send + Sync {
    /// The name by which a task asks for it, for instance `claude`.
    fn name(&self) -> &str;

    /// One line for `--help`.
    fn about(&self) -> &str;

    /// The versions whose behaviour was tried.
    fn held_against(&self) -> &[&str];

    /// Which variables of the environment hold its secrets: they are masked in everything that is written.
    fn secret_variables(&self) -> &[&str];

    /// Which of a repository's files configure it, for `trust`.
    fn repository_config(&self) -> &[RepositoryPath];

    /// What to write, and what to start.
    ///
    /// # Errors
    /// Every thing that this agent cannot take and that cannot be left out with a warning.
    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>>;

    /// A reader for one run's stream.
    fn reader(&self, detail: Detail) -> Box<dyn StreamReader>;

    /// Why it ended, from what the stream said, how the process ended, and the last lines of its stderr.
    /// `None` leaves it to the exit code alone.
    fn judge(&self, seen: &Seen<'_>) -> Option<Finding>;
}

/// A reference to an agent is one too, so that a program can keep its own agents in a constant.
impl<A: Agent + ?Sized> Agent for &A {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn about(&self) -> &str {
        (**self).about()
    }

    fn held_against(&self) -> &[&str] {
        (**self).held_against()
    }

    fn secret_variables(&self) -> &[&str] {
        (**self).secret_variables()
    }

    fn repository_config(&self) -> &[RepositoryPath] {
        (**self).repository_config()
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
        (**self).plan(request)
    }

    fn reader(&self, detail: Detail) -> Box<dyn StreamReader> {
        (**self).reader(detail)
    }

    fn judge(&self, seen: &Seen<'_>) -> Option<Finding> {
        (**self).judge(seen)
    }
}

/// A path in the repository that configures an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepositoryPath {
    /// A file or directory, relative to the work tree.
    pub path: &'static str,
    /// What it can do.
    pub power: RepositoryPower,
}

/// What a file of a repository can do to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryPower {
    /// It tells the agent something: instructions, skills.
    Instructs,
    /// It changes settings or starts programs: hooks, MCP servers, endpoints.
    Executes,
}

/// What a plan is made from: nothing else may be looked at.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The task.
    pub task: &'a Task,
    /// The facts about the place where the agent will run.
    pub surroundings: &'a Surroundings,
    /// The plugins found in the task's plugin directory.
    pub plugins: &'a [Plugin],
}

/// Facts about the place where the agent will run, read by the runner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The environment that the runner was given.
    pub env: BTreeMap<String, String>,
    /// HOME, or a writable stand-in if it is unset or not writable.
    pub home: PathBuf,
    /// The root of the repository's work tree, without links; the same as `workdir` where there is no repository or no subdirectory.
    pub work_tree: PathBuf,
    /// The directory in which the agent is started, without links.
    pub workdir: PathBuf,
    /// Which of [`Agent::repository_config`]'s paths the repository holds, after `trust` was applied, looked for in the work tree's
    /// root and in `workdir`. By their path relative to `work_tree`.
    pub repository_files: BTreeMap<PathBuf, RepositoryFile>,
    /// A private directory (0700) of this run, outside the repository, gone afterwards.
    pub private_dir: PathBuf,
    /// Whether the effective user is root.
    pub is_root: bool,
    /// Whether the agent is not started now, but later by somebody else, who knows nothing of this plan: then its configuration must stand
    /// where the agent looks for it by itself, and neither in `private_dir` nor in the plan's arguments and variables.
    pub for_later: bool,
}

/// A file or directory of the repository that configures an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryFile {
    /// A regular file of at most [`REPOSITORY_FILE_LIMIT`] bytes, with its content.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// Something else: a link, a device, a file that is too large or cannot be read.
    Other,
}

/// Configuration files of a repository are read up to this size: real ones have a few KiB.
pub const REPOSITORY_FILE_LIMIT: u64 = 1 << 20;

/// A plugin: a named bundle of skills and sub-agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The name of its directory.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    /// The names of its skills (directories with a `SKILL.md`).
    pub skills: Vec<String>,
    /// Its sub-agents (`agents/NAME.md`): their names, without the ending, and what stands in the files.
    pub agents: BTreeMap<String, Vec<u8>>,
}

/// What to write, and what to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files, each written by the runner's one safe writer.
    pub files: Vec<FileWrite>,
    /// The program, a name on PATH or a path.
    pub program: String,
    /// Its arguments; never a secret, never the prompt where the agent can read it elsewhere.
    pub args: Vec<String>,
    /// Variables to set (`Some`) or take away (`None`), on top of the runner's own environment.
    pub env: BTreeMap<String, Option<String>>,
    /// Secrets that the agent reads from a file descriptor, so that they stand in no environment and no program that it starts
    /// inherits them. By the variable that is set to the descriptor's number: the runner writes the secret into a pipe, closes the
    /// pipe's other end, and lets the agent inherit the end that is read.
    pub descriptors: BTreeMap<String, Secret>,
    /// What stands on its stdin, which is closed after it.
    pub stdin: Vec<u8>,
    /// Files that the agent writes beside its stream, and that say what its stream does not.
    pub ledgers: Vec<Ledger>,
    /// What the agent cannot take, said to the user.
    pub warnings: Vec<String>,
}

/// Files that the agent itself writes, and that say what its stream does not: the tokens of a turn that failed, of a sub-agent. What is
/// added to them while the agent runs is handed to [`StreamReader::read_ledger`]. Like the stream it is the agent's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// The directory below which they lie, which need not be there yet.
    pub dir: PathBuf,
    /// How many directories deep below it; 0: in it.
    pub depth: usize,
    /// How their names begin.
    pub prefix: &'static str,
    /// How their names end.
    pub suffix: &'static str,
    /// How they are written.
    pub form: LedgerForm,
}

/// How a ledger is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerForm {
    /// Line by line: each is read once.
    Lines,
    /// As a whole, again and again: all of it is read whenever it has changed.
    Whole,
}

/// A piece of a ledger.
#[derive(Debug, Clone, Copy)]
pub struct LedgerEntry<'a> {
    /// Which of the plan's ledgers it belongs to.
    pub ledger: usize,
    /// The file, relative to the ledger's directory.
    pub file: &'a std::path::Path,
    /// Whether it was there before the agent started.
    pub earlier: bool,
    /// A line without its end, or the whole file.
    pub content: &'a [u8],
}

/// A secret: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A file to write outside the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileWrite {
    /// Absolute path.
    pub path: PathBuf,
    /// The content.
    pub content: FileContent,
    /// Whether others may read it. Files that may hold a secret are private.
    pub private: bool,
}

/// The content of a file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// These bytes in place of what is there.
    Replace(Vec<u8>),
    /// No file: one that an earlier run wrote is removed.
    Absent,
    /// These fields merged into the JSON object that is there; unknown fields are kept. What an earlier run merged and this one does not is
    /// taken out again.
    MergeJson(serde_json::Map<String, serde_json::Value>),
    /// The same for a TOML document, whose comments are kept too. A value may not be null.
    MergeToml(serde_json::Map<String, serde_json::Value>),
    /// A text in a file of Markdown that others write too: it stands between two marks, and what is outside of them is kept. An empty text
    /// takes it out again.
    Section(String),
    /// Files and directory trees below this path, which is a directory. What an earlier run installed there and this one does not is
    /// removed; what others put there is kept. Nothing to install only removes.
    Install(BTreeMap<PathBuf, Installed>),
}

/// What is installed at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// A file with these bytes.
    File(Vec<u8>),
    /// A copy of this directory tree. At the empty path: its content is the directory's.
    Tree(PathBuf),
}

/// Something that an agent cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct PlanError {
    /// The field of the task.
    pub field: String,
    /// What is wrong with it for this agent.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

/// How much a reader is to understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What the verdict needs: usage, answer, errors, end. Other lines may be skipped unread.
    Verdict,
    /// Every event.
    Full,
}

/// Reads one run's stream.
pub trait StreamReader: Send {
    /// Reads one line, without its end, and emits the events in it. A line that was too long arrives condensed: long strings
    /// in it are shortened, its structure is whole.
    fn read_line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event));

    /// Reads a piece of a ledger that the plan named. Pieces of one file come in order; a file that was there before the agent started, and
    /// that it goes on writing, comes from its beginning.
    fn read_ledger(&mut self, _entry: &LedgerEntry<'_>, _emit: &mut dyn FnMut(Event)) {}

    /// What is known so far.
    fn summary(&self) -> &StreamSummary;
}

/// What a stream has said so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamSummary {
    /// Session or thread id.
    pub session_id: Option<String>,
    /// The model that answers.
    pub model: Option<String>,
    /// The agent's own version.
    pub agent_version: Option<String>,
    /// The running total of usage.
    pub usage: Usage,
    /// Usage by model, as far as the agent says it.
    pub usage_by_model: UsageByModel,
    /// How often the model was asked.
    pub turns: Option<u64>,
    /// The agent's last message.
    pub answer: Option<String>,
    /// The terminal event, if there was one.
    pub end: Option<StreamEnd>,
    /// What would be the terminal event, but that the agent waits for tasks of its own in the background, and may go on after them.
    pub held_end: Option<StreamEnd>,
    /// The last error that the stream reported, fatal or not.
    pub last_error: Option<StreamError>,
    /// Retries in a row since the model last answered.
    pub retries: u32,
    /// Steps in a row that cost no tokens, and in which the model neither said anything nor called a tool.
    pub empty_steps: u32,
    /// Whether a tool call is open (called, not answered yet).
    pub tool_open: bool,
    /// Lines of kinds that this version does not know.
    pub unknown_lines: u64,
    /// Lines that are not what the format promises.
    pub malformed_lines: u64,
}

/// The terminal event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// Whether it says that it succeeded.
    pub succeeded: bool,
    /// The reason that it gives, if it is a known one.
    pub reason: Option<Reason>,
    /// In its own words.
    pub message: Option<String>,
}

/// An error that a stream reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// The HTTP status, if there was one.
    pub http_status: Option<u16>,
    /// In the agent's words.
    pub message: String,
    /// What it means.
    pub reason: Option<Reason>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signaled(i32),
}

impl ProcessEnd {
    /// The code that a shell would report: 128+n for signal n.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// Everything that a verdict may rest on.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What the stream said.
    pub stream: &'a StreamSummary,
    /// How the process ended.
    pub process: ProcessEnd,
    /// The last part of its stderr.
    pub stderr_tail: &'a str,
}

/// A verdict's core: the reason and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The reason.
    pub reason: Reason,
    /// One sentence, in the agent's words where it has some.
    pub message: String,
}

/// A row of an agent's table of errors: what is seen, and what it means. The last row that matches wins.
#[derive(Debug, Clone, Copy)]
pub struct ReasonPattern {
    /// The HTTP status, if it matters.
    pub http_status: Option<u16>,
    /// A part of the message in lower case; empty matches all.
    pub text: &'static str,
    /// What it means.
    pub reason: Reason,
}

/// The reason of the last row that matches; where none does, what the status means whoever answers with it.
#[must_use]
pub fn match_reason(table: &[ReasonPattern], http_status: Option<u16>, message: &str) -> Option<Reason> {
    let message = message.to_lowercase();
    let matches = |row: &&ReasonPattern| (row.http_status.is_none() || row.http_status == http_status) && message.contains(row.text);
    table.iter().rev().find(matches).map(|row| row.reason).or_else(|| of_status(http_status?))
}

/// What a status means that no row knows: of a server, or a gateway before it, that may answer the same request later.
fn of_status(http_status: u16) -> Option<Reason> {
    match http_status {
        // A gateway's word for a request that it waited for in vain, as 504 is: <https://www.rfc-editor.org/rfc/rfc9110#status.408>.
        408 | 500..=599 => Some(Reason::ServerError),
        429 => Some(Reason::RateLimited),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_no_row_knows_means_what_it_means_of_every_server() {
        for status in 0..=u16::MAX {
            let wanted = match status {
                408 | 500..=599 => Some(Reason::ServerError),
                429 => Some(Reason::RateLimited),
                _ => None,
            };
            assert_eq!(match_reason(&[], Some(status), "said"), wanted, "{status}");
        }
        assert_eq!(match_reason(&[], None, "502 429"), None);
    }

    #[test]
    fn a_row_wins_over_what_a_status_means_of_every_server() {
        let table = [
            ReasonPattern { http_status: Some(503), text: "", reason: Reason::Overloaded },
            ReasonPattern { http_status: None, text: "quota", reason: Reason::QuotaExceeded },
        ];
        assert_eq!(match_reason(&table, Some(503), ""), Some(Reason::Overloaded));
        assert_eq!(match_reason(&table, Some(429), "Quota"), Some(Reason::QuotaExceeded));
        assert_eq!(match_reason(&table, Some(502), ""), Some(Reason::ServerError));
    }
}
