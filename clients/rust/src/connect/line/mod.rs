//! A line: one transport that reads a session. It owns a connection and no delivery state, so it may be
//! dropped at any time, and the next line continues from the same position.

mod reader;
mod polling;
mod sse;
mod websocket;

use self::polling::Polling;
use self::sse::ServerSentEvents;
use self::websocket::WebSocket;
use super::options::Transport;
use super::session::Session;
use crate::event::Batch;
use crate::ids::Seq;

pub(crate) use self::reader::{Broken, Reader};
pub(crate) use self::websocket::Socket;

/// An open line.
#[derive(Debug)]
pub(crate) enum Line {
    Polling(Box<Polling>),
    Sse(Box<ServerSentEvents>),
    WebSocket(WebSocket),
}

impl Line {
    /// Opens a line that begins after `after`. It returns once the transport has been seen to work.
    pub(crate) async fn open(
        reader: &Reader,
        session: &Session,
        transport: Transport,
        after: Seq,
    ) -> Result<Self, Broken> {
        let mount = session.mount(transport);
        let mount = mount.ok_or_else(|| Broken::Refused("not offered by the server".into()))?;
        Ok(match transport {
            Transport::WebSocket => Self::WebSocket(WebSocket::open(reader, &mount, after).await?),
            Transport::Sse => {
                Self::Sse(Box::new(ServerSentEvents::open(reader, &mount, after).await?))
            }
            Transport::LongPolling => {
                Self::Polling(Box::new(Polling::long(reader, &mount, after).await?))
            }
            Transport::ShortPolling => {
                Self::Polling(Box::new(Polling::short(reader, &mount, after).await?))
            }
        })
    }

    /// The next batch, which may be empty. Cancel-safe.
    pub(crate) async fn read(&mut self, after: Seq) -> Result<Batch, Broken> {
        match self {
            Self::Polling(line) => line.read(after).await,
            Self::Sse(line) => line.read().await,
            Self::WebSocket(line) => line.read().await,
        }
    }

    /// The writing side; only a WebSocket has one.
    pub(crate) fn socket(&self) -> Option<Socket> {
        match self {
            Self::WebSocket(line) => Some(line.socket()),
            _ => None,
        }
    }
}
