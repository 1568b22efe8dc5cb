//! TLS: the certificate that clients are shown, and the authorities by which other instances'
//! certificates are judged when a request is sent on to them.
//!
//! Either all instances of an application serve TLS, or none: one that does asks others by TLS too.
//! Files are read once, when the server starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::server::HttpError;
use crate::config::TlsFiles;

/// What is spoken inside.
const PROTOCOL: &[u8] = b"http/1.1";

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Takes connections that speak TLS.
///
/// # Errors
/// When the certificate or its key cannot be read, or do not belong together.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, HttpError> {
    let certificates = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unusable(&files.key, error.into()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.certificate, error.into()))?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| unusable(&files.certificate, error.into()))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// How other instances are asked.
#[derive(Clone)]
pub enum Peers {
    /// In the clear.
    Plain,
    /// By TLS, if these authorities vouch for them.
    Tls(TlsConnector),
    /// Not at all: they speak TLS, and nothing says whom to trust.
    Unknown,
}

/// A connection to another instance.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

impl Peers {
    /// As the configuration has it.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn new(files: Option<&TlsFiles>) -> Result<Self, HttpError> {
        let Some(files) = files else { return Ok(Self::Plain) };
        let Some(authorities) = &files.authorities else { return Ok(Self::Unknown) };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities)? {
            roots.add(certificate).map_err(|error| unusable(authorities, error.into()))?;
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(authorities, error.into()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self::Tls(TlsConnector::from(Arc::new(config))))
    }

    /// Connects to another instance, by the `host:port` that it advertises.
    ///
    /// # Errors
    /// When it is not reached, or not trusted.
    pub async fn connect(&self, host: &str) -> Result<Box<dyn Connection>, Cause> {
        let connector = match self {
            Self::Plain => return Ok(Box::new(TcpStream::connect(host).await?)),
            Self::Unknown => {
                return Err(
                    "http.tls.ca is not set here, so its certificate cannot be judged; ask \
                            it yourself"
                        .into(),
                );
            }
            Self::Tls(connector) => connector,
        };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let name = ServerName::try_from(name.to_owned())?;
        Ok(Box::new(connector.connect(name, TcpStream::connect(host).await?).await?))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unusable(path, error.into()))?;
    if certificates.is_empty() {
        return Err(unusable(path, "it holds no certificate in PEM".into()));
    }
    Ok(certificates)
}

fn unusable(path: &Path, cause: Cause) -> HttpError {
    HttpError::Tls { path: PathBuf::from(path), cause }
}
