//! A line: the transport and the connection by which a device reads its session.

mod polling;
mod sse;
mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

pub use polling::Polling;
pub use sse::ServerSentEvents;
pub use websocket::{Handshake, Socket, WebSocket};

use crate::account::{Account, Id, Session, id};
use crate::http::{JsonResponse, NoResponse};

/// A transport of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The server responds at once.
    ShortPolling,
    /// The server responds when there is an event.
    LongPolling,
    /// One connection in both directions.
    WebSocket,
    /// One response that does not end.
    Sse,
}

impl Transport {
    /// Every transport, in the order of a switching client.
    pub const ALL: [Self; 4] = [Self::ShortPolling, Self::LongPolling, Self::WebSocket, Self::Sse];

    /// The next transport in that order.
    #[must_use]
    pub fn following(self) -> Self {
        let at = Self::ALL.iter().position(|it| *it == self).unwrap_or_default();
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// Events as a transport delivered them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The events, in order.
    pub events: Vec<Value>,
    /// The position after the last of them.
    pub next: Id,
    /// Whether the server reported that its deadline has passed.
    pub timeout: bool,
}

impl Batch {
    /// Parses the batch document.
    pub fn of(document: &Value) -> Self {
        let events = document["events"].as_array();
        Self {
            events: events.unwrap_or_else(|| panic!("not a batch: {document}")).clone(),
            next: id(&document["next"]),
            timeout: document.get("timeout").is_some_and(|it| *it == Value::Bool(true)),
        }
    }

    /// A batch without events, at the same position.
    pub fn empty(after: Id) -> Self {
        Self { events: Vec::new(), next: after, timeout: false }
    }
}

/// Why a line has ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Break {
    /// The connection broke; the session may still exist.
    #[error(transparent)]
    Connection(#[from] NoResponse),
    /// The server responded with a problem.
    #[error("refused with {} {}", .0.status, .0.json)]
    Refused(Box<JsonResponse>),
    /// The server closed a stream with a code, perhaps after an error frame.
    #[error("closed with {code}, having said {said:?}")]
    Closed {
        /// The close code.
        code: u16,
        /// The problem of the last error frame.
        said: Option<Value>,
    },
}

impl Break {
    /// A stream that ended without a close code.
    pub(crate) fn silent(why: impl ToString) -> Self {
        Self::Connection(NoResponse::Connection(why.to_string()))
    }

    /// Whether the session has ended, so that a new one must be opened.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Connection(_) => false,
            Self::Refused(response) => response.code() == "session_gone",
            Self::Closed { code, .. } => matches!(code, 4404 | 1012),
        }
    }

    /// Whether the token has ended, so that the user must log in.
    pub fn is_unauthenticated(&self) -> bool {
        match self {
            Self::Connection(_) => false,
            Self::Refused(response) => response.code() == "unauthenticated",
            Self::Closed { code, .. } => *code == 4401,
        }
    }

    /// Whether another connection of the same session has replaced this one.
    pub fn is_replaced(&self) -> bool {
        matches!(self, Self::Closed { code: 4409, .. })
    }

    /// The address to connect to instead, if another node has the session.
    pub fn elsewhere(&self) -> Option<SocketAddr> {
        let Self::Refused(response) = self else { return None };
        if response.code() != "wrong_node" {
            return None;
        }
        let url = response.json["url"].as_str().and_then(|url| url.strip_prefix("ws://"));
        let authority = url.and_then(|url| url.split('/').next());
        let address = authority.and_then(|authority| authority.parse().ok());
        Some(address.unwrap_or_else(|| panic!("no address of another node: {}", response.json)))
    }

    /// Whether a retry may succeed.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Refused(response) => matches!(response.status.as_u16(), 429 | 503),
            Self::Closed { .. } => false,
        }
    }
}

/// A line on any transport.
#[derive(Debug)]
pub enum Line {
    /// Short or long polling.
    Polling(Box<Polling>),
    /// A WebSocket.
    WebSocket(WebSocket),
    /// An event stream.
    Sse(Box<ServerSentEvents>),
}

impl Line {
    /// Begins to read `session` after `after`.
    ///
    /// # Errors
    /// [`Break`]. A polling line returns its first error from its first read.
    pub async fn open(
        transport: Transport,
        account: &Account,
        session: &Session,
        after: Id,
    ) -> Result<Self, Break> {
        Ok(match transport {
            Transport::ShortPolling => Self::Polling(Box::new(Polling::short(account, session))),
            Transport::LongPolling => Self::Polling(Box::new(Polling::long(account, session))),
            Transport::WebSocket => {
                let path = session.path(&format!("/websocket?after={after}"));
                Self::WebSocket(WebSocket::open_where_it_lives(account, &path).await?)
            }
            Transport::Sse => {
                let sse = ServerSentEvents::open(account, session, after, None).await?;
                Self::Sse(Box::new(sse))
            }
        })
    }

    /// The next events after `after`, or an empty batch if there were none within `wait`. `after` must be the
    /// position at which the last batch ended. Cancel-safe.
    ///
    /// # Errors
    /// [`Break`].
    pub async fn read(&mut self, after: Id, wait: Duration) -> Result<Batch, Break> {
        match self {
            Self::Polling(polling) => polling.read(after, wait).await,
            Self::WebSocket(socket) => socket.read(after, wait).await,
            Self::Sse(sse) => sse.read(after, wait).await,
        }
    }

    /// The socket to write to, if this is a WebSocket.
    pub fn socket(&self) -> Option<Socket> {
        match self {
            Self::WebSocket(socket) => Some(socket.socket()),
            _ => None,
        }
    }
}
