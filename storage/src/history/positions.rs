//! The stored position of each partition, in memory. Performs no write; the stage advances the
//! positions.

use std::sync::atomic::{AtomicU64, Ordering};

use fjall::Readable;
use pabal_core::model::{MAX_PARTITIONS, MessageId, Partition};
use pabal_core::ports::SEND_KEY_WINDOW;

use super::codec;
use crate::embedded::{Database, ReadError};

/// The highest id of each partition that is durably stored or was recognised as a repeat.
pub(crate) struct StoredPositions([AtomicU64; MAX_PARTITIONS as usize]);

impl StoredPositions {
    pub(crate) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; MAX_PARTITIONS as usize])
    }

    pub(super) fn get(&self, partition: Partition) -> MessageId {
        MessageId::new(self.0[usize::from(partition.get())].load(Ordering::Acquire))
    }

    pub(super) fn advance(&self, partition: Partition, to: MessageId) {
        self.0[usize::from(partition.get())].fetch_max(to.get(), Ordering::AcqRel);
    }

    /// Whether the send key of the message `first` is still valid: no stored id of its partition is
    /// later by more than the window.
    pub(super) fn still_known(&self, first: MessageId) -> bool {
        within_window(first, self.get(first.partition()))
    }
}

/// Whether a send stored as `first` makes a send with the id `later` a repeat. The times come from
/// the ids, so two owners and a replay decide the same, independent of their clocks.
pub(super) fn within_window(first: MessageId, later: MessageId) -> bool {
    later.created_at().since(first.created_at()) <= SEND_KEY_WINDOW
}

/// Loads the stored positions from disk.
pub(crate) fn load_positions(database: &Database) -> Result<(), ReadError> {
    for row in database.durable().iter(&database.positions) {
        let (key, value) = row.into_inner()?;
        let damaged = |error| ReadError::Damaged(format!("stored position {key:?}: {error}"));
        let partition = codec::decode_position_key(&key).map_err(damaged)?;
        database.stored.advance(partition, codec::decode_id(&value).map_err(damaged)?);
    }
    Ok(())
}
