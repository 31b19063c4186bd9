//! What a system has to offer in order to be measured.

use crate::Outcome;
use crate::dialect::Dialect;
use crate::process::Server;
use crate::swarm::Swarm;

/// How clients receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket,
    LongPolling,
    /// Server-sent events.
    Sse,
}

impl Transport {
    pub(super) const ALL: [Self; 3] = [Self::WebSocket, Self::LongPolling, Self::Sse];

    /// As rows name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::LongPolling => "long_polling",
            Self::Sse => "sse",
        }
    }
}

/// For whom a server is started.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cast {
    /// Clients of one channel, and one who speaks in it.
    Room { clients: usize },
    /// Clients of one channel in which nobody speaks: it is their memory that matters.
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

/// A client who hears and speaks.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) ear: Seat,
    /// Where it speaks, if that is another connection.
    pub(super) mouth: Option<Seat>,
}

/// A system that is there to be started.
pub(super) trait System {
    fn name(&self) -> &'static str;

    fn version(&self) -> &str;

    /// Whether a message is on disk before anybody receives it.
    fn durable(&self) -> bool {
        false
    }

    fn speaks(&self, transport: Transport) -> bool;

    fn start(&self, cast: Cast) -> Outcome<Box<dyn Host>>;
}

/// A started server.
pub(super) trait Host {
    fn server(&self) -> &Server;

    /// Opens the `number`th client of a room, which hears everything from then on.
    fn listener(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Seat>;

    /// Opens who speaks in the room.
    fn speaker(&mut self, swarm: &mut Swarm) -> Outcome<Seat>;

    /// Opens the `number`th player; two that follow each other are a pair.
    fn player(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Player>;

    /// Waits until the server knows of all that listen.
    fn wait_for(&mut self, _listeners: usize) -> Outcome<()> {
        Ok(())
    }
}
