//! Real git servers on loopback: git daemon, git's http-backend behind a small HTTP(S) server, sshd; and a proxy.
//!
//! Each listens on a port that the kernel chose, and starts the real program for a connection with the socket as its stdin,
//! as inetd did: no port is guessed, nothing is waited for, nothing is left running.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine;

/// Says loudly that a test did not run, and why.
#[macro_export]
macro_rules! skipped {
    ($($why:tt)*) => {{
        // Past libtest's capture, so that it is seen when the test passes.
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "SKIPPED: {}", format_args!($($why)*));
        return;
    }};
}

/// Whether a program is on PATH, or where Debian puts those of root.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/lib/git-core".into()])
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// A listening socket and the thread that serves it; gone when dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Serves each connection in a thread of its own.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, serve) = (stop.clone(), Arc::new(serve));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if flag.load(Ordering::SeqCst) {
                    break;
                }
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept; the thread then sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn stdio(stream: &TcpStream) -> Stdio {
    OwnedFd::from(stream.try_clone().unwrap()).into()
}

/// `git daemon` for everything below a directory.
#[must_use]
pub fn git_daemon(root: &Path) -> Listener {
    let root = root.to_owned();
    Listener::start(move |stream| {
        let mut command = Command::new("git");
        command.args(["daemon", "--inetd", "--export-all", "--log-destination=none", "--informative-errors"]);
        command.arg(format!("--base-path={}", root.display())).arg(&root);
        safe(&mut command);
        let _ = command.stdin(stdio(&stream)).stdout(stdio(&stream)).stderr(Stdio::null()).status();
        let _ = stream.shutdown(Shutdown::Both);
    })
}

/// A server's git reads repositories of whoever runs the tests.
fn safe(command: &mut Command) {
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
}

/// A server that passes on the first bytes of another one's answer to each connection, and then cuts.
#[must_use]
pub fn cutting(target: SocketAddr, bytes: u64) -> Listener {
    Listener::start(move |client| {
        let server = TcpStream::connect(target).unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || io::copy(&mut from_client, &mut to_server));
        let _ = io::copy(&mut server.try_clone().unwrap().take(bytes), &mut client.try_clone().unwrap());
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    })
}

/// A server that accepts and says nothing.
#[must_use]
pub fn silent() -> Listener {
    Listener::start(|stream| {
        let _ = io::copy(&mut &stream, &mut io::sink());
    })
}

/// How the HTTP server behaves beside serving git.
#[derive(Debug, Default)]
pub struct HttpBehaviour {
    /// `user:password` pairs that are let in; none means everybody.
    pub users: Mutex<Vec<String>>,
    /// The status of the next so many answers.
    pub failures: Mutex<Vec<u16>>,
    /// Redirects each GET of a path that begins with the first to the second.
    pub redirect: Mutex<Option<(String, String)>>,
    /// Each request line with its `Authorization`, decoded.
    pub seen: Mutex<Vec<(String, Option<String>)>>,
}

/// git's http-backend behind HTTP or HTTPS.
#[derive(Debug)]
pub struct HttpServer {
    /// What it does, and what it saw.
    pub behaviour: Arc<HttpBehaviour>,
    listener: Listener,
    tls: bool,
}

impl HttpServer {
    /// Serves everything below a directory; with TLS if a configuration is given.
    #[must_use]
    pub fn start(root: &Path, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let behaviour = Arc::new(HttpBehaviour::default());
        let (root, seen, is_tls) = (root.to_owned(), behaviour.clone(), tls.is_some());
        let listener = Listener::start(move |stream| match &tls {
            None => serve_http(&mut BufReader::new(stream), &root, &seen),
            Some(config) => {
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                serve_http(&mut BufReader::new(rustls::StreamOwned::new(connection, stream)), &root, &seen);
            }
        });
        Self { behaviour, listener, tls: is_tls }
    }

