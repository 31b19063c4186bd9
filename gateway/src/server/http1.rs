//! hyper's part in a connection of HTTP/1.1: it serves every request until the connection ends, becomes
//! a WebSocket, or a plain poll comes, which the poll server serves.
//!
//! A response before which the body of its request was not read out is the last one: it says
//! `connection: close`, or the next request would meet a connection that ends.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pabal_transports::{Connection, ConnectionMeter};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFuture;

use super::connection::{Connections, take_held, until};
use super::handoff::{Http1Handoff, Stream};
use super::request_body::RequestBody;
use super::response_body::{ResponseBody, until_it_waits};

/// What the service of a connection reports to the future that drives it.
#[derive(Default)]
struct Report {
    /// A request was read.
    request_came: AtomicBool,
    /// A request has no response yet.
    busy: AtomicBool,
    /// The poll for which hyper hands the connection over.
    poll: Mutex<Option<Box<Request<()>>>>,
}

/// The error that ends hyper's part in a connection without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection is handed over to the poll server")]
struct HandedOver;

impl Connections {
    /// Serves requests until hyper's part ends. The client must have sent one by `deadline`.
    pub(super) async fn http1<S: Stream>(
        self: &Arc<Self>,
        connection: Connection<S>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
        deadline: Option<Instant>,
        mut finishing: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Http1Handoff<S> {
        let report = Arc::new(Report::default());
        let service = {
            let (this, report, meter) = (Arc::clone(self), Arc::clone(&report), Arc::clone(meter));
            service_fn(move |request: Request<Incoming>| {
                report.request_came.store(true, Ordering::Relaxed);
                let hand_over = this.hands_over(&request, &meter);
                if !hand_over {
                    report.busy.store(true, Ordering::Relaxed);
                    // At once: hyper looks at the client's side before it polls the request.
                    meter.half_close().begin(true);
                }
                let (this, report, meter) =
                    (Arc::clone(&this), Arc::clone(&report), Arc::clone(&meter));
                async move {
                    if hand_over {
                        let mut poll = report.poll.lock().unwrap_or_else(PoisonError::into_inner);
                        *poll = Some(Box::new(request.map(drop)));
                        return Err(HandedOver);
                    }
                    let (request, body) = RequestBody::share(request, &meter);
                    meter.earlier_written().await;
                    let responding = this.dispatch(request, peer, &meter);
                    let mut response = until_it_waits(responding, &meter).await;
                    // Boxed: most requests have no body.
                    if let Some(body) = body
                        && !Box::pin(body.is_read_out()).await
                        && response.status() != StatusCode::SWITCHING_PROTOCOLS
                    {
                        let close = HeaderValue::from_static("close");
                        response.headers_mut().insert(CONNECTION, close);
                    }
                    // hyper copies the answer into its buffer, from where it is written.
                    if let Some(held) = take_held(&mut response) {
                        meter.hold_until_written(held);
                    }
                    report.busy.store(false, Ordering::Relaxed);
                    Ok(response.map(|body| ResponseBody::new(body, meter)))
                }
            })
        };
        let stream = TokioIo::new(connection);
        let mut serving = self.http1.serve_connection(stream, service).with_upgrades();
        let mut first_request = pin!(until(deadline));
        let (mut waiting, mut running, mut idle) = (deadline.is_some(), true, false);
        let outcome = loop {
            tokio::select! {
                outcome = &mut serving => break outcome,
                () = first_request.as_mut(), if waiting => {
                    waiting = false;
                    if !report.request_came.load(Ordering::Relaxed) {
                        return Http1Handoff::Closed;
                    }
                }
                () = finishing.as_mut(), if running => {
                    running = false;
                    idle = !report.busy.load(Ordering::Relaxed);
                    Pin::new(&mut serving).graceful_shutdown();
                }
            }
        };
        let poll = report.poll.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(parts) = serving.into_parts() else {
            // It became a WebSocket.
            return Http1Handoff::Closed;
        };
        let mut connection = parts.io.into_inner();
        meter.half_close().begin(false);
        match (outcome, poll) {
            (Err(_), Some(parsed)) => {
                connection.give_back(parts.read_buf);
                Http1Handoff::ToPolls { connection, parsed }
            }
            (Ok(()), _) if idle => Http1Handoff::Closed,
            (Ok(()), _) => Http1Handoff::LastWritten { connection },
            (Err(error), None) => {
                tracing::debug!(%peer, %error, "connection failed");
                // hyper responds to what is no request, too.
                match error.is_parse() {
                    true => Http1Handoff::LastWritten { connection },
                    false => Http1Handoff::Closed,
                }
            }
        }
    }
}
