//! Connections refused at capacity: the client gets a problem, as for every request, or a GOAWAY in
//! HTTP/2. Within TLS the connection is closed at once, because the handshake would cost more than the
//! capacity that is missing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::{Refused, problem_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::poll_server::HTTP2;
use super::response::{Encoded, encode};

/// How many refused connections get a response at the same time, beside all that are admitted. Others are
/// closed at once.
const AT_ONCE: usize = 64;
/// How long the response to one may take.
const WITHIN: Duration = Duration::from_secs(1);
/// After how long a client should retry.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Empty SETTINGS, and GOAWAY with `ENHANCE_YOUR_CALM` (RFC 9113 sections 3.4 and 6.8).
const GOAWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

/// Responds to connections that were not admitted.
#[derive(Clone, Debug)]
pub(super) struct Refusals {
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Whether connections are without TLS.
    plain: bool,
}

impl Refusals {
    pub(super) fn new(tasks: TaskTracker, plain: bool) -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), tasks, plain }
    }

    /// Closes a connection, after a response if capacity allows one.
    pub(super) fn refuse(&self, stream: TcpStream, peer: SocketAddr, refused: Refused) {
        tracing::debug!(%peer, %refused, "connection refused at capacity");
        if !self.plain {
            return;
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
        self.tasks.spawn(async move {
            let _permit = permit;
            // The connection is closed whether or not the client takes the response.
            let _ = timeout(WITHIN, respond(stream, refused)).await;
        });
    }
}

async fn respond(mut stream: TcpStream, refused: Refused) -> std::io::Result<()> {
    // A client could not match a response that comes before its request.
    let mut request = [0; 1024];
    let mut read = stream.read(&mut request).await?;
    let http2 = request[..read].starts_with(HTTP2);
    match encode(problem_response(&problem(refused)), true) {
        _ if http2 => stream.write_all(GOAWAY).await?,
        Encoded::Whole(response, _) => stream.write_all(&response).await?,
        Encoded::Stream(..) => {}
    }
    stream.shutdown().await?;
    // A connection that is dropped with unread input is reset, and the response is lost with it (RFC 9293
    // section 3.6.1).
    while read > 0 {
        read = stream.read(&mut request).await?;
    }
    Ok(())
}

fn problem(refused: Refused) -> Problem {
    let code = match refused {
        Refused::Full => ProblemCode::Unavailable,
        Refused::AddressFull => ProblemCode::RateLimited,
    };
    Problem::new(code, refused.to_string()).retry_after(RETRY_AFTER)
}
