//! Smart HTTP: the requests beneath gix's git protocol, with TLS roots, proxy, redirects and credentials as this project wants them.
//!
//! Credentials are sent only after the server asked for them (401), and only to the repository's own `scheme://host:port`. A
//! redirect is followed for the first request only, never from https to http, and takes no credentials to another place.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use gix_transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use ureq::Agent;
use ureq::http::Request;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector};

use super::connect::Trace;
use super::credential::{self, is_same_origin};
use super::error::{WorkspaceError, describe};
use super::exchange::{Exchange, Headers, PostBody, ResponseBody};
use super::proxy::find_proxy;
use super::tcp::TcpConnector;
use super::tls::TlsConnector;
use super::url::{RepoUrl, encode, without_userinfo, without_what_may_be_a_password};
use super::wire::{Cancel, Stopped};

/// As curl, so as git.
const MAX_REDIRECTS: u32 = 20;

/// How much of an error page is quoted.
const MAX_QUOTE: usize = 200;

/// Name look-up has no flag to stop it; this is what resolv.conf's defaults add up to for one server.
const RESOLVE: Duration = Duration::from_secs(10);

/// Where credentials come from, and for which place they are.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) origin: String,
    pub(crate) source: CredentialSource,
}

/// Where credentials come from.
#[derive(Clone)]
pub(crate) enum CredentialSource {
    /// Nowhere.
    None,
    /// The token file, read at each use.
    TokenFile { path: PathBuf, username: String },
    /// The URL that the task gave.
    Url { username: String, password: String },
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::TokenFile { .. } => "TokenFile",
            Self::Url { .. } => "Url",
        })
    }
}

impl Credentials {
    /// The value of an `Authorization` header, if there are credentials for this URL.
    fn header(&self, url: &str) -> Result<Option<String>, WorkspaceError> {
        let Some(origin) = origin_of(url) else { return Ok(None) };
        if !is_same_origin(&origin, &self.origin) {
            return Ok(None);
        }
        let (username, password) = match &self.source {
            CredentialSource::None => return Ok(None),
            CredentialSource::TokenFile { path, username } => (username, credential::read_token(path)?),
            CredentialSource::Url { username, password } => (username, password.clone()),
        };
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        Ok(Some(format!("Basic {pair}")))
    }
}

fn origin_of(url: &str) -> Option<String> {
    RepoUrl::parse(url).ok()?.origin()
}

/// A client for one place, by the proxy that is for it. It follows no redirect by itself.
pub(super) fn agent(
    url: &RepoUrl,
    tls: Arc<rustls::ClientConfig>,
    env: &BTreeMap<String, String>,
    cancel: &Cancel,
    user_agent: &str,
) -> Result<Agent, WorkspaceError> {
    let scheme = if url.as_str().starts_with("https") { "https" } else { "http" };
    let proxy = find_proxy(scheme, url.host(), url.port(), env)
        .map(|proxy| {
            ureq::Proxy::new(&proxy).map_err(|error| WorkspaceError::InvalidUrl {
                url: without_what_may_be_a_password(&proxy),
                problem: format!("the proxy cannot be used: {error}"),
            })
        })
        .transpose()?;
    let config = ureq::config::Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(RESOLVE))
        .user_agent(user_agent)
        // Packs come in megabytes; small reads would cost more than the copying.
        .input_buffer_size(256 * 1024)
        .proxy(proxy)
        .build();
    let connector =
        ().chain(ConnectProxyConnector::default()).chain(TcpConnector { cancel: cancel.clone() }).chain(TlsConnector { config: tls });
    Ok(Agent::with_parts(config, connector, DefaultResolver::default()))
}

/// Where a redirect leads; `asked` is how the URL stands in messages.
pub(super) fn redirect_target(asked: &str, from: &str, location: &str) -> Result<String, WorkspaceError> {
    let wrong = |problem: &str| WorkspaceError::Fetch { url: asked.to_owned(), said: format!("redirected {problem}") };
    let origin = origin_of(from).ok_or_else(|| wrong("from nowhere"))?;
    let to = if location.starts_with('/') && !location.starts_with("//") { format!("{origin}{location}") } else { location.to_owned() };
    let is_https = |url: &str| url.starts_with("https://");
    if origin_of(&to).is_none() || (is_https(from) && !is_https(&to)) {
        return Err(wrong(&format!("to `{}`, which is not https", without_userinfo(&to))));
    }
    // What the user did not write must not log in anywhere.
    Ok(without_userinfo(&to))
}

