//! A way through the messages of a channel, from bucket to bucket, past the empty ones.
//!
//! While a page is read, messages are stored. An owner writes a bucket's entry in the index only
//! when all messages of earlier buckets are stored. So a bucket that has a later one beside it in the
//! index is complete, and reading it misses nothing; and the last one is read only after the index
//! said that it is the last. A walk up therefore looks at the index before it reads, and never goes
//! on to a bucket that came later: it would pass over what came to the one before in the meantime.

use std::collections::VecDeque;

use pabal_core::model::{ChannelId, MessageId};
use pabal_core::ports::HistoryError;

use super::{Inner, bucket, stored_channel};

/// How much of the index is read at once: half a year of a channel that is never quiet for long.
const BUCKETS_AT_ONCE: i32 = 64;

/// How many messages are read at once; at their largest they are 8 MB.
const MESSAGES_AT_ONCE: usize = 500;

/// See [the module](self).
pub(super) struct Walk {
    channel_id: ChannelId,
    up: bool,
    /// The first id that may come next.
    from: i64,
    buckets: VecDeque<i32>,
    /// Where in the index to go on; nowhere, if all of it was read.
    index_from: Option<i32>,
}

impl Walk {
    /// From this id on, rising.
    pub(super) fn up(channel_id: ChannelId, from: i64) -> Self {
        Self::new(channel_id, from, true)
    }

    /// From this id on, falling.
    pub(super) fn down(channel_id: ChannelId, from: i64) -> Self {
        Self::new(channel_id, from, false)
    }

    fn new(channel_id: ChannelId, from: i64, up: bool) -> Self {
        let first = u64::try_from(from).map(|id| bucket(MessageId::new(id)));
        // Below all ids there is nothing.
        let index_from = first.ok();
        Self { channel_id, up, from, buckets: VecDeque::new(), index_from }
    }

    pub(super) fn channel_id(&self) -> ChannelId {
        self.channel_id
    }

    /// The next messages, with their ids: at least one and at most `at_most`; none at the end.
    pub(super) async fn next(
        &mut self,
        history: &Inner,
        at_most: usize,
    ) -> Result<Vec<(i64, Vec<u8>)>, HistoryError> {
        let limit = at_most.min(MESSAGES_AT_ONCE);
        let statements = &history.statements;
        let statement = match self.up {
            true => &statements.messages_up,
            false => &statements.messages_down,
        };
        loop {
            self.look_ahead(history).await?;
            let Some(&bucket) = self.buckets.front() else {
                return Ok(Vec::new());
            };
            let key = (stored_channel(self.channel_id), bucket, self.from, limit as i32);
            let rows = history.rows::<(i64, Vec<u8>)>(statement, key).await?;
            if rows.len() < limit {
                self.buckets.pop_front();
            }
            if let Some((last, _)) = rows.last() {
                self.from = if self.up { last.saturating_add(1) } else { last - 1 };
                return Ok(rows);
            }
        }
    }

    /// Sees to it that the first bucket here has one behind it, or is the last.
    async fn look_ahead(&mut self, history: &Inner) -> Result<(), HistoryError> {
        while let (Some(from), 0..=1) = (self.index_from, self.buckets.len()) {
            let statement = match self.up {
                true => &history.statements.buckets_up,
                false => &history.statements.buckets_down,
            };
            let key = (stored_channel(self.channel_id), from, BUCKETS_AT_ONCE);
            let found = history.rows::<(i32,)>(statement, key).await?;
            let all = found.len() < BUCKETS_AT_ONCE as usize;
            self.buckets.extend(found.into_iter().map(|(bucket,)| bucket));
            let step = if self.up { 1 } else { -1 };
            self.index_from = self.buckets.back().filter(|_| !all).map(|last| last + step);
        }
        Ok(())
    }
}
