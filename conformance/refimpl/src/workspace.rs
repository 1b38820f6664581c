//! Section 5: the clone, by the git program; and what the repository says at the end, without it.
//!
//! Only what the task names is fetched. At the end `.git` belongs to the agent, and with it what git would execute: so its files are read
//! here.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::libc::O_NOFOLLOW;

use crate::inputs::Task;
use crate::mutants::broken;
use crate::process::{Listener, Processes, Stop};
use crate::reason::{Reason, Verdict};

/// What git says on stderr, in lower case, and what it means. The first that is found counts.
const SAID: &[(&str, Reason)] = &[
    ("authentication failed", Reason::CloneAuthFailed),
    ("could not read username", Reason::CloneAuthFailed),
    ("could not read password", Reason::CloneAuthFailed),
    ("unable to get password", Reason::CloneAuthFailed),
    ("error: 401", Reason::CloneAuthFailed),
    ("error: 403", Reason::CloneAuthFailed),
    ("permission denied", Reason::CloneAuthFailed),
    ("no space left", Reason::DiskFull),
    ("not our ref", Reason::RefNotFound),
    ("couldn't find remote ref", Reason::RefNotFound),
    ("does not appear to be a git repository", Reason::RepositoryNotFound),
    ("not found", Reason::RepositoryNotFound),
    ("could not resolve", Reason::NetworkFailed),
    ("failed to connect", Reason::NetworkFailed),
    ("couldn't connect", Reason::NetworkFailed),
    ("connection", Reason::NetworkFailed),
    ("timed out", Reason::NetworkFailed),
    ("error: 5", Reason::NetworkFailed),
];

/// More of git's output is not kept.
const MOST_OUTPUT: usize = 64 << 20;

/// Where the agent works, and what its work starts from.
#[derive(Debug, Default)]
pub struct Workspace {
    pub dir: PathBuf,
    pub base_branch: Option<String>,
    pub base_commit: Option<String>,
}

/// Clones into the workspace directory, or takes the directory as it is.
pub fn prepare(task: &Task, processes: &mut Processes, deadline: Option<Instant>) -> Result<Workspace, Verdict> {
    let dir = PathBuf::from(task.text("workspace.dir").unwrap_or("."));
    let conflict = |error: std::io::Error| Verdict::new(Reason::WorkspaceConflict, format!("the workspace `{}`: {error}", dir.display()));
    let was_there = dir.exists();
    std::fs::create_dir_all(&dir).map_err(conflict)?;
    let dir = dir.canonicalize().map_err(conflict)?;
    let Some(url) = task.text("workspace.repo") else {
        let base_commit = head(&dir).1;
        return Ok(Workspace { dir, base_branch: None, base_commit });
    };
    if std::fs::read_dir(&dir).map_err(conflict)?.next().is_some() {
        return Err(conflict(std::io::Error::other("it is not empty")));
    }
    let aside = broken("clone").then(|| dir.with_extension("aside"));
    let place = aside.as_deref().unwrap_or(&dir);
    std::fs::create_dir_all(place).map_err(conflict)?;
    let mut git = Git { task, processes, deadline, dir: place };
    let cloned = git.clone(url);
    if cloned.is_err() && !broken("failed-clone-leaves-nothing") {
        clear(&dir, was_there);
    }
    let (base_branch, base_commit) = cloned?;
    Ok(Workspace { dir, base_branch, base_commit })
}

/// Takes away what a failed clone has left.
fn clear(dir: &Path, keep: bool) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // What cannot be removed is found by the next attempt, and named.
        let _ = if path.is_dir() && !path.is_symlink() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
    if !keep {
        let _ = std::fs::remove_dir(dir);
    }
}

/// The git program, with what it must know for this task.
struct Git<'a> {
    task: &'a Task,
    processes: &'a mut Processes,
    deadline: Option<Instant>,
    dir: &'a Path,
}

