//! Read positions on their way to the directory. A client may send hundreds in a request, and only the
//! highest is of use: those of a user in a channel that come together become one write, and one that
//! is not above what was written in the last second becomes none.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::model::{ChannelId, MessageId, UserId};

/// How long a written position is remembered. Not longer: a user who is removed and added again begins
/// anew.
const REMEMBERED: Duration = Duration::from_secs(1);
/// How often positions are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(10);

type Place = (UserId, ChannelId);

/// The positions that are being written, or were in the last moment. At most one write of a place is
/// under way.
#[derive(Debug, Default)]
pub(super) struct ReadMarks {
    marks: DashMap<Place, Arc<Mark>, RandomState>,
}

#[derive(Debug, Default)]
struct Mark {
    /// The highest position that is to be written.
    wanted: std::sync::Mutex<Option<MessageId>>,
    /// The highest that was written, and when.
    written: Mutex<Option<(MessageId, Instant)>>,
}

impl Mark {
    fn raise(&self, message_id: MessageId) {
        let mut wanted = self.wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *wanted = (*wanted).max(Some(message_id));
    }

    fn take(&self) -> Option<MessageId> {
        self.wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl ReadMarks {
    /// Returns after a position at least as high was written, by this call or another one. Returns the
    /// position that this call has written, if that changed anything: others do not know it yet.
    /// A call that is dropped may leave its position unwritten; positions of other calls are written.
    ///
    /// # Errors
    /// Those of `write`.
    pub(super) async fn write<F, E>(
        &self,
        place: Place,
        message_id: MessageId,
        write: impl FnOnce(MessageId) -> F,
    ) -> Result<Option<MessageId>, E>
    where
        F: Future<Output = Result<bool, E>>,
    {
        let mark = Arc::clone(&self.marks.entry(place).or_default());
        mark.raise(message_id);
        let mut written = mark.written.lock().await;
        let is_known = |(highest, at): (MessageId, Instant)| {
            highest >= message_id && at.elapsed() < REMEMBERED
        };
        if written.is_some_and(is_known) {
            return Ok(None);
        }
        let newest = mark.take().unwrap_or(message_id).max(message_id);
        let moved = write(newest).await?;
        *written = Some((newest, Instant::now()));
        Ok(moved.then_some(newest))
    }

    /// Forgets regularly what was written, so that memory does not grow. Never returns.
    pub(super) async fn keep_tidy(self: Arc<Self>) {
        loop {
            sleep(TIDY_EVERY).await;
            self.marks.retain(|_, mark| Arc::strong_count(mark) > 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    const PLACE: Place = (UserId::new(1), ChannelId::new(2));

    /// A directory that takes a while.
    #[derive(Default)]
    struct Writes {
        marks: ReadMarks,
        count: AtomicUsize,
    }

    impl Writes {
        async fn mark(&self, number: u64) -> Option<MessageId> {
            let write = |_| async {
                self.count.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(5)).await;
                Ok::<_, ()>(true)
            };
            self.marks.write(PLACE, MessageId::new(number), write).await.expect("is written")
        }

        fn count(&self) -> usize {
            self.count.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn positions_that_come_together_are_written_once_or_twice() {
        let writes = Writes::default();
        let moved = join_all((1..=256).map(|number| writes.mark(number))).await;
        assert!(writes.count() <= 2, "{} writes", writes.count());
        assert_eq!(moved.into_iter().flatten().max(), Some(MessageId::new(256)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_position_that_is_known_is_not_written_again_for_a_second() {
        let writes = Writes::default();
        assert_eq!(writes.mark(7).await, Some(MessageId::new(7)));
        assert_eq!(writes.mark(7).await, None);
        assert_eq!(writes.mark(6).await, None);
        assert_eq!(writes.count(), 1);
        assert_eq!(writes.mark(8).await, Some(MessageId::new(8)));
        sleep(REMEMBERED).await;
        // The user may have been removed and added again since.
        writes.mark(8).await;
        assert_eq!(writes.count(), 3);
    }
}
