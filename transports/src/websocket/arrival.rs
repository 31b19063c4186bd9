//! Tells a wake-up by bytes of the client from one by the session. Thousands of sockets are woken for
//! every message and hardly any has something to read. A read attempt costs a twentieth of a delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures::task::AtomicWaker;

/// Whether there may be something to read from the client.
#[derive(Debug)]
pub(super) struct Arrival {
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
    /// The task that the bell wakes.
    task: Waker,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Arrival {
    /// For a stream from which nothing was read: there may be something.
    pub(super) fn new() -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { waker: Waker::from(Arc::clone(&bell)), bell, task: Waker::noop().clone() }
    }

    /// Has the next [`take`](Self::take) say that there may be something. Wakes no task.
    pub(super) fn expect(&self) {
        self.bell.rung.store(true, Ordering::Release);
    }

    /// The waker to read with, if there may be something to read. The caller reads until the stream is
    /// pending, or calls [`expect`](Self::expect) for the rest.
    pub(super) fn take(&mut self, cx: &Context<'_>) -> Option<Waker> {
        let moved = !self.task.will_wake(cx.waker());
        if moved {
            self.task.clone_from(cx.waker());
        }
        let rung = self.bell.rung.load(Ordering::Acquire);
        if moved || rung {
            // Before the bell is reset: bytes that arrive in between wake the task once more.
            self.bell.task.register(&self.task);
        }
        let rung = rung && self.bell.rung.swap(false, Ordering::AcqRel);
        rung.then(|| self.waker.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    #[test]
    fn only_the_waker_of_the_stream_causes_a_read() {
        let (woken, waker) = task();
        let cx = Context::from_waker(&waker);
        let mut arrival = Arrival::new();
        let bell = arrival.take(&cx).expect("the first take reads");
        assert!(arrival.take(&cx).is_none(), "the next one needs a cause");
        for times in 1..=2 {
            bell.wake_by_ref();
            assert_eq!(woken.0.load(Ordering::Relaxed), times, "each ring wakes the task");
            assert!(arrival.take(&cx).is_some());
            assert!(arrival.take(&cx).is_none());
        }
        arrival.expect();
        assert!(arrival.take(&cx).is_some());
        assert_eq!(woken.0.load(Ordering::Relaxed), 2, "expect wakes no task");
    }

    #[test]
    fn a_ring_reaches_the_task_that_polled_last() {
        let ((first, one), (second, other)) = (task(), task());
        let mut arrival = Arrival::new();
        let bell = arrival.take(&Context::from_waker(&one)).expect("the first take reads");
        assert!(arrival.take(&Context::from_waker(&other)).is_none());
        bell.wake_by_ref();
        let woken = [first, second].map(|task| task.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
    }
}
