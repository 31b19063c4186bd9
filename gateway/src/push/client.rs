//! An HTTP client that posts JSON to one URL.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy;

use crate::https::{Https, HttpsError, client_for};

const AGENT: &str = concat!("pabal/", env!("CARGO_PKG_VERSION"));

/// A client for one URL, with a connection pool. Cloning is cheap; clones share the pool.
#[derive(Clone, Debug)]
pub(super) struct Client {
    https: Https,
    url: Uri,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// Why the client of the webhook cannot be created. Do not retry: correct the setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// `push.webhook_url` is not a URL.
    #[error("push.webhook_url: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// `push.webhook_token` has characters that a header cannot have.
    #[error("push.webhook_token: {0}")]
    Token(#[from] http::header::InvalidHeaderValue),
    /// The HTTP client cannot be created.
    #[error(transparent)]
    Https(#[from] HttpsError),
}

/// Why a post got no response. A retry may succeed; the post may have arrived.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("no response in time")]
    Timeout,
    #[error("{0}")]
    Connection(#[from] legacy::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
}

impl Client {
    /// A client for `url` that waits up to `timeout` for each response.
    pub(super) fn new(
        url: &str,
        token: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let url: Uri = url.parse()?;
        let authorization = match token {
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let https = client_for(&url)?;
        Ok(Self { https, url, authorization, timeout })
    }

    /// Posts `json` and returns the status and headers. The body of the response is not read.
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
        let response = tokio::time::timeout(self.timeout, self.https.request(request));
        let (head, _) = response.await.map_err(|_| PostError::Timeout)??.into_parts();
        Ok((head.status, head.headers))
    }
}
