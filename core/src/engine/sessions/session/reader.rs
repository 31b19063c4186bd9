//! The reader of a session: a transport that waits for events.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::super::end_reason::EndReason;
use super::view::View;
use super::{Session, wake};
use crate::model::Seq;

/// Why a waiting reader was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    /// There are events after the position at which the reader waits.
    Events,
    /// Another reader was attached to the session.
    Replaced,
    /// The session has ended.
    Ended(EndReason),
}

/// The result of one read of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streamed {
    /// Events were passed to the writer.
    UpTo {
        /// The seq of the last of them.
        next: Seq,
        /// Whether there may be further events. If not, the reader is woken when there are.
        more: bool,
    },
    /// Another reader was attached to the session.
    Replaced,
    /// The session has ended.
    Ended(EndReason),
}

/// The one attached reader of a session. When it is dropped, the resume window starts.
#[derive(Debug)]
pub struct Reader {
    session: Arc<Session>,
    number: u64,
}

impl Session {
    /// Attaches a reader. A session has one reader: the previous one is woken with
    /// [`WakeReason::Replaced`]. While a reader is attached, the resume window does not run.
    pub fn attach(self: &Arc<Self>) -> Reader {
        let (number, previous) = {
            let mut state = self.lock();
            state.readers += 1;
            state.reader = state.readers;
            let start = state.mailbox.start();
            state.mailbox.rewind(start);
            (state.reader, state.waker.take())
        };
        wake(previous);
        debug_assert!(number > 0, "0 means that no reader is attached");
        Reader { session: Arc::clone(self), number }
    }
}

impl Reader {
    /// The session that it reads.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Waits until there are events after `after`, the session ends, or another reader replaces this
    /// one. Removes nothing. Cancel-safe.
    pub async fn wait(&self, after: Seq) -> WakeReason {
        std::future::poll_fn(|cx| {
            let mut state = self.session.lock();
            state.mailbox.number_moments(self.session.limits);
            if let Some(ended) = state.ended {
                Poll::Ready(WakeReason::Ended(ended))
            } else if state.reader != self.number {
                Poll::Ready(WakeReason::Replaced)
            } else if state.mailbox.last() > after {
                Poll::Ready(WakeReason::Events)
            } else {
                state.wait(cx);
                Poll::Pending
            }
        })
        .await
    }

    /// For a stream: calls `write` with the events after `after`, about `bytes` bytes of them at
    /// most, and marks them as written. Pending until there is an event.
    ///
    /// A marked event is evicted if a newer one needs its slot, even if the client never confirms.
    /// It does not count as confirmed: after a reconnection the client reads it again if it is still
    /// held.
    ///
    /// `write` runs while the session is locked, and must not call the session.
    pub fn poll_stream(
        &self,
        cx: &mut Context<'_>,
        after: Seq,
        bytes: usize,
        write: impl FnOnce(View<'_>),
    ) -> Poll<Streamed> {
        let mut state = self.session.lock();
        // Checked before the end of the session: the reader that replaced this one reports that.
        if state.reader != self.number {
            return Poll::Ready(Streamed::Replaced);
        }
        if state.mailbox.outran(after) {
            // The client cannot resume here, as with an expired session: it opens a new one.
            return Poll::Ready(Streamed::Ended(EndReason::Expired));
        }
        // The client has the events up to `after`; their slots may be what a `resync` waits for.
        state.mailbox.streamed(after);
        // The waker that is returned belongs to this reader, which is running.
        drop(state.announce_overflow(self.session.limits));
        state.mailbox.number_moments(self.session.limits);
        let window = state.mailbox.window(after, usize::MAX, bytes);
        match state.ended {
            // A draining node still delivers what the mailbox holds, with the `draining` event.
            Some(EndReason::Draining) if window.len() > 0 => {}
            Some(ended) => return Poll::Ready(Streamed::Ended(ended)),
            None if window.len() == 0 => {
                state.wait(cx);
                return Poll::Pending;
            }
            None => {}
        }
        let next = window.next();
        debug_assert!(next > after, "a batch with events moves the position forward");
        write(View::new(window));
        state.mailbox.streamed(next);
        drop(state.announce_overflow(self.session.limits));
        let more = state.ended.is_some() || state.mailbox.last() > next;
        if !more {
            state.wait(cx);
        }
        Poll::Ready(Streamed::UpTo { next, more })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        if state.reader == self.number {
            state.reader = 0;
            state.waker = None;
            state.idle_since = Instant::now();
        }
    }
}
