//! The stage of a scenario: a directory of the host that the container sees, with scripts, files, and places for what is left; and the
//! variables and servers that go with it.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Unfit;
use crate::model::ScriptedModel;
use crate::suite::engine::{Engine, Mount, Start};
use crate::suite::evidence::Ability;
use crate::suite::fake::{self, PROGRAMS, PROMPT, RECORDS, SCRIPTS, STAGE, Script, Step};
use crate::suite::git::{Conduct, GitServer};
use crate::suite::mcp::HttpServer;
use crate::suite::stream::{Saying, Stream};
use crate::suite::subject::Subject;

/// The variables by which the known agents get their key; each holds the key canary.
const KEY_VARIABLES: [&str; 3] = ["ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY"];
/// A variable that no document gives a meaning to, and its value.
pub const FOREIGN: (&str, &str) = ("CONFORMANCE_FOREIGN", "as it \"is\", $HOME included");
/// What canaries are called.
pub const KEY: &str = "api-key";
/// See [`KEY`].
pub const TOKEN: &str = "git-token";
/// What the agent is asked where a scenario is not about that.
const ASKED: &str = "Please do what the conformance suite asks.";

/// Directory of the workspace, relative to the stage.
pub const WORK: &str = "work";
/// Directory of results.
pub const RESULTS: &str = "results";
/// The result file.
pub const RESULT_FILE: &str = "out/result.json";
/// The events file.
pub const EVENTS_FILE: &str = "out/events.jsonl";
/// The termination message, on the host. In a container it stands at the default place.
pub const TERMINATION: &str = "termination";
/// A file that only a followed link leads to, and what is in it.
pub const VICTIM: &str = "victim";
/// See [`VICTIM`].
pub const UNTOUCHED: &[u8] = b"untouched";
/// File with the token.
const TOKEN_FILE: &str = "secrets/token";
/// A home that anybody may write.
const HOME: &str = "home";

/// A stage.
#[derive(Debug)]
pub struct Stage {
    /// The directory on the host.
    pub dir: PathBuf,
    /// How the image is started.
    pub start: Start,
    /// What the suite's programs do in it.
    pub script: Script,
    /// What checks want to know.
    pub known: BTreeMap<String, String>,
    /// The stream that the agent speaks.
    pub stream: Stream,
    /// The git server, if there is one.
    pub git: Option<GitServer>,
    /// The model server, if there is one.
    pub model: Option<ScriptedModel>,
    /// The MCP server over HTTP, if there is one.
    pub mcp: Option<HttpServer>,
    /// Texts that are looked for in the model's requests, by name.
    pub sentinels: BTreeMap<String, String>,
    /// The image.
    pub subject: Subject,
    /// Where the container sees the directory.
    seen_at: PathBuf,
    isolated: bool,
    canaries: BTreeMap<String, String>,
}

