//! The history in process memory: messages, stored positions and send keys. It is for tests: it grows
//! without limit, and its data ends with it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Mutex;

use foldhash::fast::RandomState;

use super::{lock, ready};
use crate::model::{ChannelId, Message, MessageId, Partition, SendKey, UserId};
use crate::ports::{
    Appended, BoxFuture, HistoryError, HistoryStore, Page, PageFrom, PageLimit, SEND_KEY_WINDOW,
    Unread,
};

/// A [`HistoryStore`] in process memory, which counts as durable while the process lives.
///
/// The age of a send comes from message ids: a send is a repeat if at most [`SEND_KEY_WINDOW`] lies
/// between the two ids. Calls act when they are made, not when their future is first polled.
#[derive(Default)]
pub struct MemoryHistoryStore {
    records: Mutex<Records>,
}

impl MemoryHistoryStore {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Default)]
struct Records {
    channels: HashMap<ChannelId, BTreeMap<MessageId, Message>, RandomState>,
    positions: HashMap<Partition, MessageId, RandomState>,
    sent: HashMap<SendKey, MessageId, RandomState>,
}

impl HistoryStore for MemoryHistoryStore {
    fn append(
        &self,
        partition: Partition,
        messages: Vec<Message>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, HistoryError>> {
        ready(Ok(lock(&self.records).append(partition, messages)))
    }

    fn stored_position(
        &self,
        partition: Partition,
    ) -> BoxFuture<'_, Result<MessageId, HistoryError>> {
        ready(Ok(lock(&self.records).position(partition)))
    }

    fn page(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Page, HistoryError>> {
        let records = lock(&self.records);
        let page = records.channels.get(&channel_id).map(|channel| page(channel, from, limit));
        ready(Ok(page.unwrap_or_default()))
    }

    fn get(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> BoxFuture<'_, Result<Option<Message>, HistoryError>> {
        let records = lock(&self.records);
        let message = records.channels.get(&channel_id).and_then(|all| all.get(&message_id));
        ready(Ok(message.cloned()))
    }

    fn heads(
        &self,
        channel_ids: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<MessageId>, HistoryError>> {
        let records = lock(&self.records);
        let head = |id| records.channels.get(id).and_then(|all| Some(*all.last_key_value()?.0));
        ready(Ok(channel_ids.iter().map(|id| head(id).unwrap_or_default()).collect()))
    }

    fn count_unread(
        &self,
        channel_id: ChannelId,
        after: MessageId,
        reader: UserId,
        rows: usize,
    ) -> BoxFuture<'_, Result<Unread, HistoryError>> {
        let records = lock(&self.records);
        let Some(channel) = records.channels.get(&channel_id) else {
            return ready(Ok(Unread::default()));
        };
        let mut later = channel.range(above(after));
        let seen = later.by_ref().take(rows);
        let messages = seen.filter(|(_, message)| message.message_from != reader).count();
        ready(Ok(Unread { messages, at_least: later.next().is_some() }))
    }

    fn find_sent(&self, key: SendKey) -> BoxFuture<'_, Result<Option<MessageId>, HistoryError>> {
        let records = lock(&self.records);
        let first = records.sent.get(&key).copied();
        let known = |first: &MessageId| within_window(*first, records.position(first.partition()));
        ready(Ok(first.filter(known)))
    }
}

impl Records {
    fn append(&mut self, partition: Partition, messages: Vec<Message>) -> Vec<Appended> {
        messages.into_iter().map(|message| self.append_one(partition, message)).collect()
    }

    fn append_one(&mut self, partition: Partition, message: Message) -> Appended {
        let message_id = message.message_id;
        let position = self.positions.entry(partition).or_default();
        *position = message_id.max(*position);
        let channel = self.channels.entry(message.channel_id).or_default();
        if channel.contains_key(&message_id) {
            return Appended::Stored;
        }
        if let Some(key) = message.send_key() {
            match self.sent.get(&key) {
                Some(first) if within_window(*first, message_id) => {
                    return Appended::Repeat(*first);
                }
                _ => self.sent.insert(key, message_id),
            };
        }
        channel.insert(message_id, message);
        Appended::Stored
    }

    fn position(&self, partition: Partition) -> MessageId {
        self.positions.get(&partition).copied().unwrap_or_default()
    }
}

/// Whether a send at `later` is a repeat of one that is stored as `first`.
fn within_window(first: MessageId, later: MessageId) -> bool {
    later.created_at().since(first.created_at()) <= SEND_KEY_WINDOW
}

fn above(message_id: MessageId) -> (Bound<MessageId>, Bound<MessageId>) {
    (Bound::Excluded(message_id), Bound::Unbounded)
}

fn page(channel: &BTreeMap<MessageId, Message>, from: PageFrom, limit: PageLimit) -> Page {
    match from {
        PageFrom::After(id) => take(channel.range(above(id)), limit),
        PageFrom::Before(id) => take(channel.range(..id).rev(), limit),
        PageFrom::Newest => take(channel.iter().rev(), limit),
        PageFrom::Around(id) => {
            let mut below = take(channel.range(..id).rev(), limit.half()).messages;
            below.reverse();
            let from_on = take(channel.range(id..), limit.beside(&below));
            below.extend(from_on.messages);
            Page { messages: below, has_more: from_on.has_more }
        }
    }
}

fn take<'a>(
    messages: impl Iterator<Item = (&'a MessageId, &'a Message)>,
    limit: PageLimit,
) -> Page {
    let messages = messages.map(|(_, message)| Ok::<_, Infallible>(message.clone()));
    match Page::within(limit, messages) {
        Ok(page) => page,
        Err(never) => match never {},
    }
}
