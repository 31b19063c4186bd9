//! Plain HTTP: one request, and its response or the reason why there is none.

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

/// How long a response may take by default.
pub const RESPONSE_WITHIN: Duration = Duration::from_secs(30);

/// An HTTP client with its own connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A response of the server, with any status.
#[derive(Clone, Debug)]
pub struct JsonResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as JSON; null if it is not JSON.
    pub json: Value,
}

impl JsonResponse {
    /// The code of a problem; empty for other responses.
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }
}

/// There was no response. The server may have acted on the request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoResponse {
    /// The connection was refused or broke.
    #[error("the connection broke: {0}")]
    Connection(String),
    /// The response took too long.
    #[error("no response within {0:?}")]
    Deadline(Duration),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Its method.
    pub method: Method,
    /// Its path, with the query.
    pub path: &'a str,
    /// The bearer token, if any.
    pub token: Option<&'a str>,
    /// The JSON body, if any.
    pub body: Option<&'a Value>,
    /// An additional header.
    pub header: Option<(HeaderName, String)>,
}

impl<'a> Call<'a> {
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
    /// Sends a request and waits for the whole response, at most `within`.
    ///
    /// # Errors
    /// [`NoResponse`].
    pub async fn call(
        &self,
        at: &Address,
        ask: Call<'_>,
        within: Duration,
    ) -> Result<JsonResponse, NoResponse> {
        let response = async {
            let (parts, body) = self.open(at, ask).await?.into_parts();
            let body = body.collect().await.map_err(|error| broke(&error))?.to_bytes();
            let json = serde_json::from_slice(&body).unwrap_or_default();
            Ok(JsonResponse { status: parts.status, headers: parts.headers, json })
        };
        timeout(within, response).await.unwrap_or(Err(NoResponse::Deadline(within)))
    }

    /// Sends a request and waits for the head of the response only.
    ///
    /// # Errors
    /// [`NoResponse`].
    pub async fn open(
        &self,
        at: &Address,
        ask: Call<'_>,
    ) -> Result<Response<Incoming>, NoResponse> {
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

/// The error with its sources, which name the reason.
fn broke(error: &dyn std::error::Error) -> NoResponse {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        text = format!("{text}: {below}");
        source = below.source();
    }
    NoResponse::Connection(text)
}
