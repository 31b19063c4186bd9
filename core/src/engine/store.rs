//! Stage 3, store: the owner of a partition makes its messages durable in the order of the log.
//! Only behind that are they acknowledged and routed (invariant I1), and only behind that are they
//! taken out of the log: whoever owns the partition next begins with what may not have been.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Engine;
use super::partitions::Tenure;
use crate::model::{Message, MessageId, Partition};
use crate::ports::{Appended, HistoryError, LogEntry, Stage, Trace};

/// How long the owner waits before it asks a port again that failed.
const RETRY: Duration = Duration::from_millis(100);

/// How long an append may take before it is asked for again, which is harmless: whatever was to
/// answer may have died.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How often the log of a quiet partition is told how far history is: it may have lost that.
const REMIND: Duration = Duration::from_secs(5);

/// Owns `partition` for as long as it may: group commit without timers. While one batch becomes
/// durable the next one gathers in the log.
pub(super) async fn own(engine: Engine, partition: Partition, tenure: Tenure) {
    let mut stored = engine.stored_position(partition).await;
    engine.raise(partition, stored).await;
    // What the owner before this one stored, but did not take out of the log, it may not have
    // acknowledged and routed.
    let mut position = MessageId::default();
    let mut reminded = Instant::now();
    loop {
        let log = &engine.inner.ports.log;
        let read = tokio::select! {
            biased;
            () = tenure.leaving.cancelled() => return,
            () = tokio::time::sleep_until(reminded + REMIND) => {
                engine.raise(partition, stored).await;
                reminded = Instant::now();
                continue;
            }
            read = log.read(partition, position, engine.inner.limits.batch) => read,
        };
        let mut entries = match read {
            Ok(entries) => entries,
            Err(error) => {
                away(partition, "the log cannot be read", &error).await;
                continue;
            }
        };
        if tenure.has_ended() {
            return;
        }
        let Some(last) = entries.last().map(|entry| entry.message.message_id) else {
            continue;
        };
        engine.inner.sequencer.raise_floor(last);
        let new = entries.split_off(entries.partition_point(|it| it.message.message_id <= stored));
        let mut entries = engine.known_to_history(partition, entries).await;
        let mut outcomes = vec![Appended::Stored; entries.len()];
        if !new.is_empty() {
            let Some(appended) = engine.store(partition, &new).await else {
                return;
            };
            entries.extend(new);
            outcomes.extend(appended);
        }
        engine.acknowledge(&entries, &outcomes).await;
        engine.route(entries, &outcomes).await;
        position = last;
        stored = stored.max(last);
        if let Err(error) = log.trim(partition, position).await {
            tracing::warn!(partition = partition.get(), %error, "the log cannot be trimmed");
        }
    }
}

/// A port is away for a moment.
async fn away(partition: Partition, what: &str, error: &(dyn Display + Sync)) {
    tracing::warn!(partition = partition.get(), %error, "{what}");
    tokio::time::sleep(RETRY).await;
}

impl Engine {
    async fn stored_position(&self, partition: Partition) -> MessageId {
        loop {
            match self.inner.ports.history.stored_position(partition).await {
                Ok(stored) => return stored,
                Err(error) => away(partition, "the stored position is not known", &error).await,
            }
        }
    }

    /// No message gets an id at or below `stored` any more.
    async fn raise(&self, partition: Partition, stored: MessageId) {
        self.inner.sequencer.raise_floor(stored);
        while let Err(error) = self.inner.ports.log.raise(partition, stored).await {
            away(partition, "the log is not told how far history is", &error).await;
        }
    }

    /// Those of `entries`, which lie at or below the stored position, that history has. The others
    /// came into the log after it had lost the position: nobody was told that they are accepted, and
    /// they are too late now (invariant I2).
    async fn known_to_history(
        &self,
        partition: Partition,
        entries: Vec<LogEntry>,
    ) -> Vec<LogEntry> {
        let mut known = Vec::with_capacity(entries.len());
        for entry in entries {
            let Message { channel_id, message_id, .. } = entry.message;
            let held = loop {
                match self.inner.ports.history.get(channel_id, message_id).await {
                    Ok(held) => break held.is_some(),
                    Err(error) => away(partition, "history cannot be read", &error).await,
                }
            };
            if held {
                known.push(entry);
            }
        }
        known
    }

    /// Makes `entries` durable, however long it takes; nothing if history can never do it.
    async fn store(&self, partition: Partition, entries: &[LogEntry]) -> Option<Vec<Appended>> {
        let traces = entries.iter().map(|entry| &entry.origin.trace);
        let _spans = Trace::stages(traces, Stage::Store);
        let messages: Vec<Message> = entries.iter().map(|entry| entry.message.clone()).collect();
        loop {
            let append = self.inner.ports.history.append(partition, messages.clone());
            let unanswered = || HistoryError::Unavailable("an append was not answered".into());
            match timeout(ANSWER_WITHIN, append).await.unwrap_or_else(|_| Err(unanswered())) {
                Ok(outcomes) => {
                    let new = outcomes.iter().filter(|outcome| **outcome == Appended::Stored);
                    self.inner.stats.messages_stored.add(new.count() as u64);
                    self.inner.stats.history_batches.add(1);
                    return Some(outcomes);
                }
                Err(error) if error.retryable() => {
                    tracing::warn!(partition = partition.get(), %error, "history is away");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::error!(partition = partition.get(), %error, "the node must stop");
                    self.inner.failed.cancel();
                    return None;
                }
            }
        }
    }
}