impl Git<'_> {
    /// Base branch and the commit that the work starts from.
    fn clone(&mut self, url: &str) -> Result<(Option<String>, Option<String>), Verdict> {
        self.git(&["init", "--quiet", "--initial-branch=main"])?;
        self.git(&["config", "remote.origin.url", url])?;
        if let Some(helper) = self.credential_helper()? {
            self.git(&["config", "credential.helper", &helper])?;
        }
        if let Some(path) = self.task.text("git.tokenFile")
            && broken("token-not-in-git-config")
        {
            self.git(&["config", "agent.token", std::fs::read_to_string(path).unwrap_or_default().trim()])?;
        }
        let listed = self.git(&["ls-remote", "--symref", "origin"])?;
        let listing = Listing(&listed);
        let wanted = self.task.text("workspace.ref").filter(|wanted| *wanted != "HEAD" && !broken("ref"));
        let branch = self.task.text("workspace.branch");
        let base_branch = match wanted {
            _ if self.task.text("workspace.baseBranch").is_some() => self.task.text("workspace.baseBranch"),
            Some(wanted) if listing.has(&format!("refs/heads/{wanted}")) => Some(wanted),
            _ => listing.default_branch(),
        };
        // Where the work starts: the working branch if the remote has it, else the ref, else the remote's HEAD.
        let source = match (branch, wanted) {
            (Some(branch), _) if listing.has(&format!("refs/heads/{branch}")) => format!("refs/heads/{branch}"),
            (_, Some(wanted)) => listing.find(wanted).ok_or_else(|| not_found(wanted))?,
            (_, None) if listing.default_branch().is_some() => "HEAD".to_owned(),
            // A repository without a commit.
            (_, None) => {
                let name = branch.unwrap_or("main");
                self.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{name}")])?;
                return Ok((None, None));
            }
        };
        let depth = self.task.number("workspace.depth").unwrap_or(1);
        let depth = if depth == 0 { "--no-tags".to_owned() } else { format!("--depth={depth}") };
        self.git(&["fetch", "--quiet", "--no-tags", &depth, "origin", &format!("+{source}:refs/agent/start")])?;
        if broken("only-what-is-asked") {
            self.git(&["fetch", "--quiet", "--no-tags", &depth, "origin", "+refs/heads/*:refs/remotes/origin/*"])?;
        }
        let name = branch.map(str::to_owned).or_else(|| match source.strip_prefix("refs/heads/") {
            Some(name) => Some(name.to_owned()),
            None if source == "HEAD" => listing.default_branch().map(str::to_owned),
            None => None,
        });
        match name.filter(|_| !broken("working-branch")) {
            Some(name) => self.git(&["checkout", "--quiet", "-B", &name, "refs/agent/start^{commit}"])?,
            None => self.git(&["checkout", "--quiet", "--detach", "refs/agent/start^{commit}"])?,
        };
        let start = self.git(&["rev-parse", "HEAD"])?;
        if let Some(tracking) = source.strip_prefix("refs/heads/").or_else(|| listing.default_branch().filter(|_| source == "HEAD")) {
            self.git(&["update-ref", &format!("refs/remotes/origin/{tracking}"), "HEAD"])?;
        }
        self.git(&["update-ref", "-d", "refs/agent/start"])?;
        Ok((base_branch.map(str::to_owned), Some(start.trim().to_owned())))
    }

    /// This program as git's credential helper, if there is a token: it reads the file at each call. It stays in the repository's
    /// configuration, so that the agent can push.
    fn credential_helper(&self) -> Result<Option<String>, Verdict> {
        let Some(file) = self.task.text("git.tokenFile").filter(|_| !broken("token-file")) else { return Ok(None) };
        let fault = |error: std::io::Error| Verdict::new(Reason::RunnerFault, format!("this program's own path: {error}"));
        let program = std::env::current_exe().map_err(fault)?;
        let user = self.task.text("git.username").unwrap_or("x-access-token");
        let quote = |word: &str| format!("'{}'", word.replace('\'', "'\\''"));
        Ok(Some(format!("!{} git-credential {} {}", quote(&program.to_string_lossy()), quote(file), quote(user))))
    }

    fn git(&mut self, args: &[&str]) -> Result<String, Verdict> {
        let mut command = Command::new("git");
        // Whose the directory is does not matter: it was empty.
        command.args(["-c", "safe.directory=*", "-c", "credential.interactive=false", "-c", "advice.detachedHead=false"]);
        command.args(args).current_dir(self.dir);
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").env_remove("GIT_ASKPASS").env_remove("SSH_ASKPASS");
        if let Some(bundle) = self.task.text("git.caBundleFile") {
            command.env("GIT_SSL_CAINFO", bundle);
        }
        let mut listener = Quiet { stdout: Vec::new(), stderr: Vec::new(), deadline: self.deadline };
        let ended = self.processes.run(command, &[], &mut listener);
        let ended = ended.map_err(|error| Verdict::new(Reason::CloneFailed, format!("the program `git` cannot be started: {error}")))?;
        let said = String::from_utf8_lossy(&listener.stderr).trim().to_owned();
        match ended.stop {
            Some(Stop::Signal(signal)) => {
                Err(Verdict { signal: Some(signal), ..Verdict::new(cancelled_while_cloning(), "ended by a signal") })
            }
            Some(_) => Err(Verdict::new(Reason::DeadlineExceeded, "the task took longer than its limit")),
            None if ended.code == 0 => Ok(String::from_utf8_lossy(&listener.stdout).into_owned()),
            None => Err(Verdict::new(meaning(&said), format!("git {}: {said}", args[0]))),
        }
    }
}

