//! TLS for https: which certificates are trusted, and the wrapping of a connection.
//!
//! Trusted are, all together: the roots built into the binary (an image may have none), the system's (`SSL_CERT_FILE` and
//! `SSL_CERT_DIR`, or the usual places), and the task's own CA bundle.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter};

use super::error::WorkspaceError;

/// Where distributions keep the bundle of all roots: Debian and Alpine, Fedora and RHEL, openSUSE, Alpine's OpenSSL.
const SYSTEM_BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// Collects the trusted roots. A system file that is missing or broken is passed over; the task's own bundle must be readable.
pub(crate) fn client_config(own: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Arc<ClientConfig>, WorkspaceError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for file in system_files(env) {
        add(&mut roots, &file);
    }
    if let Some(path) = own {
        let io = |source| WorkspaceError::io("cannot read CA bundle", path, source);
        std::fs::File::open(path).map_err(io)?;
        if add(&mut roots, path) == 0 {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "it holds no certificate in PEM form");
            return Err(io(source));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| WorkspaceError::Tls { url: String::new(), said: error.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn system_files(env: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let mut files: Vec<PathBuf> = ["SSL_CERT_FILE", "GIT_SSL_CAINFO"].iter().filter_map(|name| set(name)).map(PathBuf::from).collect();
    for dir in set("SSL_CERT_DIR").map(|dirs| dirs.split(':')).into_iter().flatten() {
        files.extend(std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    if files.is_empty() {
        files.extend(SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()));
    }
    files
}

fn add(roots: &mut RootCertStore, path: &Path) -> usize {
    let Ok(certificates) = CertificateDer::pem_file_iter(path) else { return 0 };
    roots.add_parsable_certificates(certificates.flatten()).0
}

/// Wraps what comes before it in the chain, if the URL is https. What came before may be a tunnel through a proxy that was
/// itself reached by TLS: it is wrapped once more, since the proxy is not the server.
pub(crate) struct TlsConnector {
    pub(crate) config: Arc<ClientConfig>,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ureq::Error::Tls("the host name cannot stand in a certificate"))?;
        let mut connection = ClientConnection::new(self.config.clone(), name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket).map_err(unwrap_rustls)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

/// rustls hides its error in an I/O error; it is the one that says what is wrong with the certificate.
fn unwrap_rustls(error: std::io::Error) -> ureq::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => ureq::Error::Rustls(inner.clone()),
        None => error.into(),
    }
}

/// A connection in TLS.
pub(crate) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        use std::io::Write;
        self.stream.sock.set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(unwrap_rustls)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        use std::io::Read;
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf()).map_err(unwrap_rustls)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
