//! The embedded history: reads, and forwarding of appends to the writer. Owns paging.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use fjall::{Guard, Iter, Readable, Snapshot};
use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey, UserId};
use pabal_core::ports::{
    Appended, BoxFuture, HistoryError, HistoryStore, Page, PageFilling, PageFrom, PageLimit, Unread,
};

use super::chain;
use super::database::{Database, ReadError, yield_between_rows};
use super::export::{ExportError, Exported};
use super::writer::{Request, Stopped, Writer};
use crate::codec::{self, DecodeError};

const FIRST: MessageId = MessageId::new(0);
const LAST: MessageId = MessageId::new(u64::MAX);

/// A [`HistoryStore`] on local disk, opened by
/// [`EmbeddedStore::open`](crate::embedded::EmbeddedStore::open).
///
/// Appends of all partitions share one writer and its syncs; an acknowledged message survives `kill
/// -9` and loss of power. The writer decides about repeats, for exactly
/// [`SEND_KEY_WINDOW`](pabal_core::ports::SEND_KEY_WINDOW) between the two ids. Reads see each
/// batch completely or not at all.
///
/// Not cancel safe: an append whose future is dropped may still be executed.
///
/// # Errors
/// [`HistoryError::Unavailable`]: the disk failed to read; retry. [`HistoryError::Damaged`]: a row
/// cannot be decoded; do not retry. [`HistoryError::Poisoned`]: a write failed; every later call
/// fails too, and the process must stop.
pub struct FjallHistoryStore {
    writer: Arc<Writer>,
}

impl FjallHistoryStore {
    pub(super) fn new(writer: Arc<Writer>) -> Self {
        Self { writer }
    }

    /// Copies the history and the push queue into `folder`, which must not exist; a store can then
    /// be opened on it. The copy holds everything that was durable at the start and nothing later,
    /// while appends continue. Ends early once `stopped` returns true. Blocks on the disk while it
    /// reads and writes all data.
    ///
    /// # Errors
    /// [`ExportError`]; delete `folder` then.
    pub fn export(
        &self,
        folder: &Path,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Exported, ExportError> {
        match self.writer.database() {
            Ok(database) => database.export(folder, stopped),
            Err(Stopped(why)) => Err(ExportError::Row(why)),
        }
    }

    /// Whether no channel has a message.
    pub(super) fn is_empty(&self) -> Result<bool, HistoryError> {
        let database = self.writer.database()?;
        let mut first = database.durable().iter(&database.messages);
        match first.next().map(Guard::key).transpose() {
            Ok(first) => Ok(first.is_none_or(|key| *key == chain::KEY)),
            Err(error) => Err(ReadError::from(error).into()),
        }
    }

    /// The senders of the oldest message of up to `channels` channels, for a comparison with the
    /// directory.
    ///
    /// # Errors
    /// As [`HistoryStore::page`].
    pub async fn some_senders(&self, channels: usize) -> Result<Vec<UserId>, HistoryError> {
        let database = self.writer.database()?;
        let durable = database.durable();
        let (mut senders, mut from) = (Vec::new(), codec::message_key(ChannelId::new(0), FIRST));
        for row in 0..channels {
            let range = (Bound::Included(from.to_vec()), Bound::Excluded(chain::KEY.to_vec()));
            let Some(first) = durable.range(&database.messages, range).next() else { break };
            let (key, value) = first.into_inner().map_err(ReadError::from)?;
            let damaged = |error| HistoryError::Damaged(format!("message {key:02x?}: {error}"));
            senders.push(codec::decode_message_from(&value).map_err(damaged)?);
            let channel = key.first_chunk().map_or(u64::MAX, |id| u64::from_be_bytes(*id));
            from = codec::message_key(ChannelId::new(channel.saturating_add(1)), FIRST);
            yield_between_rows(row).await;
        }
        Ok(senders)
    }

    /// One snapshot of a channel, for all reads of a call.
    fn channel(&self, channel_id: ChannelId) -> Result<ChannelRows<'_>, HistoryError> {
        let database = self.writer.database()?;
        Ok(ChannelRows { database, durable: database.durable(), channel_id })
    }
}

