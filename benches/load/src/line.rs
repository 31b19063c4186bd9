//! A line: how the events of one session reach one client. It hands over batches as they came.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use hyper::body::Incoming;
use memchr::memmem;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::counts::{Tally, count};
use crate::error::Broken;
use crate::http::Connection;
use crate::socket::{SILENT, Socket, closed};

/// How long a long poll waits: a little less than what proxies take for a dead connection.
pub(crate) const WAIT: Duration = Duration::from_secs(50);
/// After an empty answer that came before its time.
const TOO_EARLY: Duration = Duration::from_millis(100);
/// A session holds 1,024 events until they are confirmed: often enough, and seldom enough to cost nothing.
const ACK_EVENTS: u64 = 256;
/// The same for a session of few events.
const ACK_AFTER: Duration = Duration::from_secs(5);

/// Where in its interval a client begins: those of the real world do not ask in step.
pub(crate) fn phase(every: Duration) -> Duration {
    every.mul_f64(rand::random())
}

/// A session, and how far it was received.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) next: u64,
}

/// A way on which batches come.
pub(crate) enum Line {
    /// Requests, answered at once or when there is something.
    Polling {
        connection: Connection,
        headers: HeaderMap,
        /// Between two requests; of long polls there is nothing between.
        every: Option<Duration>,
        due: Instant,
        /// Nothing was asked yet, and the session is an earlier one: to know that it is back, a client asks
        /// at once and without waiting.
        fresh: bool,
    },
    /// An answer that does not end.
    Sse { connection: Connection, body: Incoming, buffer: BytesMut },
    /// Frames.
    WebSocket { socket: Socket, acked: u64, acked_at: Instant },
}

impl Line {
    /// The next batch. Dropping the future may lose an answer: the line is then of no use.
    pub(crate) async fn read(&mut self, session: &Session, tally: &Tally) -> Result<Bytes, Broken> {
        match self {
            Self::Polling { connection, headers, every, due, fresh } => {
                sleep_until(*due).await;
                let Session { id, next } = session;
                let (path, wait) = match every {
                    Some(_) => (format!("/v1/sessions/{id}/poll?after={next}"), Duration::ZERO),
                    None => {
                        let wait = if *fresh { Duration::ZERO } else { WAIT };
                        let query = format!("after={next}&wait_ms={}", wait.as_millis());
                        (format!("/v1/sessions/{id}/long-poll?{query}"), wait)
                    }
                };
                count(&tally.requests);
                let answer = connection.call(Method::GET, &path, headers, None, wait).await?;
                count(&tally.answers);
                let fresh = std::mem::take(fresh);
                if let Some(every) = every {
                    // From request to request, whatever the answer took.
                    let next = *due + if fresh { phase(*every) } else { *every };
                    *due = next.max(Instant::now());
                }
                Ok(answer)
            }
            Self::Sse { connection, body, buffer } => loop {
                if let Some(batch) = event(buffer)? {
                    return Ok(batch);
                }
                let more = timeout(SILENT, connection.frame(body)).await;
                buffer
                    .extend_from_slice(&more.map_err(|_| Broken::cut("the stream fell silent"))??);
            },
            Self::WebSocket { socket, .. } => Ok(socket.next().await?.into()),
        }
    }

    /// What is to be done after a batch: acknowledging, on a line that can.
    pub(crate) async fn taken(
        &mut self,
        next: u64,
        events: usize,
        timed_out: bool,
    ) -> Result<(), Broken> {
        match self {
            Self::WebSocket { socket, acked, acked_at }
                if next >= *acked + ACK_EVENTS
                    || next > *acked && acked_at.elapsed() > ACK_AFTER =>
            {
                (*acked, *acked_at) = (next, Instant::now());
                socket.feed(format!("{{\"ack\":\"{next}\"}}")).await?;
                socket.flush().await?;
            }
            // Another request of the session ended this one; or they would take turns.
            Self::Polling { every: None, .. } if events == 0 && !timed_out => {
                sleep(TOO_EARLY).await;
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn polls(&self) -> bool {
        matches!(self, Self::Polling { .. })
    }
}

/// The data of the next event of a stream (WHATWG HTML, section 9.2), if it is there to its end.
fn event(buffer: &mut BytesMut) -> Result<Option<Bytes>, Broken> {
    loop {
        let Some(end) = memmem::find(buffer, b"\n\n") else { return Ok(None) };
        let event = buffer.split_to(end + 2).freeze();
        let mut closes = false;
        for line in event[..end].split(|byte| *byte == b'\n') {
            if line == b"event: closed" {
                closes = true;
            }
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            if closes {
                return Err(last_word(data));
            }
            return Ok(Some(event.slice_ref(data)));
        }
    }
}

/// Why a stream ends.
fn last_word(data: &[u8]) -> Broken {
    #[derive(serde::Deserialize)]
    struct Closed {
        code: u16,
        reason: String,
    }
    match serde_json::from_slice::<Closed>(data) {
        Ok(Closed { code, reason }) => closed(code, &reason),
        Err(error) => Broken::foreign(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_stream_are_cut_where_they_end() {
        let mut buffer = BytesMut::from(&b":\n\nid: 1\ndata: {\"a\":1}\n\nid: 2\nda"[..]);
        assert_eq!(event(&mut buffer).unwrap().unwrap(), &b"{\"a\":1}"[..]);
        assert!(event(&mut buffer).unwrap().is_none());
        buffer.extend_from_slice(
            b"ta: {}\n\nevent: closed\ndata: {\"code\":4404,\"reason\":\"x\"}\n\n",
        );
        assert_eq!(event(&mut buffer).unwrap().unwrap(), &b"{}"[..]);
        assert!(matches!(event(&mut buffer), Err(Broken::SessionGone)));
    }
}
