//! The stored position of each partition, in memory. Performs no write; the stage advances the
//! positions.

use std::sync::atomic::{AtomicU64, Ordering};

use pabal_core::model::{MAX_PARTITIONS, MessageId, Partition};

use crate::send_window::within_window;

/// The highest id of each partition that is durably stored or was recognised as a repeat.
pub(super) struct StoredPositions([AtomicU64; MAX_PARTITIONS as usize]);

impl StoredPositions {
    pub(super) fn new() -> Self {
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
