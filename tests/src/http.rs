//! Plain HTTP: one request, one answer or the word that none came.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use crate::address::Address;

/// How long an answer may take, unless the caller says.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// An HTTP client with its own connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer of the server, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as JSON; null if it is none.
    pub json: Value,
}

impl Answer {
    /// The stable word of a problem, if it is one.
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }
}

/// No answer came. Whether the request was carried out is unknown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The connection was refused, or broke.
    #[error("the connection broke: {0}")]
    Connection(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
}

/// A request to come.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Its method.
    pub method: Method,
    /// Its path, with the query.
    pub path: &'a str,
    /// The bearer token, if any.
    pub token: Option<&'a str>,
    /// The JSON body, if any.
    pub body: Option<&'a Value>,
    /// One more header.
    pub header: Option<(HeaderName, String)>,
}

impl<'a> Ask<'a> {
    /// A request without token or body.
    pub fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, token: None, body: None, header: None }
    }
}

impl Default for Http {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }
}

impl Http {
    /// Sends a request and waits for the whole answer, at most `within`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn call(
        &self,
        at: &Address,
        ask: Ask<'_>,
        within: Duration,
    ) -> Result<Answer, NoAnswer> {
        let answer = async {
            let (parts, body) = self.open(at, ask).await?.into_parts();
            let body = body.collect().await.map_err(|error| broke(&error))?.to_bytes();
            let json = serde_json::from_slice(&body).unwrap_or_default();
            Ok(Answer { status: parts.status, headers: parts.headers, json })
        };
        timeout(within, answer).await.unwrap_or(Err(NoAnswer::Deadline(within)))
    }

    /// Sends a request and waits for the head of the answer only.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn open(&self, at: &Address, ask: Ask<'_>) -> Result<Response<Incoming>, NoAnswer> {
        let mut request =
            Request::builder().method(ask.method).uri(format!("http://{}{}", at.get(), ask.path));
        if let Some(token) = ask.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some((name, value)) = ask.header {
            request = request.header(name, value);
        }
        let body = match ask.body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Full::from(body.to_string())
            }
            None => Full::default(),
        };
        let request = request.body(body).expect("a request that can be written");
        self.client.request(request).await.map_err(|error| broke(&error))
    }
}

/// The error with what lies below it, which says why.
fn broke(error: &dyn std::error::Error) -> NoAnswer {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        text = format!("{text}: {below}");
        source = below.source();
    }
    NoAnswer::Connection(text)
}
