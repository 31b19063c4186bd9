//! Stage store: the owner of a partition reads its log in order and makes the messages durable.
//!
//! Group commit without timers: while one batch becomes durable, the next one gathers in the log. An
//! entry leaves the log only after it was stored, acknowledged and routed, so the next owner starts
//! with the entries for which that may not be true (docs/adr/0011).

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::sequence::Sequencer;
use crate::engine::partitions::OwnerLease;
use crate::engine::stats::Stats;
use crate::model::{Message, MessageId, Partition};
use crate::ports::{Appended, HistoryError, HistoryStore, LogEntry, MessageLog, Stage, Trace};

/// How long the owner waits before it calls a port again that failed.
const RETRY: Duration = Duration::from_millis(100);
/// How long an append may take before the owner repeats it, which is harmless: the response may
/// never come.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the owner of a quiet partition raises the log to the stored position, which the log may
/// have lost.
const RAISE_EVERY: Duration = Duration::from_secs(5);

/// What the owners of all partitions of this node share.
pub(in crate::engine) struct Store {
    pub(in crate::engine) log: Arc<dyn MessageLog>,
    pub(in crate::engine) history: Arc<dyn HistoryStore>,
    pub(in crate::engine) sequencer: Arc<Sequencer>,
    /// How many messages one batch holds at most.
    pub(in crate::engine) batch: usize,
    pub(in crate::engine) stats: Arc<Stats>,
    /// Cancelled if history can never make a batch durable.
    pub(in crate::engine) failed: CancellationToken,
}

/// Entries of one partition in the order of the log.
pub(super) struct Batch {
    /// Entries at or below the stored position: an earlier owner left them in the log.
    old: Vec<LogEntry>,
    new: Vec<LogEntry>,
    last: MessageId,
}

/// Entries that are durable.
pub(super) struct StoredBatch {
    pub(super) entries: Vec<LogEntry>,
    /// What became of each entry, in the same order.
    pub(super) outcomes: Vec<Appended>,
    /// The last id that was read, even if its entry was dropped.
    pub(super) last: MessageId,
}

/// The store stage of one partition, on the node that owns it.
pub(super) struct PartitionOwner<'a> {
    store: &'a Store,
    partition: Partition,
    lease: OwnerLease,
    /// The last id that was read from the log.
    position: MessageId,
    /// The highest id that history has stored or recognised as a repeat.
    stored: MessageId,
    raised_at: Instant,
}

impl Store {
    /// Takes a partition over, for as long as `lease` lasts.
    pub(super) async fn take_over(
        &self,
        partition: Partition,
        lease: OwnerLease,
    ) -> PartitionOwner<'_> {
        let mut owner = PartitionOwner {
            store: self,
            partition,
            lease,
            // Not the stored position: the previous owner may have stored entries that it did not
            // acknowledge and route.
            position: MessageId::default(),
            stored: MessageId::default(),
            raised_at: Instant::now(),
        };
        owner.stored = owner.stored_position().await;
        owner.raise_log().await;
        owner
    }
}

