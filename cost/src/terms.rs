//! The work of a cell, broken down into terms: events that happen so many times a second, and connections
//! that are held, each of which has a price.

use serde::{Deserialize, Serialize};

use crate::{Cell, Headers, Http, Transport};

/// The intervals of a server, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// The longest wait of a long poll (`limits.long_poll_max_wait_ms`).
    pub wait_seconds: f64,
    /// The interval of WebSocket pings, and the quiet time before a comment on an SSE stream
    /// (`limits.ping_interval_ms`).
    pub ping_seconds: f64,
}

impl Pace {
    /// The defaults of a server.
    pub const DEFAULT: Self = Self { wait_seconds: 60.0, ping_seconds: 25.0 };
}

macro_rules! terms {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A value per term: its amount in a second of a cell, or the price of one unit. The unit of a price is
        /// that of the field of [`Model`](crate::Model) that holds it: microseconds or bytes.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Terms {
            $($(#[$doc])* #[serde(skip_serializing_if = "is_nothing")] pub $name: f64,)*
        }

        impl Terms {
            /// The names of the terms, in the order of [`to_array`](Self::to_array).
            pub const NAMES: [&str; [$(stringify!($name)),*].len()] = [$(stringify!($name)),*];

            /// The values of all terms.
            pub fn to_array(self) -> [f64; Self::NAMES.len()] {
                [$(self.$name),*]
            }

            /// The inverse of [`to_array`](Self::to_array).
            pub fn from_array(values: [f64; Self::NAMES.len()]) -> Self {
                let [$($name),*] = values;
                Self { $($name),* }
            }
        }
    };
}

terms! {
    /// The node itself, without any client.
    node,
    /// A wake-up of the server. Work that arrives while the server is awake needs no further one.
    wake,
    /// A durable write. Messages that arrive during a write share the next one (group commit).
    commit,
    /// A message that is stored and routed.
    message,
    /// A message that reaches a client, on any transport.
    delivery,
    /// A byte of content that reaches a client.
    content_byte,
    /// A frame of a WebSocket, written to its client.
    frame_websocket,
    /// An event of a stream, written to its client.
    frame_sse,
    /// The surcharge of a frame or an event over HTTP/2.
    frame_http2,
    /// A request over HTTP/1.1 and its response.
    exchange,
    /// A request over HTTP/2 and its response.
    exchange_http2,
    /// The surcharge of a request that waits.
    wait,
    /// The surcharge of a response with events.
    full,
    /// The surcharge of a browser's headers, in a request over HTTP/1.1.
    browser,
    /// The surcharge of a browser's headers over HTTP/2, which compresses repeated headers.
    browser_http2,
    /// Encrypting a request and its response.
    tls_exchange,
    /// Encrypting a frame, a ping or a pong.
    tls_frame,
    /// Encrypting a byte of content.
    tls_byte,
    /// A ping on a WebSocket, and its pong.
    ping_websocket,
    /// A comment on an SSE stream, which keeps it alive.
    ping_sse,
    /// A connected client on short polling.
    held_polling,
    /// A connected client on long polling.
    held_long_polling,
    /// A connected client with an SSE stream.
    held_sse,
    /// A connected client with a WebSocket.
    held_websocket,
    /// The surcharge of a connection over HTTP/2.
    held_http2,
    /// The surcharge of an encrypted connection.
    held_tls,
}

fn is_nothing(price: &f64) -> bool {
    *price == 0.0
}

/// The approximate maximum of wake-ups of a server in a second.
const WAKES: f64 = 1_000.0;
/// The approximate maximum of durable writes of a disk in a second.
const COMMITS: f64 = 200.0;

/// How often an action runs in a second, if it is requested `moments` times at random and one run serves all
/// requests that arrived before it; at most `most` times.
fn gathered(moments: f64, most: f64) -> f64 {
    most * -(-moments / most).exp_m1()
}

impl Terms {
    /// The cost of these amounts at these prices, in the unit of the prices.
    pub fn at(self, prices: &Self) -> f64 {
        self.to_array().iter().zip(prices.to_array()).map(|(amount, price)| amount * price).sum()
    }

