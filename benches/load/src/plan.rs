//! Who is there, how they receive, and what is said to them.

use serde::{Deserialize, Serialize};

use crate::error::LoadError;
use crate::wire::STAMP_BYTES;

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
    /// Bytes of content of a message: at least 32, which the oracle's stamp needs, at most 16 KiB.
    pub content_bytes: usize,
    /// The version of HTTP of requests.
    pub http: Http,
    /// What requests carry.
    pub headers: Headers,
}

/// The longest content that a server takes.
const MOST_BYTES: usize = 16 * 1024;
/// As many sessions as a channel's users may have: 10,000 members, one of them the speaker.
const LARGEST_GROUP: usize = 16 * 9_999;

impl Plan {
    /// Whether it can be.
    ///
    /// # Errors
    /// [`LoadError::Plan`], with what to change.
    pub fn check(&self) -> Result<(), LoadError> {
        let wrong = |what: String| Err(LoadError::Plan(what));
        if self.clients == 0 {
            return wrong("there must be at least one client of each transport".into());
        }
        if !(1..=LARGEST_GROUP).contains(&self.group) {
            return wrong(format!("a channel has 1 to {LARGEST_GROUP} listeners"));
        }
        if !(STAMP_BYTES..=MOST_BYTES).contains(&self.content_bytes) {
            return wrong(format!("a message has {STAMP_BYTES} to {MOST_BYTES} bytes"));
        }
        if !self.per_minute.is_finite() || self.per_minute < 0.0 {
            return wrong("the rate must be a number, 0 or more".into());
        }
        if let Transport::ShortPolling { every_ms: 0 } = self.transport {
            return wrong("short polling needs an interval".into());
        }
        Ok(())
    }
}