impl PartitionOwner<'_> {
    /// Waits for the next entries of the log. Absent once this node must no longer store them.
    pub(super) async fn next_batch(&mut self) -> Option<Batch> {
        loop {
            let (log, limit) = (&self.store.log, self.store.batch);
            let read = tokio::select! {
                biased;
                () = self.lease.handing_over() => return None,
                () = tokio::time::sleep_until(self.raised_at + RAISE_EVERY) => {
                    self.raise_log().await;
                    continue;
                }
                read = log.read(self.partition, self.position, limit) => read,
            };
            let mut entries = match read {
                Ok(entries) => entries,
                Err(error) => {
                    self.wait_for("message log unavailable", &error).await;
                    continue;
                }
            };
            if self.lease.has_ended() {
                return None;
            }
            let Some(last) = entries.last().map(|entry| entry.message.message_id) else {
                continue;
            };
            debug_assert!(last > self.position, "the log returns entries after the position");
            self.store.sequencer.raise_floor(last);
            let stored = self.stored;
            let new =
                entries.split_off(entries.partition_point(|it| it.message.message_id <= stored));
            return Some(Batch { old: entries, new, last });
        }
    }

    /// Makes a batch durable, however long that takes. Absent if history can never do it: the node
    /// must stop.
    pub(super) async fn store(&mut self, batch: Batch) -> Option<StoredBatch> {
        let mut entries = self.known_to_history(batch.old).await;
        let mut outcomes = vec![Appended::Stored; entries.len()];
        if !batch.new.is_empty() {
            outcomes.extend(self.append(&batch.new).await?);
            entries.extend(batch.new);
        }
        debug_assert_eq!(
            entries.len(),
            outcomes.len(),
            "history returns an outcome for each entry"
        );
        Some(StoredBatch { entries, outcomes, last: batch.last })
    }

    /// Removes from the log the entries up to `last`, which were stored, acknowledged and routed.
    pub(super) async fn trim(&mut self, last: MessageId) {
        debug_assert!(last > self.position, "an owner moves forward in the log");
        self.position = last;
        self.stored = self.stored.max(last);
        if let Err(error) = self.store.log.trim(self.partition, self.position).await {
            // Harmless: the next batch trims further.
            let partition = self.partition.get();
            tracing::warn!(partition, %error, "the message log was not trimmed");
        }
    }

    async fn stored_position(&self) -> MessageId {
        loop {
            match self.store.history.stored_position(self.partition).await {
                Ok(stored) => return stored,
                Err(error) => self.wait_for("history unavailable", &error).await,
            }
        }
    }

    /// From now on no message gets an id at or below the stored position (invariant I2).
    async fn raise_log(&mut self) {
        self.store.sequencer.raise_floor(self.stored);
        while let Err(error) = self.store.log.raise(self.partition, self.stored).await {
            self.wait_for("message log unavailable", &error).await;
        }
        self.raised_at = Instant::now();
    }

    /// Keeps the entries that history has. The others were appended to a log that had lost the
    /// stored position. No sender got an acknowledgement for them, and their ids are too low by now
    /// (invariant I2).
    async fn known_to_history(&self, old: Vec<LogEntry>) -> Vec<LogEntry> {
        let mut known = Vec::with_capacity(old.len());
        for entry in old {
            let Message { channel_id, message_id, .. } = entry.message;
            let held = loop {
                match self.store.history.get(channel_id, message_id).await {
                    Ok(held) => break held.is_some(),
                    Err(error) => self.wait_for("history unavailable", &error).await,
                }
            };
            if held {
                known.push(entry);
            }
        }
        known
    }

    async fn append(&self, entries: &[LogEntry]) -> Option<Vec<Appended>> {
        debug_assert!(
            entries.is_sorted_by(|a, b| a.message.message_id < b.message.message_id),
            "the log returns entries in the order of their ids",
        );
        let store = self.store;
        let traces = entries.iter().map(|entry| &entry.origin.trace);
        let _spans = Trace::stages(traces, Stage::Store);
        let messages: Vec<Message> = entries.iter().map(|entry| entry.message.clone()).collect();
        loop {
            let append = store.history.append(self.partition, messages.clone());
            let no_response = || HistoryError::Unavailable("no response to an append".into());
            match timeout(APPEND_TIMEOUT, append).await.unwrap_or_else(|_| Err(no_response())) {
                Ok(outcomes) => {
                    let new = outcomes.iter().filter(|outcome| **outcome == Appended::Stored);
                    store.stats.messages_stored.add(new.count() as u64);
                    store.stats.history_batches.add(1);
                    return Some(outcomes);
                }
                Err(error) if error.retryable() => {
                    self.wait_for("history unavailable", &error).await;
                }
                Err(error) => {
                    let partition = self.partition.get();
                    tracing::error!(partition, %error, "history failed: the node must stop");
                    store.failed.cancel();
                    return None;
                }
            }
        }
    }

    async fn wait_for(&self, what: &str, error: &(dyn Display + Sync)) {
        tracing::warn!(partition = self.partition.get(), %error, "{what}");
        tokio::time::sleep(RETRY).await;
    }
}
