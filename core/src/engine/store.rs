//! Stage 3, store: the owner of a partition makes its messages durable in the order of the log.
//! Only behind that are they acknowledged and routed (invariant I1).

use std::time::Duration;

use tokio::time::timeout;

use super::Engine;
use crate::model::{Message, MessageId, Partition};
use crate::ports::{Appended, HistoryError, LogEntry, Stage, Trace};

/// How long the owner waits before it asks a port again that failed.
const RETRY: Duration = Duration::from_millis(100);

/// How long an append may take before it is asked for again, which is harmless: whatever was to
/// answer may have died.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Owns `partition`: group commit without timers. While one batch becomes durable the next one
/// gathers in the log.
pub(super) async fn own(engine: Engine, partition: Partition, mut stored: MessageId) {
    loop {
        let log = &engine.inner.ports.log;
        let entries = match log.read(partition, stored, engine.inner.limits.batch).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(partition = partition.get(), %error, "the log cannot be read");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let Some(last) = entries.last().map(|entry| entry.message.message_id) else {
            continue;
        };
        engine.inner.sequencer.raise_floor(last);
        let Some(outcomes) = engine.store(partition, &entries).await else {
            return;
        };
        engine.acknowledge(&entries, &outcomes).await;
        engine.route(entries, &outcomes).await;
        stored = last;
        if let Err(error) = engine.inner.ports.log.trim(partition, stored).await {
            tracing::warn!(partition = partition.get(), %error, "the log cannot be trimmed");
        }
    }
}

impl Engine {
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
