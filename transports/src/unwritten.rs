//! The answers that the HTTP library has taken and not yet written. It copies them into a buffer of its
//! own, so their bytes are in flight until that buffer is empty.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures::task::AtomicWaker;
use pabal_core::engine::Reservation;

/// The reservations of answers in the buffer of one connection.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    answers: Mutex<Vec<Arc<Reservation>>>,
    /// The request that waits for its turn.
    next: AtomicWaker,
}

impl Unwritten {
    pub(crate) fn hold(&self, reservation: Arc<Reservation>) {
        self.lock().push(reservation);
    }

    /// The buffer is empty.
    pub(crate) fn all_written(&self) {
        drop(std::mem::take(&mut *self.lock()));
        self.next.wake();
    }

    /// Waits until `written`, which is asked again each time that the buffer is empty.
    pub(crate) async fn wait(&self, written: impl Fn() -> bool) {
        poll_fn(|cx| {
            self.next.register(cx.waker());
            if written() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Reservation>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
