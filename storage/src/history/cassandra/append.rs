//! The steps of an append. Each is durable before the next begins:
//!
//! 1. the send keys,
//! 2. the messages by channel: the index entry of a bucket before its messages, and earlier buckets
//!    before later ones,
//! 3. the heads of the channels,
//! 4. the position of the partition.
//!
//! After a crash the next owner reads the log from its first entry. The writes that it repeats have
//! the same values and timestamps, so they change nothing. A send key without its message, left by a
//! crash and then a lost log, is ignored, because every look-up of a send key also reads the message.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::future::{try_join, try_join_all};
use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey};
use pabal_core::ports::{Appended, HistoryError};
use scylla::statement::batch::{Batch, BatchType};

use super::client::{Client, MAX_CONCURRENT, failure};
use super::keys::{bucket, stored_channel, stored_id, stored_partition, write_time};
use crate::codec;
use crate::send_window::within_window;

/// The largest write in bytes, except for a single larger message; servers log a warning for large
/// batches.
const WRITE_BYTES: usize = 256 * 1_024;

/// What history holds for the messages of a batch.
struct Found {
    position: MessageId,
    /// The ids of the batch that are stored.
    stored: HashSet<MessageId, foldhash::fast::RandomState>,
    /// The first stored message of each send key.
    firsts: HashMap<SendKey, MessageId, foldhash::fast::RandomState>,
}

impl Client {
    pub(super) async fn append(
        &self,
        partition: Partition,
        messages: &[Message],
    ) -> Result<Vec<Appended>, HistoryError> {
        let Some(last) = messages.last() else {
            return Ok(Vec::new());
        };
        debug_assert!(
            messages.is_sorted_by(|one, next| one.message_id < next.message_id),
            "ids rise within a batch"
        );
        let found = self.look_up(partition, messages).await?;
        let (outcomes, new) = decide(messages, found);
        debug_assert_eq!(outcomes.len(), messages.len(), "each message has one outcome");
        self.add_send_keys(&new).await?;
        self.add_messages(&new).await?;
        self.set_heads(&new).await?;
        let last = last.message_id;
        let position = (stored_partition(partition), stored_id(last), write_time(last));
        self.write(&self.statements.set_position, position).await?;
        Ok(outcomes)
    }

    async fn look_up(
        &self,
        partition: Partition,
        messages: &[Message],
    ) -> Result<Found, HistoryError> {
        let (position, firsts) =
            try_join(self.position(partition), self.firsts_of(messages)).await?;
        // Above the position only a crashed attempt of this same batch can have stored messages.
        let replayed = messages.iter().filter(|message| message.message_id <= position);
        let replayed = replayed.map(|message| (message.channel_id, message.message_id));
        let stored = self.stored_of(replayed.collect()).await?;
        Ok(Found { position, stored, firsts })
    }

    /// The stored messages of the send keys of `messages`.
    async fn firsts_of(
        &self,
        messages: &[Message],
    ) -> Result<HashMap<SendKey, MessageId, foldhash::fast::RandomState>, HistoryError> {
        let mut firsts = HashMap::default();
        let named: Vec<_> =
            messages.iter().filter_map(|it| Some((it.send_key()?, it.message_id))).collect();
        for chunk in named.chunks(MAX_CONCURRENT) {
            let found = try_join_all(chunk.iter().map(|(key, _)| self.sent(key))).await?;
            for ((key, own), first) in chunk.iter().zip(found) {
                // A send key that refers to this same message was written before a crash.
                if let Some(first) = first.filter(|first| first != own) {
                    firsts.insert(key.clone(), first);
                }
            }
        }
        let keys = firsts.iter().map(|(key, first)| (key.channel_id, *first)).collect();
        let stored = self.stored_of(keys).await?;
        firsts.retain(|_, first| stored.contains(first));
        Ok(firsts)
    }

    /// Which of these messages are stored.
    async fn stored_of(
        &self,
        keys: Vec<(ChannelId, MessageId)>,
    ) -> Result<HashSet<MessageId, foldhash::fast::RandomState>, HistoryError> {
        let mut stored = HashSet::default();
        for chunk in keys.chunks(MAX_CONCURRENT) {
            let found = chunk.iter().map(|(channel_id, id)| self.get(*channel_id, *id));
            let found = try_join_all(found).await?;
            stored.extend(found.into_iter().flatten().map(|message| message.message_id));
        }
        Ok(stored)
    }