impl Stage {
    /// Sets a stage with a task that every image can do: a prompt, a workspace that is an empty directory, every sink.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn new(
        dir: &Path,
        program: &Path,
        engine: &dyn Engine,
        subject: &Subject,
        canaries: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let mount = Mount { host: dir.to_owned(), container: STAGE.into(), read_only: false };
        let seen_at = engine.container_path(&mount);
        let isolated = seen_at != mount.host;
        for name in ["", WORK, RESULTS, "out", "secrets", HOME, PROGRAMS] {
            fs::create_dir_all(dir.join(name))?;
            fs::set_permissions(dir.join(name), Permissions::from_mode(0o777))?;
        }
        for name in [fake::AGENT, fake::SETUP, fake::MCP] {
            // One file under several names; the same file system is not a must.
            let path = dir.join(PROGRAMS).join(name);
            let is_for_all = fs::metadata(program)?.permissions().mode() & 0o005 == 0o005;
            let linked = is_for_all && fs::hard_link(program, &path).is_ok();
            if !linked {
                fs::copy(program, &path)?;
                fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            }
        }
        let mut stage = Self {
            dir: dir.to_owned(),
            start: Start { mounts: vec![mount], stdout: dir.join("stdout"), stderr: dir.join("stderr"), ..Start::default() },
            script: Script { canaries: canaries.values().cloned().collect(), ..Script::default() },
            known: BTreeMap::new(),
            stream: Stream::of(subject.stream()).unwrap_or(Stream::Other),
            git: None,
            model: None,
            mcp: None,
            sentinels: BTreeMap::new(),
            subject: subject.clone(),
            seen_at,
            isolated,
            canaries: canaries.clone(),
        };
        stage.open_file(RECORDS)?;
        stage.prompt(ASKED)?;
        stage.env("AGENT_WORKSPACE_DIR", &stage.path(WORK));
        stage.env("AGENT_RESULTS_DIR", &stage.path(RESULTS));
        stage.env("AGENT_RESULT_FILE", &stage.path(RESULT_FILE));
        stage.env("AGENT_EVENTS_FILE", &stage.path(EVENTS_FILE));
        stage.env("AGENT_GRACE", "4s");
        stage.env(FOREIGN.0, FOREIGN.1);
        let key = stage.canary(KEY);
        KEY_VARIABLES.iter().for_each(|name| stage.env(name, &key));
        stage.termination()?;
        stage.agent_in_place();
        Ok(stage)
    }

    /// Sets a variable.
    pub fn env(&mut self, name: &str, value: &str) {
        self.start.env.insert(name.to_owned(), value.to_owned());
    }

    /// Takes a variable back.
    pub fn unset(&mut self, name: &str) {
        self.start.env.remove(name);
    }

    /// Where the container sees a file of the stage.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.seen_at.join(name).display().to_string()
    }

    /// A canary by what it stands for.
    #[must_use]
    pub fn canary(&self, name: &str) -> String {
        self.canaries.get(name).cloned().unwrap_or_default()
    }

    /// What a check wants to know.
    pub fn know(&mut self, name: &str, value: impl Into<String>) {
        self.known.insert(name.to_owned(), value.into());
    }

    /// Asks this by `AGENT_PROMPT`, and lets the agent look for it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn prompt(&mut self, text: &str) -> io::Result<()> {
        self.env("AGENT_PROMPT", text);
        self.expect_prompt(text)
    }

    /// Lets the agent look for this prompt.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn expect_prompt(&self, text: &str) -> io::Result<()> {
        self.write(PROMPT, text.as_bytes())
    }

    /// Writes a file that anybody may read.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        fs::write(self.dir.join(name), content)?;
        fs::set_permissions(self.dir.join(name), Permissions::from_mode(0o644))
    }

    /// Writes a file in directories that are made.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_below(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let parents = Path::new(name).parent().into_iter().flat_map(Path::ancestors).filter(|path| !path.as_os_str().is_empty());
        for parent in parents.collect::<Vec<_>>().into_iter().rev() {
            let parent = self.dir.join(parent);
            if !parent.is_dir() {
                fs::create_dir(&parent)?;
                // whatever this process' umask is, the image's user is another
                fs::set_permissions(&parent, Permissions::from_mode(0o755))?;
            }
        }
        self.write(name, content)
    }

    /// Looks for a text in the model's requests.
    pub fn look_for(&mut self, name: &str, text: &str) {
        self.sentinels.insert(name.to_owned(), text.to_owned());
    }

    /// Leaves the image's own agent where it is.
    pub fn own_agent(&mut self) {
        let ours = self.dir.join(PROGRAMS).join(fake::AGENT);
        self.start.mounts.retain(|mount| mount.host != ours);
        self.unset("AGENT_PROGRAM");
    }

    /// What the agent does: it looks for its prompt first, always.
    pub fn agent(&mut self, steps: impl IntoIterator<Item = Step>) {
        let steps = [Step::ReadPrompt].into_iter().chain(steps).collect();
        self.script.roles.insert(fake::AGENT.to_owned(), steps);
    }

    /// What the setup command does.
    pub fn setup(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.script.roles.insert(fake::SETUP.to_owned(), steps.into_iter().collect());
    }

    /// An agent that does these things between the beginning and the good end of its stream.
    pub fn agent_that(&mut self, steps: impl IntoIterator<Item = Step>) {
        let begin = [Step::Print(self.stream.begin())].into_iter();
        let end = [Step::Print(self.stream.say("Done.") + &self.stream.end(Saying::Succeeded, true))];
        self.agent(begin.chain(steps).chain(end).collect::<Vec<_>>());
    }

    /// Starts the git server, and names it as the repository to be cloned.
    ///
    /// # Errors
    /// No port.
    pub fn serve(&mut self, conduct: Conduct) -> io::Result<()> {
        let server = GitServer::start(conduct)?;
        self.env("AGENT_REPO", &server.url());
        let dir = self.path("work/repo");
        self.env("AGENT_WORKSPACE_DIR", &dir);
        self.git = Some(server);
        Ok(())
    }

    /// Puts a token into the token file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn token(&mut self, token: &str) -> io::Result<()> {
        self.write(TOKEN_FILE, format!("{token}\n").as_bytes())?;
        let path = self.path(TOKEN_FILE);
        self.env("AGENT_TOKEN_FILE", &path);
        Ok(())
    }

    /// A home that anybody may write, in place of the image's own.
    pub fn own_home(&mut self) {
        let home = self.path(HOME);
        self.env("HOME", &home);
    }

    /// Whether the image's agent has a stream that can end and be cut.
    ///
    /// # Errors
    /// It has not.
    pub fn needs_stream_end(&self) -> Result<(), Unfit> {
        if self.stream.has_end() { Ok(()) } else { Err(Unfit::Inapplicable("its agent's stream has no end of its own".into())) }
    }

    /// Writes what the suite's programs are to do.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&self) -> io::Result<()> {
        self.write(SCRIPTS, &serde_json::to_vec(&self.script).map_err(io::Error::other)?)
    }

    /// What the image lacks to be started with the suite's agent.
    #[must_use]
    pub fn lacking(&self) -> Option<String> {
        (self.isolated && self.subject.label("agent.path").is_none())
            .then(|| format!("the image does not say in the label `{}agent.path` where its agent is", crate::suite::subject::LABEL_PREFIX))
    }

    /// The suite's program where the image has its agent; outside of a container, where the task names it.
    fn agent_in_place(&mut self) {
        let host = self.dir.join(PROGRAMS).join(fake::AGENT);
        if self.isolated {
            if let Some(path) = self.subject.label("agent.path").map(PathBuf::from) {
                self.start.mounts.push(Mount { host, container: path, read_only: true });
            }
        } else {
            self.env("AGENT_PROGRAM", &host.display().to_string());
        }
    }

    /// The file that the kubelet reads: where it always is in a container, else where the task says.
    fn termination(&mut self) -> io::Result<()> {
        let host = self.open_file(TERMINATION)?;
        if self.isolated {
            self.start.mounts.push(Mount { host, container: "/dev/termination-log".into(), read_only: false });
        } else {
            self.env("AGENT_TERMINATION_LOG", &host.display().to_string());
        }
        Ok(())
    }

    /// An empty file that anybody may write.
    fn open_file(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        File::create(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(path)
    }
}

/// Abilities that every scenario needs.
pub const ALWAYS: &[Ability] = &[Ability::Configuration, Ability::Start];
