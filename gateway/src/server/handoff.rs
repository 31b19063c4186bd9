//! Which reader has a connection, and how it passes from one to the other.
//!
//! A parked poll is a connection on which nothing happens, and a node has thousands of them. hyper holds
//! buffers of some 25 KiB for each, the [`PollServer`](super::poll_server::PollServer) holds what the poll
//! needs. So the poll server reads first, and passes on whatever is not a plain read of a session:
//!
//! ```text
//!                     ToHttp1: not a plain poll, or not in one piece
//!               ┌───────┐ ─────────────────────────────────────────▶ ┌───────┐
//!  accepted ──▶ │ Polls │                                            │ Http1 │
//!               └───────┘ ◀───────────────────────────────────────── └───────┘
//!                │     │    ToPolls: a plain poll came                    │
//!                │     │                                                  │
//!                │     │ ToHttp2: the first bytes are its preface         │
//!                │     └──────────────────▶ ┌───────┐                     │
//!                │ Closed                   │ Http2 │                     │ Closed
//!                ▼                          └───────┘                     ▼
//!          ┌────────┐                           │ Closed              ┌────────┐
//!          │ Closed │ ◀─────────────────────────┴───────────────────▶ │ Closed │
//!          └────────┘                                                 └────────┘
//! ```
//!
//! What holds at each handoff:
//! - **Bytes**: the poll server gives back what it has read and not served
//!   ([`Connection::give_back`]); hyper's buffer goes back the same way. No byte is lost or read twice.
//! - **Requests**: a request that is passed on has not been served. hyper has parsed the one of `ToPolls`,
//!   so that one travels as [`State::Polls::parsed`] and not as bytes.
//! - **Responses**: every earlier response has left. hyper keeps the connection while one waits to be
//!   written, because its write buffer ends with it.
//! - **The end**: a connection whose last response was written is half-closed and read on for a while
//!   ([`linger`]), or a client that still sends would lose that response.
//! - **Deadlines**: the deadline of the first request travels with the connection until a request came.
//!
//! Both readers give the same bytes in response to the same bytes, however these are cut; a fuzz target
//! compares them.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::{Body as _, Incoming};
use pabal_transports::{Connection, ConnectionMeter, linger};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::cancelled::Cancelled;
use super::connection::Connections;
use super::poll_server::is_plain;

/// How long the orderly end of a connection may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Which reader serves plain polls of HTTP/1.1. Clients cannot tell the difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readers {
    /// The poll server, which needs little memory for each parked poll.
    #[default]
    PollServer,
    /// hyper, as for all other requests: the reference that the poll server is compared with.
    HyperOnly,
}

/// A stream of requests: a socket, or TLS on one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Which reader has the connection.
#[derive(Debug)]
enum State {
    /// The poll server.
    Polls {
        /// The request to serve first, if hyper has parsed it already.
        parsed: Option<Box<Request<()>>>,
    },
    /// hyper, until the connection ends or a plain poll comes.
    Http1,
    /// hyper, to the end.
    Http2,
    /// None: the last response was written, and the client may still be sending.
    LastWritten,
    /// None.
    Closed,
}

/// What the poll server decides about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PollsHandoff {
    /// The connection has ended, or nothing more is served on it.
    Closed,
    /// The last response was written.
    LastWritten,
    /// hyper reads from the next byte on.
    ToHttp1,
    /// The client speaks HTTP/2 from its first byte on.
    ToHttp2,
}

/// What hyper's part in a connection of HTTP/1.1 ends with.
#[derive(Debug)]
pub(super) enum Http1Handoff<S> {
    /// The connection has ended, or became a WebSocket.
    Closed,
    /// The last response was written.
    LastWritten {
        /// The connection.
        connection: Connection<S>,
    },
    /// A plain poll came, and every response before it was written.
    ToPolls {
        /// The connection, with the bytes after the poll given back.
        connection: Connection<S>,
        /// The poll.
        parsed: Box<Request<()>>,
    },
}

impl Connections {
    /// Serves a connection until it ends or becomes a WebSocket.
    pub(super) async fn talk<S: Stream>(
        self: &Arc<Self>,
        mut connection: Connection<S>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
    ) {
        let finishing = pin!(self.finishing.cancelled());
        let mut finishing = Cancelled::new(&self.finishing, finishing);
        // Until when the client must have sent its first request; `None` once it has sent one.
        let mut first_request = Some(Instant::now() + self.first_request);
        let mut state = State::Polls { parsed: None };
        loop {
            state = match state {
                State::Polls { parsed } => {
                    let client = (&mut connection, peer.ip());
                    let serving =
                        self.polls.serve(client, meter, parsed, &mut first_request, &mut finishing);
                    match serving.await {
                        PollsHandoff::Closed => State::Closed,
                        PollsHandoff::LastWritten => State::LastWritten,
                        PollsHandoff::ToHttp1 => State::Http1,
                        PollsHandoff::ToHttp2 => State::Http2,
                    }
                }
                // Boxed: a parked poll should not have memory for what hyper needs.
                State::Http1 => {
                    let (deadline, finishing) = (first_request.take(), finishing.wait.as_mut());
                    let serving = self.http1(connection, peer, meter, deadline, finishing);
                    match Box::pin(serving).await {
                        Http1Handoff::Closed => return,
                        Http1Handoff::LastWritten { connection: back } => {
                            connection = back;
                            State::LastWritten
                        }
                        Http1Handoff::ToPolls { connection: back, parsed } => {
                            debug_assert!(
                                is_plain(&parsed),
                                "a poll that its server would not take"
                            );
                            connection = back;
                            State::Polls { parsed: Some(parsed) }
                        }
                    }
                }
                State::Http2 => {
                    let finishing = finishing.wait.as_mut();
                    let serving = self.http2(connection, peer, meter, first_request, finishing);
                    return Box::pin(serving).await;
                }
                State::LastWritten => return Box::pin(linger(&mut connection)).await,
                State::Closed => {
                    // TLS needs an orderly end. A failure means that the client has disconnected.
                    let _ = timeout(CLOSE_WITHIN, connection.shutdown()).await;
                    return;
                }
            };
        }
    }

    /// Whether hyper hands the connection over with this request. It does not while an earlier response
    /// waits to be written: hyper's buffer, and with it that response, would be lost.
    pub(super) fn hands_over(&self, request: &Request<Incoming>, meter: &ConnectionMeter) -> bool {
        !meter.is_stalled() && request.body().is_end_stream() && self.polls.takes(request)
    }
}
