//! What the engine counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counters that only rise.
        #[derive(Debug, Default)]
        pub struct Stats {
            $(pub(super) $name: Counter,)+
        }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct EngineStats {
            /// Sessions alive now.
            pub sessions: u64,
            /// Partitions that this node owns now.
            pub partitions: u64,
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Stats {
            pub(super) fn read(&self, sessions: usize, partitions: usize) -> EngineStats {
                let (sessions, partitions) = (sessions as u64, partitions as u64);
                EngineStats { sessions, partitions, $($name: self.$name.get(),)+ }
            }
        }
    };
}

stats! {
    /// Messages accepted and durable.
    messages_stored,
    /// Sends that were repeats of a stored message.
    sends_repeated,
    /// Sends whose sender was told `not_confirmed`.
    sends_not_confirmed,
    /// Batches appended to history: messages per batch is what group commit gains.
    history_batches,
    /// Copies of messages and events put into mailboxes.
    deliveries,
    /// Events that are no messages, dropped because too many waited for presence or interest.
    events_dropped,
    /// Notifications put into the push queue.
    pushes_queued,
    /// Notifications that found the push queue full.
    pushes_dropped,
    /// Sessions opened.
    sessions_opened,
    /// Sessions that nobody read for the length of the resume window.
    sessions_expired,
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
