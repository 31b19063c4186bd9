//! Waiting for a cancellation, in tasks that are woken for every message.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Ready when a token is cancelled. The future of the token takes two locks at every poll. This one
/// registers its task once, and from then on reads a flag.
pub(super) struct Cancelled<'pinned, 'token> {
    token: &'token CancellationToken,
    /// The future of the token, for tasks that are polled seldom.
    pub(super) wait: Pin<&'pinned mut WaitForCancellationFuture<'token>>,
    /// The task that is registered.
    task: Waker,
}

impl<'pinned, 'token> Cancelled<'pinned, 'token> {
    /// `wait` must be the future of `token`.
    pub(super) fn new(
        token: &'token CancellationToken,
        wait: Pin<&'pinned mut WaitForCancellationFuture<'token>>,
    ) -> Self {
        Self { token, wait, task: Waker::noop().clone() }
    }

    /// Whether the token is cancelled.
    pub(super) fn already(&self) -> bool {
        self.token.is_cancelled()
    }
}

impl Future for Cancelled<'_, '_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.task.will_wake(cx.waker()) {
            self.task.clone_from(cx.waker());
            return self.wait.as_mut().poll(cx);
        }
        if self.already() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::future::poll_immediate;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_task_that_has_polled_more_than_once_is_woken() {
        let token = CancellationToken::new();
        let (polled, cancel) = oneshot::channel();
        let waiting = tokio::spawn({
            let token = token.clone();
            async move {
                let wait = pin!(token.cancelled());
                let mut cancelled = Cancelled::new(&token, wait);
                for _ in 0..3 {
                    assert!(poll_immediate(&mut cancelled).await.is_none());
                }
                polled.send(()).unwrap();
                cancelled.await;
            }
        });
        cancel.await.unwrap();
        token.cancel();
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_token_that_was_cancelled_before_is_ready_at_once() {
        let token = CancellationToken::new();
        token.cancel();
        let wait = pin!(token.cancelled());
        let mut cancelled = Cancelled::new(&token, wait);
        assert!(cancelled.already());
        (&mut cancelled).await;
        cancelled.await;
    }
}
