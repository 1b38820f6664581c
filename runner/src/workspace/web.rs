//! One GET of something that is no repository, with the roots, proxies and redirects of the git transport (`http`).

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use ureq::http::Request;

use super::error::WorkspaceError;
use super::http::{agent, failure, from_io, redirect_target};
use super::tls;
use super::url::{RepoUrl, encode};

/// As browsers have it.
const MAX_REDIRECTS: u32 = 20;
const USER_AGENT: &str = concat!("agent-runner/", env!("CARGO_PKG_VERSION"));

/// What is asked for.
#[derive(Debug)]
pub struct Get<'a> {
    /// From where.
    pub url: &'a str,
    /// Headers, for the URL's own place only: they may be credentials.
    pub headers: &'a BTreeMap<String, String>,
    /// For all of it.
    pub timeout: Duration,
    /// Certificates to trust beside the system's.
    pub ca_bundle_file: Option<PathBuf>,
    /// Whether any certificate will do.
    pub insecure: bool,
}

/// What came.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content, of a status that says that this is it.
    pub body: Option<Body>,
}

/// Content that comes in. Whoever passes it on to a file asks it afterwards whether it was the content or the file that failed.
pub struct Body {
    inner: Box<dyn Read>,
    url: String,
    timeout: Duration,
    failed: Option<WorkspaceError>,
}

impl Body {
    /// What kept the content from coming whole.
    #[must_use]
    pub fn failure(&mut self) -> Option<WorkspaceError> {
        self.failed.take()
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(late(from_io(&self.url, error), &self.url, "not all of it came", self.timeout));
            }
        })
    }
}

/// Nobody but the clock asks it to stop.
fn late(error: WorkspaceError, url: &str, what: &str, timeout: Duration) -> WorkspaceError {
    match error {
        WorkspaceError::Cancelled => {
            WorkspaceError::Network { url: url.to_owned(), said: format!("{what} within {} seconds", timeout.as_secs()) }
        }
        other => other,
    }
}

/// Asks. Blocks until the answer's body begins; reading it fails when the time is over.
///
/// # Errors
/// The URL is none, or no answer came.
pub fn get(get: &Get<'_>, env: &BTreeMap<String, String>) -> Result<Answer, WorkspaceError> {
    let tls = if get.insecure { unverified()? } else { tls::client_config(get.ca_bundle_file.as_deref(), env)? };
    let cancel = Arc::new(AtomicBool::new(false));
    let own = parse(get.url)?.origin();
    let mut target = get.url.to_owned();
    {
        let (cancel, timeout) = (Arc::clone(&cancel), get.timeout);
        // Left to the end of the process if the answer was faster.
        std::thread::spawn(move || {
            std::thread::sleep(timeout);
            cancel.store(true, Ordering::Relaxed);
        });
    }
    let in_time = |error: WorkspaceError| late(error, &shown(get.url), "no answer", get.timeout);
    for _ in 0..MAX_REDIRECTS {
        let url = parse(&target)?;
        let agent = agent(&url, Arc::clone(&tls), env, &cancel, USER_AGENT)?;
        let mut request = Request::builder().method("GET").uri(encode(&target));
        if url.origin() == own {
            for (name, value) in get.headers {
                request = request.header(name, value);
            }
        }
        let malformed = |error: ureq::http::Error| WorkspaceError::InvalidUrl { url: shown(&target), problem: error.to_string() };
        let response = agent.run(request.body(()).map_err(malformed)?).map_err(|error| in_time(failure(&shown(&target), error)))?;
        let status = response.status().as_u16();
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        match (status, location) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => target = redirect_target(&shown(get.url), &target, location)?,
            (200..=299, _) => {
                let inner = Box::new(response.into_body().into_reader());
                return Ok(Answer { status, body: Some(Body { inner, url: shown(get.url), timeout: get.timeout, failed: None }) });
            }
            _ => return Ok(Answer { status, body: None }),
        }
    }
    Err(WorkspaceError::Fetch { url: shown(get.url), said: "redirected without end".to_owned() })
}

fn parse(url: &str) -> Result<RepoUrl, WorkspaceError> {
    RepoUrl::parse(url)
}

/// A URL as it may stand in a log: without user, password and query, which may be a credential too.
#[must_use]
pub fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    super::url::without_userinfo(plain)
}

/// Trusts any certificate; that the other side holds its key is still seen to.
fn unverified() -> Result<Arc<rustls::ClientConfig>, WorkspaceError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| WorkspaceError::Tls { url: String::new(), said: error.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
