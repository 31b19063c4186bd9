//! Posting JSON to one URL, over TLS or not. Redirects are not followed: a third party that moved is
//! the operator's business.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

/// How long a connection is kept for the next post.
const IDLE: Duration = Duration::from_secs(30);
const AGENT: &str = concat!("pabal/", env!("CARGO_PKG_VERSION"));

/// Keeps connections to one URL. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    https: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// Why no client can be made. A retry will not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is none.
    #[error("push.webhook_url: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// The token cannot stand in a header.
    #[error("push.webhook_token: {0}")]
    Token(#[from] http::header::InvalidHeaderValue),
    /// The system's certificates cannot be read.
    #[error("no certificates to check the webhook's with: {0}")]
    Certificates(#[from] std::io::Error),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a post got no answer. A retry may help.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Connection(#[from] legacy::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
}

impl Client {
    /// A client for `url` that waits `timeout` for each answer.
    pub(super) fn new(
        url: &str,
        token: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let url: Uri = url.parse()?;
        let secure = url.scheme() == Some(&http::uri::Scheme::HTTPS);
        let authorization = match token {
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
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
        let https = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector.https_or_http().enable_http1().build());
        Ok(Self { https, url, authorization, timeout })
    }

    /// Posts `json`; the answer's body is not read.
    pub(super) async fn post(&self, json: Bytes) -> Result<(StatusCode, HeaderMap), PostError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, HeaderValue::from_static(AGENT))
            .body(Full::new(json))?;
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let answer = tokio::time::timeout(self.timeout, self.https.request(request));
        let (head, _) = answer.await.map_err(|_| PostError::Timeout)??.into_parts();
        Ok((head.status, head.headers))
    }
}
