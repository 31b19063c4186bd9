//! Stages the writes of the push queue. Owns positions and the capacity, which are exact because
//! one thread assigns and counts them. Syncing is done by the writer.

use std::collections::BTreeSet;

use fjall::Readable;
use pabal_core::ports::{Notification, PushPosition};
use tokio::sync::watch;

use super::chain::{self, ChainedBatch};
use super::database::{Database, ReadError};
use crate::codec::notification as codec;

/// The queue as it will be once the staged writes are durable.
pub(super) struct PushStage {
    capacity: usize,
    written: Counters,
    staged: Counters,
    added: Vec<(u64, Vec<u8>)>,
    removed: BTreeSet<u64>,
    arrived: watch::Sender<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Counters {
    /// The last position given.
    last: u64,
    /// The number of notifications in the queue.
    held: usize,
}

impl PushStage {
    /// Counts the stored notifications.
    pub(super) fn load(database: &Database, capacity: usize) -> Result<Self, ReadError> {
        let (mut last, mut held) = (0, 0);
        let damaged = |error| ReadError::Damaged(format!("push queue: {error}"));
        for row in database.durable().iter(&database.push) {
            let (key, value) = row.into_inner()?;
            if *key == chain::KEY {
                continue;
            }
            if *key == codec::LAST_GIVEN {
                last = codec::decode_position(&value).map_err(damaged)?;
            } else {
                last = last.max(codec::decode_position(&key).map_err(damaged)?);
                held += 1;
            }
        }
        let counters = Counters { last, held };
        Ok(Self {
            capacity: capacity.max(1),
            written: counters,
            staged: counters,
            added: Vec::new(),
            removed: BTreeSet::new(),
            arrived: watch::Sender::new(last),
        })
    }

    /// The last position, which changes whenever notifications were written.
    pub(super) fn arrived(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    /// Stages all of `notifications`; stages none and returns false if they exceed the capacity.
    pub(super) fn enqueue(&mut self, notifications: &[Notification]) -> bool {
        let held = self.staged.held + notifications.len();
        if held > self.capacity {
            return false;
        }
        self.staged.held = held;
        for notification in notifications {
            self.staged.last += 1;
            self.added.push((self.staged.last, codec::encode(notification)));
        }
        true
    }

    /// Stages the removal of those of `positions` that are in the queue. After an error the stage
    /// must be abandoned.
    pub(super) fn confirm(
        &mut self,
        database: &Database,
        positions: &[PushPosition],
    ) -> Result<(), ReadError> {
        for &PushPosition(position) in positions {
            let held = position != 0 && database.push.contains_key(position.to_be_bytes())?;
            if held && self.removed.insert(position) {
                debug_assert!(self.staged.held > 0, "a stored notification is counted");
                self.staged.held -= 1;
            }
        }
        Ok(())
    }

    /// Adds the staged writes to `batch`.
    pub(super) fn write(&mut self, database: &Database, batch: &mut ChainedBatch<'_>) {
        for (position, value) in self.added.drain(..) {
            batch.insert(&database.push, position.to_be_bytes(), value);
        }
        for position in &self.removed {
            batch.remove(&database.push, position.to_be_bytes());
        }
        if self.staged.last != self.written.last {
            batch.insert(&database.push, codec::LAST_GIVEN, self.staged.last.to_be_bytes());
        }
    }

    /// The staged writes are durable.
    pub(super) fn committed(&mut self) {
        debug_assert!(self.staged.last >= self.written.last, "positions never go back");
        let arrived = self.staged.last != self.written.last;
        self.written = self.staged;
        self.removed.clear();
        if arrived {
            self.arrived.send_replace(self.written.last);
        }
    }

    /// Discards the staged writes.
    pub(super) fn abandon(&mut self) {
        self.staged = self.written;
        self.added.clear();
        self.removed.clear();
    }
}
