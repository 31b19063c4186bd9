//! Who is there, how they receive, and what is said to them.

use serde::{Deserialize, Serialize};

/// How a client receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Transport {
    /// Asks at an interval, and is answered at once.
    ShortPolling {
        /// Milliseconds from one request to the next.
        every_ms: u64,
    },
    /// Asks, and is answered when there is something.
    LongPolling,
    /// Reads one answer that never ends.
    Sse,
    /// Holds a WebSocket.
    WebSocket,
}

/// The version of HTTP that requests travel on. A WebSocket needs 1.1, or RFC 8441.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Http {
    /// HTTP/1.1, one connection a client.
    One,
    /// HTTP/2, one connection a client.
    Two,
}

/// What a request says about its client besides what the contract asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Headers {
    /// Nothing.
    Minimal,
    /// What a browser sends: agent, languages, encodings, client hints, origin, fetch metadata.
    Browser,
}

/// A crowd and its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// How each client receives.
    pub transport: Transport,
    /// Sessions, each on connections of its own.
    pub clients: usize,
    /// Sessions that hear the same channel. Each channel has one more user, who speaks.
    pub group: usize,
    /// Messages that each client is to receive in a minute; 0 for silence.
    pub per_minute: f64,
    /// Bytes of content of a message; at least as many as the oracle's stamp needs.
    pub content_bytes: usize,
    /// The version of HTTP of requests.
    pub http: Http,
    /// What requests carry.
    pub headers: Headers,
}
