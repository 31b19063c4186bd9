//! The HTTP client for what the node itself asks of others, over TLS or not. Redirects are not
//! followed: a third party that moved is the operator's business.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// Keeps connections. Cheap to clone.
pub(crate) type Https = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why no client can be made. A retry will not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// The system's certificates cannot be read.
    #[error("no certificates to check the other side's with: {0}")]
    Certificates(#[from] std::io::Error),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A client for `url`.
pub(crate) fn client_for(url: &Uri) -> Result<Https, HttpsError> {
    let secure = url.scheme() == Some(&http::uri::Scheme::HTTPS);
    // Named, and not the process's default: whoever links this crate may choose another.
    let provider = rustls::crypto::ring::default_provider();
    let connector = if secure {
        HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?
    } else {
        let nobody = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        HttpsConnectorBuilder::new().with_tls_config(nobody)
    };
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector.https_or_http().enable_http1().build()))
}
