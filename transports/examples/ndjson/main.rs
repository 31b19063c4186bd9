//! A new transport in about a hundred lines: newline-delimited JSON in one HTTP response, a batch a line.
//!
//! `cargo run -p pabal-transports --example ndjson` serves it and prints how to read from it. It has no
//! queue, no positions and no confirmations, because the session has them, and neither a rate limit nor
//! a meter nor traces, because the layers around every transport have them.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready as ready_or_return};

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use pabal_core::engine::{Reader, Streamed};
use pabal_core::model::Seq;
use pabal_core::protocol::Problem;
use pabal_transports::transport::{Location, respond};
use pabal_transports::{Attach, Body, Transport, Transports, TransportsConfig};
use tower::Service;

mod demo;

/// `GET …/ndjson?after=<seq>`: a stream of batches, each on a line.
#[derive(Clone, Copy)]
struct Ndjson;

impl Transport for Ndjson {
    const NAME: &'static str = "ndjson";
    const MOUNT: &'static str = "ndjson";

    fn describe(&self, at: &Location<'_>) -> serde_json::Value {
        serde_json::json!({ "url": format!("{}/{}", at.path, Self::MOUNT) })
    }
}

impl Service<Attach> for Ndjson {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attach: Attach) -> Self::Future {
        ready(Ok(respond(open(&attach))))
    }
}

fn open(attach: &Attach) -> Result<Response<Body>, Problem> {
    attach.require_get()?;
    // A position that the session does not hold is refused, and the present reader stays.
    let after = attach.session.position(attach.query().after()?)?;
    // From here on this is the one reader of the session. The reader before it is notified.
    let reader = attach.session.attach_with(attach.grant);
    attach.session.confirm(after);
    Ok(Response::new(Body::stream(Lines { reader, after })))
}

struct Lines {
    reader: Reader,
    after: Seq,
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut line = Vec::new();
        let streamed = self.reader.poll_stream(cx, self.after, 64 * 1024, |view| {
            view.batch().write(&mut line);
            line.push(b'\n');
        });
        match ready_or_return!(streamed) {
            Streamed::UpTo { next, .. } => {
                self.after = next;
                Poll::Ready(Some(Ok(Frame::data(line.into()))))
            }
            Streamed::Replaced | Streamed::TokenEnded | Streamed::Ended(_) => Poll::Ready(None),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = demo::engine().await?;
    let config = TransportsConfig::default();
    let transports = Transports::builder(engine.clone(), config).with(Ndjson).build();
    demo::serve(engine, transports, Ndjson::MOUNT).await
}
