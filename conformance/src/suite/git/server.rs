//! Requests, credentials, and what is written down: the repository over HTTP on loopback.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};

use super::repository::Repository;
use super::upload_pack::{advertise, answer};
use crate::suite::evidence::GitRequest;
use crate::suite::loopback::LoopbackServer;

/// Where the repository is.
const PATH: &str = "/repo.git";
/// No request of a clone is nearly so long.
const BODY_LIMIT: u64 = 1 << 20;

/// How the server behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Conduct {
    /// It serves everybody.
    #[default]
    Open,
    /// It asks for credentials, and serves whoever has this token as password.
    Token(String),
    /// It takes requests and never answers.
    Silent,
}

/// A running server. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct GitServer {
    requests: Arc<Mutex<Vec<GitRequest>>>,
    server: LoopbackServer,
}

struct Served {
    repository: Repository,
    conduct: Conduct,
    requests: Arc<Mutex<Vec<GitRequest>>>,
}

impl GitServer {
    /// Starts it. It answers from the moment that this returns.
    ///
    /// # Errors
    /// No port, or no thread.
    pub fn start(conduct: Conduct) -> io::Result<Self> {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::new(Served { repository: Repository::default(), conduct, requests: Arc::clone(&requests) });
        let server = LoopbackServer::start("git", move |request| respond(Arc::clone(&served), request))?;
        Ok(Self { requests, server })
    }

    /// The repository's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.server.address())
    }

    /// What was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<GitRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn respond(server: Arc<Served>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let version_2 = header("git-protocol").contains("version=2");
    let gzipped = header("content-encoding") == "gzip";
    let credentials = match &server.conduct {
        Conduct::Token(token) => password(&header("authorization")).map(|password| password == *token),
        Conduct::Open | Conduct::Silent => password(&header("authorization")).map(|_| false),
    };
    let mut seen = GitRequest { request: format!("{} {target}", request.method()), credentials, ..GitRequest::default() };
    let keep = |seen: GitRequest| server.requests.lock().unwrap_or_else(PoisonError::into_inner).push(seen);

    if server.conduct == Conduct::Silent {
        keep(seen);
        return std::future::pending().await;
    }
    let refused = matches!(server.conduct, Conduct::Token(_)) && credentials != Some(true);
    let (status, kind, body) = if refused {
        (StatusCode::UNAUTHORIZED, "text/plain", b"credentials, please\n".to_vec())
    } else if target == format!("{PATH}/info/refs?service=git-upload-pack") {
        (StatusCode::OK, "application/x-git-upload-pack-advertisement", advertise(&server.repository, version_2))
    } else if target == format!("{PATH}/git-upload-pack") {
        let bytes = collect(request.into_body()).await;
        let answer = answer(&server.repository, version_2, &if gzipped { unzipped(&bytes) } else { bytes });
        seen.wants = answer.wants;
        (StatusCode::OK, "application/x-git-upload-pack-result", answer.body)
    } else {
        (StatusCode::NOT_FOUND, "text/plain", b"there is one repository, /repo.git, and it is read-only\n".to_vec())
    };
    seen.status = status.as_u16();
    keep(seen);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static(kind));
    if refused {
        headers.insert("www-authenticate", hyper::header::HeaderValue::from_static("Basic realm=\"conformance\""));
    }
    response
}

/// The password of basic credentials.
fn password(header: &str) -> Option<String> {
    let encoded = header.strip_prefix("Basic ").or_else(|| header.strip_prefix("basic "))?;
    let text = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}

/// A body of a bearable length; what is longer is empty.
async fn collect(body: Incoming) -> Vec<u8> {
    let limit = usize::try_from(BODY_LIMIT).unwrap_or(usize::MAX);
    Limited::new(body, limit).collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default()
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    // What is no gzip is an empty request.
    let _ = GzDecoder::new(bytes).take(BODY_LIMIT).read_to_end(&mut whole);
    whole
}
