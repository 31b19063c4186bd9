//! What a connection is doing, and what it has cost.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::Transport;
use crate::net::Meter;

/// What a connection is doing, and what it has cost so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// What it has cost.
    pub cost: Cost,
}

/// What a connection is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// A session or transport is being opened.
    Connecting,
    /// Events come.
    Connected {
        /// On this transport.
        transport: Transport,
    },
    /// Something failed and is tried again.
    Waiting {
        /// When.
        until: Instant,
        /// What failed, for people.
        why: String,
    },
    /// It has ended.
    Ended {
        /// Why, for people.
        why: String,
    },
}

impl State {
    /// The transport in use.
    pub fn transport(&self) -> Option<Transport> {
        match self {
            Self::Connected { transport } => Some(*transport),
            _ => None,
        }
    }
}

/// What went through the sockets of a connection: everything above TCP, TLS included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// HTTP requests, WebSocket handshakes among them.
    pub requests: u64,
    /// Bytes read.
    pub received_bytes: u64,
    /// Bytes written.
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
