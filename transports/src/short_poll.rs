//! Short polling: the response comes at once, with the events that there are.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use pabal_core::engine::{BudgetKind, Engine, Holder, View};
use pabal_core::model::Timestamp;
use pabal_core::protocol::Problem;
use tower::Service;

use crate::http::{Body, json_response};
use crate::meter::TransportMeter;
use crate::transport::{Attach, Location, Transport, respond};

/// `GET …/poll?after=<seq>&limit=`: a batch at once, perhaps empty. `after` confirms the events up to it.
#[derive(Clone, Copy, Debug)]
pub struct ShortPolling {
    /// The shortest interval at which clients should poll. The session document states it;
    /// it is not enforced.
    pub min_interval: Duration,
}

impl Transport for ShortPolling {
    const NAME: &'static str = "polling";
    const MOUNT: &'static str = "poll";
    const READS: bool = true;

    fn describe(&self, at: &Location<'_>) -> serde_json::Value {
        serde_json::json!({
            "url": format!("{}/{}", at.path, Self::MOUNT),
            "min_interval_ms": self.min_interval.as_millis() as u64,
        })
    }
}

impl Service<Attach> for ShortPolling {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attach: Attach) -> Self::Future {
        ready(Ok(respond(poll(&attach))))
    }
}

fn poll(attach: &Attach) -> Result<Response<Body>, Problem> {
    attach.require_get()?;
    let (after, limit) = (attach.query().after()?, limit(attach)?);
    let now = attach.engine.ports().clock.now();
    let holder = attach.connection.holder(Some(attach.session.user_id()));
    let read = |view: View<'_>| batch_body(&attach.engine, holder, &view, &attach.meter, now);
    Ok(json_response(StatusCode::OK, attach.session.read(after, limit, read)??))
}

/// How many events the client takes at a time; all, unless it says.
pub(crate) fn limit(attach: &Attach) -> Result<usize, Problem> {
    match attach.query().number("limit")? {
        None => Ok(usize::MAX),
        Some(0) => Err(Problem::invalid("limit", "must be at least 1")),
        Some(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
    }
}

/// The batch document of a poll, metered. An answer with events is in flight for `holder` until it is
/// written.
///
/// # Errors
/// Those of [`Budget::reserve`](pabal_core::engine::Budget::reserve). The events stay in the session.
pub(crate) fn batch_body(
    engine: &Engine,
    holder: Holder,
    view: &View<'_>,
    meter: &TransportMeter,
    now: Timestamp,
) -> Result<Body, Problem> {
    let batch = view.batch();
    let write = || {
        let mut body = Vec::with_capacity(batch.len());
        batch.write(&mut body);
        Bytes::from(body)
    };
    if view.is_empty() {
        meter.empty_answer();
        return Ok(write().into());
    }
    let held = engine.budget().reserve(BudgetKind::Answers, holder, batch.len())?;
    meter.delivered(now, view.accepted_at());
    Ok(Body::held(write(), held))
}
