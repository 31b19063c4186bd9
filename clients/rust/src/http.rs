//! Requests and answers. Knows problems, and nothing of what is asked.

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
use crate::net::{Connector, Meter, within};
use crate::tls::Tls;
use crate::token::Token;

/// The largest answer: a batch has about 1 MiB, a page of 200 messages of 16 KiB three.
const MOST_BYTES: usize = 32 << 20;
/// Below the server's 75 s, so that a connection is not used the moment it is closed.
const IDLE: Duration = Duration::from_secs(30);
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("pabal-client/", env!("CARGO_PKG_VERSION")));

/// Connections to servers. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) token: Option<&'a Token>,
    pub(crate) body: Option<Bytes>,
    /// How long the whole answer may take.
    pub(crate) within: Duration,
}

/// Why there is no answer to work with.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// No connection could be made: nothing was asked.
    NoConnection(String),
    /// The connection broke, or the answer took too long.
    Cut(String),
    /// The server refused.
    Problem(Box<Problem>),
    /// Somebody answered who is not Pabal.
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

    /// Asks, and waits for the head of the answer; the body is still to come. Ends the connection if
    /// it is dropped before.
    pub(crate) async fn open(&self, ask: Ask<'_>) -> Result<Response<Incoming>, Failure> {
        self.meter().requests.fetch_add(1, Ordering::Relaxed);
        let mut request = Request::builder().method(ask.method).uri(ask.url);
        if let Some(token) = ask.token {
            request = request.header(AUTHORIZATION, token.bearer());
        }
        if ask.body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let request = request
            .header(USER_AGENT, AGENT)
            .body(Full::new(ask.body.unwrap_or_default()))
            .map_err(|error| Failure::Cut(error.to_string()))?;
        let answer = within(ask.within, self.client.request(request)).await;
        answer.ok_or_else(late)?.map_err(|error| {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            if error.is_connect() { Failure::NoConnection(why) } else { Failure::Cut(why) }
        })
    }

    /// Asks for a whole answer: its body, if the status is a good one. A server may close a connection
    /// that was kept at the moment it is used again; what is idempotent is then asked once more (RFC
    /// 9110 section 9.2.2).
    pub(crate) async fn call(&self, ask: Ask<'_>) -> Result<Bytes, Failure> {
        let limit = ask.within;
        let again = ask.method.is_idempotent().then(|| ask.clone());
        let whole = async {
            let response = match (self.open(ask).await, again) {
                (Err(Failure::Cut(_)), Some(again)) => self.open(again).await?,
                (opened, _) => opened?,
            };
            let (status, body) = collect(response).await?;
            if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
        };
        within(limit, whole).await.unwrap_or_else(|| Err(late()))
    }
}

/// The rest of an answer.
pub(crate) async fn collect(response: Response<Incoming>) -> Result<(StatusCode, Bytes), Failure> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    Ok((status, body.map_err(|error| Failure::Cut(error.to_string()))?.to_bytes()))
}

/// What an answer with a bad status says.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Failure::Problem(Box::new(problem)),
        Err(_) => Failure::Foreign(status.as_u16(), "no problem document".into()),
    }
}

/// Reads the JSON of an answer.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Foreign(200, error.to_string()))
}

fn late() -> Failure {
    Failure::Cut("no answer in time".into())
}
