//! What an append does. Four steps, each durable before the next begins:
//!
//! 1. the names of sends,
//! 2. the messages, by channel: a bucket's entry in the index before its messages, and earlier
//!    buckets before later ones,
//! 3. the heads of the channels,
//! 4. the position of the partition.
//!
//! A crash between any two leaves a position from which the owner reads its log again, and what it
//! repeats is written as it was, at the same times: nothing changes. A name without its message, left
//! by a log that was lost, counts for nothing, because whoever finds a name looks for the message.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use futures::future::{try_join, try_join_all};
use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey};
use pabal_core::ports::{Appended, HistoryError};
use scylla::statement::batch::{Batch, BatchType};

use super::{
    AT_ONCE, Inner, bucket, codec, failure, stored_channel, stored_id, stored_partition, write_time,
};
use crate::history::positions::within_window;

/// How large a write is at most, unless one message is larger: servers log what is.
const WRITE_BYTES: usize = 256 * 1_024;

/// Of how many channels it is remembered that their bucket is in the index.
const CHANNELS_REMEMBERED: usize = 100_000;

/// The highest bucket of a channel that is known to be in the index.
#[derive(Default)]
pub(super) struct KnownBuckets(Mutex<HashMap<ChannelId, i32, foldhash::fast::RandomState>>);

impl KnownBuckets {
    fn has(&self, channel_id: ChannelId, bucket: i32) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&channel_id) == Some(&bucket)
    }

    fn remember(&self, channel_id: ChannelId, bucket: i32) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CHANNELS_REMEMBERED {
            known.clear();
        }
        known.insert(channel_id, bucket);
    }
}

/// What is in history of the messages of a batch.
struct Found {
    position: MessageId,
    /// Messages under the ids of the batch that are stored.
    stored: HashSet<MessageId, foldhash::fast::RandomState>,
    /// The first message of each named send that is stored.
    firsts: HashMap<SendKey, MessageId, foldhash::fast::RandomState>,
}

impl Inner {
    pub(super) async fn append(
        &self,
        partition: Partition,
        messages: &[Message],
    ) -> Result<Vec<Appended>, HistoryError> {
        let Some(last) = messages.last() else {
            return Ok(Vec::new());
        };
        let found = self.look_up(partition, messages).await?;
        let (outcomes, new) = decide(messages, found);
        self.add_names(&new).await?;
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
        // Above the position stands nothing but what a crash left of this very batch.
        let replayed = messages.iter().filter(|message| message.message_id <= position);
        let replayed = replayed.map(|message| (message.channel_id, message.message_id));
        let stored = self.stored_of(replayed.collect()).await?;
        Ok(Found { position, stored, firsts })
    }

    /// The stored messages of the named sends among `messages`.
    async fn firsts_of(
        &self,
        messages: &[Message],
    ) -> Result<HashMap<SendKey, MessageId, foldhash::fast::RandomState>, HistoryError> {
        let mut firsts = HashMap::default();
        let named: Vec<_> =
            messages.iter().filter_map(|it| Some((it.send_key()?, it.message_id))).collect();
        for some in named.chunks(AT_ONCE) {
            let found = try_join_all(some.iter().map(|(key, _)| self.sent(key))).await?;
            for ((key, own), first) in some.iter().zip(found) {
                // A name that leads to this very message was written before a crash.
                if let Some(first) = first.filter(|first| first != own) {
                    firsts.insert(key.clone(), first);
                }
            }
        }
        let places = firsts.iter().map(|(key, first)| (key.channel_id, *first)).collect();
        let stored = self.stored_of(places).await?;
        firsts.retain(|_, first| stored.contains(first));
        Ok(firsts)
    }

    /// Which of these messages are stored.
    async fn stored_of(
        &self,
        places: Vec<(ChannelId, MessageId)>,
    ) -> Result<HashSet<MessageId, foldhash::fast::RandomState>, HistoryError> {
        let mut stored = HashSet::default();
        for some in places.chunks(AT_ONCE) {
            let found = some.iter().map(|(channel_id, id)| self.get(*channel_id, *id));
            let found = try_join_all(found).await?;
            stored.extend(found.into_iter().flatten().map(|message| message.message_id));
        }
        Ok(stored)
    }

    async fn add_names(&self, new: &[&Message]) -> Result<(), HistoryError> {
        let named: Vec<_> =
            new.iter().filter_map(|it| Some((it.send_key()?, it.message_id))).collect();
        for some in named.chunks(AT_ONCE) {
            let writes = some.iter().map(|(key, id)| async move {
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
        for some in channels.chunks(AT_ONCE) {
            let writes = some.iter().map(|(id, messages)| self.add_to_channel(*id, messages));
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

    /// Adds rows of one bucket as one write: all of them are seen, or none.
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
        // Ids rise, so the last of a channel stays.
        let heads: BTreeMap<ChannelId, MessageId> =
            new.iter().map(|message| (message.channel_id, message.message_id)).collect();
        let heads: Vec<_> = heads.into_iter().collect();
        for some in heads.chunks(AT_ONCE) {
            let writes = some.iter().map(|(channel_id, head)| {
                let values = (write_time(*head), stored_id(*head), stored_channel(*channel_id));
                self.write(&self.statements.set_head, values)
            });
            try_join_all(writes).await?;
        }
        Ok(())
    }
}

/// What becomes of each message, and which of them are to be written.
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

/// Whether a message that is not stored repeats the one that its name leads to. A replay also finds
/// names that were used again later than the window: then what is not stored below the position was
/// passed over, and what is above it was never looked at.
fn is_repeat(first: MessageId, id: MessageId, position: MessageId) -> bool {
    if first < id { within_window(first, id) } else { first > id && id <= position }
}
