//! What is said to a connection for which there is no place: a problem, as to every request, or the
//! end in HTTP/2. Not within TLS, which would cost more than the place that is missing.

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

use super::reads::{Encoded, HTTP2, encode};

/// As many as are told at once, beside all connections that are held; others are closed unheard.
const AT_ONCE: usize = 64;
/// How long telling one may take.
const WITHIN: Duration = Duration::from_secs(1);
/// When a place may be free again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Empty SETTINGS, and GOAWAY with `ENHANCE_YOUR_CALM` (RFC 9113 sections 3.4 and 6.8).
const GOAWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

/// Turns connections away.
#[derive(Clone, Debug)]
pub(super) struct Refusals {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Whether clients can be told at all.
    plain: bool,
}

impl Refusals {
    pub(super) fn new(tasks: TaskTracker, plain: bool) -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), tasks, plain }
    }

    /// Tells a client why, if there is room for that, and closes.
    pub(super) fn refuse(&self, stream: TcpStream, peer: SocketAddr, refused: Refused) {
        tracing::debug!(%peer, %refused, "a connection was refused");
        if !self.plain {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        self.tasks.spawn(async move {
            let _place = place;
            // Who does not listen, or has gone, is closed all the same.
            let _ = timeout(WITHIN, tell(stream, refused)).await;
        });
    }
}

async fn tell(mut stream: TcpStream, refused: Refused) -> std::io::Result<()> {
    // An answer before the request would be taken for one to something else.
    let mut request = [0; 1024];
    let mut read = stream.read(&mut request).await?;
    let http2 = request[..read].starts_with(HTTP2);
    match encode(problem_response(&problem(refused)), true) {
        _ if http2 => stream.write_all(GOAWAY).await?,
        Encoded::Whole(answer) => stream.write_all(&answer).await?,
        Encoded::Stream(..) => {}
    }
    stream.shutdown().await?;
    // A connection that is dropped with unread input is reset, and the answer lost with it
    // (RFC 9293 section 3.6.1).
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
