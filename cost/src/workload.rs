//! A workload: the clients of a server, the transport they receive on, and the messages they receive.

use serde::{Deserialize, Serialize};

/// The transport on which a client receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Transport {
    /// Short polling: a request at an interval, with an immediate response.
    ShortPolling {
        /// Milliseconds from one request to the next.
        every_ms: u64,
    },
    /// Long polling: a request whose response waits for an event.
    LongPolling,
    /// Server-sent events: one response that does not end.
    Sse,
    /// A WebSocket.
    WebSocket,
}

/// The version of HTTP. A WebSocket over HTTP/2 is a stream of it (RFC 8441).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Http {
    /// HTTP/1.1, one connection per client (RFC 9112).
    One,
    /// HTTP/2, one connection per client (RFC 9113).
    Two,
}

/// The headers of a request beyond those that the protocol requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Headers {
    /// No further headers.
    Minimal,
    /// The headers of a browser: agent, languages, encodings, client hints, origin, fetch metadata.
    Browser,
}

/// The clients of a server and the messages that they receive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The transport of all clients.
    pub transport: Transport,
    /// The number of clients: sessions, each on its own connections.
    pub clients: usize,
    /// Clients per channel. Each channel has one more user, who sends.
    pub group: usize,
    /// Messages that each client receives in a minute; 0 for none.
    pub per_minute: f64,
    /// Bytes of content of a message. The load generator needs at least 32 for its stamp; a server accepts at
    /// most 16 KiB.
    pub content_bytes: usize,
    /// The version of HTTP.
    pub http: Http,
    /// The headers of requests.
    pub headers: Headers,
}

/// A workload that is measured or predicted as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The clients and their messages.
    pub plan: Plan,
    /// Whether connections are encrypted (TLS 1.3, RFC 8446).
    pub tls: bool,
}

impl Cell {
    /// The unique name of the cell, for reports, files and `pabal lab --only`: the transport, the rate, the
    /// sizes and the options.
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
