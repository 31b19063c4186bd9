//! The state of a connection and the traffic it has caused.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::options::Transport;
use crate::meter::Meter;

/// The state of a connection and the traffic it has caused so far. A snapshot; it does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The state of the connection.
    pub state: State,
    /// The traffic since the connection was opened.
    pub cost: Cost,
}

/// The state of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// A session or a transport is being opened.
    Connecting,
    /// Events are delivered as they happen.
    Connected {
        /// The transport that delivers them.
        transport: Transport,
    },
    /// An attempt failed; the next one follows by itself.
    Waiting {
        /// When the next attempt begins, on tokio's clock.
        until: Instant,
        /// What failed, for people. The text may change between versions.
        why: String,
    },
    /// The connection has ended and does not reconnect.
    Ended {
        /// Why, for people. The error itself was yielded by the connection.
        why: String,
    },
}

impl State {
    /// The transport in use; `None` unless the connection is [`Connected`](Self::Connected).
    pub fn transport(&self) -> Option<Transport> {
        match self {
            Self::Connected { transport } => Some(*transport),
            _ => None,
        }
    }
}

/// The traffic of one connection: bytes above TCP, TLS and headers included. Calls of
/// [`Account`](crate::Account) are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// HTTP requests, WebSocket handshakes included.
    pub requests: u64,
    /// Bytes read from sockets.
    pub received_bytes: u64,
    /// Bytes written to sockets.
    pub sent_bytes: u64,
}

impl Cost {
    pub(crate) fn of(meter: &Meter) -> Self {
        Self {
            requests: meter.requests.load(Ordering::Relaxed),
            received_bytes: meter.received_bytes.load(Ordering::Relaxed),
            sent_bytes: meter.sent_bytes.load(Ordering::Relaxed),
        }
    }
}
