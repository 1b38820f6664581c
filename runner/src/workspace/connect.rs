//! A connection to a git server, whatever the transport, ready for gix's fetch.
//!
//! gix's errors tell what it was doing; what went wrong with the peer is noted in a [`Trace`] by whoever saw it.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use agent_sdk::task::GitAccess;
use gix::bstr::BStr;
use gix::protocol::transport::client::blocking_io::{RequestWriter, SetServiceResponse, Transport as GitTransport};
use gix::protocol::transport::client::git::ConnectMode;
use gix::protocol::transport::client::git::blocking_io::Connection;
use gix::protocol::transport::client::{Capabilities, Error as ClientError, MessageKind, TransportWithoutIO, WriteMode};
use gix::protocol::transport::{Protocol, Service};

use super::credential::DEFAULT_USERNAME;
use super::error::WorkspaceError;
use super::http::{Client, CredentialSource, Credentials, from_io};
use super::ssh;
use super::tls;
use super::url::{RepoUrl, Transport};
use super::wire::{Cancel, Watched, connect_tcp};

const GIT_PORT: u16 = 9418;

/// How much of a program's stderr is kept: the last lines say why.
const MAX_SAID: usize = 4096;

/// What went wrong with the peer, seen where it happened. The first thing that went wrong counts; the rest follow from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Option<WorkspaceError>>>);

impl Trace {
    pub(crate) fn note(&self, error: WorkspaceError) {
        self.lock().get_or_insert(error);
    }

    pub(crate) fn take(&self) -> Option<WorkspaceError> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<WorkspaceError>> {
        // One value, replaced whole: a panicking holder cannot have left half of it.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Opens a connection. What fails later is noted in the trace.
pub(crate) fn open(
    url: &RepoUrl,
    access: &GitAccess,
    env: &BTreeMap<String, String>,
    cancel: &Cancel,
    trace: &Trace,
) -> Result<Box<dyn GitTransport + Send>, WorkspaceError> {
    open_plain(url, access, env, cancel, trace).map(|transport| Box::new(OldServers(transport)) as Box<dyn GitTransport + Send>)
}

/// gix repeats each capability of a server of protocol version 0 or 1 in its request. `deepen-relative` there means that the
/// depth counts from where the client's history ends, which for a new clone is nowhere: the server then sends everything.
struct OldServers(Box<dyn GitTransport + Send>);

impl TransportWithoutIO for OldServers {
    fn to_url(&self) -> Cow<'_, BStr> {
        self.0.to_url()
    }

    fn connection_persists_across_multiple_requests(&self) -> bool {
        self.0.connection_persists_across_multiple_requests()
    }

    fn configure(&mut self, config: &dyn Any) -> gix::Result {
        self.0.configure(config)
    }
}

impl GitTransport for OldServers {
    fn handshake<'a>(
        &mut self,
        service: Service,
        extra_parameters: &'a [(&'a str, Option<&'a str>)],
    ) -> Result<SetServiceResponse<'_>, ClientError> {
        let mut response = self.0.handshake(service, extra_parameters)?;
        if response.actual_protocol != Protocol::V2 {
            let mut kept = vec![0];
            for capability in response.capabilities.iter().filter(|capability| capability.name() != "deepen-relative") {
                kept.extend_from_slice(capability.name());
                if let Some(value) = capability.value() {
                    kept.push(b'=');
                    kept.extend_from_slice(value);
                }
                kept.push(b' ');
            }
            kept.pop();
            if let Ok((capabilities, _)) = Capabilities::from_bytes(&kept) {
                response.capabilities = capabilities;
            }
        }
        Ok(response)
    }

    fn request(&mut self, write_mode: WriteMode, on_into_read: MessageKind, trace: bool) -> Result<RequestWriter<'_>, ClientError> {
        self.0.request(write_mode, on_into_read, trace)
    }
}

