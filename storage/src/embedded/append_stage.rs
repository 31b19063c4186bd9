//! Stages the writes of an append and decides its outcomes. Owns the decision about repeats, which
//! is atomic because one thread makes it for all partitions. Syncing is done by the writer.

use std::collections::{HashMap, HashSet};

use pabal_core::model::{Message, MessageId, Partition};
use pabal_core::ports::Appended;

use super::chain::ChainedBatch;
use super::database::{Database, ReadError};
use crate::codec::{self, MessageKey, SentKey};
use crate::send_window::within_window;

/// Appends that are decided but not written yet: the current group. Keys are collected first,
/// because a batch must not contain a key twice.
#[derive(Default)]
pub(super) struct AppendStage {
    messages: Vec<(MessageKey, Vec<u8>)>,
    keys: HashSet<MessageKey>,
    sent: HashMap<SentKey, MessageId>,
    positions: HashMap<Partition, MessageId>,
}

impl AppendStage {
    /// Decides about `messages`, based on stored and staged rows. After an error the stage must be
    /// abandoned.
    pub(super) fn stage(
        &mut self,
        database: &Database,
        partition: Partition,
        messages: &[Message],
    ) -> Result<Vec<Appended>, ReadError> {
        debug_assert!(
            messages.is_sorted_by(|one, next| one.message_id < next.message_id),
            "ids rise within a batch"
        );
        let mut position = self.position(database, partition);
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            outcomes.push(self.stage_one(database, position, message)?);
            position = position.max(message.message_id);
        }
        if !messages.is_empty() {
            self.positions.insert(partition, position);
        }
        Ok(outcomes)
    }

    fn stage_one(
        &mut self,
        database: &Database,
        position: MessageId,
        message: &Message,
    ) -> Result<Appended, ReadError> {
        let (message_id, key) =
            (message.message_id, codec::message_key(message.channel_id, message.message_id));
        // Above the position nothing is stored, so only a replay needs this look-up.
        if message_id <= position && self.is_stored(database, &key)? {
            return Ok(Appended::Stored);
        }
        if let Some(send_key) = message.send_key() {
            let sent_key = codec::sent_key(&send_key);
            match self.first_sent(database, &sent_key)? {
                Some(first) if within_window(first, message_id) => {
                    return Ok(Appended::Repeat(first));
                }
                _ => self.sent.insert(sent_key, message_id),
            };
        }
        let mut value = Vec::new();
        codec::encode_message(message, &mut value);
        self.keys.insert(key);
        self.messages.push((key, value));
        Ok(Appended::Stored)
    }

    fn position(&self, database: &Database, partition: Partition) -> MessageId {
        let staged = self.positions.get(&partition);
        staged.copied().unwrap_or_else(|| database.stored.get(partition))
    }

    fn is_stored(&self, database: &Database, key: &MessageKey) -> Result<bool, ReadError> {
        Ok(self.keys.contains(key) || database.messages.contains_key(key)?)
    }

    fn first_sent(
        &self,
        database: &Database,
        key: &SentKey,
    ) -> Result<Option<MessageId>, ReadError> {
        if let Some(staged) = self.sent.get(key) {
            return Ok(Some(*staged));
        }
        let Some(value) = database.sent.get(key)? else {
            return Ok(None);
        };
        let damaged = |error| ReadError::Damaged(format!("send {key:02x?}: {error}"));
        codec::decode_id(&value).map(Some).map_err(damaged)
    }

    /// Adds the staged writes to `batch`.
    pub(super) fn write(&mut self, database: &Database, batch: &mut ChainedBatch<'_>) {
        for (key, value) in self.messages.drain(..) {
            batch.insert(&database.messages, key, value);
        }
        for (key, message_id) in &self.sent {
            batch.insert(&database.sent, *key, codec::encode_id(*message_id));
        }
        for (partition, position) in &self.positions {
            if *position > database.stored.get(*partition) {
                let value = codec::encode_id(*position);
                batch.insert(&database.positions, codec::position_key(*partition), value);
            }
        }
    }

    /// The staged writes are durable.
    pub(super) fn committed(&mut self, database: &Database) {
        for (partition, position) in &self.positions {
            database.stored.advance(*partition, *position);
        }
        self.abandon();
    }

    /// Discards the staged writes.
    pub(super) fn abandon(&mut self) {
        self.messages.clear();
        self.keys.clear();
        self.sent.clear();
        self.positions.clear();
    }
}