    /// The URL of a repository.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/{name}", self.listener.address().port())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Lets only these in.
    pub fn allow(&self, users: &[&str]) {
        *self.behaviour.users.lock().unwrap() = users.iter().map(|user| (*user).to_owned()).collect();
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Vec<(String, Option<String>)> {
        self.behaviour.seen.lock().unwrap().clone()
    }
}

fn serve_http<S: Read + Write>(stream: &mut BufReader<S>, root: &Path, behaviour: &HttpBehaviour) {
    while let Some(request) = read_request(stream) {
        let authorization = request
            .headers
            .get("authorization")
            .and_then(|value| value.strip_prefix("Basic "))
            .map(|value| String::from_utf8_lossy(&base64::engine::general_purpose::STANDARD.decode(value).unwrap()).into_owned());
        behaviour.seen.lock().unwrap().push((format!("{} {}", request.method, request.target), authorization.clone()));
        let answer = respond(&request, authorization.as_deref(), root, behaviour);
        let Ok(()) = stream.get_mut().write_all(&answer).and_then(|()| stream.get_mut().flush()) else { return };
    }
}

pub(crate) struct HttpRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn read_request(stream: &mut impl BufRead) -> Option<HttpRequest> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(HttpRequest { method, target, headers, body })
}

pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

fn respond(request: &HttpRequest, authorization: Option<&str>, root: &Path, behaviour: &HttpBehaviour) -> Vec<u8> {
    if let Some(status) = behaviour.failures.lock().unwrap().pop() {
        return answer(&format!("{status} Trouble"), "Content-Type: text/plain\r\n", b"go away");
    }
    if let Some((from, to)) = &*behaviour.redirect.lock().unwrap()
        && let Some(rest) = request.target.strip_prefix(from.as_str())
    {
        return answer("302 Found", &format!("Location: {to}{rest}\r\n"), b"");
    }
    let users = behaviour.users.lock().unwrap();
    if !users.is_empty() && !authorization.is_some_and(|given| users.iter().any(|user| user == given)) {
        return answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"git\"\r\nContent-Type: text/plain\r\n", b"who are you?");
    }
    drop(users);
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("REQUEST_METHOD", &request.method);
    command.env("PATH_INFO", decode(path)).env("QUERY_STRING", query).env("REMOTE_USER", "somebody").env("REMOTE_ADDR", "127.0.0.1");
    for (header, variable) in
        [("content-type", "CONTENT_TYPE"), ("git-protocol", "GIT_PROTOCOL"), ("content-encoding", "HTTP_CONTENT_ENCODING")]
    {
        if let Some(value) = request.headers.get(header) {
            command.env(variable, value);
        }
    }
    command.env("CONTENT_LENGTH", request.body.len().to_string());
    safe(&mut command);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = request.body.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    let _ = writer.join();
    let _ = child.wait();
    let end = output.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let body = output.get(end + 4..).unwrap_or_default();
    let (mut status, mut headers) = ("200 OK".to_owned(), String::new());
    for line in head.lines() {
        match line.strip_prefix("Status: ") {
            Some(value) => status = value.trim().to_owned(),
            None => headers.push_str(&format!("{}\r\n", line.trim())),
        }
    }
    answer(&status, &headers, body)
}

fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let decoded =
            (byte == b'%').then(|| u8::from_str_radix(&format!("{}{}", char::from(rest.next()?), char::from(rest.next()?)), 16).ok());
        bytes.push(decoded.flatten().unwrap_or(byte));
    }
    String::from_utf8(bytes).unwrap()
}

/// A certificate authority of one test, and a server certificate for 127.0.0.1 by it.
#[derive(Debug)]
pub struct Authority {
    /// The authority's certificate, as a PEM file.
    pub pem: PathBuf,
    /// For [`HttpServer::start`].
    pub server: Arc<rustls::ServerConfig>,
}

impl Authority {
    /// Makes both, with new keys.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let pem = dir.join("ca.pem");
        fs::write(&pem, authority.pem()).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let server_key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&server_key, &issuer).unwrap();
        let server = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], rustls::pki_types::PrivateKeyDer::Pkcs8(server_key.serialize_der().into()))
            .unwrap();
        Self { pem, server: Arc::new(server) }
    }
}

