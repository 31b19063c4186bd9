//! Server-sent events (WHATWG HTML, section 9.2): batches in one response that does not end.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::reader::{Broken, Reader, with_query};
use crate::connect::session::Mount;
use crate::event::Batch;
use crate::http::{Call, Failure, collect, json, refusal};
use crate::ids::Seq;

/// The largest block that is accepted. A batch is never larger than a mailbox of the server.
const BLOCK_BYTES_MAX: usize = 16 << 20;

/// An open event stream.
#[derive(Debug)]
pub(crate) struct ServerSentEvents {
    body: Incoming,
    blocks: Blocks,
    /// How long the stream may be silent. The server sends a comment at every ping interval.
    silence: Duration,
    last_frame: Instant,
}

impl ServerSentEvents {
    /// Opens the stream and waits for its first byte. The server sends one at once; a proxy that holds it
    /// back would hold back events, too.
    pub(super) async fn open(reader: &Reader, mount: &Mount, after: Seq) -> Result<Self, Broken> {
        let url = with_query(mount, &format!("after={after}"))?;
        let within = reader.fallback.establish_within;
        let deadline = Instant::now() + within;
        let token = Some(&reader.token);
        let call = Call { method: Method::GET, url, token, body: None, within };
        let response = reader.http.open(call).await.map_err(|failure| match failure {
            Failure::Cut(_) if Instant::now() >= deadline => held_back(),
            failure => Broken::of_transport(failure),
        })?;
        if response.status() != StatusCode::OK {
            let rest = timeout_at(deadline, collect(response)).await;
            let (status, body) = rest.map_err(|_| Broken::cut("no response in time"))??;
            return Err(Broken::of_transport(refusal(status, &body)));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(Broken::Refused(format!(
                "the content type is {kind:?}, not text/event-stream"
            )));
        }
        let silence = mount.ping_interval * 2 + within;
        let (body, blocks) = (response.into_body(), Blocks::default());
        let mut stream = Self { body, blocks, silence, last_frame: Instant::now() };
        match timeout_at(deadline, stream.more()).await {
            Ok(more) => more.map(|()| stream),
            Err(_) => Err(held_back()),
        }
    }

    pub(super) async fn read(&mut self) -> Result<Batch, Broken> {
        loop {
            if let Some(block) = self.blocks.next() {
                if block.event == "closed" {
                    #[derive(Deserialize)]
                    struct Closed {
                        code: u16,
                    }
                    let closed: Closed = json(block.data.as_bytes())?;
                    return Err(Broken::Closed(closed.code, None));
                }
                if block.data.is_empty() {
                    continue;
                }
                return Ok(json(block.data.as_bytes())?);
            }
            let deadline = self.last_frame + self.silence;
            let more = timeout_at(deadline, self.more()).await;
            more.map_err(|_| Broken::cut("the stream was silent for too long"))??;
        }
    }

    /// Reads the next frame of the body. Cancel-safe.
    async fn more(&mut self) -> Result<(), Broken> {
        let frame = self.body.frame().await.ok_or_else(|| Broken::cut("the stream ended"))?;
        let frame = frame.map_err(Broken::cut)?;
        self.last_frame = Instant::now();
        if let Some(data) = frame.data_ref() {
            self.blocks.add(data);
        }
        if self.blocks.buffer.len() > BLOCK_BYTES_MAX {
            return Err(Broken::cut("a block of the stream is too large"));
        }
        Ok(())
    }
}

fn held_back() -> Broken {
    Broken::Refused("no first byte in time: a proxy holds the stream back".into())
}

/// Splits a stream into blocks.
#[derive(Debug, Default)]
struct Blocks {
    buffer: Vec<u8>,
    /// How much of the buffer was searched for the end of a block.
    searched: usize,
}

/// One block of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    event: String,
    data: String,
}

impl Blocks {
    fn add(&mut self, bytes: &[u8]) {
        // Lines may end in CR LF as well; JSON holds no bare CR.
        self.buffer.extend(bytes.iter().filter(|byte| **byte != b'\r'));
    }

    fn next(&mut self) -> Option<Block> {
        let from = self.searched.saturating_sub(1);
        let found = self.buffer[from..].windows(2).position(|pair| pair == b"\n\n");
        let Some(end) = found.map(|at| from + at) else {
            self.searched = self.buffer.len();
            return None;
        };
        let mut block = Block::default();
        for line in String::from_utf8_lossy(&self.buffer[..end]).lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut block.event),
                "data" if block.data.is_empty() => value.clone_into(&mut block.data),
                "data" => {
                    block.data.push('\n');
                    block.data.push_str(value);
                }
                _ => {}
            }
        }
        self.buffer.drain(..end + 2);
        self.searched = 0;
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str =
        ":\n\nid: 3\ndata: {\"a\":1}\n\nevent: closed\ndata: x\ndata: y\n\n: z\n\n";

    fn block(event: &str, data: &str) -> Block {
        Block { event: event.into(), data: data.into() }
    }

    proptest! {
        #[test]
        fn a_stream_is_parsed_alike_however_it_is_cut(
            cuts in proptest::collection::vec(1usize..20, 1..60), crlf: bool,
        ) {
            let stream = if crlf { STREAM.replace('\n', "\r\n") } else { STREAM.to_owned() };
            let (mut rest, mut read, mut blocks) = (stream.as_bytes(), Vec::new(), Blocks::default());
            for cut in cuts.into_iter().cycle() {
                let (chunk, left) = rest.split_at(cut.min(rest.len()));
                blocks.add(chunk);
                rest = left;
                read.extend(std::iter::from_fn(|| blocks.next()));
                if rest.is_empty() {
                    break;
                }
            }
            let expected =
                [block("", ""), block("", "{\"a\":1}"), block("closed", "x\ny"), block("", "")];
            prop_assert_eq!(read, expected);
        }
    }
}
