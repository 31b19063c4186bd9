//! TLS by rustls, with the system's certificate authorities and those that the caller adds.

#[cfg(feature = "tls")]
mod enabled {
    use std::io;
    use std::sync::Arc;

    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

    use crate::error::Error;
    use crate::meter::Counted;

    pub(crate) type TlsStream = tokio_rustls::client::TlsStream<Counted>;

    /// The trusted authorities and the parameters of a handshake.
    #[derive(Clone)]
    pub(crate) struct Tls(TlsConnector);

    impl std::fmt::Debug for Tls {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Tls")
        }
    }

    impl Tls {
        /// Trusts the system's certificate authorities and those in `added`, each of them PEM text.
        pub(crate) fn new(added: &[Vec<u8>]) -> Result<Self, Error> {
            let wrong = |what: &dyn std::fmt::Display| Error::Configuration(format!("TLS: {what}"));
            let mut roots = RootCertStore::empty();
            // A certificate of the system's store that cannot be read is not trusted.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            for pem in added {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| wrong(&error))?;
                    roots.add(certificate).map_err(|error| wrong(&error))?;
                }
            }
            let config =
                ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
                    .with_safe_default_protocol_versions()
                    .map_err(|error| wrong(&error))?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
            Ok(Self(TlsConnector::from(Arc::new(config))))
        }

        pub(crate) async fn connect(&self, host: &str, stream: Counted) -> io::Result<TlsStream> {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            self.0.connect(name, stream).await
        }
    }
}

#[cfg(not(feature = "tls"))]
mod disabled {
    use crate::error::Error;

    /// Has no value: the feature `tls` is off.
    #[derive(Clone, Debug)]
    pub(crate) enum Tls {}

    impl Tls {
        pub(crate) fn new(_: &[Vec<u8>]) -> Result<Self, Error> {
            Err(Error::Configuration("an https URL needs the feature `tls` of pabal-client".into()))
        }
    }
}

#[cfg(not(feature = "tls"))]
pub(crate) use disabled::Tls;
#[cfg(feature = "tls")]
pub(crate) use enabled::{Tls, TlsStream};
