//! The interface of a system under measurement.

use crate::Outcome;
use crate::dialect::Dialect;
use crate::process::Server;
use crate::swarm::Swarm;

/// The transport of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket,
    LongPolling,
    /// Server-sent events.
    Sse,
}

impl Transport {
    pub(super) const ALL: [Self; 3] = [Self::WebSocket, Self::LongPolling, Self::Sse];

    /// Its name in rows.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::LongPolling => "long_polling",
            Self::Sse => "sse",
        }
    }
}

/// The clients that a server is started for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cast {
    /// Clients of one channel, and one that publishes to it.
    FanOut { clients: usize },
    /// Clients of one channel without messages, whose memory is measured.
    Rest { clients: usize },
    /// Two clients in each of many channels.
    Pairs { pairs: usize },
}

/// One end of a connection in the swarm.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) connection: usize,
    pub(super) dialect: Box<dyn Dialect>,
}

/// A client that receives and sends.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) ear: Seat,
    /// The connection that it sends on, if it is another one.
    pub(super) mouth: Option<Seat>,
}

/// An installed system.
pub(super) trait System {
    fn name(&self) -> &'static str;

    fn version(&self) -> &str;

    /// Whether a message is on disk before any client receives it.
    fn durable(&self) -> bool {
        false
    }

    fn speaks(&self, transport: Transport) -> bool;

    fn start(&self, cast: Cast) -> Outcome<Box<dyn Host>>;
}

/// A started server.
pub(super) trait Host {
    fn server(&self) -> &Server;

    /// Opens client `number` of the channel, which receives every message from then on.
    fn listener(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Seat>;

    /// Opens the client that publishes to the channel.
    fn speaker(&mut self, swarm: &mut Swarm) -> Outcome<Seat>;

    /// Opens player `number`; players 2n and 2n + 1 are a pair.
    fn player(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Player>;

    /// Waits until the server has registered all subscribers.
    fn wait_for(&mut self, _listeners: usize) -> Outcome<()> {
        Ok(())
    }
}