fn cancelled_while_cloning() -> Reason {
    if broken("signal-while-cloning") { Reason::CloneFailed } else { Reason::Cancelled }
}

fn not_found(reference: &str) -> Verdict {
    let reason = if broken("ref-not-found") { Reason::CloneFailed } else { Reason::RefNotFound };
    Verdict::new(reason, format!("the repository has no `{reference}`"))
}

fn meaning(said: &str) -> Reason {
    let said = said.to_lowercase();
    let reason = SAID.iter().find(|(text, _)| said.contains(text)).map_or(Reason::CloneFailed, |(_, reason)| *reason);
    if reason == Reason::CloneAuthFailed && broken("token-refused") { Reason::CloneFailed } else { reason }
}

/// Keeps what git says, and ends it when time is over.
struct Quiet {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    deadline: Option<Instant>,
}

impl Listener for Quiet {
    fn stdout(&mut self, bytes: &[u8]) {
        let room = MOST_OUTPUT.saturating_sub(self.stdout.len());
        self.stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn stderr(&mut self, bytes: &[u8]) {
        let room = (64_usize << 10).saturating_sub(self.stderr.len());
        self.stderr.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn stop(&mut self) -> Option<Stop> {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline).then_some(Stop::Deadline)
    }
}

/// What `git ls-remote --symref` prints.
struct Listing<'a>(&'a str);

impl<'a> Listing<'a> {
    fn has(&self, name: &str) -> bool {
        self.0.lines().any(|line| line.split_once('\t').is_some_and(|(_, listed)| listed == name))
    }

    /// What HEAD points to, if that has a commit.
    fn default_branch(&self) -> Option<&'a str> {
        let target = self.0.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"))?;
        target.strip_prefix("refs/heads/").filter(|_| self.has("HEAD"))
    }

    /// What to fetch for a name: the branch, the tag, or the commit itself.
    fn find(&self, name: &str) -> Option<String> {
        let refs = [format!("refs/heads/{name}"), format!("refs/tags/{name}")];
        let is_commit = matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        refs.into_iter().find(|full| self.has(full)).or_else(|| is_commit.then(|| name.to_owned()))
    }
}

/// The credential helper: `refimpl git-credential FILE USER get`.
pub fn give_credentials(args: &[OsString]) -> std::io::Result<()> {
    let [file, user, operation] = args else { return Err(std::io::Error::other("usage: git-credential FILE USER get")) };
    if operation == "get" {
        let token = std::fs::read_to_string(file)?;
        writeln!(std::io::stdout(), "username={}\npassword={}", user.to_string_lossy(), token.trim())?;
    }
    Ok(())
}

/// Branch and commit of the repository whose root this is, as its files say.
pub fn head(dir: &Path) -> (Option<String>, Option<String>) {
    let git = dir.join(".git");
    let read = |name: &str| read_file(&git.join(name)).map(|text| text.trim().to_owned());
    let is_id = |text: &String| matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_plain = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    let Some(head) = read("HEAD").filter(|_| is_plain(&git)) else { return (None, None) };
    let Some(name) = head.strip_prefix("ref: ").map(str::trim) else { return (None, Some(head).filter(is_id)) };
    if !crate::inputs::is_inner(name) {
        return (None, None);
    }
    let packed = || {
        let text = read("packed-refs")?;
        text.lines().find_map(|line| Some(line.strip_suffix(name)?.strip_suffix(' ')?.to_owned()))
    };
    let commit = read(name).filter(is_id).or_else(packed).filter(is_id);
    (name.strip_prefix("refs/heads/").map(str::to_owned), commit)
}

/// A regular file that is no link, up to 16 MiB.
fn read_file(path: &Path) -> Option<String> {
    let file = std::fs::OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(16 << 20).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Variables that let the agent's own git work: who commits, and that the directory is ours whoever made it.
pub fn git_environment(task: &Task) -> Vec<(OsString, OsString)> {
    if std::env::var_os("GIT_CONFIG_COUNT").is_some() {
        return Vec::new();
    }
    let name = task.text("git.userName").unwrap_or("agent");
    let email = task.text("git.userEmail").unwrap_or("agent@localhost.invalid");
    let pairs = [("user.name", name), ("user.email", email), ("safe.directory", "*")];
    let mut variables = vec![("GIT_CONFIG_COUNT".into(), pairs.len().to_string().into())];
    for (at, (key, value)) in pairs.into_iter().enumerate() {
        variables.push((format!("GIT_CONFIG_KEY_{at}").into(), OsStr::new(key).to_owned()));
        variables.push((format!("GIT_CONFIG_VALUE_{at}").into(), OsStr::new(value).to_owned()));
    }
    variables
}
