//! TLS by rustls: certificate and key from PEM files, read at the start and again when asked. Knows
//! nothing of what is spoken inside.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{Accept, TlsAcceptor};

const HTTP2: &[u8] = b"h2";
/// What a client may choose to speak, the better first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

/// The certificate that new connections are given.
#[derive(Debug)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} holds no {what} in PEM: {source}")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// The two do not make a server.
    #[error("{cert} with {key} cannot be used: {source}")]
    Refused {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`]. A certificate that has expired is none: whether to trust it is the client's
    /// decision.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(read(cert, key)?));
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// Reads both files again, for connections that come from now on.
    ///
    /// # Errors
    /// As [`load`](Self::load); what was in use stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = Arc::new(read(&self.cert, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Begins the handshake on a connection.
    pub(super) fn accept<S>(&self, stream: S) -> Accept<S>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(current).accept(stream)
    }
}

/// Whether client and server agreed on HTTP/2.
pub(super) fn chose_http2<S>(stream: &tokio_rustls::server::TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

fn read(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let bytes = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
    };
    let not_pem = |path: &Path, what| {
        let path = path.to_owned();
        move |source| TlsError::NotPem { path, what, source }
    };
    let chain = CertificateDer::pem_slice_iter(&bytes(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(not_pem(cert, "certificate"))?;
    if chain.is_empty() {
        let nothing = rustls::pki_types::pem::Error::NoItemsFound;
        return Err(not_pem(cert, "certificate")(nothing));
    }
    let secret =
        PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(not_pem(key, "private key"))?;
    let refused = |source| TlsError::Refused { cert: cert.to_owned(), key: key.to_owned(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(refused)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    // Clients that come again spare both sides the signature, and the server remembers none of them:
    // what it needs to know is in their ticket.
    config.ticketer = ring::Ticketer::new().map_err(refused)?;
    Ok(config)
}
