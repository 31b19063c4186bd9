//! What the push queue writes. Owns positions and the bound, which hold because one thread gives
//! and counts them; syncing is the writer's.

use std::collections::BTreeSet;

use fjall::{OwnedWriteBatch, Readable};
use pabal_core::ports::{Notification, PushPosition};
use tokio::sync::watch;

use super::codec;
use crate::embedded::{Database, Unreadable};

/// The queue as it will be when what is staged is written.
pub(crate) struct PushStage {
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
    /// How many notifications are held.
    held: usize,
}

impl PushStage {
    /// Counts what is on disk.
    pub(crate) fn load(database: &Database, capacity: usize) -> Result<Self, Unreadable> {
        let (mut last, mut held) = (0, 0);
        let damaged = |error| Unreadable::Damaged(format!("push queue: {error}"));
        for row in database.durable().iter(&database.push) {
            let (key, value) = row.into_inner()?;
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

    /// Told the last position whenever notifications were written.
    pub(crate) fn arrived(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    /// Stages all of `notifications`, or none if they do not fit.
    pub(crate) fn enqueue(&mut self, notifications: &[Notification]) -> bool {
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

    /// Stages the removal of those of `positions` that are held. After an error the stage must be
    /// abandoned.
    pub(crate) fn confirm(
        &mut self,
        database: &Database,
        positions: &[PushPosition],
    ) -> Result<(), Unreadable> {
        for &PushPosition(position) in positions {
            let held = position != 0 && database.push.contains_key(position.to_be_bytes())?;
            if held && self.removed.insert(position) {
                self.staged.held -= 1;
            }
        }
        Ok(())
    }

    /// Puts what is staged into `batch`.
    pub(crate) fn write(&mut self, database: &Database, batch: &mut OwnedWriteBatch) {
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

    /// What was written is durable.
    pub(crate) fn committed(&mut self) {
        let arrived = self.staged.last != self.written.last;
        self.written = self.staged;
        self.removed.clear();
        if arrived {
            self.arrived.send_replace(self.written.last);
        }
    }

    /// Forgets what is staged.
    pub(crate) fn abandon(&mut self) {
        self.staged = self.written;
        self.added.clear();
        self.removed.clear();
    }
}
