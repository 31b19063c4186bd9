//! TLS by rustls: certificate and key from PEM files, read at the start and again when asked. Knows
//! nothing of what is spoken inside.

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
/// What a client may choose to speak, the better first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

/// The setting that names the file of the certificate.
const CERT: &str = "server.tls_cert";
/// And that of its key.
const KEY: &str = "server.tls_key";

/// The certificate that new connections are given.
#[derive(Debug)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Loaded>,
}

/// What was read last.
#[derive(Clone, Debug)]
struct Loaded {
    server: Arc<ServerConfig>,
    validity: Validity,
}

/// A certificate or key that cannot be used. Each names the setting and the file that it is about;
/// a retry helps when that has been put right.
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
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{setting}: {path} holds no {what} in PEM: {source}")]
    NotPem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// What the PEM says is a certificate is none, or none for a server.
    #[error("{CERT}: {path} holds a certificate that cannot be read: {why}")]
    NotCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What the PEM says is a private key is none, or none that can sign here.
    #[error("{KEY}: {path} holds a private key that cannot be used: {source}")]
    NotKey {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The certificate is of another key.
    #[error("{KEY}: {key} is not the key of the certificate in {cert}")]
    AnotherKey {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// TLS cannot be set up, whatever the certificate.
    #[error("TLS cannot be set up: {0}")]
    NoTls(rustls::Error),
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`]. A certificate that has expired is none: whether to trust it is the client's
    /// decision. [`complaint`](Self::complaint) tells.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = RwLock::new(read(cert, key)?);
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// Reads both files again, for connections that come from now on.
    ///
    /// # Errors
    /// As [`load`](Self::load); what was in use stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = read(&self.cert, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// When the certificate in use, with those behind it, is valid.
    pub fn validity(&self) -> Validity {
        self.current().validity
    }

    /// A line about a certificate that is not valid `now`: over, or not begun.
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

/// Whether client and server agreed on HTTP/2.
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
    // Clients that come again spare both sides the signature, and the server remembers none of them:
    // what it needs to know is in their ticket.
    server.ticketer = ring::Ticketer::new().map_err(TlsError::NoTls)?;
    Ok(Loaded { server: Arc::new(server), validity })
}
