//! Long polling: the response comes with the first event, or at the deadline.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Response, StatusCode};
use pabal_core::engine::{Engine, Reader, View, WakeReason};
use pabal_core::model::Seq;
use pabal_core::protocol::{Batch, Problem};
use tokio::time::timeout;
use tower::Service;

use crate::http::{Body, json_response};
use crate::meter::{ConnectionMeter, TransportMeter};
use crate::short_poll::{batch_body, limit};
use crate::transport::{Attach, Location, Transport, respond};

/// `GET …/long-poll?after=<seq>&wait_ms=&limit=`: a batch as soon as there is one event, or an empty one
/// with `"timeout": true` at the deadline. A second request on the session ends the first with an empty
/// batch.
///
/// `after` confirms the events up to it, when the request arrives. A lost response loses nothing: the
/// same `after` returns the same events.
#[derive(Clone, Copy, Debug)]
pub struct LongPolling {
    /// The longest wait, which is also that of a request without `wait_ms`.
    pub max_wait: Duration,
}

impl Transport for LongPolling {
    const NAME: &'static str = "long_polling";
    const MOUNT: &'static str = "long-poll";
    const READS: bool = true;

    fn describe(&self, at: &Location<'_>) -> serde_json::Value {
        serde_json::json!({
            "url": format!("{}/{}", at.path, Self::MOUNT),
            "max_wait_ms": self.max_wait.as_millis() as u64,
        })
    }
}

impl Service<Attach> for LongPolling {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attach: Attach) -> Self::Future {
        match ParkedPoll::new(attach, self.max_wait) {
            Ok(parked) => Box::pin(async { Ok(respond(parked.response().await)) }),
            Err(problem) => Box::pin(std::future::ready(Ok(respond(Err(problem))))),
        }
    }
}

/// What a parked poll holds. The request itself is dropped before the wait: thousands of polls are
/// parked at the same time.
struct ParkedPoll {
    engine: Engine,
    reader: Reader,
    meter: TransportMeter,
    connection: Arc<ConnectionMeter>,
    after: Seq,
    limit: usize,
    wait: Duration,
}

impl ParkedPoll {
    fn new(attach: Attach, max_wait: Duration) -> Result<Self, Problem> {
        attach.require_get()?;
        let query = attach.query();
        let wait = query.number("wait_ms")?.map_or(max_wait, Duration::from_millis).min(max_wait);
        let (after, limit) = (query.after()?, limit(&attach)?);
        let after = attach.session.position(after)?;
        let reader = attach.session.attach();
        attach.session.confirm(after);
        let Attach { engine, meter, connection, .. } = attach;
        Ok(Self { engine, reader, meter, connection, after, limit, wait })
    }

    async fn response(self) -> Result<Response<Body>, Problem> {
        let Self { engine, reader, meter, connection, after, limit, wait } = self;
        let attached = meter.attached();
        let woken = timeout(wait, reader.wait(after)).await;
        drop(attached);
        let body = match woken {
            Ok(WakeReason::Events) => {
                let now = engine.ports().clock.now();
                let holder = connection.holder(Some(reader.session().user_id()));
                let read = |view: View<'_>| batch_body(&engine, holder, &view, &meter, now);
                reader.session().read(Some(after), limit, read)??
            }
            Ok(WakeReason::Ended(ended)) => return Err(ended.into()),
            Ok(WakeReason::Replaced) => empty(&meter, Batch::new(std::iter::empty(), after)),
            Err(_) => empty(&meter, Batch::new(std::iter::empty(), after).timed_out()),
        };
        Ok(json_response(StatusCode::OK, body))
    }
}

fn empty(meter: &TransportMeter, batch: Batch<std::iter::Empty<&Bytes>>) -> Body {
    meter.empty_answer();
    let mut body = Vec::with_capacity(batch.len());
    batch.write(&mut body);
    Bytes::from(body).into()
}