fn open_plain(
    url: &RepoUrl,
    access: &GitAccess,
    env: &BTreeMap<String, String>,
    cancel: &Cancel,
    trace: &Trace,
) -> Result<Box<dyn GitTransport + Send>, WorkspaceError> {
    match url.transport() {
        Transport::Http => {
            let tls = tls::client_config(access.ca_bundle_file.as_deref(), env)?;
            let client = Client::new(url, credentials(url, access), tls, env, cancel, trace.clone())?;
            let parsed = gix::url::parse(BStr::new(url.as_str()))
                .map_err(|_| WorkspaceError::InvalidUrl { url: url.to_string(), problem: "it cannot be read back".to_owned() })?;
            Ok(Box::new(gix_transport::client::blocking_io::http::Transport::new_http(client, parsed, Protocol::V2, false)))
        }
        Transport::Git => open_daemon(url, cancel, trace),
        Transport::Ssh { user } => {
            let command = ssh::command(url, user.as_deref(), access, env)?;
            open_program(command, "ssh", "a repository by ssh", url, cancel, trace)
        }
        Transport::Local(path) => {
            let mut command = git_command(env);
            command.arg("upload-pack").arg("--").arg(path).env("GIT_PROTOCOL", "version=2");
            allow_owner(&mut command, path);
            open_program(command, "git", "cloning from a path", url, cancel, trace)
        }
    }
}

fn credentials(url: &RepoUrl, access: &GitAccess) -> Credentials {
    let source = match (&access.token_file, url.userinfo()) {
        (Some(path), userinfo) => {
            let from_url = userinfo.map(|(user, _)| user.to_owned());
            let username = access.username.clone().or(from_url).unwrap_or_else(|| DEFAULT_USERNAME.to_owned());
            CredentialSource::TokenFile { path: path.clone(), username }
        }
        (None, Some((username, password))) if !password.is_empty() => {
            CredentialSource::Url { username: username.to_owned(), password: password.to_owned() }
        }
        _ => CredentialSource::None,
    };
    Credentials { origin: url.origin().unwrap_or_default(), source }
}

fn open_daemon(url: &RepoUrl, cancel: &Cancel, trace: &Trace) -> Result<Box<dyn GitTransport + Send>, WorkspaceError> {
    let network = |error: &io::Error| from_io(url.as_str(), error);
    let port = url.port().unwrap_or(GIT_PORT);
    let host = url.host().trim_start_matches('[').trim_end_matches(']');
    let addresses = (host, port).to_socket_addrs().map_err(|error| network(&error))?.collect::<Vec<_>>();
    let writer = connect_tcp(&addresses, cancel).map_err(|error| network(&error))?;
    let reader = writer.try_clone().map_err(|error| network(&error))?;
    let reader = Noting { inner: reader, url: url.to_string(), trace: trace.clone() };
    let host = Some((url.host().to_owned(), url.port()));
    Ok(Box::new(Connection::new(reader, writer, Protocol::V2, url.path(), host, ConnectMode::Daemon, false)))
}

/// A reader that notes what fails.
struct Noting<R> {
    inner: R,
    url: String,
    trace: Trace,
}

impl<R: Read> Read for Noting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| self.trace.note(from_io(&self.url, error)))
    }
}

/// `git`, with an environment in which nothing points to another repository.
pub(crate) fn git_command(env: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new("git");
    // git's own list of what must not pass from one repository to another (`git rev-parse --local-env-vars`), and what could start a
    // program.
    let kept = env.iter().filter(|(name, _)| !name.starts_with("GIT_") || name.as_str() == "GIT_SSL_CAINFO");
    command.env_clear().envs(kept).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// git refuses a repository of another owner. The task named this one, so it, and nothing else, is let through.
fn allow_owner(command: &mut Command, path: &Path) {
    use std::os::unix::fs::MetadataExt;
    let ours = nix::unistd::geteuid().as_raw();
    let foreign = |path: &Path| path.metadata().is_ok_and(|metadata| metadata.uid() != ours);
    if foreign(path) || foreign(&path.join(".git")) {
        set_config(command, &[("safe.directory", path.as_os_str()), ("safe.directory", path.join(".git").as_os_str())]);
    }
}

/// Settings for this command and for each git that it starts, in submodules too. They stand before those of any file, and in no argument.
pub(crate) fn set_config(command: &mut Command, settings: &[(&str, &OsStr)]) {
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (index, (name, value)) in settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{index}"), name).env(format!("GIT_CONFIG_VALUE_{index}"), value);
    }
}

