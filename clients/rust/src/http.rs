//! HTTP requests and their responses. Knows problem documents, but no API call.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;

use crate::error::{Error, Problem};
use crate::meter::Meter;
use crate::net::{Connector, within};
use crate::tls::Tls;
use crate::token::Token;

/// The largest response that is read. A batch has about 1 MiB, a page of 200 messages of 16 KiB about 3 MiB.
const RESPONSE_BYTES_MAX: usize = 32 << 20;
/// Shorter than the server's 75 s, so that a connection is not reused at the moment the server closes it.
const IDLE: Duration = Duration::from_secs(30);
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("pabal-client/", env!("CARGO_PKG_VERSION")));

/// An HTTP client with a pool of connections, which clones share.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
}

/// A request and its time limit.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) token: Option<&'a Token>,
    pub(crate) body: Option<Bytes>,
    /// How long the whole response may take.
    pub(crate) within: Duration,
}

/// Why there is no usable response.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// No connection was established, so the server has not seen the request.
    NoConnection(String),
    /// The connection broke or the response took too long. The server may have acted.
    Cut(String),
    /// The server refused the request.
    Problem(Box<Problem>),
    /// The response is not one of a Pabal server: its status, and what is wrong with it.
    Foreign(u16, String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoConnection(why) | Failure::Cut(why) => Self::Unreachable(why),
            Failure::Problem(problem) => Self::Problem(problem),
            Failure::Foreign(status, detail) => Self::Foreign { status, detail },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Problem(problem) => Self::Problem(problem),
            Error::Foreign { status, detail } => Self::Foreign(status, detail),
            Error::Unreachable(why) => Self::NoConnection(why),
            other => Self::Foreign(0, other.to_string()),
        }
    }
}

impl Http {
    pub(crate) fn new(tls: Option<Tls>) -> Self {
        let connector = Connector::new(tls, Arc::<Meter>::default());
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        Self { client, connector }
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(crate) fn meter(&self) -> &Arc<Meter> {
        self.connector.meter()
    }

    /// Sends a request and waits for the head of the response; the body follows. If the future is dropped,
    /// the connection is closed.
    pub(crate) async fn open(&self, call: Call<'_>) -> Result<Response<Incoming>, Failure> {
        self.meter().requests.fetch_add(1, Ordering::Relaxed);
        let mut request = Request::builder().method(call.method).uri(call.url);
        if let Some(token) = call.token {
            request = request.header(AUTHORIZATION, token.bearer());
        }
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let request = request
            .header(USER_AGENT, AGENT)
            .body(Full::new(call.body.unwrap_or_default()))
            .map_err(|error| Failure::Cut(error.to_string()))?;
        let response = within(call.within, self.client.request(request)).await;
        response.ok_or_else(late)?.map_err(|error| {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            if error.is_connect() { Failure::NoConnection(why) } else { Failure::Cut(why) }
        })
    }

    /// Sends a request and returns the body of the response if its status is a success. A server may close
    /// an idle connection at the moment it is reused; an idempotent request is then repeated once (RFC 9110,
    /// section 9.2.2).
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Bytes, Failure> {
        let limit = call.within;
        let repeat = call.method.is_idempotent().then(|| call.clone());
        let whole = async {
            let response = match (self.open(call).await, repeat) {
                (Err(Failure::Cut(_)), Some(repeat)) => self.open(repeat).await?,
                (opened, _) => opened?,
            };
            let (status, body) = collect(response).await?;
            if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
        };
        within(limit, whole).await.unwrap_or_else(|| Err(late()))
    }
}

/// Reads the body of a response.
pub(crate) async fn collect(response: Response<Incoming>) -> Result<(StatusCode, Bytes), Failure> {
    let status = response.status();
    let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX).collect().await;
    Ok((status, body.map_err(|error| Failure::Cut(error.to_string()))?.to_bytes()))
}

/// The failure that a response with an error status means.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Failure::Problem(Box::new(problem)),
        Err(_) => Failure::Foreign(status.as_u16(), "the body is no problem document".into()),
    }
}

/// Parses the JSON of a response.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Foreign(200, error.to_string()))
}

fn late() -> Failure {
    Failure::Cut("no response in time".into())
}
