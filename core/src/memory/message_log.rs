//! The log of each partition, in process memory: the entries that wait to be stored, with their send
//! keys. The history store remembers older keys.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::{lock, ready};
use crate::model::{Draft, MAX_PARTITIONS, MessageId, Partition, SendKey};
use crate::ports::{BoxFuture, Clock, LogEntry, LogError, MessageLog, Origin, Sequenced};

/// A [`MessageLog`] in process memory.
///
/// Each partition has its own lock, held for a map look-up and an append, so senders to different
/// partitions do not contend. A partition uses memory from its first use on. `append`, `raise` and
/// `trim` act when they are called, not when their future is first polled.
pub struct MemoryMessageLog {
    clock: Arc<dyn Clock>,
    capacity: usize,
    partitions: Box<[OnceLock<Box<PartitionLog>>]>,
}

impl MemoryMessageLog {
    /// An empty log that holds up to `capacity_per_partition` (at least 1) entries of each
    /// partition until they are trimmed.
    pub fn new(clock: Arc<dyn Clock>, capacity_per_partition: usize) -> Self {
        let partitions = (0..MAX_PARTITIONS).map(|_| OnceLock::new()).collect();
        Self { clock, capacity: capacity_per_partition.max(1), partitions }
    }

    fn partition(&self, partition: Partition) -> &PartitionLog {
        self.partitions[usize::from(partition.get())].get_or_init(Box::default)
    }
}

impl MessageLog for MemoryMessageLog {
    fn append(
        &self,
        partition: Partition,
        floor: MessageId,
        draft: Draft,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Sequenced, LogError>> {
        let earliest = MessageId::first_at(self.clock.now(), partition);
        let least = earliest.max(floor.above_in(partition));
        let log = self.partition(partition);
        let sequenced = lock(&log.entries).append(least, draft, origin, self.capacity);
        if let Ok(Sequenced::New(_)) = sequenced {
            log.appended.notify_waiters();
        }
        ready(sequenced)
    }

    fn read(
        &self,
        partition: Partition,
        after: MessageId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        let log = self.partition(partition);
        Box::pin(async move {
            loop {
                // Created before the read, so that an append between read and wait is not missed.
                let appended = log.appended.notified();
                let entries = lock(&log.entries).read(after, limit);
                if let Some(entries) = entries {
                    return Ok(entries);
                }
                appended.await;
            }
        })
    }

    fn raise(
        &self,
        partition: Partition,
        stored: MessageId,
    ) -> BoxFuture<'_, Result<(), LogError>> {
        let entries = &self.partition(partition).entries;
        let mut entries = lock(entries);
        entries.last = entries.last.max(Some(stored));
        ready(Ok(()))
    }

    fn trim(&self, partition: Partition, stored: MessageId) -> BoxFuture<'_, Result<(), LogError>> {
        lock(&self.partition(partition).entries).trim(stored);
        ready(Ok(()))
    }
}

#[derive(Default)]
struct PartitionLog {
    entries: Mutex<Entries>,
    /// Notified after each append. There may be several readers, as when the owner changes.
    appended: Notify,
}

/// The entries that are not trimmed, in order of their ids.
#[derive(Default)]
struct Entries {
    last: Option<MessageId>,
    queue: VecDeque<LogEntry>,
    /// The id of each entry in `queue` that has a send key.
    sent: HashMap<SendKey, MessageId, RandomState>,
}

impl Entries {
    /// Appends `draft` at `least`, or right after the last id if that is higher.
    fn append(
        &mut self,
        least: MessageId,
        draft: Draft,
        origin: Origin,
        capacity: usize,
    ) -> Result<Sequenced, LogError> {
        let key = draft.send_key();
        // Checked before the limit, because a repeat needs no capacity.
        if let Some(first) = key.as_ref().and_then(|key| self.sent.get(key)) {
            return Ok(Sequenced::Repeat(*first));
        }
        if self.queue.len() >= capacity {
            return Err(LogError::Full);
        }
        let partition = least.partition();
        let message_id = self.last.map_or(least, |last| least.max(last.above_in(partition)));
        debug_assert!(self.last < Some(message_id), "ids of a partition rise strictly");
        self.last = Some(message_id);
        if let Some(key) = key {
            self.sent.insert(key, message_id);
        }
        self.queue.push_back(LogEntry { message: draft.at(message_id), origin });
        Ok(Sequenced::New(message_id))
    }

    /// Up to `limit` entries above `after`; absent if there is none.
    fn read(&self, after: MessageId, limit: usize) -> Option<Vec<LogEntry>> {
        // The usual reader passes the last entry it saw, and the entries before that are trimmed.
        let start = self.queue.partition_point(|entry| entry.message.message_id <= after);
        let end = self.queue.len().min(start.saturating_add(limit));
        (start < self.queue.len()).then(|| self.queue.range(start..end).cloned().collect())
    }

    fn trim(&mut self, stored: MessageId) {
        self.last = self.last.max(Some(stored));
        while let Some(entry) = self.queue.pop_front_if(|entry| entry.message.message_id <= stored)
        {
            if let Some(key) = entry.message.send_key() {
                self.sent.remove(&key);
            }
        }
    }
}
