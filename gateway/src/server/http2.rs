//! A connection of HTTP/2 (RFC 9113): hyper serves it to the end. Its streams are tasks, which
//! [`streams`](super::streams) counts and bounds.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pabal_transports::{Connection, ConnectionMeter};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFuture;

use super::connection::{Connections, take_held, until};
use super::handoff::Stream;
use super::streams::{Pieces, Streams, while_open};

/// The most requests in progress on one connection.
const STREAMS: u32 = 256;
/// How often an idle connection is pinged, and how long the client has for the acknowledgement.
const PING: Duration = Duration::from_secs(25);

impl Connections {
    /// Serves a connection to its end. The client must have sent a request by `deadline`, and the
    /// connection ends gracefully when it has had no stream for the idle timeout.
    pub(super) async fn http2<S: Stream>(
        self: &Arc<Self>,
        connection: Connection<S>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
        deadline: Option<Instant>,
        mut finishing: Pin<&mut WaitForCancellationFuture<'_>>,
    ) {
        let request_came = Arc::new(AtomicBool::new(false));
        let service = {
            let (this, meter) = (Arc::clone(self), Arc::clone(meter));
            let request_came = Arc::clone(&request_came);
            service_fn(move |mut request: Request<Incoming>| {
                request_came.store(true, Ordering::Relaxed);
                let (this, meter) = (Arc::clone(&this), Arc::clone(&meter));
                async move {
                    if request.method() == Method::CONNECT
                        && let Some(open) = while_open()
                    {
                        request.extensions_mut().insert(open);
                    }
                    let mut response = this.dispatch(request, peer, &meter).await;
                    let held = take_held(&mut response);
                    Ok::<_, Infallible>(response.map(|body| Pieces::of(body, held)))
                }
            })
        };
        let streams = Streams::new(self.tasks.clone(), self.write_within);
        let mut serving = pin!(
            http2::Builder::new(streams.clone())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .max_concurrent_streams(STREAMS)
                // WebSockets may be streams (RFC 8441).
                .enable_connect_protocol()
                .serve_connection(TokioIo::new(connection), service)
        );
        let mut first_request = pin!(until(deadline));
        let mut idle = pin!(streams.idle(self.polls.idle));
        let (mut waiting, mut running, mut leaving) = (deadline.is_some(), true, false);
        loop {
            tokio::select! {
                outcome = serving.as_mut() => {
                    if let Err(error) = outcome {
                        tracing::debug!(%peer, %error, "connection failed");
                    }
                    return;
                }
                () = first_request.as_mut(), if waiting => {
                    waiting = false;
                    if !request_came.load(Ordering::Relaxed) {
                        return;
                    }
                }
                // A connection whose client only acknowledges pings is idle.
                () = idle.as_mut() => {
                    if leaving {
                        return;
                    }
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                    // The ends of responses may still be on their way, for a bounded time.
                    idle.set(streams.idle(self.write_within));
                }
                () = finishing.as_mut(), if running => {
                    running = false;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