    async fn add_send_keys(&self, new: &[&Message]) -> Result<(), HistoryError> {
        let named: Vec<_> =
            new.iter().filter_map(|it| Some((it.send_key()?, it.message_id))).collect();
        for chunk in named.chunks(MAX_CONCURRENT) {
            let writes = chunk.iter().map(|(key, id)| async move {
                let values = (&codec::sent_key(key)[..], stored_id(*id), write_time(*id));
                self.write(&self.statements.add_sent, values).await
            });
            try_join_all(writes).await?;
        }
        Ok(())
    }

    async fn add_messages(&self, new: &[&Message]) -> Result<(), HistoryError> {
        let mut channels: BTreeMap<ChannelId, Vec<&Message>> = BTreeMap::new();
        for message in new {
            channels.entry(message.channel_id).or_default().push(message);
        }
        let channels: Vec<_> = channels.into_iter().collect();
        for chunk in channels.chunks(MAX_CONCURRENT) {
            let writes = chunk.iter().map(|(id, messages)| self.add_to_channel(*id, messages));
            try_join_all(writes).await?;
        }
        Ok(())
    }

    async fn add_to_channel(
        &self,
        channel_id: ChannelId,
        messages: &[&Message],
    ) -> Result<(), HistoryError> {
        for messages in messages.chunk_by(|a, b| bucket(a.message_id) == bucket(b.message_id)) {
            let first = messages[0].message_id;
            let bucket = bucket(first);
            if !self.known_buckets.has(channel_id, bucket) {
                let entry = (stored_channel(channel_id), bucket, write_time(first));
                self.write(&self.statements.add_bucket, entry).await?;
                self.known_buckets.remember(channel_id, bucket);
            }
            let mut rows = Vec::new();
            let mut bytes = 0;
            for message in messages {
                let mut body = Vec::new();
                codec::encode_message(message, &mut body);
                if bytes + body.len() > WRITE_BYTES && !rows.is_empty() {
                    self.add_rows(std::mem::take(&mut rows)).await?;
                    bytes = 0;
                }
                bytes += body.len();
                let id = message.message_id;
                rows.push((
                    stored_channel(channel_id),
                    bucket,
                    stored_id(id),
                    body,
                    write_time(id),
                ));
            }
            self.add_rows(rows).await?;
        }
        Ok(())
    }

    /// Adds rows of one bucket in one write, which becomes visible completely or not at all.
    async fn add_rows(
        &self,
        mut rows: Vec<(i64, i32, i64, Vec<u8>, i64)>,
    ) -> Result<(), HistoryError> {
        let statement = &self.statements.add_message;
        if rows.len() == 1 {
            return self.write(statement, rows.remove(0)).await;
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        for _ in &rows {
            batch.append_statement(statement.clone());
        }
        Box::pin(self.session.batch(&batch, &rows)).await.map_err(failure)?;
        Ok(())
    }

    async fn set_heads(&self, new: &[&Message]) -> Result<(), HistoryError> {
        // Ids rise, so the last id of a channel remains in the map.
        let heads: BTreeMap<ChannelId, MessageId> =
            new.iter().map(|message| (message.channel_id, message.message_id)).collect();
        let heads: Vec<_> = heads.into_iter().collect();
        for chunk in heads.chunks(MAX_CONCURRENT) {
            let writes = chunk.iter().map(|(channel_id, head)| {
                let values = (write_time(*head), stored_id(*head), stored_channel(*channel_id));
                self.write(&self.statements.set_head, values)
            });
            try_join_all(writes).await?;
        }
        Ok(())
    }
}

/// The outcome of each message, and the messages to write.
fn decide(messages: &[Message], mut found: Found) -> (Vec<Appended>, Vec<&Message>) {
    let mut outcomes = Vec::with_capacity(messages.len());
    let mut new = Vec::new();
    for message in messages {
        let id = message.message_id;
        let stored = found.stored.contains(&id);
        if let Some(key) = message.send_key() {
            match found.firsts.get(&key) {
                Some(first) if !stored && is_repeat(*first, id, found.position) => {
                    outcomes.push(Appended::Repeat(*first));
                    continue;
                }
                _ => found.firsts.insert(key, id),
            };
        }
        if !stored {
            new.push(message);
        }
        outcomes.push(Appended::Stored);
    }
    (outcomes, new)
}

/// Whether a message that is not stored repeats the message of its send key. A replay also finds
/// send keys that were reused after the window. An unstored message at or below the position was
/// then recognised as a repeat earlier; one above the position was never decided.
fn is_repeat(first: MessageId, id: MessageId, position: MessageId) -> bool {
    if first < id { within_window(first, id) } else { first > id && id <= position }
}
