//! The body of a response of HTTP/1, as the connection sees it: it reports when hyper has all of it, and
//! has hyper look at the client's side when it begins to wait.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pabal_transports::ConnectionMeter;

/// A body whose drop says that nothing more of the response is to come.
pub(super) struct ResponseBody<B> {
    body: B,
    connection: Arc<ConnectionMeter>,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, connection: Arc<ConnectionMeter>) -> Self {
        Self { body, connection }
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        self.connection.half_close().hand_over();
    }
}

impl<B: Body + Unpin> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        look_again(polled, &self.connection, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs a request until its response. If it begins to wait for events after the client has closed its
/// side, hyper reads that end and drops the request.
pub(super) async fn until_it_waits<T>(
    responding: impl Future<Output = T>,
    connection: &ConnectionMeter,
) -> T {
    let mut responding = pin!(responding);
    std::future::poll_fn(|cx| look_again(responding.as_mut().poll(cx), connection, cx)).await
}

/// hyper reads before it polls the request and its response, so a request that has just begun to wait is
/// polled once more.
fn look_again<T>(polled: Poll<T>, connection: &ConnectionMeter, cx: &Context<'_>) -> Poll<T> {
    if polled.is_pending() && connection.half_close().must_report() {
        cx.waker().wake_by_ref();
    }
    polled
}
