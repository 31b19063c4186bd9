//! A line: one transport reading a session. Owns a connection and no state of delivery: a line may
//! be dropped at any moment, and another one goes on from the same position.

mod polling;
mod sse;
mod websocket;

use std::time::Duration;

use super::session::{Mount, Session};
use super::{Fallback, Transport};
use crate::error::Problem;
use crate::event::Batch;
use crate::http::{Failure, Http};
use crate::ids::Seq;
use crate::token::Token;

pub(crate) use websocket::Socket;

/// An open line.
#[derive(Debug)]
pub(crate) enum Line {
    Polling(Box<polling::Polling>),
    Sse(Box<sse::ServerSentEvents>),
    WebSocket(websocket::WebSocket),
}

/// Why a line gives no more, or never did.
#[derive(Clone, Debug)]
pub(crate) enum Broken {
    /// There was no answer to work with.
    Failed(Failure),
    /// The transport does not get through.
    Refused(String),
    /// The server ended it, with a close code and perhaps a word about it.
    Closed(u16, Option<Box<Problem>>),
    /// Events came faster than they were taken. Nothing is lost: read on from the position.
    Lagged,
    /// The caller wants another transport.
    Left,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Broken {
    pub(crate) fn cut(why: impl std::fmt::Display) -> Self {
        Self::Failed(Failure::Cut(why.to_string()))
    }
}

/// Who reads, and how patiently.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) http: Http,
    pub(crate) token: Token,
    pub(crate) fallback: Fallback,
    pub(crate) poll_interval: Duration,
    pub(crate) request_timeout: Duration,
}

impl Line {
    /// Opens a line behind `after`. When this answers, the transport was seen to work.
    pub(crate) async fn open(
        reader: &Reader,
        session: &Session,
        transport: Transport,
        after: Seq,
    ) -> Result<Self, Broken> {
        let mount = session.mount(transport);
        let mount = mount.ok_or_else(|| Broken::Refused("not offered by the server".into()))?;
        match transport {
            Transport::WebSocket => {
                websocket::WebSocket::open(reader, &mount, after).await.map(Self::WebSocket)
            }
            Transport::Sse => {
                let stream = sse::ServerSentEvents::open(reader, &mount, after).await?;
                Ok(Self::Sse(Box::new(stream)))
            }
            Transport::LongPolling => {
                polling::Polling::long(reader, &mount, after).await.map(Box::new).map(Self::Polling)
            }
            Transport::ShortPolling => polling::Polling::short(reader, &mount, after)
                .await
                .map(Box::new)
                .map(Self::Polling),
        }
    }

    /// The next batch, perhaps an empty one. Cancel-safe.
    pub(crate) async fn read(&mut self, after: Seq) -> Result<Batch, Broken> {
        match self {
            Self::Polling(line) => line.read(after).await,
            Self::Sse(line) => line.read().await,
            Self::WebSocket(line) => line.read().await,
        }
    }

    /// The writing side, where there is one.
    pub(crate) fn socket(&self) -> Option<Socket> {
        match self {
            Self::WebSocket(line) => Some(line.socket()),
            _ => None,
        }
    }
}

/// The URL of a mount with a query.
fn with_query(mount: &Mount, query: &str) -> Result<http::Uri, Failure> {
    format!("{}?{query}", mount.url)
        .parse()
        .map_err(|_| Failure::Foreign(200, format!("not a URL: {}", mount.url)))
}

/// What a failure of a single transport means: an answer that is none of Pabal's, where Pabal's was
/// there to be had, comes from somebody between who does not let it through.
fn refused(failure: Failure) -> Broken {
    match failure {
        // Passing trouble of whoever is in front.
        Failure::Foreign(429 | 502 | 503 | 504, _) => Broken::Failed(failure),
        Failure::Foreign(status, detail) => Broken::Refused(format!("status {status}: {detail}")),
        failure => Broken::Failed(failure),
    }
}
