//! What a cell asks of a server, taken apart: a handful of things that happen so many times a second,
//! each of which has a price.

use serde::{Deserialize, Serialize};

use crate::{Cell, Headers, Http, Transport};

/// How long a server lets things rest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// A long poll waits for this many seconds at most.
    pub wait_seconds: f64,
    /// A WebSocket is pinged every so many seconds; a stream gets a comment after so many quiet ones.
    pub ping_seconds: f64,
}

impl Pace {
    /// A server's defaults.
    pub const DEFAULT: Self = Self { wait_seconds: 60.0, ping_seconds: 25.0 };
}

macro_rules! terms {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// An amount of each thing a second, or its price.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Terms {
            $($(#[$doc])* #[serde(skip_serializing_if = "is_nothing")] pub $name: f64,)*
        }

        impl Terms {
            /// Their names, in the order of [`to_array`](Self::to_array).
            pub const NAMES: [&str; [$(stringify!($name)),*].len()] = [$(stringify!($name)),*];

            /// All of them.
            pub fn to_array(self) -> [f64; Self::NAMES.len()] {
                [$(self.$name),*]
            }

            /// The opposite of [`to_array`](Self::to_array).
            pub fn from_array(values: [f64; Self::NAMES.len()]) -> Self {
                let [$($name),*] = values;
                Self { $($name),* }
            }
        }
    };
}

terms! {
    /// The node itself, whoever is connected.
    node,
    /// Waking up because something happens. What happens while it is awake is done in one go.
    wake,
    /// Making messages durable. Those that come meanwhile share the next time.
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
    /// The same over HTTP/2, besides.
    frame_http2,
    /// A request over HTTP/1.1 and its answer.
    exchange,
    /// The same over HTTP/2.
    exchange_http2,
    /// A request that waits, besides.
    wait,
    /// An answer that holds events, besides.
    full,
    /// The headers of a browser, in a request over HTTP/1.1.
    browser,
    /// The same over HTTP/2, which does not repeat them.
    browser_http2,
    /// Encrypting a request and its answer.
    tls_exchange,
    /// Encrypting a frame, a ping or a pong.
    tls_frame,
    /// Encrypting a byte of content.
    tls_byte,
    /// A ping of a WebSocket, and the pong.
    ping_websocket,
    /// A comment on a stream, which is its ping.
    ping_sse,
    /// A client that polls, for being there.
    held_polling,
    /// A client that long-polls.
    held_long_polling,
    /// A client with a stream.
    held_sse,
    /// A client with a WebSocket.
    held_websocket,
    /// A connection over HTTP/2, besides.
    held_http2,
    /// An encrypted connection, besides.
    held_tls,
}

fn is_nothing(price: &f64) -> bool {
    *price == 0.0
}

/// A server wakes up at most about so often in a second.
const WAKES: f64 = 1_000.0;
/// A disk makes something durable at most about so often in a second.
const COMMITS: f64 = 200.0;

/// How often something is done in a second that is asked for `moments` times at random, and takes in
/// whatever was asked for meanwhile; at most `most` times.
fn gathered(moments: f64, most: f64) -> f64 {
    most * -(-moments / most).exp_m1()
}

impl Terms {
    /// What all of it costs at these prices.
    pub fn at(self, prices: &Self) -> f64 {
        self.to_array().iter().zip(prices.to_array()).map(|(amount, price)| amount * price).sum()
    }

    /// The amounts of a second of a cell, if messages come at random (a Poisson process). All are
    /// means.
    pub fn of(cell: &Cell, pace: Pace) -> Self {
        let plan = &cell.plan;
        let clients = plan.clients as f64;
        let rate = plan.per_minute / 60.0;
        let deliveries = clients * rate;
        let polls = polls(plan.transport, rate, pace.wait_seconds);
        // A comment comes after a quiet spell just as a long poll comes back empty.
        let quiet = self::polls(Transport::LongPolling, rate, pace.ping_seconds);
        let comments = clients * quiet.requests * quiet.empty;
        let requests = clients * polls.requests;
        let streams = if polls.requests > 0.0 { 0.0 } else { deliveries };
        let when = |condition: bool, amount: f64| if condition { amount } else { 0.0 };
        let (two, browser) = (plan.http == Http::Two, plan.headers == Headers::Browser);
        let transport = plan.transport;
        // A ping has a pong.
        let pings = match transport {
            Transport::WebSocket => 2.0 * clients / pace.ping_seconds,
            Transport::Sse => comments,
            _ => 0.0,
        };
        // Each channel hears as much as each of its listeners; the last one may have fewer.
        let messages = plan.clients.div_ceil(plan.group) as f64 * rate;
        let moments = messages
            + match transport {
                Transport::ShortPolling { .. } => requests,
                // The next requests of all listeners come together, as the message did.
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

    /// What is done for each client: without the node's own work, its messages, and waking up, which on
    /// a busy server many clients share.
    pub fn of_clients(self) -> Self {
        Self { node: 0.0, wake: 0.0, commit: 0.0, message: 0.0, ..self }
    }

    /// Without the clients that are there.
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

    /// A client of a cell, for being there.
    pub fn held(cell: &Cell) -> Self {
        let mut one = *cell;
        (one.plan.clients, one.plan.per_minute) = (1, 0.0);
        let all = Self::of(&one, Pace::DEFAULT);
        let (all, rest) = (all.to_array(), all.without_held().to_array());
        Self::from_array(std::array::from_fn(|term| all[term] - rest[term]))
    }
}

/// What one client asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Polls {
    /// Requests a second.
    pub requests: f64,
    /// The share of them that is answered without an event.
    pub empty: f64,
}

/// What a client asks that hears `rate` messages a second.
///
/// A poll every `T` finds nothing with probability `e^(-rate T)`. A long poll ends with the first
/// message or after `W`, and so lasts `(1 - e^(-rate W)) / rate` on average.
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
