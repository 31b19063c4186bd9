//! Reads the messages of a channel across buckets, skipping empty ones.
//!
//! Messages are stored while a page is read. An owner writes the index entry of a bucket only after
//! all messages of earlier buckets are stored. So a bucket with a later bucket in the index is
//! complete. The last bucket is read only after the index reported it as the last. A forward scan
//! therefore reads the index before the messages, and never continues into a bucket that was added
//! later: it would miss messages that were added to the previous bucket meanwhile.

use std::collections::VecDeque;

use pabal_core::model::{ChannelId, MessageId};
use pabal_core::ports::HistoryError;

use super::client::Client;
use super::keys::{bucket, stored_channel};

/// The number of index entries read at once: half a year of a continuously active channel.
const INDEX_ROWS: i32 = 64;

/// The number of messages read at once; 8 MB at their largest size.
const MESSAGE_ROWS: usize = 500;

/// A scan through the messages of a channel, in one direction.
pub(super) struct ChannelScan {
    channel_id: ChannelId,
    ascending: bool,
    /// The first id that may be returned next.
    from: i64,
    buckets: VecDeque<i32>,
    /// The bucket at which to continue in the index; `None` if the index is exhausted.
    index_from: Option<i32>,
}

impl ChannelScan {
    /// A scan from this id on, ascending.
    pub(super) fn ascending(channel_id: ChannelId, from: i64) -> Self {
        Self::new(channel_id, from, true)
    }

    /// A scan from this id on, descending.
    pub(super) fn descending(channel_id: ChannelId, from: i64) -> Self {
        Self::new(channel_id, from, false)
    }

    fn new(channel_id: ChannelId, from: i64, ascending: bool) -> Self {
        let first = u64::try_from(from).map(|id| bucket(MessageId::new(id)));
        // A negative id is below all ids.
        let index_from = first.ok();
        Self { channel_id, ascending, from, buckets: VecDeque::new(), index_from }
    }

    pub(super) fn channel_id(&self) -> ChannelId {
        self.channel_id
    }

    /// The next messages with their ids: at least one and at most `at_most`; none at the end.
    pub(super) async fn next(
        &mut self,
        history: &Client,
        at_most: usize,
    ) -> Result<Vec<(i64, Vec<u8>)>, HistoryError> {
        let limit = at_most.min(MESSAGE_ROWS);
        let statements = &history.statements;
        let statement = match self.ascending {
            true => &statements.messages_up,
            false => &statements.messages_down,
        };
        loop {
            self.read_index_ahead(history).await?;
            let Some(&bucket) = self.buckets.front() else {
                return Ok(Vec::new());
            };
            let key = (stored_channel(self.channel_id), bucket, self.from, limit as i32);
            let rows = history.rows::<(i64, Vec<u8>)>(statement, key).await?;
            if rows.len() < limit {
                self.buckets.pop_front();
            }
            if let Some((last, _)) = rows.last() {
                self.from = if self.ascending { last.saturating_add(1) } else { last - 1 };
                return Ok(rows);
            }
        }
    }

    /// Ensures that the first bucket is followed by another one in `buckets`, or is the last of the
    /// index.
    async fn read_index_ahead(&mut self, history: &Client) -> Result<(), HistoryError> {
        while let (Some(from), 0..=1) = (self.index_from, self.buckets.len()) {
            let statement = match self.ascending {
                true => &history.statements.buckets_up,
                false => &history.statements.buckets_down,
            };
            let key = (stored_channel(self.channel_id), from, INDEX_ROWS);
            let found = history.rows::<(i32,)>(statement, key).await?;
            let exhausted = found.len() < INDEX_ROWS as usize;
            self.buckets.extend(found.into_iter().map(|(bucket,)| bucket));
            let step = if self.ascending { 1 } else { -1 };
            self.index_from = self.buckets.back().filter(|_| !exhausted).map(|last| last + step);
        }
        Ok(())
    }
}
