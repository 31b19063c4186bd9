//! A line: the transport by which the events of one session reach one client. It returns batches as they
//! arrive.

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

/// The wait of a long poll: a little less than the idle timeout of common proxies (60 s).
pub(crate) const WAIT: Duration = Duration::from_secs(50);
/// The delay after an empty response that arrived before the wait had passed.
const TOO_EARLY: Duration = Duration::from_millis(100);
/// Events between two acknowledgements. A mailbox holds 1,024 unconfirmed events, so this leaves a margin.
const ACK_EVENTS: u64 = 256;
/// The interval of acknowledgements in a session of few events.
const ACK_AFTER: Duration = Duration::from_secs(5);

/// A random begin within the poll interval: real clients do not poll in step.
pub(crate) fn phase(every: Duration) -> Duration {
    every.mul_f64(rand::random())
}

/// A session and its cursor.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) next: u64,
}

/// A transport at work.
pub(crate) enum Line {
    /// Short or long polling.
    Polling {
        connection: Connection,
        headers: HeaderMap,
        /// The interval of short polls; none for long polling.
        every: Option<Duration>,
        due: Instant,
        /// The first request on this connection resumes an earlier session: it is sent at once and does not
        /// wait, so that its response shows that the session is resumed.
        fresh: bool,
    },
    /// Server-sent events.
    Sse { connection: Connection, body: Incoming, buffer: BytesMut },
    /// A WebSocket.
    WebSocket { socket: Socket, acked: u64, acked_at: Instant },
}

impl Line {
    /// The next batch. Not cancel-safe: a dropped future may lose a response, and the line has to be
    /// replaced.
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
                let response = connection.call(Method::GET, &path, headers, None, wait).await?;
                count(&tally.answers);
                let fresh = std::mem::take(fresh);
                if let Some(every) = every {
                    // The interval is from request to request, whatever the response took.
                    let next = *due + if fresh { phase(*every) } else { *every };
                    *due = next.max(Instant::now());
                }
                Ok(response)
            }
            Self::Sse { connection, body, buffer } => loop {
                if let Some(batch) = event(buffer)? {
                    return Ok(batch);
                }
                let more = timeout(SILENT, connection.frame(body)).await;
                buffer.extend_from_slice(
                    &more.map_err(|_| Broken::cut("no event and no comment in time"))??,
                );
            },
            Self::WebSocket { socket, .. } => Ok(socket.next().await?.into()),
        }
    }

    /// Confirms a batch where the transport has acknowledgements.
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
            // Another poll of the session ended this one: without a delay the two would end each other.
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

/// The data of the next complete event of a stream (WHATWG HTML, section 9.2).
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