fn open_program(
    mut command: Command,
    program: &str,
    needed_for: &str,
    url: &RepoUrl,
    cancel: &Cancel,
    trace: &Trace,
) -> Result<Box<dyn GitTransport + Send>, WorkspaceError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = super::programs::start(&mut command).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => WorkspaceError::ProgramMissing { program: program.to_owned(), needed_for: needed_for.to_owned() },
        _ => WorkspaceError::Program { program: program.to_owned(), said: source.to_string() },
    })?;
    let path = url.path().to_owned();
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(WorkspaceError::Program { program: program.to_owned(), said: "it has no pipes".to_owned() });
    };
    let reader = Noting { inner: Watched::new(stdout, cancel.clone()), url: url.to_string(), trace: trace.clone() };
    let writer = Watched::new(stdin, cancel.clone());
    let connection = Connection::new(reader, writer, Protocol::V2, path, None::<(String, _)>, ConnectMode::Process, false);
    let said = std::thread::spawn(move || read_tail(stderr));
    Ok(Box::new(ProgramTransport { connection: Some(connection), child, said: Some(said), url: url.clone(), trace: trace.clone() }))
}

fn read_tail(mut stderr: impl Read) -> String {
    let mut tail = Vec::new();
    let mut buffer = [0; 4096];
    // A read error is the end: what came before it is what there is to quote.
    while let Ok(amount @ 1..) = stderr.read(&mut buffer) {
        tail.extend_from_slice(&buffer[..amount]);
        if tail.len() > 2 * MAX_SAID {
            tail.drain(..tail.len() - MAX_SAID);
        }
    }
    String::from_utf8_lossy(&tail).trim().to_owned()
}

type PipeConnection = Connection<Noting<Watched<std::process::ChildStdout>>, Watched<std::process::ChildStdin>>;

/// A git server at the other end of a program's pipes. When it goes, so does the program, and its last words are noted.
struct ProgramTransport {
    connection: Option<PipeConnection>,
    child: Child,
    said: Option<JoinHandle<String>>,
    url: RepoUrl,
    trace: Trace,
}

impl ProgramTransport {
    fn connection(&mut self) -> Result<&mut PipeConnection, ClientError> {
        self.connection.as_mut().ok_or(ClientError::MissingHandshake)
    }
}

impl Drop for ProgramTransport {
    fn drop(&mut self) {
        // Closed pipes end it by itself; a program that stays nevertheless must not be waited for.
        drop(self.connection.take());
        let ended = super::programs::wait_briefly(&mut self.child);
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        if ended.is_none_or(|status| !status.success()) && !said.is_empty() {
            self.trace.note(ssh::explain(&self.url, &said));
        }
    }
}

impl TransportWithoutIO for ProgramTransport {
    fn to_url(&self) -> Cow<'_, BStr> {
        Cow::Borrowed(BStr::new(self.url.as_str()))
    }

    fn connection_persists_across_multiple_requests(&self) -> bool {
        true
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result {
        Ok(())
    }
}

impl GitTransport for ProgramTransport {
    fn handshake<'a>(
        &mut self,
        service: Service,
        extra_parameters: &'a [(&'a str, Option<&'a str>)],
    ) -> Result<SetServiceResponse<'_>, ClientError> {
        self.connection()?.handshake(service, extra_parameters)
    }

    fn request(&mut self, write_mode: WriteMode, on_into_read: MessageKind, trace: bool) -> Result<RequestWriter<'_>, ClientError> {
        self.connection()?.request(write_mode, on_into_read, trace)
    }
}
