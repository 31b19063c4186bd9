//! The counters of the engine.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The counters of an engine. They only rise.
        #[derive(Debug, Default)]
        pub(super) struct Stats {
            $(pub(super) $name: Counter,)+
        }

        /// The counters of an engine at one moment, since its start, and what it has now.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct EngineStats {
            /// Sessions on this node now.
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
    /// Messages stored by the owners on this node.
    messages_stored,
    /// Sends that were repeats of a stored message.
    sends_repeated,
    /// Sends whose sender got `not_confirmed`.
    sends_not_confirmed,
    /// Batches appended to history. Messages a batch are what group commit gains.
    history_batches,
    /// Messages and events passed to sessions, one for each session.
    deliveries,
    /// Events that are no messages, dropped because too many were on their way.
    events_dropped,
    /// Notifications put into the push queue.
    pushes_queued,
    /// Notifications dropped because the push queue was full or unavailable.
    pushes_dropped,
    /// Sessions opened.
    sessions_opened,
    /// Sessions that ended because they were not read for the resume window.
    sessions_expired,
}

/// A counter that only rises.
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
