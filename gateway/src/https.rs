//! The HTTP client of the node, for requests to other nodes and to the webhook, with or without TLS. It
//! follows no redirects: the operator configures the right URL.

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

/// How long an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// How many bytes of a response are read before they are taken, at most. A head must fit into it.
const READ_BYTES: usize = 64 * 1024;

/// An HTTP client with a pool of connections. Cheap to clone; clones share the pool.
pub(crate) type Https = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why the client cannot be built. A retry will not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// The root certificates of the system cannot be read.
    #[error("root certificates of the system cannot be read: {0}")]
    Certificates(#[from] std::io::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A client for `url`. For a URL without TLS it trusts no certificates, so the system's are not read.
///
/// # Errors
/// [`HttpsError`]. A retry will not help.
pub(crate) fn client_for(url: &Uri) -> Result<Https, HttpsError> {
    let secure = url.scheme() == Some(&http::uri::Scheme::HTTPS);
    // Explicit, because a program that links this crate may set another default for the process.
    let provider = rustls::crypto::ring::default_provider();
    let connector = if secure {
        HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?
    } else {
        let untrusting = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        HttpsConnectorBuilder::new().with_tls_config(untrusting)
    };
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        // By default some 400 KiB of each response are read ahead of the client.
        .http1_max_buf_size(READ_BYTES)
        .build(connector.https_or_http().enable_http1().build()))
}