/// What it means that no answer came.
pub(super) fn failure(url: &str, error: ureq::Error) -> WorkspaceError {
    let url = url.to_owned();
    match error {
        ureq::Error::Rustls(error) => WorkspaceError::Tls { url, said: error.to_string() },
        ureq::Error::Tls(said) => WorkspaceError::Tls { url, said: said.to_owned() },
        ureq::Error::HostNotFound => WorkspaceError::Network { url, said: "the host name cannot be resolved".to_owned() },
        ureq::Error::ConnectProxyFailed(said) => WorkspaceError::Network { url, said: format!("the proxy refused: {said}") },
        ureq::Error::Io(error) => from_io(&url, &error),
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => WorkspaceError::Network { url, said: error.to_string() },
        other => WorkspaceError::Fetch { url, said: other.to_string() },
    }
}

/// The client of one repository.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    credentials: Credentials,
    url: String,
    trace: Trace,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The server asked for credentials: from now on they are sent unasked, to spare a round trip each.
    challenged: bool,
    redirected: Option<String>,
}

impl Client {
    pub(crate) fn new(
        url: &RepoUrl,
        credentials: Credentials,
        tls: Arc<rustls::ClientConfig>,
        env: &BTreeMap<String, String>,
        cancel: &Cancel,
        trace: Trace,
    ) -> Result<Self, WorkspaceError> {
        let agent = agent(url, tls, env, cancel, concat!("git/agent-runner-", env!("CARGO_PKG_VERSION")))?;
        Ok(Self { agent, credentials, url: url.as_str().to_owned(), trace, state: Arc::default() })
    }

    /// Sends one request and follows what may be followed. A failure is noted as what it is; gix gets a copy to pass on.
    pub(super) fn send(
        &self,
        url: &str,
        base: &str,
        headers: &[(String, String)],
        body: Option<&[u8]>,
    ) -> io::Result<(Vec<u8>, Box<dyn Read + Send + Sync>)> {
        self.try_send(url, base, headers, body).map_err(|error| {
            let text = error.to_string();
            self.trace.note(error);
            io::Error::other(text)
        })
    }

    fn try_send(
        &self,
        url: &str,
        base: &str,
        headers: &[(String, String)],
        body: Option<&[u8]>,
    ) -> Result<(Vec<u8>, Box<dyn Read + Send + Sync>), WorkspaceError> {
        let tail = url.strip_prefix(base).unwrap_or_default();
        let mut target = url.to_owned();
        let mut redirects = 0;
        loop {
            let challenged = self.state().challenged;
            let authorization = if challenged { self.credentials.header(&target)? } else { None };
            let given = authorization.is_some();
            let response = self.exchange(&target, headers, authorization, body)?;
            let status = response.status().as_u16();
            match status {
                200 => {
                    if redirects > 0 {
                        // gix asks the new place from now on.
                        self.state().redirected = target.strip_suffix(tail).map(str::to_owned);
                    }
                    let mut lines = Vec::new();
                    for (name, value) in response.headers() {
                        lines.extend_from_slice(name.as_str().as_bytes());
                        lines.extend_from_slice(b": ");
                        lines.extend_from_slice(value.as_bytes());
                        lines.push(b'\n');
                    }
                    return Ok((lines, Box::new(response.into_body().into_reader())));
                }
                301 | 302 | 303 | 307 | 308 if body.is_none() && redirects < MAX_REDIRECTS => {
                    target = self.redirect(&target, response.headers().get("location").and_then(|value| value.to_str().ok()), tail)?;
                    redirects += 1;
                }
                401 if !given && self.credentials.header(&target)?.is_some() => self.state().challenged = true,
                _ => return Err(self.refusal(status, given, response)),
            }
        }
    }

