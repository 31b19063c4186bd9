//! A workload: the clients of a server, the transport they receive on, and the messages they receive.

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
    /// Bytes of content of a message: at least 32, which the oracle's stamp needs, at most 16 KiB.
    pub content_bytes: usize,
    /// The version of HTTP of requests.
    pub http: Http,
    /// What requests carry.
    pub headers: Headers,
}

/// What a cell is about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The crowd.
    pub plan: Plan,
    /// Whether connections are encrypted (TLS 1.3).
    pub tls: bool,
}

impl Cell {
    /// Its name, which no other cell has: the transport and what differs in it, for people, files and
    /// `--only`.
    pub fn name(&self) -> String {
        let plan = &self.plan;
        let transport = match plan.transport {
            Transport::ShortPolling { every_ms } => format!("poll-{}s", every_ms as f64 / 1e3),
            Transport::LongPolling => "long-poll".to_owned(),
            Transport::Sse => "sse".to_owned(),
            Transport::WebSocket => "websocket".to_owned(),
        };
        let mut name = format!(
            "{transport}/{}-a-minute/{}-clients/{}-bytes/groups-of-{}",
            plan.per_minute, plan.clients, plan.content_bytes, plan.group
        );
        for (differs, word) in [
            (self.tls, "/tls"),
            (plan.http == Http::Two, "/http2"),
            (plan.headers == Headers::Browser, "/browser"),
        ] {
            if differs {
                name.push_str(word);
            }
        }
        name
    }
}
