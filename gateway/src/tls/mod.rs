//! TLS by rustls: certificate and key from PEM files, read at the start and again on request. Knows
//! nothing of the protocol within.

mod certificate;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use pabal_core::model::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{Accept, TlsAcceptor};

pub use certificate::Validity;

const HTTP2: &[u8] = b"h2";
/// The protocols that a client may choose by ALPN, in order of preference.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

/// The setting that names the file of the certificate.
const CERT: &str = "server.tls_cert";
/// The setting that names the file of the key.
const KEY: &str = "server.tls_key";

/// The certificate of new connections.
#[derive(Debug)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Loaded>,
}

/// What was read last from both files.
#[derive(Clone, Debug)]
struct Loaded {
    server: Arc<ServerConfig>,
    validity: Validity,
}

/// Why a certificate or key cannot be used. Each variant names the setting and the file. A retry helps
/// after the file has been corrected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{setting}: cannot read {path}: {source}")]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file does not hold the expected PEM section.
    #[error("{setting}: {path} holds no {what} in PEM: {source}")]
    NotPem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The kind of section that was expected.
        what: &'static str,
        /// The error of the parser.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate cannot be parsed, or is not for a server.
    #[error("{CERT}: {path} holds a certificate that cannot be read: {why}")]
    NotCertificate {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        why: String,
    },
    /// The private key cannot be parsed, or is of an unsupported kind.
    #[error("{KEY}: {path} holds a private key that cannot be used: {source}")]
    NotKey {
        /// The file.
        path: PathBuf,
        /// The error of rustls.
        source: rustls::Error,
    },
    /// The certificate belongs to another key.
    #[error("{KEY}: {key} is not the key of the certificate in {cert}")]
    AnotherKey {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// TLS cannot be set up with any certificate.
    #[error("TLS cannot be set up: {0}")]
    NoTls(rustls::Error),
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`]. An expired certificate is not an error, because the client decides whether to trust it;
    /// [`complaint`](Self::complaint) reports it.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = RwLock::new(read(cert, key)?);
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// Reads both files again, for new connections.
    ///
    /// # Errors
    /// As [`load`](Self::load); the certificate in use stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = read(&self.cert, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// When the certificate in use and the rest of its chain are valid.
    pub fn validity(&self) -> Validity {
        self.current().validity
    }

    /// A line for the log about a certificate that is expired or not yet valid at `now`.
    pub fn complaint(&self, now: Timestamp) -> Option<String> {
        self.validity().complaint(&self.cert, now)
    }

    fn current(&self) -> Loaded {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins the handshake on a connection.
    pub(super) fn accept<S>(&self, stream: S) -> Accept<S>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.current().server).accept(stream)
    }
}

/// Whether client and server agreed on HTTP/2 by ALPN.
pub(super) fn chose_http2<S>(stream: &tokio_rustls::server::TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

fn read(cert: &Path, key: &Path) -> Result<Loaded, TlsError> {
    let bytes = |setting, path: &Path| {
        let unreadable = |source| TlsError::Unreadable { setting, path: path.to_owned(), source };
        std::fs::read(path).map_err(unreadable)
    };
    let not_pem = |setting, path: &Path, what| {
        let path = path.to_owned();
        move |source| TlsError::NotPem { setting, path, what, source }
    };
    let not_certificate = |why: &dyn ToString| TlsError::NotCertificate {
        path: cert.to_owned(),
        why: why.to_string(),
    };
    let chain = CertificateDer::pem_slice_iter(&bytes(CERT, cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(not_pem(CERT, cert, "certificate"))?;
    if chain.is_empty() {
        let nothing = rustls::pki_types::pem::Error::NoItemsFound;
        return Err(not_pem(CERT, cert, "certificate")(nothing));
    }
    let validity = Validity::of(&chain).map_err(|error| not_certificate(&error))?;
    let secret = PrivateKeyDer::from_pem_slice(&bytes(KEY, key)?).map_err(not_pem(
        KEY,
        key,
        "private key",
    ))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::NoTls)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::AnotherKey { cert: cert.to_owned(), key: key.to_owned() }
            }
            rustls::Error::InvalidCertificate(why) => not_certificate(&why),
            source => TlsError::NotKey { path: key.to_owned(), source },
        })?;
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    // Session tickets spare both sides the signature when a client reconnects. The server stores nothing:
    // the ticket holds what it needs (RFC 8446 section 4.6.1).
    server.ticketer = ring::Ticketer::new().map_err(TlsError::NoTls)?;
    Ok(Loaded { server: Arc::new(server), validity })
}
