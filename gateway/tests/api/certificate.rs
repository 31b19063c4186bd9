//! Certificates for a test, and clients that trust them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate for `localhost` in two files.
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    folder: tempfile::TempDir,
}

impl Certificate {
    /// The files, and a client that trusts the certificate.
    pub(crate) fn new() -> (Self, Trust) {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let certificate = Self { cert, key, folder };
        let trust = certificate.renew();
        (certificate, trust)
    }

    /// Replaces the certificate. A client that trusts the old one does not trust the new one.
    pub(crate) fn renew(&self) -> Trust {
        self.renew_for((2024, 1, 1), (2124, 1, 1))
    }

    /// The same, valid between two days, each a year, a month and a day.
    pub(crate) fn renew_for(&self, from: (i32, u8, u8), until: (i32, u8, u8)) -> Trust {
        let day = |(year, month, day)| rcgen::date_time_ymd(year, month, day);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (day(from), day(until));
        let made = params.self_signed(&key).unwrap();
        std::fs::write(&self.cert, made.pem()).unwrap();
        std::fs::write(&self.key, key.serialize_pem()).unwrap();
        Trust(made.der().clone())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Trusts one certificate.
pub(crate) struct Trust(CertificateDer<'static>);

impl Trust {
    /// Connects and shakes hands.
    pub(crate) async fn connect(
        &self,
        address: &str,
        protocols: &[&[u8]],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}
