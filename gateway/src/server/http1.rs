//! hyper's part in a connection of HTTP/1.1: it serves every request until the connection ends, becomes
//! a WebSocket, or a plain poll comes, which the poll server serves.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pabal_transports::{Connection, ConnectionMeter};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFuture;

use super::connection::{Connections, take_held, until};
use super::handoff::{Http1Handoff, Stream};

/// What the service of a connection reports to the future that drives it.
#[derive(Default)]
struct Report {
    /// A request was read.
    request_came: AtomicBool,
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
                let (this, report, meter) =
                    (Arc::clone(&this), Arc::clone(&report), Arc::clone(&meter));
                async move {
                    if hand_over {
                        let mut poll = report.poll.lock().unwrap_or_else(PoisonError::into_inner);
                        *poll = Some(Box::new(request.map(drop)));
                        return Err(HandedOver);
                    }
                    meter.earlier_written().await;
                    let mut response = this.dispatch(request, peer, &meter).await;
                    // hyper copies the answer into its buffer, from where it is written.
                    if let Some(held) = take_held(&mut response) {
                        meter.hold_until_written(held);
                    }
                    Ok(response)
                }
            })
        };
        let stream = TokioIo::new(connection);
        let mut serving = self.http1.serve_connection(stream, service).with_upgrades();
        let mut first_request = pin!(until(deadline));
        let (mut waiting, mut running) = (deadline.is_some(), true);
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
                    Pin::new(&mut serving).graceful_shutdown();
                }
            }
        };
        let Err(error) = outcome else { return Http1Handoff::Closed };
        let poll = report.poll.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(parsed), Some(parts)) = (poll, serving.into_parts()) else {
            tracing::debug!(%peer, %error, "connection failed");
            return Http1Handoff::Closed;
        };
        let mut connection = parts.io.into_inner();
        connection.give_back(parts.read_buf);
        Http1Handoff::ToPolls { connection, parsed }
    }
}