impl HistoryStore for FjallHistoryStore {
    fn append(
        &self,
        partition: Partition,
        messages: Vec<Message>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, HistoryError>> {
        Box::pin(async move {
            let request = |reply| Request::Append { partition, messages, reply };
            self.writer.submit(request).await?
        })
    }

    fn stored_position(
        &self,
        partition: Partition,
    ) -> BoxFuture<'_, Result<MessageId, HistoryError>> {
        Box::pin(async move { Ok(self.writer.database()?.stored.get(partition)) })
    }

    fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Page, HistoryError>> {
        Box::pin(async move { self.channel(channel_id)?.page(from, limit).await })
    }

    fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> BoxFuture<'_, Result<Option<Message>, HistoryError>> {
        Box::pin(async move { self.channel(channel_id)?.get(message_id) })
    }

    fn heads(
        &self,
        channel_ids: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<MessageId>, HistoryError>> {
        let channel_ids = channel_ids.to_vec();
        Box::pin(async move {
            let mut heads = Vec::with_capacity(channel_ids.len());
            for (row, channel_id) in channel_ids.into_iter().enumerate() {
                heads.push(self.channel(channel_id)?.head()?);
                yield_between_rows(row).await;
            }
            Ok(heads)
        })
    }

    fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        rows: usize,
    ) -> BoxFuture<'_, Result<Unread, HistoryError>> {
        Box::pin(async move { self.channel(channel_id)?.unread(after, reader, rows).await })
    }

    fn find_sent(&self, key: SendKey) -> BoxFuture<'_, Result<Option<MessageId>, HistoryError>> {
        Box::pin(async move {
            let database = self.writer.database()?;
            let value = database.durable().get(&database.sent, codec::sent_key(&key));
            let Some(value) = value.map_err(ReadError::from)? else {
                return Ok(None);
            };
            let damaged = |error| HistoryError::Damaged(format!("{key:?}: {error}"));
            let first = codec::decode_id(&value).map_err(damaged)?;
            Ok(database.stored.still_known(first).then_some(first))
        })
    }
}

/// A channel as of the last written group.
struct ChannelRows<'a> {
    database: &'a Database,
    durable: Arc<Snapshot>,
    channel_id: ChannelId,
}

