//! How to connect.

use std::time::Duration;

use super::Backoff;
use crate::model::Cursors;

/// A way for events to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One connection both ways (RFC 6455): the quickest, and the cheapest under load.
    WebSocket,
    /// A stream of server-sent events (WHATWG HTML, section 9.2); commands go by requests.
    Sse,
    /// A request that is answered as soon as there is something.
    LongPolling,
    /// A request now and then. Gets through everything.
    ShortPolling,
}

impl Transport {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Sse, Self::LongPolling, Self::ShortPolling];
}

/// Which transports to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The best that gets through: WebSocket, else SSE, else long polling, else short polling. While
    /// on a worse one, the better ones are tried again now and then.
    #[default]
    Auto,
    /// This one, come what may.
    Only(Transport),
}

/// How to connect. The defaults suit a person's device.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which transports to use.
    pub transports: Policy,
    /// What the device holds, from [`Connection::cursors`](crate::Connection::cursors) of an earlier
    /// time: everything beyond comes first, and channels that are not named are new to the device and
    /// come from their beginning. `None` starts at now.
    pub cursors: Option<Cursors>,
    /// As many events as wait for the caller; beyond it nothing is read until they are taken.
    pub events: usize,
    /// As many sends as wait for their confirmation; beyond it they fail with
    /// [`Error::TooManySends`](crate::Error::TooManySends).
    pub sends: usize,
    /// For how long a send is repeated.
    pub send_deadline: Duration,
    /// How often to ask, on short polling. Never more often than the server wants.
    pub poll_interval: Duration,
    /// How long to wait before trying again.
    pub backoff: Backoff,
    /// When to go to another transport.
    pub fallback: Fallback,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transports: Policy::Auto,
            cursors: None,
            events: 256,
            sends: 256,
            send_deadline: Duration::from_secs(60),
            poll_interval: Duration::from_secs(1),
            backoff: Backoff::default(),
            fallback: Fallback::default(),
        }
    }
}

/// When to go to a worse transport, and when to try a better one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// How long a transport may take to stand: the handshake, the first byte of a stream.
    pub establish_within: Duration,
    /// As many failures in a row of one transport, without a word of who refused it, make for the
    /// next. A refusal makes for it at once; that there is no network counts for nothing.
    pub failures: u32,
    /// A transport that breaks before this much time has failed as well.
    pub settle_after: Duration,
    /// After how long a better transport is tried again, the first time; doubles from time to time.
    pub first_probe: Duration,
    /// The longest time between such tries.
    pub longest_probe: Duration,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            establish_within: Duration::from_secs(5),
            failures: 2,
            settle_after: Duration::from_secs(5),
            first_probe: Duration::from_secs(10),
            longest_probe: Duration::from_secs(300),
        }
    }
}