    /// The mean amounts of a second of a cell in which messages arrive at random (a Poisson process).
    pub fn of(cell: &Cell, pace: Pace) -> Self {
        let plan = &cell.plan;
        let clients = plan.clients as f64;
        let rate = plan.per_minute / 60.0;
        let deliveries = clients * rate;
        let polls = polls(plan.transport, rate, pace.wait_seconds);
        // A comment follows a quiet interval, as an empty response follows the wait of a long poll.
        let quiet = self::polls(Transport::LongPolling, rate, pace.ping_seconds);
        let comments = clients * quiet.requests * quiet.empty;
        let requests = clients * polls.requests;
        let streams = if polls.requests > 0.0 { 0.0 } else { deliveries };
        let when = |condition: bool, amount: f64| if condition { amount } else { 0.0 };
        let (two, browser) = (plan.http == Http::Two, plan.headers == Headers::Browser);
        let transport = plan.transport;
        // Each ping has a pong.
        let pings = match transport {
            Transport::WebSocket => 2.0 * clients / pace.ping_seconds,
            Transport::Sse => comments,
            _ => 0.0,
        };
        // A channel has the rate of each of its clients; the last channel may have fewer clients.
        let messages = plan.clients.div_ceil(plan.group) as f64 * rate;
        let moments = messages
            + match transport {
                Transport::ShortPolling { .. } => requests,
                // After a message all clients of its channel send their next request together.
                Transport::LongPolling => messages + requests * polls.empty,
                Transport::Sse => comments,
                Transport::WebSocket => clients / pace.ping_seconds,
            };
        Self {
            node: 1.0,
            wake: gathered(moments, WAKES),
            commit: gathered(messages, COMMITS),
            message: messages,
            delivery: deliveries,
            content_byte: deliveries * plan.content_bytes as f64,
            frame_websocket: when(transport == Transport::WebSocket, streams),
            frame_sse: when(transport == Transport::Sse, streams),
            frame_http2: when(two, streams),
            exchange: when(!two, requests),
            exchange_http2: when(two, requests),
            wait: when(transport == Transport::LongPolling, requests),
            full: requests * (1.0 - polls.empty),
            browser: when(browser && !two, requests),
            browser_http2: when(browser && two, requests),
            tls_exchange: when(cell.tls, requests),
            tls_frame: when(cell.tls, streams + pings),
            tls_byte: when(cell.tls, deliveries * plan.content_bytes as f64),
            ping_websocket: when(transport == Transport::WebSocket, clients / pace.ping_seconds),
            ping_sse: when(transport == Transport::Sse, comments),
            held_polling: when(matches!(transport, Transport::ShortPolling { .. }), clients),
            held_long_polling: when(transport == Transport::LongPolling, clients),
            held_sse: when(transport == Transport::Sse, clients),
            held_websocket: when(transport == Transport::WebSocket, clients),
            held_http2: when(two, clients),
            held_tls: when(cell.tls, clients),
        }
    }

    /// The amounts that depend on the clients: without the node's own work, wake-ups, durable writes and
    /// messages, which the clients of a busy server share.
    pub fn of_clients(self) -> Self {
        Self { node: 0.0, wake: 0.0, commit: 0.0, message: 0.0, ..self }
    }

    /// The amounts without the connected clients.
    pub fn without_held(self) -> Self {
        Self {
            held_polling: 0.0,
            held_long_polling: 0.0,
            held_sse: 0.0,
            held_websocket: 0.0,
            held_http2: 0.0,
            held_tls: 0.0,
            ..self
        }
    }

    /// The amounts of one connected client of a cell that receives nothing.
    pub fn held(cell: &Cell) -> Self {
        let mut one = *cell;
        (one.plan.clients, one.plan.per_minute) = (1, 0.0);
        let all = Self::of(&one, Pace::DEFAULT);
        let (all, rest) = (all.to_array(), all.without_held().to_array());
        Self::from_array(std::array::from_fn(|term| all[term] - rest[term]))
    }
}

/// The polls of one client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Polls {
    /// Requests a second.
    pub requests: f64,
    /// The share of requests whose response holds no event, from 0 to 1.
    pub empty: f64,
}

/// The polls of a client that receives `rate` messages a second at random (a Poisson process), if a long poll
/// waits at most `wait_seconds`.
///
/// A poll every `T` seconds finds no message with probability `e^(-rate T)`. A long poll ends with the first
/// message or after `W` seconds, so it lasts `(1 - e^(-rate W)) / rate` seconds on average.
pub fn polls(transport: Transport, rate: f64, wait_seconds: f64) -> Polls {
    match transport {
        Transport::ShortPolling { every_ms } => {
            let every = every_ms as f64 / 1e3;
            Polls { requests: 1.0 / every, empty: (-rate * every).exp() }
        }
        Transport::LongPolling if rate > 0.0 => {
            let some = -(-rate * wait_seconds).exp_m1();
            Polls { requests: rate / some, empty: 1.0 - some }
        }
        Transport::LongPolling => Polls { requests: 1.0 / wait_seconds, empty: 1.0 },
        Transport::Sse | Transport::WebSocket => Polls { requests: 0.0, empty: 0.0 },
    }
}