/// sshd with throw-away keys, for whoever runs the tests.
#[derive(Debug)]
pub struct Sshd {
    /// The client's private key.
    pub key: PathBuf,
    /// A known hosts file with the server's key.
    pub known_hosts: PathBuf,
    listener: Listener,
}

impl Sshd {
    /// Starts it; `Err` says what is missing. Without the environment variable that it may be told to accept, git speaks
    /// protocol version 0 through it, as many servers do.
    ///
    /// # Errors
    /// If sshd or ssh-keygen are not installed.
    pub fn start(dir: &Path, protocol_2: bool) -> Result<Self, String> {
        let sshd = program("sshd").ok_or("sshd is not installed (Debian: openssh-server)")?;
        program("ssh").ok_or("ssh is not installed (Debian: openssh-client)")?;
        let dir = dir.join("ssh");
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        for name in ["host", "client"] {
            let status = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(name)).status();
            if !status.is_ok_and(|status| status.success()) {
                return Err("ssh-keygen does not work".to_owned());
            }
        }
        fs::copy(dir.join("client.pub"), dir.join("authorized_keys")).unwrap();
        // Debian makes it when the service starts; without it sshd refuses to separate privileges.
        if nix::unistd::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").map_err(|error| format!("/run/sshd: {error}"))?;
        }
        let config = dir.join("config");
        let text = format!(
            "HostKey {dir}/host\nAuthorizedKeysFile {dir}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\n{accept}PidFile none\nLogLevel QUIET\n",
            dir = dir.display(),
            accept = if protocol_2 { "AcceptEnv GIT_PROTOCOL\n" } else { "" },
        );
        fs::write(&config, text).unwrap();
        let listener = Listener::start(move |stream| {
            let _ = Command::new(&sshd)
                .args(["-i", "-f"])
                .arg(&config)
                .stdin(stdio(&stream))
                .stdout(stdio(&stream))
                .stderr(Stdio::null())
                .status();
            let _ = stream.shutdown(Shutdown::Both);
        });
        let host = fs::read_to_string(dir.join("host.pub")).unwrap();
        let known_hosts = dir.join("known hosts");
        fs::write(&known_hosts, format!("[127.0.0.1]:{} {host}", listener.address().port())).unwrap();
        Ok(Self { key: dir.join("client"), known_hosts, listener })
    }

    /// The URL of a repository at an absolute path.
    #[must_use]
    pub fn url(&self, path: &Path) -> String {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        format!("ssh://{user}@127.0.0.1:{}{}", self.listener.address().port(), path.display())
    }
}

/// A proxy that knows CONNECT, and remembers whom it connected.
#[derive(Debug)]
pub struct Proxy {
    /// `host:port` of each connection.
    pub seen: Arc<Mutex<Vec<String>>>,
    listener: Listener,
}

impl Proxy {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let listener = Listener::start(move |stream| {
            let mut reader = BufReader::new(stream);
            let Some(request) = read_request(&mut reader) else { return };
            log.lock().unwrap().push(request.target.clone());
            let Ok(server) = TcpStream::connect(&request.target) else { return };
            let mut client = reader.into_inner();
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let (mut up_from, mut up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = io::copy(&mut up_from, &mut up_to);
                let _ = up_to.shutdown(Shutdown::Write);
            });
            let _ = io::copy(&mut &server, &mut client);
            let _ = client.shutdown(Shutdown::Both);
        });
        Self { seen, listener }
    }

    /// For `https_proxy`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address())
    }
}

/// A server that refuses so many connections, and then lets all through to another: it resets what it refuses.
#[must_use]
pub fn refusing_first(target: SocketAddr, refusals: usize) -> (Listener, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let listener = Listener::start(move |client| {
        if counter.fetch_add(1, Ordering::SeqCst) < refusals {
            // An unread request makes the close a reset.
            return;
        }
        let server = TcpStream::connect(target).unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &server, &mut &client);
        let _ = client.shutdown(Shutdown::Both);
    });
    (listener, count)
}