    fn redirect(&self, from: &str, location: Option<&str>, tail: &str) -> Result<String, WorkspaceError> {
        let wrong = |problem: &str| WorkspaceError::Fetch { url: self.url.clone(), said: format!("redirected {problem}") };
        let location = location.ok_or_else(|| wrong("to nowhere"))?;
        let to = redirect_target(&self.url, from, location)?;
        if to.strip_suffix(tail).is_none() {
            return Err(wrong(&format!("to `{to}`, which is no git repository (a log-in page?)")));
        }
        Ok(to)
    }

    fn exchange(
        &self,
        url: &str,
        headers: &[(String, String)],
        authorization: Option<String>,
        body: Option<&[u8]>,
    ) -> Result<ureq::http::Response<ureq::Body>, WorkspaceError> {
        let mut request = Request::builder().uri(encode(url));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        let malformed = |error: ureq::http::Error| WorkspaceError::InvalidUrl { url: self.url.clone(), problem: error.to_string() };
        let result = match body {
            Some(body) => self.agent.run(request.method("POST").body(body).map_err(malformed)?),
            None => self.agent.run(request.method("GET").body(()).map_err(malformed)?),
        };
        result.map_err(|error| failure(&self.url, error))
    }

    fn refusal(&self, status: u16, given: bool, response: ureq::http::Response<ureq::Body>) -> WorkspaceError {
        let reason = response.status().canonical_reason().unwrap_or_default().to_owned();
        let plain = response.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
        let mut page = Vec::new();
        if plain {
            // An error page that cannot be read is not quoted; the status says enough.
            let _ = response.into_body().into_reader().take(MAX_QUOTE as u64).read_to_end(&mut page);
        }
        let page = String::from_utf8_lossy(&page).split_whitespace().collect::<Vec<_>>().join(" ");
        let said = format!("HTTP {status} {reason}{}{page}", if page.is_empty() { "" } else { ": " });
        let url = self.url.clone();
        match status {
            401 if !given => WorkspaceError::AuthFailed { url, said: format!("{said} (no credentials were sent)"), given },
            401 | 403 | 407 => WorkspaceError::AuthFailed { url, said, given: given || status != 401 },
            404 | 410 => WorkspaceError::RepositoryNotFound { url, said },
            408 | 429 | 500..=599 => WorkspaceError::ServerBusy { url, said },
            _ => WorkspaceError::Fetch { url, said },
        }
    }

    /// Notes that an answer broke off.
    pub(super) fn note_broken(&self, error: &io::Error) {
        self.trace.note(from_io(&self.url, error));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is two independent values: what a panicking holder left is still good.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a failed read or write means.
pub(crate) fn from_io(url: &str, error: &io::Error) -> WorkspaceError {
    if error.get_ref().is_some_and(|inner| inner.is::<Stopped>()) {
        return WorkspaceError::Cancelled;
    }
    WorkspaceError::Network { url: url.to_owned(), said: describe(error) }
}

impl Http for Client {
    type Headers = Headers;
    type ResponseBody = ResponseBody;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Headers, ResponseBody>> {
        let exchange = Exchange::new(self.clone(), url, base_url, headers, None);
        exchange.send().map_err(gix::Error::from_error)?;
        let (headers, body, _) = exchange.split();
        Ok(GetResponse { headers, body })
    }

    fn post(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Headers, ResponseBody, PostBody>> {
        // What a fetch sends is a list of ids: it is gathered, and sent when the answer is first read.
        let (headers, body, post_body) = Exchange::new(self.clone(), url, base_url, headers, Some(Vec::new())).split();
        Ok(PostResponse { post_body, headers, body })
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.state().redirected.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_their_own_place_only() {
        let source = CredentialSource::Url { username: "u".into(), password: "p".into() };
        let credentials = Credentials { origin: "https://example.org".into(), source };
        assert!(credentials.header("https://example.org/a/info/refs").unwrap().is_some());
        for other in ["http://example.org/a", "https://example.org.evil/a", "https://evil/example.org", "https://example.org:1/a"] {
            assert_eq!(credentials.header(other).unwrap(), None, "{other}");
        }
        assert!(!format!("{credentials:?}").contains('p') || !format!("{credentials:?}").contains("\"p\""));
    }
}
