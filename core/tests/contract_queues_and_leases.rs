//! The in-memory log, inbox, presence, interest and registry keep the contracts of their ports,
//! under paused time and under threads.

use std::sync::Arc;

use pabal_core::contract::{interest, message_log, node_inbox, node_registry, presence};
use pabal_core::memory::{
    MemoryInterest, MemoryMessageLog, MemoryNodeInbox, MemoryNodeRegistry, MemoryPresence,
    SystemClock,
};

/// Runs a suite where time is paused, so that waits cost none, and on threads, where calls race.
macro_rules! keeps_its_contract {
    ($name:ident, $suite:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(start_paused = true)]
            async fn under_paused_time() {
                $suite.await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn under_threads() {
                $suite.await;
            }
        }
    };
}

keeps_its_contract!(
    memory_message_log,
    message_log::run(async |capacity| MemoryMessageLog::new(Arc::new(SystemClock), capacity))
);
keeps_its_contract!(
    memory_message_log_with_clock,
    message_log::run_with_clock(async |clock| MemoryMessageLog::new(clock, 10_000))
);
keeps_its_contract!(
    memory_node_inbox,
    node_inbox::run(async |capacity| MemoryNodeInbox::new(capacity))
);
keeps_its_contract!(
    memory_presence,
    presence::run(async || MemoryPresence::new())
);
keeps_its_contract!(
    memory_interest,
    interest::run(async || MemoryInterest::new())
);
keeps_its_contract!(
    memory_node_registry,
    node_registry::run(async || MemoryNodeRegistry::new())
);
