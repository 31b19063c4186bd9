//! Posting JSON to one URL.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy;

use crate::https::{Https, HttpsError, client_for};

const AGENT: &str = concat!("pabal/", env!("CARGO_PKG_VERSION"));

/// Keeps connections to one URL. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    https: Https,
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
    /// No client at all.
    #[error(transparent)]
    Https(#[from] HttpsError),
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
