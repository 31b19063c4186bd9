//! How a connection is configured.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::backoff::Backoff;
use crate::error::Error;
use crate::model::Cursors;
use crate::token::Token;

/// How events travel from the server to the client. Every transport delivers the same events; they differ
/// in latency and cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One connection both ways (RFC 6455): the lowest latency, and the lowest cost under load.
    WebSocket,
    /// A stream of server-sent events (WHATWG HTML, section 9.2). Commands are sent by requests.
    Sse,
    /// A request to which the server responds as soon as there is an event.
    LongPolling,
    /// A request every [`Options::poll_interval`]. Works through every proxy.
    ShortPolling,
}

impl Transport {
    /// Every transport, the best first: the order in which [`Policy::Auto`] tries them.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Sse, Self::LongPolling, Self::ShortPolling];
}

/// Which transports a connection may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The best one that works: WebSocket, else SSE, else long polling, else short polling. While a worse
    /// one is in use, the better ones are tried again from time to time; see [`Fallback`].
    #[default]
    Auto,
    /// This one only, even if it does not work.
    Only(Transport),
}

/// How to connect. The defaults suit a device of one user.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which transports to use; [`Policy::Auto`] by default.
    pub transports: Policy,
    /// What the device already holds: the value of
    /// [`Connection::cursors`](crate::Connection::cursors) of an earlier connection. Messages after these
    /// cursors are yielded first. A channel that is not in the map is new to the device and is yielded
    /// from its beginning. `None`, the default, begins with the messages sent from now on.
    pub cursors: Option<Cursors>,
    /// How many events may wait for the caller; 256 by default, at least 1. Beyond it the connection reads
    /// no more until the caller takes events.
    pub events: usize,
    /// How many sends may wait for their confirmation; 256 by default. Beyond it a send fails with
    /// [`Error::TooManySends`](crate::Error::TooManySends).
    pub sends: usize,
    /// For how long a send is repeated before it fails with
    /// [`Error::NotConfirmed`](crate::Error::NotConfirmed); 60 s by default.
    pub send_deadline: Duration,
    /// The time between two requests of short polling; 1 s by default. The server's minimum interval
    /// applies if it is longer.
    pub poll_interval: Duration,
    /// Where the connection gets another token when its token has ended; `None`, the default: it ends with
    /// `unauthenticated` then.
    pub renewal: Option<Renewal>,
    /// How long to wait before another attempt.
    pub backoff: Backoff,
    /// When to change to another transport.
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
            renewal: None,
            backoff: Backoff::default(),
            fallback: Fallback::default(),
        }
    }
}

/// Returns another token for a device whose token has ended, such as one of
/// [`Client::log_in_again`](crate::Client::log_in_again) that was fetched before the end. It is asked once
/// each time the server refuses the token. With a token of the same device the connection continues its
/// session; with one of another device it opens a session at its cursors. No message is lost either way.
///
/// An error that a retry cannot mend, such as that of a user who does not log in, ends the connection.
#[derive(Clone)]
pub struct Renewal(Arc<dyn Fn() -> BoxFuture<'static, Result<Token, Error>> + Send + Sync>);

impl Renewal {
    /// Asks `renew`.
    pub fn new<F>(renew: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Token, Error>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(renew())))
    }

    pub(crate) async fn renew(&self) -> Result<Token, Error> {
        (self.0)().await
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewal(…)")
    }
}

/// When [`Policy::Auto`] changes to a worse transport, and when it tries a better one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// How long the handshake of a transport or the first byte of its stream may take; 5 s by default.
    pub establish_within: Duration,
    /// After how many failures in a row the next transport is used; 2 by default. This counts timeouts and
    /// broken connections. A refusal, such as a proxy that does not support WebSocket, changes the
    /// transport at once; a missing network never does.
    pub failures: u32,
    /// A transport that breaks before this time has passed and before it delivered an event counts as
    /// failed; 5 s by default.
    pub settle_after: Duration,
    /// When a better transport is tried again for the first time; 10 s by default. The time doubles with
    /// each attempt.
    pub first_probe: Duration,
    /// The longest time between two such attempts; 300 s by default.
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
