//! One device's way of reading its session at a moment: a transport, and the connection it holds.

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
use crate::http::{Answer, NoAnswer};

/// A transport of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Answered at once.
    ShortPolling,
    /// Answered when there is something.
    LongPolling,
    /// One connection, both ways.
    WebSocket,
    /// One answer that goes on.
    Sse,
}

impl Transport {
    /// All of them, in the order in which a switching client goes round.
    pub const ALL: [Self; 4] = [Self::ShortPolling, Self::LongPolling, Self::WebSocket, Self::Sse];

    /// The one after this one.
    #[must_use]
    pub fn following(self) -> Self {
        let at = Self::ALL.iter().position(|it| *it == self).unwrap_or_default();
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// Some events as a transport delivered them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The events, in order.
    pub events: Vec<Value>,
    /// The position behind the last of them.
    pub next: Id,
    /// Whether the server said that its deadline passed.
    pub timeout: bool,
}

impl Batch {
    /// Reads the document of the contract.
    pub fn of(document: &Value) -> Self {
        let events = document["events"].as_array();
        Self {
            events: events.unwrap_or_else(|| panic!("not a batch: {document}")).clone(),
            next: id(&document["next"]),
            timeout: document.get("timeout").is_some_and(|it| *it == Value::Bool(true)),
        }
    }

    /// No events: the position stays.
    pub fn empty(after: Id) -> Self {
        Self { events: Vec::new(), next: after, timeout: false }
    }
}

/// Why a line gives no more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Break {
    /// The connection is gone; the session may live.
    #[error(transparent)]
    Connection(#[from] NoAnswer),
    /// The server answered with a problem.
    #[error("answered {} {}", .0.status, .0.json)]
    Refused(Box<Answer>),
    /// The server closed a stream with a code, perhaps after an error frame.
    #[error("closed with {code}, having said {said:?}")]
    Closed {
        /// The close code.
        code: u16,
        /// What the last error frame said.
        said: Option<Value>,
    },
}

impl Break {
    /// A stream that ended without a word.
    pub(crate) fn silent(why: impl ToString) -> Self {
        Self::Connection(NoAnswer::Connection(why.to_string()))
    }

    /// The session is no more: open a new one.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Connection(_) => false,
            Self::Refused(answer) => answer.code() == "session_gone",
            Self::Closed { code, .. } => matches!(code, 4404 | 1012),
        }
    }

    /// The token is no more: log in.
    pub fn is_unauthenticated(&self) -> bool {
        match self {
            Self::Connection(_) => false,
            Self::Refused(answer) => answer.code() == "unauthenticated",
            Self::Closed { code, .. } => *code == 4401,
        }
    }

    /// Another connection of the same session has taken over.
    pub fn is_replaced(&self) -> bool {
        matches!(self, Self::Closed { code: 4409, .. })
    }

    /// Where to connect instead, if the session lives on another node.
    pub fn elsewhere(&self) -> Option<SocketAddr> {
        let Self::Refused(answer) = self else { return None };
        if answer.code() != "wrong_node" {
            return None;
        }
        let url = answer.json["url"].as_str().and_then(|url| url.strip_prefix("ws://"));
        let authority = url.and_then(|url| url.split('/').next());
        let address = authority.and_then(|authority| authority.parse().ok());
        Some(address.unwrap_or_else(|| panic!("no address to go to: {}", answer.json)))
    }

    /// The same may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Refused(answer) => matches!(answer.status.as_u16(), 429 | 503),
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
    /// Begins to read `session` behind `after`.
    ///
    /// # Errors
    /// [`Break`]. A polling line meets its first error on its first read.
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

    /// The next events behind `after`, or an empty batch if none came within `wait`. `after` has to
    /// be where the last batch ended. Cancel-safe.
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
