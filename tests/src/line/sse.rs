//! Server-sent events as a browser parses them (WHATWG HTML, section 9.2).

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

use super::{Batch, Break};
use crate::account::{Account, Id, Session};
use crate::http::{Call, Http};

/// An open event stream.
#[derive(Debug)]
pub struct ServerSentEvents {
    body: Incoming,
    buffer: Vec<u8>,
    comments: usize,
    /// The stream ends with it.
    _http: Http,
}

/// One block of the stream.
#[derive(Debug, Default)]
struct Block {
    event: Option<String>,
    id: Option<String>,
    data: String,
}

impl ServerSentEvents {
    /// Opens the stream after `after`, or after `last_event_id` if that is given as well.
    ///
    /// # Errors
    /// [`Break`].
    pub async fn open(
        account: &Account,
        session: &Session,
        after: Id,
        last_event_id: Option<Id>,
    ) -> Result<Self, Break> {
        let path = session.path(&format!("/events?after={after}"));
        let header =
            last_event_id.map(|id| (HeaderName::from_static("last-event-id"), id.to_string()));
        let ask = Call { token: Some(&account.token), header, ..Call::new(Method::GET, &path) };
        // On a connection of its own, because a dropped stream closes its connection.
        let http = Http::default();
        let response = http.open(account.address(), ask).await?;
        if response.status() != StatusCode::OK {
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(Break::silent)?.to_bytes();
            let json = serde_json::from_slice(&body).unwrap_or_default();
            let (status, headers) = (parts.status, parts.headers);
            return Err(Break::Refused(Box::new(crate::http::JsonResponse {
                status,
                headers,
                json,
            })));
        }
        let kind = response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
        assert_eq!(kind, Some(&b"text/event-stream"[..]), "the type of an event stream");
        let body = response.into_body();
        Ok(Self { body, buffer: Vec::new(), comments: 0, _http: http })
    }

    /// How many comments were received, which keep the stream alive.
    pub fn comments(&self) -> usize {
        self.comments
    }

    pub(super) async fn read(&mut self, after: Id, wait: Duration) -> Result<Batch, Break> {
        match timeout(wait, self.block()).await {
            Err(_) => Ok(Batch::empty(after)),
            Ok(Err(broken)) => Err(broken),
            Ok(Ok(block)) => {
                let data: Value = serde_json::from_str(&block.data)
                    .unwrap_or_else(|error| panic!("data that is no JSON: {error}: {block:?}"));
                if block.event.as_deref() == Some("closed") {
                    let code = data["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                    let code = code.unwrap_or_else(|| panic!("no code: {data}"));
                    return Err(Break::Closed { code, said: Some(data) });
                }
                let batch = Batch::of(&data);
                assert_eq!(block.id, Some(batch.next.to_string()), "the id is the batch's next");
                Ok(batch)
            }
        }
    }

    /// The next block with data. Cancel-safe: bytes that were read stay in the buffer.
    async fn block(&mut self) -> Result<Block, Break> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let bytes: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let block = self.parse(&String::from_utf8(bytes).expect("UTF-8"));
                if !block.data.is_empty() {
                    return Ok(block);
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(Break::silent(error)),
                None => return Err(Break::silent("the stream ended")),
            }
        }
    }

    fn parse(&mut self, text: &str) -> Block {
        let mut block = Block::default();
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.starts_with(':') => self.comments += 1,
                "event" => block.event = Some(value.to_owned()),
                "id" => block.id = Some(value.to_owned()),
                "data" => block.data.push_str(value),
                _ => {}
            }
        }
        block
    }
}