impl ChannelRows<'_> {
    fn range(&self, from: Bound<MessageId>, to: Bound<MessageId>) -> Iter {
        let key = |id| codec::message_key(self.channel_id, id);
        self.durable.range(&self.database.messages, (from.map(key), to.map(key)))
    }

    async fn page(&self, from: PageFrom, limit: PageLimit) -> Result<Page, HistoryError> {
        let whole = (Bound::Included(FIRST), Bound::Included(LAST));
        let below = |id| self.range(whole.0, Bound::Excluded(id)).rev();
        match from {
            PageFrom::After(id) => self.take(self.range(Bound::Excluded(id), whole.1), limit).await,
            PageFrom::Before(id) => self.take(below(id), limit).await,
            PageFrom::Newest => self.take(self.range(whole.0, whole.1).rev(), limit).await,
            PageFrom::Around(id) => {
                let mut messages = self.take(below(id), limit.half()).await?.messages;
                messages.reverse();
                let remaining = limit.beside(&messages);
                let from_on =
                    self.take(self.range(Bound::Included(id), whole.1), remaining).await?;
                messages.extend(from_on.messages);
                Ok(Page { messages, has_more: from_on.has_more })
            }
        }
    }

    async fn take(
        &self,
        rows: impl Iterator<Item = Guard>,
        limit: PageLimit,
    ) -> Result<Page, HistoryError> {
        let mut page = PageFilling::new(limit);
        for (row, guard) in rows.enumerate() {
            let (key, value) = guard.into_inner().map_err(ReadError::from)?;
            let message_id = codec::id_in_key(&key).map_err(|e| self.damaged(FIRST, &e))?;
            if !page.push(self.decode(message_id, &value)?) {
                break;
            }
            yield_between_rows(row).await;
        }
        Ok(page.page())
    }

    fn get(&self, message_id: MessageId) -> Result<Option<Message>, HistoryError> {
        let key = codec::message_key(self.channel_id, message_id);
        let value = self.durable.get(&self.database.messages, key).map_err(ReadError::from)?;
        value.map(|value| self.decode(message_id, &value)).transpose()
    }

    fn head(&self) -> Result<MessageId, HistoryError> {
        let newest = self.range(Bound::Included(FIRST), Bound::Included(LAST)).next_back();
        let Some(newest) = newest else {
            return Ok(FIRST);
        };
        let key = newest.key().map_err(ReadError::from)?;
        codec::id_in_key(&key).map_err(|error| self.damaged(FIRST, &error))
    }

    async fn unread(
        &self,
        after: MessageId,
        reader: UserId,
        rows: usize,
    ) -> Result<Unread, HistoryError> {
        let mut unread = Unread::default();
        for (row, guard) in self.range(Bound::Excluded(after), Bound::Included(LAST)).enumerate() {
            if row == rows {
                unread.at_least = true;
                break;
            }
            let (key, value) = guard.into_inner().map_err(ReadError::from)?;
            let message_from = codec::decode_message_from(&value).map_err(|error| {
                self.damaged(codec::id_in_key(&key).unwrap_or_default(), &error)
            })?;
            unread.messages += usize::from(message_from != reader);
            yield_between_rows(row).await;
        }
        Ok(unread)
    }

    fn decode(&self, message_id: MessageId, value: &[u8]) -> Result<Message, HistoryError> {
        codec::decode_message(self.channel_id, message_id, value)
            .map_err(|error| self.damaged(message_id, &error))
    }

    fn damaged(&self, message_id: MessageId, error: &DecodeError) -> HistoryError {
        let channel_id = self.channel_id;
        HistoryError::Damaged(format!("message {message_id} of channel {channel_id}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pabal_core::model::Timestamp;
    use pabal_core::ports::SEND_KEY_WINDOW;

    use super::*;
    use crate::embedded::{EmbeddedConfig, EmbeddedStore};

    fn sent(partition: Partition, since_base: Duration, name: &str) -> Message {
        let moment = Timestamp::from_millis(1_790_000_000_000).plus(since_base);
        Message {
            message_id: MessageId::first_at(moment, partition),
            channel_id: ChannelId::new(u64::from(partition.get())),
            message_from: UserId::new(1),
            message_to: None,
            content: "words".into(),
            client_message_id: Some(name.into()),
        }
    }

    /// The number of stored send keys after all tables are merged.
    fn sends_after_merging(database: &Database) -> usize {
        database.sent.rotate_memtable_and_wait().expect("a flush");
        database.sent.major_compact().expect("a merge");
        let rows = database.sent.len().expect("a count");
        // One of them is of the chain.
        rows - 1
    }

    #[tokio::test]
    async fn merging_removes_expired_send_keys() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = EmbeddedStore::open(folder.path(), &EmbeddedConfig::default()).expect("opens");
        let database = store.history.writer.database().expect("a database");
        let [busy, quiet] = [0, 1].map(|number| Partition::new(number).expect("a partition"));
        let minute = Duration::from_secs(60);
        for partition in [busy, quiet] {
            let sends = (0..10).map(|n| sent(partition, minute * n, &n.to_string())).collect();
            store.history.append(partition, sends).await.expect("an append");
        }
        assert_eq!(sends_after_merging(database), 20, "all are within the window");
        // The window of the busy partition advances past the first four of its sends.
        let later = sent(busy, SEND_KEY_WINDOW + minute * 4, "later");
        store.history.append(busy, vec![later]).await.expect("an append");
        assert_eq!(sends_after_merging(database), 17);
        let find = async |partition, n: u32| {
            let key = sent(partition, minute, &n.to_string()).send_key().expect("named");
            store.history.find_sent(key).await.expect("a look").is_some()
        };
        assert!(!find(busy, 3).await && find(busy, 4).await && find(quiet, 0).await);
        let page = store.history.page(ChannelId::new(0), PageFrom::Newest, 50.into()).await;
        assert_eq!(page.expect("a page").messages.len(), 11, "messages stay");
    }
}
